//! What becomes of a batch: which clusters are left out, which are written and how, and where.

use std::ops::{ControlFlow, Range};

use crate::control::{Control, Stop};
use crate::error::Result;
use crate::image::{ClusterCompressor, Filled, ImageDriver, Qcow2Builder, StoredCluster};
use crate::op::convert::qcow2::Zeroes;
use crate::op::convert::share::Share;
use crate::op::convert::{ConvertStop, Step, zeroes};
use crate::storage::WritableStorage;

/// Compressed clusters of the source that are read together, in bytes: what one batch of them
/// amounts to at most.
const MAX_STORED_READ: u64 = 4 << 20;

/// Where a batch is written.
pub(super) struct Written<'a> {
    pub(super) storage: &'a dyn WritableStorage,
    /// What may be shared instead.
    pub(super) share: Option<&'a Share<'a>>,
}

/// The parts of a batch in the order of the disk, and their places once they have some.
#[derive(Debug, Default)]
pub(super) struct Plan {
    cluster: u64,
    parts: Vec<(Part, u64)>,
    /// Data within the clusters of a part: guest offset, and where it is in the batch's buffer.
    writes: Vec<(u64, Range<usize>)>,
    /// The subclusters of data, a word for each cluster.
    bitmaps: Vec<u32>,
    stored: Vec<StoredCluster>,
    /// Compressed bytes.
    packed: Vec<u8>,
}

/// Ranges of `usize` are indices into the fields of [`Plan`].
#[derive(Clone, Debug)]
enum Part {
    Zeroes(Range<u64>),
    Data {
        guest: Range<u64>,
        writes: Range<usize>,
        bitmaps: Range<usize>,
    },
    /// Data that was not read: shared with the source, if that works.
    Shared(Range<u64>),
    Compressed {
        guest: u64,
        packed: Range<usize>,
    },
    Stored {
        clusters: Range<usize>,
        source: Range<u64>,
        packed: Range<usize>,
    },
}

impl Plan {
    pub(super) fn clear(&mut self, cluster: u64) {
        self.cluster = cluster;
        self.parts.clear();
        self.writes.clear();
        self.bitmaps.clear();
        self.stored.clear();
        self.packed.clear();
    }

    pub(super) fn add_zeroes(&mut self, guest: Range<u64>) {
        if guest.is_empty() {
            return;
        }
        if let Some((Part::Zeroes(last), _)) = self.parts.last_mut()
            && last.end == guest.start
        {
            last.end = guest.end;
            return;
        }
        self.parts.push((Part::Zeroes(guest), 0));
    }

    /// Data that the target shares with the source. It begins at a cluster.
    pub(super) fn add_shared(&mut self, guest: Range<u64>) {
        self.parts.push((Part::Shared(guest), 0));
    }

    /// What is to be shared, and where in the target.
    pub(super) fn shared(&self) -> impl Iterator<Item = (&Range<u64>, u64)> {
        self.parts.iter().filter_map(|(part, host)| match part {
            Part::Shared(guest) => Some((guest, *host)),
            _ => None,
        })
    }

