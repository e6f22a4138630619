//! Taking a repair back.

use std::path::Path;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::op::repair::backup::{Content, State};
use crate::storage::{FileStorage, LockMode, Storage, WritableStorage};

/// Puts back into `image` the metadata that a repair saved in `backup`: the image is then as
/// damaged as it was before. Durable on return. The backup stays. Stopped in the middle, it is to
/// be run again; until then the image is of no use.
///
/// # Errors
/// [`ErrorKind::Refused`] when the metadata was changed after the repair, or the repair did not end
/// and was that of another file: what was written since would be lost. [`ErrorKind::InvalidInput`]
/// for a file that is no backup, [`ErrorKind::Corrupt`] for a damaged one: then nothing is changed.
/// [`ErrorKind::Locked`] while somebody uses one of them; I/O errors.
pub fn restore(image: &Path, backup: &Path, control: &Control) -> std::result::Result<(), Stop> {
    let image = FileStorage::open(image, LockMode::WriteExclusive)?;
    let storage = FileStorage::open(backup, LockMode::WriteExclusive)?;
    let of_backup = |error: Error| error.with_path(backup);
    let content = Content::read(&storage).map_err(of_backup)?;
    control.enter("checking the backup", 0);
    check(&content, &image, &storage, control)?;

    // From here on what is in the image may be half of each.
    let restoring = content.header.restoring(image.id().inode);
    restoring.write(&storage).map_err(of_backup)?;
    control.enter("restoring metadata", 0);
    put_back(&content, &image, &storage)?;
    let restored = content.header.restored();
    Ok(restored.write(&storage).map_err(of_backup)?)
}

/// Whether all of the backup can be read, and putting it back destroys nothing.
fn check(
    content: &Content,
    image: &FileStorage,
    backup: &FileStorage,
    control: &Control,
) -> std::result::Result<(), Stop> {
    let refuse = |why: &str| {
        let error = Error::new(ErrorKind::Refused, why);
        match image.path() {
            Some(path) => error.with_path(path),
            None => error,
        }
    };
    let knows_what_is_there = content.header.state == State::Repaired;
    if !knows_what_is_there && content.header.inode != image.id().inode {
        return Err(
            refuse("the backup is of another file, whose repair or restoring did not end").into(),
        );
    }
    let mut buf = Vec::new();
    let mut index = 0;
    let mut changed = false;
    let mut cancelled = Ok(());
    content.for_each(backup, &mut |piece, _| {
        cancelled = cancelled.and_then(|()| control.checkpoint());
        if knows_what_is_there && cancelled.is_ok() {
            let now = crc32c::crc32c(piece.read(image, &mut buf)?);
            let after = content.sums.as_ref().map(|sums| sums[index]);
            changed |= now != piece.sum && Some(now) != after;
        }
        index += 1;
        Ok(())
    })?;
    cancelled?;
    if changed {
        return Err(refuse(
            "the metadata was changed after the repair: putting the old back would lose what was \
             written since",
        )
        .into());
    }
    Ok(())
}

/// The first piece is the header of the image: it comes last.
fn put_back(content: &Content, image: &FileStorage, backup: &FileStorage) -> Result<()> {
    if image.size()? < content.header.image_length {
        image.set_len(content.header.image_length)?;
    }
    let mut first = None;
    content.for_each(backup, &mut |piece, bytes| {
        if piece.offset == 0 {
            first = Some(bytes.to_vec());
            return Ok(());
        }
        image.write_at(bytes, piece.offset)
    })?;
    image.flush()?;
    if let Some(bytes) = first {
        image.write_at(&bytes, 0)?;
    }
    image.flush()
}
