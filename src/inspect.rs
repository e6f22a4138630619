//! What a guest disk contains: its partition table and what is in each partition. Joins
//! [`crate::table`] and [`crate::fs`], which do not know each other.

use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::fs::{self, FileSystem};
use crate::storage::{Storage, WindowStorage};
use crate::table::{self, PartitionTable, Role, TableKind};

/// Something that can hold a file system: a partition, or the whole disk without a table.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Index in [`PartitionTable::partitions`]; `None` for the whole disk.
    pub partition: Option<usize>,
    /// The bytes of the disk it covers.
    pub range: Range<u64>,
    /// What is in it, if recognised.
    pub file_system: Option<FileSystem>,
    /// Why it could not be read, if so.
    pub error: Option<String>,
}

/// What a disk contains.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Its table.
    pub table: PartitionTable,
    /// Its volumes, in disk order (extended partitions are no volumes).
    pub volumes: Vec<Volume>,
    /// As [`Storage::moves_by`]: what moves by multiples of this many bytes is not copied.
    pub moves_by: Option<u64>,
}

impl Contents {
    /// Reads table and superblocks.
    ///
    /// # Errors
    /// When the table cannot be read; an unreadable volume only has [`Volume::error`].
    pub fn read(disk: &Arc<dyn Storage>) -> Result<Self> {
        let table = table::read(disk.as_ref())?;
        let mut volumes = Vec::new();
        if table.kind == TableKind::None {
            volumes.push(Volume::read(disk, None, 0..table.disk_size));
        }
        for (index, partition) in table.partitions.iter().enumerate() {
            if partition.role != Role::Extended {
                volumes.push(Volume::read(disk, Some(index), partition.range.clone()));
            }
        }
        let moves_by = disk.moves_by();
        Ok(Self {
            table,
            volumes,
            moves_by,
        })
    }

    /// Bytes used in all file systems that say so; `None` when none does.
    #[must_use]
    pub fn used(&self) -> Option<u64> {
        self.volumes
            .iter()
            .filter_map(|volume| volume.file_system.as_ref()?.usage)
            .map(|usage| usage.used)
            .reduce(u64::saturating_add)
    }
}

impl Volume {
    fn read(disk: &Arc<dyn Storage>, partition: Option<usize>, range: Range<u64>) -> Self {
        let found = WindowStorage::new(Arc::clone(disk), range.clone())
            .and_then(|window| fs::identify(&window));
        let (file_system, error) = match found {
            Ok(file_system) => (file_system, None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            partition,
            range,
            file_system,
            error,
        }
    }
}