    /// Data at `guest`, which is at `at` in the batch's buffer. It begins and ends at multiples of
    /// `subcluster` or at the end of the disk.
    pub(super) fn add_data(&mut self, guest: u64, at: Range<usize>, subcluster: u64) {
        let first = guest / self.cluster;
        let end = guest + at.len() as u64;
        let joins = match self.parts.last() {
            Some((Part::Data { guest: last, .. }, _)) => first <= last.end.div_ceil(self.cluster),
            _ => false,
        };
        if !joins {
            let part = Part::Data {
                guest: first * self.cluster..first * self.cluster,
                writes: self.writes.len()..self.writes.len(),
                bitmaps: self.bitmaps.len()..self.bitmaps.len(),
            };
            self.parts.push((part, 0));
        }
        let Some((
            Part::Data {
                guest: part,
                writes,
                bitmaps,
            },
            _,
        )) = self.parts.last_mut()
        else {
            return;
        };
        part.end = end;
        match self.writes.last_mut() {
            Some((last_guest, last))
                if writes.start < writes.end
                    && last.end == at.start
                    && *last_guest + last.len() as u64 == guest =>
            {
                last.end = at.end;
            }
            _ => self.writes.push((guest, at)),
        }
        writes.end = self.writes.len();
        if subcluster < self.cluster {
            let start = part.start / self.cluster;
            for index in guest / subcluster..end.div_ceil(subcluster) {
                let (cluster, bit) = (index / 32 - start, index % 32);
                let word = bitmaps.start + usize::try_from(cluster).unwrap_or(0);
                if self.bitmaps.len() <= word {
                    self.bitmaps.resize(word + 1, 0);
                }
                self.bitmaps[word] |= 1 << bit;
            }
            bitmaps.end = self.bitmaps.len();
        }
    }

    /// The cluster at `guest` compressed; `false` when that makes it no smaller.
    pub(super) fn add_compressed(
        &mut self,
        guest: u64,
        cluster: &[u8],
        compressor: &mut ClusterCompressor,
    ) -> bool {
        let start = self.packed.len();
        let whole = usize::try_from(self.cluster).unwrap_or(0);
        let length = if cluster.len() < whole {
            // The last cluster of the disk: readers expect a whole one.
            let mut padded = cluster.to_vec();
            padded.resize(whole, 0);
            compressor.compress(&padded, &mut self.packed)
        } else {
            compressor.compress(cluster, &mut self.packed)
        };
        let Some(length) = length else {
            return false;
        };
        let packed = start..start + length;
        self.parts.push((Part::Compressed { guest, packed }, 0));
        true
    }

