//! Properties of the header, changed without touching what the guest sees.
//!
//! Everything new is written beside the old and durable before one write of the header leads to
//! it. Refusals are worded as by `qemu-img amend`.

use std::ops::Range;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::info::FileReference;
use crate::image::qcow2::entry::{COMPRESSED, COPIED, OFFSET_MASK, ZERO};
use crate::image::qcow2::header::Compression;
use crate::image::qcow2::table::{L2_TABLE_MASK, read_entries};
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::snapshot_table::SnapshotTable;
use crate::image::qcow2::{check, extension, feature, snapshot};
use crate::image::writer::Amendment;
use crate::storage::Storage;

/// Refcounts of version 2, and of version 3 by default, have `1 << 4` bits.
const DEFAULT_ORDER: u32 = 4;
impl State {
    /// Makes all changes, durable on return. A new version comes first and an old one last, so
    /// that the others find what they need and leave nothing behind that does not fit.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for what the image cannot have; then it is as before, except for
    /// changes that were made before that one.
    pub(super) fn amend(&mut self, amendment: &Amendment, control: &Control) -> Result<(), Stop> {
        let version = amendment.version.unwrap_or(self.header.fields.version);
        check_wishes(amendment, version)?;
        self.checkpoint()?;
        self.store_recorded()?;
        if version > self.header.fields.version {
            self.upgrade(version)?;
        }
        if let Some(bits) = amendment.refcount_bits {
            self.change_refcount_order(bits.trailing_zeros(), version, control)?;
        }
        if let Some(name) = &amendment.data_file {
            self.rename_data_file(name)?;
        }
        if let Some(raw) = amendment.data_file_raw {
            self.change_data_file_raw(raw)?;
        }
        if let Some(backing) = &amendment.backing {
            self.change_backing(backing.as_ref())?;
        }
        if let Some(lazy) = amendment.lazy_refcounts {
            self.change_lazy_refcounts(lazy, version)?;
        }
        if version < self.header.fields.version {
            self.downgrade(control)?;
        }
        self.checkpoint()?;
        Ok(())
    }

    /// Changes fields and writes the whole header; puts the fields back when it does not fit.
    pub(super) fn change_header(&mut self, change: impl FnOnce(&mut Self)) -> Result<()> {
        let before = self.header.fields.clone();
        change(self);
        let outcome = self.rewrite_header();
        if outcome.is_err() {
            self.header.fields = before;
        }
        outcome
    }

