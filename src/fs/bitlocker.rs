//! BitLocker volumes, as the libbde project documents them. Nothing is unlocked.

use uuid::{Uuid, uuid};

use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::codec::Fields;
use crate::error::Result;

const SIGNATURE: &[u8; 8] = b"-FVE-FS-";
/// In the boot sector of fixed and of removable disks.
const IDENTIFIER_PLACES: [usize; 2] = [160, 424];
const BITLOCKER: Uuid = uuid!("4967d63b-2e29-4ad8-8399-f6a339e3d001");
const USED_SPACE_ONLY: Uuid = uuid!("92a84d3b-dd80-4d0e-9e4e-b1e3284eaed8");

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    volume.has(3, SIGNATURE) || identifier(volume).is_some()
}

/// The identifier that marks the volume, and where it stands.
fn identifier(volume: &Volume<'_>) -> Option<(Uuid, usize)> {
    IDENTIFIER_PLACES.into_iter().find_map(|at| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(volume.head(at).slice(0, 16).ok()?);
        let found = Uuid::from_bytes_le(bytes);
        matches!(found, BITLOCKER | USED_SPACE_ONLY).then_some((found, at))
    })
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let boot = volume.head(0);
    let mut fs = FileSystem::new(FsKind::BitLocker);
    let Some((identifier, at)) = identifier(volume) else {
        fs.detail("version", "Windows Vista");
        return Ok(fs);
    };
    let to_go = at != IDENTIFIER_PLACES[0];
    fs.detail(
        "version",
        if to_go {
            "BitLocker To Go"
        } else {
            "Windows 7 or newer"
        },
    );
    if identifier == USED_SPACE_ONLY {
        fs.detail("encrypted", "used space only");
    }
    // Three copies of the metadata; the first that is one.
    let mut found = None;
    for copy in 0..3 {
        let offset = boot.le64(at + 16 + 8 * copy)?;
        if let Some(bytes) = volume.read(offset, 128)?
            && bytes.starts_with(SIGNATURE)
            && found.is_none()
        {
            found = Some((bytes, offset));
        }
    }
    match found {
        Some((bytes, offset)) => describe(&mut fs, Fields::new(&bytes, offset))?,
        None => fs.note("none of its three copies of metadata can be found"),
    }
    Ok(fs)
}

fn describe(fs: &mut FileSystem, metadata: Fields<'_>) -> Result<()> {
    let size = metadata.le64(16)?;
    fs.size = (size != 0).then_some(size);
    let mut identifier = [0; 16];
    identifier.copy_from_slice(metadata.slice(64 + 16, 16)?);
    fs.uuid = Some(Uuid::from_bytes_le(identifier).to_string());
    let method = match metadata.le32(64 + 36)? & 0xffff {
        0x8000 => "AES-CBC 128 with diffuser",
        0x8001 => "AES-CBC 256 with diffuser",
        0x8002 => "AES-CBC 128",
        0x8003 => "AES-CBC 256",
        0x8004 => "AES-XTS 128",
        0x8005 => "AES-XTS 256",
        _ => return Ok(()),
    };
    fs.detail("cipher", method);
    Ok(())
}
