//! Compressed writes, and giving up everything at once.

use std::ops::Range;

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::image::qcow2::compress::compress;
use crate::image::qcow2::entry::CompressedCluster;
use crate::image::qcow2::write::mapping::{Mapping, Place};
use crate::image::qcow2::write::tree::Tree;
use crate::image::qcow2::write::{Qcow2Writer, State};

impl Qcow2Writer {
    /// See [`crate::image::ImageWriter::write_compressed`]; the range is inside the virtual size.
    pub(super) fn write_packed(&self, cluster: &[u8], offset: u64) -> Result<()> {
        let (compression, size, end) = {
            let state = self.lock();
            if state.data_file.is_some() {
                return Err(Error::unsupported(
                    "an image with an external data file cannot hold compressed clusters",
                ));
            }
            let fields = &state.header.fields;
            (fields.compression, fields.cluster_size(), fields.size)
        };
        let length = cluster.len() as u64;
        let is_last = offset + length == end && length < size;
        if !offset.is_multiple_of(size) || length == 0 || length != size && !is_last {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{length} bytes at {offset:#x} are not a cluster of {size} bytes"),
            ));
        }
        let mut packed = Vec::new();
        let smaller = if is_last {
            let mut whole = cluster.to_vec();
            whole.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
            compress(compression, &whole, &mut packed)?
        } else {
            compress(compression, cluster, &mut packed)?
        };
        if smaller {
            self.store_packed(&packed, offset..offset + length)
        } else {
            self.write(cluster, offset)
        }
    }

    /// Stores the compressed form of the cluster at `guest`.
    fn store_packed(&self, packed: &[u8], guest: Range<u64>) -> Result<()> {
        let (_inflight, mut state) = self.begin(&guest)?;
        state.table_for_change(guest.start)?;
        let length = packed.len() as u64;
        let host = state.allocate_bytes(length)?;
        drop(state);
        let written = self.storage.write_at(packed, host);
        let mut state = self.lock();
        if let Err(error) = written {
            if let Err(error) = state.release_bytes(host, length) {
                state.poison(error);
            }
            return Err(error);
        }
        state.link_packed(&guest, host, length)
    }

    /// See [`crate::image::ImageWriter::make_empty`].
    pub(super) fn empty(&self, control: &Control) -> Result<(), Stop> {
        let mut state = self.exclusive()?;
        let all = 0..state.header.fields.size;
        if state.data_file.is_some() && state.is_raw_data_file() {
            // There is no backing file then, and the data file must be as empty.
            drop(state);
            self.give_up(all, true)?;
            let mut state = self.exclusive()?;
            state.checkpoint()?;
            return Ok(state.store_recorded()?);
        }
        let old = state.l1.entries().to_vec();
        let zeroes = vec![0; old.len()];
        let host = state.write_new_l1(&zeroes)?;
        let size = state.header.fields.size;
        state.switch_l1(host, zeroes, size)?;
        let tree = Tree::new(&old, -1, state.cluster_bits())?;
        state.settle()?;
        state.count_down(&[tree], control, &mut |_, _| Ok(()))?;
        state.checkpoint()?;
        // The new table is behind all that was there; a second one is in front.
        let clusters = (old.len() as u64 * 8).div_ceil(state.cluster_size()).max(1);
        let free = state.refcounts.find_free(0, clusters, clusters)?;
        if free.start << state.cluster_bits() < host {
            let zeroes = vec![0; old.len()];
            let host = state.write_new_l1(&zeroes)?;
            state.switch_l1(host, zeroes, size)?;
            state.checkpoint()?;
        }
        state.drop_empty_refcount_blocks()?;
        Ok(state.cut_file()?)
    }
}

impl State {
    fn link_packed(&mut self, range: &Range<u64>, host: u64, length: u64) -> Result<()> {
        let sectors = (host + length - 1) / 512 - host / 512 + 1;
        let place = CompressedCluster {
            host,
            // As an entry says it.
            length: sectors * 512 - host % 512,
        };
        let new = Mapping {
            place: Place::Compressed(place),
            ..Mapping::default()
        };
        let table = self.table_for_change(range.start)?;
        for old in self.mappings(table, range)? {
            self.replace(table, range.start, &old, &new)?;
        }
        Ok(())
    }
}
