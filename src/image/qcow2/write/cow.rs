//! Copy on write: parts of clusters that are written together with what was there before.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::image::qcow2::write::State;
use crate::image::qcow2::write::mapping::{Mapping, Place};
use crate::image::qcow2::write::read::{Source, read_compressed};
use crate::storage::{Storage, WritableStorage};

impl State {
    /// Writes `data` at the guest bytes `guest` of one cluster, which `table` maps as `old`, with
    /// the old content around it as far as subclusters must be filled: one write of the host. The
    /// cluster gets a new place where the old one is not its own.
    pub(super) fn write_part(
        &mut self,
        table: u64,
        guest: Range<u64>,
        data: &[u8],
        old: &Mapping,
    ) -> Result<()> {
        let (format, size) = (self.format, self.cluster_size());
        let cluster = guest.start - guest.start % size;
        let own = self.own_host(old)?;
        let (host, kept, is_blank) = match own {
            Some(host) => (host, old.allocated, false),
            None if self.data_file.is_some() => (cluster, 0, false),
            None => {
                let (host, is_blank) = self.allocate_maybe_blank()?;
                (host, 0, is_blank)
            }
        };
        let part = guest.start - cluster..guest.end - cluster;
        let touched = format.subclusters(&part);
        let copied = match old.place {
            _ if own.is_some() => 0,
            Place::Compressed(_) => format.all_subclusters() & !touched,
            _ => old.allocated & !touched,
        };
        let span = self.span(&part, touched, kept, copied);
        let written = self.write_span((host, is_blank), cluster, &span, &part, data);
        if let Err(error) = written {
            if own.is_none() && self.data_file.is_none() {
                self.release(host, 1)?;
            }
            return Err(error);
        }
        let new = Mapping {
            place: Place::Plain { host, copied: true },
            allocated: kept | touched | copied,
            zero: old.zero & !(touched | copied),
        };
        self.replace(table, cluster, old, &new)
    }

    /// Copies all that the cluster at `cluster` holds (of a compressed one: everything) to a place
    /// of its own.
    pub(super) fn unpack(&mut self, table: u64, cluster: u64, old: &Mapping) -> Result<Mapping> {
        let format = self.format;
        let size = self.cluster_size();
        let host = self.allocate(1)?;
        if let Err(error) = self.write_span((host, false), cluster, &(0..size), &(0..0), &[]) {
            self.release(host, 1)?;
            return Err(error);
        }
        let new = Mapping::data(format, host);
        self.replace(table, cluster, old, &new)?;
        Ok(new)
    }

    /// The bytes of a cluster to write: `part`, whole subclusters where they held nothing so far,
    /// and those to be copied. Bytes of subclusters that stay (`kept`) are left alone: another
    /// thread may be writing them.
    fn span(&self, part: &Range<u64>, touched: u32, kept: u32, copied: u32) -> Range<u64> {
        let size = self.format.subcluster_size();
        let first = touched.trailing_zeros();
        let last = 31 - touched.leading_zeros();
        let mut span = part.clone();
        if kept >> first & 1 == 0 {
            span.start = u64::from(first) * size;
        }
        if kept >> last & 1 == 0 {
            span.end = u64::from(last + 1) * size;
        }
        if copied != 0 {
            span.start = span.start.min(u64::from(copied.trailing_zeros()) * size);
            span.end = span.end.max(u64::from(32 - copied.leading_zeros()) * size);
        }
        span
    }

    /// Writes the bytes `span` of the guest cluster at `cluster` to its place at `host`: `data` at
    /// `part`, around it what is there now. In a place that is blank, zeroes around the data need
    /// not be written.
    fn write_span(
        &mut self,
        (host, is_blank): (u64, bool),
        cluster: u64,
        span: &Range<u64>,
        part: &Range<u64>,
        data: &[u8],
    ) -> Result<()> {
        if span == part {
            return self.data_storage().write_at(data, host + span.start);
        }
        let at = |byte: u64| usize::try_from(byte - span.start).unwrap_or(usize::MAX);
        let mut buffer = vec![0; at(span.end)];
        let gaps = if part.is_empty() {
            [span.clone(), 0..0]
        } else {
            [span.start..part.start, part.end..span.end]
        };
        let mut written = span.clone();
        for gap in gaps.into_iter().filter(|gap| !gap.is_empty()) {
            let into = &mut buffer[at(gap.start)..at(gap.end)];
            self.read_current(cluster + gap.start..cluster + gap.end, into)?;
            if is_blank && is_zero(into) {
                if gap.start == span.start {
                    written.start = gap.end;
                } else {
                    written.end = gap.start;
                }
            }
        }
        if !part.is_empty() {
            buffer[at(part.start)..at(part.end)].copy_from_slice(data);
        }
        let bytes = &buffer[at(written.start)..at(written.end)];
        self.data_storage().write_at(bytes, host + written.start)
    }

    /// What the guest reads at `range` of one cluster; zeroes behind the end of its disk.
    pub(super) fn read_current(&mut self, range: Range<u64>, buf: &mut [u8]) -> Result<()> {
        let end = self.header.fields.size;
        let inside = range.start.min(end)..range.end.min(end);
        let length = usize::try_from(inside.end - inside.start).unwrap_or(usize::MAX);
        let (mut rest, behind) = buf.split_at_mut(length);
        behind.fill(0);
        if inside.is_empty() {
            return Ok(());
        }
        let size = self.cluster_size();
        for (guest, source) in self.sources(inside)? {
            let length = usize::try_from(guest.end - guest.start).unwrap_or(usize::MAX);
            let (part, further) = rest.split_at_mut(length);
            rest = further;
            match source {
                Source::Zero => part.fill(0),
                Source::Missing => self.read_backing(part, guest.start)?,
                Source::Data(host) => {
                    let storage: &dyn Storage = self.data_storage();
                    storage.read_padded_at(part, host)?;
                }
                Source::Compressed(place) => {
                    let compression = self.header.fields.compression;
                    let storage: &dyn Storage = self.storage.as_ref();
                    let cluster = read_compressed(storage, place, compression, size)?;
                    let skipped = usize::try_from(guest.start % size).unwrap_or(usize::MAX);
                    part.copy_from_slice(&cluster[skipped..skipped + part.len()]);
                }
            }
        }
        Ok(())
    }

    fn read_backing(&self, buf: &mut [u8], guest: u64) -> Result<()> {
        match &self.backing {
            Some(backing) => backing.read_padded_at(buf, guest),
            None if self.header.fields.backing_name.is_some() => Err(Error::new(
                ErrorKind::InvalidInput,
                "the backing file is not open",
            )),
            None => {
                buf.fill(0);
                Ok(())
            }
        }
    }

    /// Whether what this image does not hold may be anything but zeroes.
    pub(super) fn has_backing(&self) -> bool {
        self.backing.is_some() || self.header.fields.backing_name.is_some()
    }

    /// Where guest data is.
    pub(super) fn data_storage(&self) -> &dyn WritableStorage {
        self.data_file.as_ref().unwrap_or(&self.storage).as_ref()
    }
}

/// Whether all bytes are 0.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}