    /// Writes another backing file, or none, into the header; durable on return. What was read
    /// from the old one so far stays where it is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that does not fit the header's cluster, and for an
    /// image that can stand on nothing; nothing has changed then. As [`State::checkpoint`].
    fn change_backing(&mut self, backing: Option<&FileReference>) -> Result<()> {
        let is_raw_outside = self.header.fields.autoclear_features & feature::DATA_FILE_RAW != 0;
        if is_raw_outside && backing.is_some() {
            let message = "an image whose data file is raw cannot have a backing file";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        self.checkpoint()?;
        let before = self.header.fields.clone();
        let fields = &mut self.header.fields;
        fields.backing_name = backing.map(|backing| backing.name.clone());
        fields
            .extensions
            .retain(|(kind, _)| *kind != extension::BACKING_FORMAT);
        if let Some(format) = backing.and_then(|backing| backing.format.as_ref()) {
            let format = (extension::BACKING_FORMAT, format.as_bytes().to_vec());
            fields.extensions.insert(0, format);
        }
        self.rewrite_header().map_err(|error| {
            if error.kind() != ErrorKind::Unsupported {
                return error;
            }
            self.header.fields = before;
            Error::new(ErrorKind::InvalidInput, error.message()).with_field("backing_file_size")
        })
    }

    fn rename_data_file(&mut self, name: &str) -> Result<()> {
        if !self.header.fields.has_data_file() {
            return Err(Error::unsupported(
                "data-file can only be set for images that use an external data file",
            ));
        }
        let name = (!name.is_empty()).then(|| name.as_bytes().to_vec());
        self.change_header(|state| state.set_extension(extension::DATA_FILE, name))
    }

    fn change_data_file_raw(&mut self, raw: bool) -> Result<()> {
        let is_raw = self.header.fields.autoclear_features & feature::DATA_FILE_RAW != 0;
        if raw && !is_raw {
            return Err(Error::unsupported(
                "data-file-raw cannot be set on existing images",
            ));
        }
        if is_raw && !raw {
            self.header.fields.autoclear_features &= !feature::DATA_FILE_RAW;
            self.write_header()?;
        }
        Ok(())
    }

    fn change_lazy_refcounts(&mut self, lazy: bool, version: u32) -> Result<()> {
        let is_lazy = self.header.fields.compatible_features & feature::LAZY_REFCOUNTS != 0;
        if lazy == is_lazy {
            return Ok(());
        }
        if lazy && version < 3 {
            return Err(Error::unsupported(
                "Lazy refcounts only supported with compatibility level 1.1 and above (use \
                 compat=1.1 or greater)",
            ));
        }
        // Ours are never behind: the bit is all there is to change.
        self.header.fields.compatible_features ^= feature::LAZY_REFCOUNTS;
        self.write_header()
    }

    /// Replaces the extension of this type, or removes it.
    pub(super) fn set_extension(&mut self, kind: u32, data: Option<Vec<u8>>) {
        let extensions = &mut self.header.fields.extensions;
        let place = extensions.iter().position(|(other, _)| *other == kind);
        match (place, data) {
            (Some(place), Some(data)) => extensions[place].1 = data,
            (Some(place), None) => drop(extensions.remove(place)),
            (None, Some(data)) => extensions.push((kind, data)),
            (None, None) => {}
        }
    }

    /// Writes all refcounts anew, `1 << order` bits each.
    fn change_refcount_order(
        &mut self,
        order: u32,
        version: u32,
        control: &Control,
    ) -> Result<(), Stop> {
        if order == self.header.fields.refcount_order {
            return Ok(());
        }
        if version < 3 {
            return Err(Error::unsupported(
                "Refcount widths other than 16 bits require compatibility level 1.1 or above \
                 (use compat=1.1 or greater)",
            )
            .into());
        }
        // Whatever falls now need not be moved.
        self.drop_references()?;
        let (table, table_clusters) = self.refcounts.table_place();
        let blocks: Vec<u64> = self.refcounts.block_offsets().collect();
        let storage = self.storage.as_ref();
        check::change_refcount_order(&self.header.fields, storage, order, control)?;
        self.reopen()?;
        self.free(table, table_clusters);
        for block in blocks {
            self.free(block, 1);
        }
        self.checkpoint()?;
        Ok(())
    }

    /// Makes it an image of a newer version, which wants to know of each snapshot how large the
    /// disk was.
    fn upgrade(&mut self, version: u32) -> Result<()> {
        let mut table = SnapshotTable::read(self)?;
        if !table.complete(self.header.fields.size)? {
            return self.change_header(|state| state.header.fields.version = version);
        }
        let placed = self.place_snapshot_table(&table)?;
        self.checkpoint()?;
        self.change_header(|state| {
            state.enter_snapshot_table(placed);
            state.header.fields.version = version;
        })?;
        self.drop_snapshot_table(table.place())
    }

    /// Makes it an image of version 2.
    fn downgrade(&mut self, control: &Control) -> Result<(), Stop> {
        let fields = &self.header.fields;
        if fields.refcount_order != DEFAULT_ORDER {
            return Err(Error::unsupported("compat=0.10 requires refcount_bits=16").into());
        }
        if fields.has_data_file() {
            return Err(Error::unsupported("Cannot downgrade an image with a data file").into());
        }
        self.check_snapshots()?;
        let has_zstd = self.header.fields.compression != Compression::Zlib;
        if has_zstd && self.any_entry(control, |entry| entry & COMPRESSED != 0)? {
            return Err(Error::unsupported(
                "Cannot downgrade an image with zstd compression type and existing compressed \
                 clusters",
            )
            .into());
        }
        let features =
            self.header.fields.incompatible_features & !(feature::DIRTY | feature::COMPRESSION);
        if features != 0 {
            return Err(Error::unsupported(format!(
                "Cannot downgrade an image with incompatible features {features:#x} set"
            ))
            .into());
        }
        self.clear_dirty()?;
        self.drop_bitmaps()?;
        self.expand_zeroes(control)?;
        self.clear_dirty()?;
        self.change_header(|state| {
            let fields = &mut state.header.fields;
            fields.incompatible_features = 0;
            fields.compatible_features = 0;
            fields.autoclear_features = 0;
            fields.compression = Compression::Zlib;
            fields.version = 2;
        })?;
        self.reopen()?;
        Ok(())
    }

    /// Version 2 does not know the size of the disk at the time of a snapshot, and nothing of
    /// clusters of zeroes.
    fn check_snapshots(&mut self) -> Result<()> {
        let fields = &self.header.fields;
        let storage = self.storage.as_ref() as &dyn Storage;
        let fits = |entry: &snapshot::SnapshotEntry| {
            entry.facts.virtual_size == fields.size
                && entry.facts.vm_state_size <= u64::from(u32::MAX)
        };
        let snapshots = snapshot::read(storage, fields)?;
        let mut all_fit = snapshots.iter().all(fits);
        let size = usize::try_from(fields.cluster_size()).unwrap_or(usize::MAX);
        let mut table = vec![0; size];
        for entry in &snapshots {
            for l1_entry in read_entries(storage, entry.l1_table_offset, entry.l1_size)? {
                let offset = l1_entry & L2_TABLE_MASK;
                if offset != 0 && all_fit {
                    storage.read_padded_at(&mut table, offset)?;
                    all_fit = !entries_of(&table).any(is_zero);
                }
            }
        }
        if all_fit {
            Ok(())
        } else {
            Err(Error::unsupported(
                "Internal snapshots prevent downgrade of image",
            ))
        }
    }

    /// Whether an entry of an active L2 table is such a one.
    fn any_entry(&mut self, control: &Control, wanted: fn(u64) -> bool) -> Result<bool, Stop> {
        let tables = self.l1.entries().len();
        control.enter("reading tables", tables as u64);
        for index in 0..tables {
            control.checkpoint()?;
            control.advance(1);
            if let Some(table) = self.l2_table(index)?
                && entries_of(table).any(wanted)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives every cluster of zeroes a place with zeroes in it, where a backing file would show
    /// otherwise; else it becomes unallocated.
    fn expand_zeroes(&mut self, control: &Control) -> Result<(), Stop> {
        let tables = self.l1.entries().len();
        control.enter("writing zeroes", tables as u64);
        for index in 0..tables {
            control.checkpoint()?;
            control.advance(1);
            let Some(table) = self.l2_table(index)? else {
                continue;
            };
            let zeroes: Vec<(usize, u64)> = entries_of(table)
                .enumerate()
                .filter(|(_, entry)| is_zero(*entry))
                .collect();
            if zeroes.is_empty() {
                continue;
            }
            let table = self.l2_table_for_change(index)?;
            for (entry_index, entry) in zeroes {
                let new = self.expand_zero(entry)?;
                let part = part_of(entry_index);
                self.change_l2(table, part.clone())?[part].copy_from_slice(&new.to_be_bytes());
                if self.is_over_limit() {
                    self.checkpoint()?;
                }
            }
        }
        self.checkpoint()?;
        Ok(())
    }

    /// What an entry becomes that reads as zeroes.
    fn expand_zero(&mut self, entry: u64) -> Result<u64> {
        let kept = entry & OFFSET_MASK;
        if self.header.fields.backing_name.is_none() {
            if kept != 0 {
                self.free(kept, 1);
            }
            return Ok(0);
        }
        let cluster_size = self.cluster_size();
        let host = if kept != 0 && self.refcounts.get(kept >> self.cluster_bits())? == 1 {
            kept
        } else {
            if kept != 0 {
                self.free(kept, 1);
            }
            self.allocate(1)?
        };
        self.storage.write_zeroes(host..host + cluster_size)?;
        Ok(host | COPIED)
    }
}

/// What can be refused before anything is looked at.
fn check_wishes(amendment: &Amendment, version: u32) -> Result<()> {
    if !(2..=3).contains(&version) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("Unknown compatibility level {version}"),
        ));
    }
    let is_width = |bits: u32| bits.is_power_of_two() && bits <= 64;
    if amendment.refcount_bits.is_some_and(|bits| !is_width(bits)) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "Refcount width must be a power of two and may not exceed 64 bits",
        ));
    }
    Ok(())
}

/// The entries of an L2 table without subclusters.
fn entries_of(table: &[u8]) -> impl Iterator<Item = u64> {
    let (entries, _) = table.as_chunks::<8>();
    entries.iter().map(|entry| u64::from_be_bytes(*entry))
}

fn is_zero(entry: u64) -> bool {
    entry & COMPRESSED == 0 && entry & ZERO != 0
}

/// The bytes of an entry of a table without subclusters.
fn part_of(index: usize) -> Range<usize> {
    index * 8..index * 8 + 8
}
