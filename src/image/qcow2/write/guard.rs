//! The mark of an image whose partitions are being edited: an incompatible feature that no other
//! program knows, so that none boots or changes a disk that is half one and half the other.

use crate::error::{ErrorKind, Result};
use crate::image::qcow2::write::State;
use crate::image::qcow2::{extension, feature};

impl State {
    /// Sets the mark or takes it away, by one write of one sector; durable on return. `false` for
    /// version 2, which has no feature bits.
    ///
    /// The name that others then say stays in the header: it costs nothing, and taking it out
    /// would be one more change that a crash can meet.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn guard_edit(&mut self, unfinished: bool) -> Result<bool> {
        let bit = feature::UNFINISHED_EDIT;
        if self.header.fields.version < 3 {
            return Ok(false);
        }
        if (self.header.fields.incompatible_features & bit != 0) == unfinished {
            return Ok(true);
        }
        self.checkpoint()?;
        if unfinished {
            self.name_guard()?;
        }
        self.header.fields.incompatible_features ^= bit;
        self.write_header()?;
        Ok(true)
    }

    /// Gives the mark a name, where the header has room for it and gets there without a moment in
    /// which a crash could tear it.
    fn name_guard(&mut self) -> Result<()> {
        let kind = extension::FEATURE_NAMES;
        let Some(table) = feature::with_unfinished_edit(self.header.fields.extension(kind)) else {
            return Ok(());
        };
        let before = self.header.fields.extensions.clone();
        self.set_extension(kind, Some(table.clone()));
        if self.switch_header()? {
            return Ok(());
        }
        // The table of names, or the backing file's name behind it, reaches beyond the first sector
        // and would change there. Without the table that place is nobody's.
        self.header.fields.extensions.clone_from(&before);
        self.set_extension(kind, None);
        if !self.switch_header()? {
            self.header.fields.extensions = before;
            return Ok(());
        }
        for table in [Some(table), feature_table_of(&before)] {
            self.set_extension(kind, table);
            if self.switch_header()? {
                return Ok(());
            }
        }
        self.set_extension(kind, None);
        Ok(())
    }

    /// Writes the whole header anew if its first sector can switch to it, durable on return;
    /// else nothing is written.
    fn switch_header(&mut self) -> Result<bool> {
        self.check_usable()?;
        let outcome = self.header.rewrite_by_switch(self.storage.as_ref());
        match outcome.and_then(|done| self.storage.flush().map(|()| done)) {
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(false),
            outcome => outcome.map_err(|error| self.poison(error)),
        }
    }
}

/// The names of features.
fn feature_table_of(extensions: &[extension::Extension]) -> Option<Vec<u8>> {
    let mut found = extensions.iter();
    let (_, table) = found.find(|(kind, _)| *kind == extension::FEATURE_NAMES)?;
    Some(table.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::image::qcow2::header::Header;
    use crate::image::qcow2::write::Qcow2Writer;
    use crate::image::qcow2::write::header::HeaderCluster;
    use crate::image::qcow2::write::tests::empty_image;
    use crate::image::{ImageWriter as _, WritableFiles};
    use crate::storage::{CrashPlan, MemoryStorage, Storage, WritableStorage as _, WriteLog};

    fn open(
        storage: Arc<dyn crate::storage::WritableStorage>,
        in_edit: bool,
    ) -> Result<Qcow2Writer> {
        let files = WritableFiles {
            storage,
            data_file: None,
            backing: None,
        };
        Qcow2Writer::open_for(files, in_edit)
    }

    /// An image with QEMU's table of names and, of some lengths, a backing file's name.
    fn image(cluster_bits: u32, name: &str, extra: &[u8]) -> Vec<u8> {
        let memory = MemoryStorage::new(empty_image(cluster_bits, 4, 1 << 20));
        let mut header = HeaderCluster::read(&memory).unwrap();
        let extensions = &mut header.fields.extensions;
        if !name.is_empty() {
            header.fields.backing_name = Some(name.to_owned());
            extensions.push((extension::BACKING_FORMAT, b"raw".to_vec()));
        }
        extensions.push((extension::FEATURE_NAMES, feature::name_table()));
        if !extra.is_empty() {
            extensions.push((0xdead_beef, extra.to_vec()));
        }
        header.rewrite(&memory).unwrap();
        memory.to_vec()
    }

    #[test]
    fn every_crash_leaves_the_same_image_with_the_mark_or_without() {
        let long = "b".repeat(500);
        let cases = [
            (12, "", &[][..]),
            (12, "base.raw", &[]),
            (12, long.as_str(), &[]),
            (12, "b", &[5; 100]),
            (9, "", &[]),
        ];
        for (index, (bits, name, extra)) in cases.into_iter().enumerate() {
            let log = WriteLog::new();
            let storage = log.storage(image(bits, name, extra));
            let writer = open(Arc::clone(&storage) as _, false).unwrap();
            assert!(writer.guard_edit(true).unwrap());
            let marked = log.position();
            assert!(open(Arc::clone(&storage) as _, false).is_err());
            assert!(writer.guard_edit(false).unwrap());
            for crash in log.crashes(CrashPlan::default()) {
                let memory = MemoryStorage::new(crash.files[0].to_vec());
                let header = Header::read(&memory as &dyn Storage).unwrap();
                let found = header.backing_name.clone().unwrap_or_default();
                assert_eq!(found, name, "{index}: {crash:?}");
                let kept = header.extension(0xdead_beef).unwrap_or_default();
                assert_eq!(kept, extra);
                let guarded = header.incompatible_features & feature::UNFINISHED_EDIT != 0;
                if crash.position == marked {
                    assert!(guarded, "{index}: {crash:?}");
                    let table = header.extension(extension::FEATURE_NAMES);
                    // Others cannot be told the name where the header is full.
                    assert_eq!(feature::with_unfinished_edit(table).is_none(), bits != 9);
                }
                assert!(open(Arc::new(memory), true).is_ok());
            }
            storage.flush().unwrap();
            let after = MemoryStorage::new(storage.to_vec());
            let header = Header::read(&after as &dyn Storage).unwrap();
            assert_eq!(header.incompatible_features, 0);
            let names = header.extension(extension::FEATURE_NAMES).unwrap();
            assert!(names.starts_with(&feature::name_table()));
        }
    }
}
