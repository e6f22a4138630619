//! Giving a guest disk another size together with its partition table: a GPT's backup copy moves to
//! the new end in the same step.

use std::sync::Arc;

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::disk::WritableDisk;
use crate::error::{Error, ErrorKind, Result};
use crate::image::ImageWriter;
use crate::op::resize::Resize;
use crate::op::warning::{self, Warning};
use crate::storage::Storage;
use crate::table::{self, PartitionTable, TableKind};

/// What another size means for the partitions of a disk.
#[derive(Debug)]
pub struct DiskResize {
    request: Resize,
    /// The table as it will be, where it must be written again.
    table: Option<PartitionTable>,
    warnings: Vec<Warning>,
}

impl DiskResize {
    /// Looks at the disk of `chain`; changes nothing. A table that is damaged, or cannot be read,
    /// is left alone.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when a partition would be cut.
    pub fn new(chain: &Chain, request: Resize) -> Result<Self> {
        let Ok(disk) = chain.disk() else {
            return Ok(Self::without_table(request));
        };
        let mut warnings = warning::of_resize(&disk, request.size).unwrap_or_default();
        let cut = warnings
            .iter()
            .find(|warning| matches!(warning, Warning::CutPartition { .. }));
        if let Some(cut) = cut {
            return Err(Error::new(ErrorKind::InvalidInput, cut.to_string()));
        }
        let table = table::read(&disk)
            .ok()
            .filter(|table| table.kind == TableKind::Gpt && table.damage.is_empty());
        let table = match table {
            Some(mut table) if request.size != disk.size()? => {
                table
                    .resize_disk(request.size)
                    .map_err(|refusal| Error::new(ErrorKind::InvalidInput, refusal.to_string()))?;
                warnings.retain(|warning| !is_about_the_backup(warning));
                Some(table)
            }
            _ => None,
        };
        Ok(Self {
            request,
            table,
            warnings,
        })
    }

    fn without_table(request: Resize) -> Self {
        Self {
            request,
            table: None,
            warnings: Vec::new(),
        }
    }

    /// Whether the backup copy of a GPT is moved.
    #[must_use]
    pub fn moves_backup(&self) -> bool {
        self.table.is_some()
    }

    /// What is left to know.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Does it to the active layer of `chain`, which was opened for change; durable on return. A
    /// crash between the two steps leaves a GPT whose backup is not at the end, which every tool
    /// knows how to mend; no partition is touched.
    ///
    /// # Errors
    /// As [`ImageWriter::resize`] and [`table::write`].
    pub fn run(&self, chain: &Chain, control: &Control) -> Result<(), Stop> {
        let image: Arc<dyn ImageWriter> = Arc::from(chain.writer(0)?);
        let Resize {
            size,
            shrink,
            preallocation,
        } = self.request;
        image.resize(size, shrink, preallocation, control)?;
        if let Some(table) = &self.table {
            control.enter("moving the backup partition table", 0);
            let backing = chain.disk_below(0)?.map(|disk| Arc::new(disk) as _);
            table::write(table, &WritableDisk::new(image, backing))?;
        }
        Ok(())
    }
}

fn is_about_the_backup(warning: &Warning) -> bool {
    matches!(
        warning,
        Warning::CutGptBackup { .. } | Warning::StrandedGptBackup { .. }
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::chain::ChainOptions;
    use crate::image::{Format, Preallocation};
    use crate::table::{NewPartition, PartitionType, Role};
    use crate::units::MIB;

    fn open(path: &Path) -> Chain {
        let options = ChainOptions {
            format: Some(Format::Raw),
            writable: vec![0],
            ..ChainOptions::default()
        };
        Chain::open(path, &options).unwrap()
    }

    /// 64 MiB, GPT, one partition from 1 to 40 MiB.
    fn disk(path: &Path) {
        std::fs::File::create(path)
            .unwrap()
            .set_len(64 * MIB)
            .unwrap();
        let chain = open(path);
        let mut table = PartitionTable::new_gpt(64 * MIB, 512, uuid::Uuid::from_u128(1)).unwrap();
        table
            .add(NewPartition {
                range: MIB..40 * MIB,
                kind: PartitionType::Gpt(uuid::uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4")),
                role: Role::Primary,
                name: Some("root".to_owned()),
                uuid: Some(uuid::Uuid::from_u128(2)),
            })
            .unwrap();
        let image: Arc<dyn ImageWriter> = Arc::from(chain.writer(0).unwrap());
        table::write(&table, &WritableDisk::new(image, None)).unwrap();
    }

    fn to(size: u64) -> Resize {
        Resize {
            size,
            shrink: true,
            preallocation: Preallocation::Off,
        }
    }

    #[test]
    fn the_backup_is_at_the_end_whichever_way_the_end_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        disk(&path);
        for size in [100 * MIB, 48 * MIB] {
            let chain = open(&path);
            let resize = DiskResize::new(&chain, to(size)).unwrap();
            assert!(resize.moves_backup() && resize.warnings().is_empty());
            resize.run(&chain, &Control::new()).unwrap();
            drop(chain);
            let chain = open(&path);
            let table = table::read(&chain.disk().unwrap()).unwrap();
            assert_eq!(table.disk_size, size);
            assert_eq!(table.damage, []);
            assert_eq!(table.partitions.len(), 1);
        }
    }

    #[test]
    fn a_partition_is_never_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        disk(&path);
        let chain = open(&path);
        let error = DiskResize::new(&chain, to(39 * MIB)).unwrap_err();
        assert!(error.message().contains("partition 1"), "{error}");
        // The partition would fit, the copy of the table behind it would not.
        assert!(DiskResize::new(&chain, to(40 * MIB)).is_err());
    }
}