    /// The compressed clusters of `range` as `layer` stores them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn add_stored(&mut self, layer: &dyn ImageDriver, range: &Range<u64>) -> Result<()> {
        let mut group: Option<Group> = None;
        let mut groups = Vec::new();
        let stored = &mut self.stored;
        layer.for_each_stored_cluster(range.clone(), &mut |cluster| {
            match &mut group {
                Some(group) if group.takes(&cluster) => {
                    group.source.end = group.source.end.max(cluster.end());
                }
                group => groups.extend(group.replace(Group {
                    first: stored.len(),
                    source: cluster.host.0..cluster.end(),
                })),
            }
            stored.push(cluster);
            ControlFlow::Continue(())
        })?;
        groups.extend(group);
        for (index, group) in groups.iter().enumerate() {
            let end = groups
                .get(index + 1)
                .map_or(self.stored.len(), |next| next.first);
            let start = self.packed.len();
            // Bounded: at most some megabytes, or one cluster.
            let length = usize::try_from(group.source.end - group.source.start).unwrap_or(0);
            self.packed.resize(start + length, 0);
            layer
                .storage()
                .read_padded_at(&mut self.packed[start..], group.source.start)?;
            let part = Part::Stored {
                clusters: group.first..end,
                source: group.source.clone(),
                packed: start..start + length,
            };
            self.parts.push((part, 0));
        }
        Ok(())
    }

    /// Gives every part its place.
    pub(super) fn place(
        &mut self,
        builder: &mut Qcow2Builder,
        zeroes: Zeroes,
    ) -> Result<(), ConvertStop> {
        for (part, host) in &mut self.parts {
            let (guest, placed) = match part {
                Part::Zeroes(guest) => {
                    let placed = match zeroes {
                        Zeroes::LeaveOut => continue,
                        Zeroes::Mark => builder.place_zeroes(guest.clone()).map(|()| None),
                        Zeroes::Reserve => {
                            builder.place_data(guest.clone(), Filled::Nothing).map(Some)
                        }
                        Zeroes::Fill | Zeroes::Write => {
                            builder.place_data(guest.clone(), Filled::All).map(Some)
                        }
                    };
                    (guest.start, placed)
                }
                Part::Data { guest, bitmaps, .. } => {
                    let filled = if bitmaps.start == bitmaps.end {
                        Filled::All
                    } else {
                        Filled::Subclusters(&self.bitmaps[bitmaps.clone()])
                    };
                    let placed = builder.place_data(guest.clone(), filled);
                    (guest.start, placed.map(Some))
                }
                Part::Shared(guest) => {
                    let placed = builder.place_data(guest.clone(), Filled::All);
                    (guest.start, placed.map(Some))
                }
                Part::Compressed { guest, packed } => {
                    let placed = builder.place_compressed(*guest, packed.len() as u64);
                    (*guest, placed.map(Some))
                }
                Part::Stored {
                    clusters, source, ..
                } => {
                    let clusters = &self.stored[clusters.clone()];
                    let guest = clusters.first().map_or(0, |cluster| cluster.guest);
                    let placed = builder.place_stored(clusters, source.clone());
                    (guest, placed.map(Some))
                }
            };
            let placed = placed.map_err(|error| ConvertStop::new(Step::Write(guest), error))?;
            *host = placed.map_or(0, |offset| offset.0);
        }
        Ok(())
    }

    /// Writes every part at its place; `data` is the batch's buffer.
    pub(super) fn write(
        &self,
        data: &[u8],
        target: &Written<'_>,
        zeroes: Zeroes,
        control: &Control,
    ) -> Result<(), ConvertStop> {
        let storage = target.storage;
        // Compressed bytes that follow each other here and there.
        let mut run: Option<(u64, u64, Range<usize>)> = None;
        for (part, host) in &self.parts {
            match part {
                Part::Zeroes(guest) => {
                    let range = *host..*host + (guest.end - guest.start);
                    let written = match zeroes {
                        Zeroes::Fill => storage.write_zeroes(range).map_err(Stop::from),
                        Zeroes::Write => zeroes::write(storage, range, control),
                        Zeroes::LeaveOut | Zeroes::Mark | Zeroes::Reserve => Ok(()),
                    };
                    written.map_err(|stop| ConvertStop::new(Step::Write(guest.start), stop))?;
                }
                Part::Shared(_) => {}
                Part::Data { guest, writes, .. } => {
                    for (offset, range) in &self.writes[writes.clone()] {
                        let host = host + (offset - guest.start);
                        let bytes = &data[range.clone()];
                        Share::write(target.share, storage, bytes, *offset, host)?;
                    }
                }
                Part::Compressed { packed, guest } => match &mut run {
                    Some((_, start, range))
                        if range.end == packed.start && *start + range.len() as u64 == *host =>
                    {
                        range.end = packed.end;
                    }
                    run => {
                        let next = (*guest, *host, packed.clone());
                        self.write_packed(run.replace(next), storage)?;
                    }
                },
                Part::Stored {
                    clusters, packed, ..
                } => {
                    let guest = self
                        .stored
                        .get(clusters.start)
                        .map_or(0, |first| first.guest);
                    self.write_packed(Some((guest, *host, packed.clone())), storage)?;
                }
            }
        }
        self.write_packed(run, storage)
    }

    fn write_packed(
        &self,
        run: Option<(u64, u64, Range<usize>)>,
        storage: &dyn WritableStorage,
    ) -> Result<(), ConvertStop> {
        let Some((guest, host, range)) = run else {
            return Ok(());
        };
        storage
            .write_at(&self.packed[range], host)
            .map_err(|error| ConvertStop::new(Step::Write(guest), error))
    }
}

/// Compressed clusters that lie side by side in the source.
struct Group {
    /// Index of the first.
    first: usize,
    source: Range<u64>,
}

impl Group {
    fn takes(&self, cluster: &StoredCluster) -> bool {
        (self.source.start..=self.source.end).contains(&cluster.host.0)
            && cluster.end() - self.source.start <= MAX_STORED_READ
    }
}
