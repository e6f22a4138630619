//! The allocation table in memory: what comes after each cluster.

use super::geometry::{Geometry, bits};
use super::{PIECE, damaged};
use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::FsKind;
use crate::fs::fat::Layout;
use crate::storage::Storage;
use crate::units::ByteSize;

/// FAT32 entries have 28 bits; the rest is kept as it is.
const MASK: u32 = 0x0fff_ffff;

/// The entries, the first two of which belong to no cluster.
pub(super) struct Links {
    kind: FsKind,
    entries: Vec<u32>,
}

/// What an entry says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Link {
    Free,
    Bad,
    End,
    Next(u32),
}

impl Links {
    /// Reads the table, whose copies must be the same.
    pub(super) fn read(
        partition: &dyn Storage,
        layout: &Layout,
        control: &Control,
    ) -> Result<Self, Stop> {
        let length = ((layout.clusters + 2) * bits(layout.kind)).div_ceil(8);
        if length > layout.fat_size {
            return Err(damaged("its allocation table is too short").into());
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        partition.read_at(&mut bytes, layout.fat_start)?;
        let copies = (layout.root_start - layout.fat_start) / layout.fat_size;
        let mut other = Vec::new();
        for copy in 1..copies {
            let pieces = bytes.chunks(usize::try_from(PIECE).unwrap_or(1 << 20));
            let mut at = layout.fat_start + copy * layout.fat_size;
            for piece in pieces {
                control.checkpoint()?;
                other.resize(piece.len(), 0);
                partition.read_at(&mut other, at)?;
                if other != piece && differs(layout, piece, &other) {
                    return Err(damaged("its two allocation tables differ").into());
                }
                at += piece.len() as u64;
            }
        }
        let count = usize::try_from(layout.clusters + 2).unwrap_or(0);
        let links = Self {
            kind: layout.kind,
            entries: decode(&bytes, layout.kind, count),
        };
        links.judge()?;
        Ok(links)
    }

    /// Clusters that hold something.
    pub(super) fn used(&self) -> u64 {
        let used = |cluster| !matches!(self.link(cluster), Link::Free | Link::Bad);
        self.clusters().filter(|cluster| used(*cluster)).count() as u64
    }

    /// What comes after a cluster; for one that does not exist, it is bad.
    pub(super) fn link(&self, cluster: u32) -> Link {
        let Some(raw) = self.entries.get(cluster as usize) else {
            return Link::Bad;
        };
        let (value, bad) = match self.kind {
            FsKind::Fat32 => (raw & MASK, 0x0fff_fff7),
            FsKind::Fat16 => (*raw, 0xfff7),
            _ => (*raw, 0xff7),
        };
        match value {
            0 => Link::Free,
            value if value == bad => Link::Bad,
            value if value > bad => Link::End,
            value => Link::Next(value),
        }
    }

    /// Whether a cluster of this number exists.
    pub(super) fn exists(&self, cluster: u32) -> bool {
        self.clusters().contains(&cluster)
    }

    fn clusters(&self) -> std::ops::Range<u32> {
        2..u32::try_from(self.entries.len()).unwrap_or(2)
    }

    /// Every chain leads to clusters that exist and are in use.
    fn judge(&self) -> Result<()> {
        for cluster in self.clusters() {
            if let Link::Next(next) = self.link(cluster)
                && !(self.exists(next) && matches!(self.link(next), Link::Next(_) | Link::End))
            {
                return Err(damaged(format!(
                    "its cluster {cluster} is followed by {next}, which is none of a file"
                )));
            }
        }
        Ok(())
    }

    /// Which clusters have to move, and where to, in order.
    pub(super) fn moves(&self, new: &Geometry) -> Result<Vec<(u32, u32)>> {
        let displaced = self.clusters().filter(|cluster| {
            new.kept(*cluster).is_none() && !matches!(self.link(*cluster), Link::Free | Link::Bad)
        });
        let shift = u32::try_from(new.shift).unwrap_or(u32::MAX);
        let end = u32::try_from(new.clusters + 2).unwrap_or(2);
        let mut free = (2..end).filter(|cluster| {
            let before = cluster.saturating_add(shift);
            !self.exists(before) || self.link(before) == Link::Free
        });
        let mut moves = Vec::new();
        for cluster in displaced {
            let Some(target) = free.next() else {
                let used = self.used();
                return Err(Error::new(
                    ErrorKind::Refused,
                    format!(
                        "its files fill {used} clusters ({}), and it would have {}",
                        ByteSize(used.saturating_mul(new.place(3) - new.place(2))),
                        new.clusters
                    ),
                ));
            };
            moves.push((cluster, target));
        }
        Ok(moves)
    }

    /// The same chains with other numbers.
    pub(super) fn renumbered(&self, new: &Geometry, map: &dyn Fn(u32) -> u32) -> Result<Self> {
        let count = usize::try_from(new.clusters + 2).unwrap_or(2);
        let mut entries = vec![0; count];
        entries[..2].copy_from_slice(&self.entries[..2]);
        for cluster in self.clusters() {
            let raw = self.entries[cluster as usize];
            let (target, value) = match self.link(cluster) {
                Link::Free => continue,
                // A bad place stays bad where it still is one of the file system's.
                Link::Bad => match new.kept(cluster) {
                    Some(kept) => (kept, raw),
                    None => continue,
                },
                Link::End => (map(cluster), raw),
                Link::Next(next) => (map(cluster), raw & !MASK | map(next)),
            };
            let entry = entries.get_mut(target as usize).filter(|_| target >= 2);
            let entry = entry.ok_or_else(|| damaged("its chains cannot be followed"))?;
            *entry = value;
        }
        Ok(Self {
            kind: self.kind,
            entries,
        })
    }

    /// The bytes of a table of `size` bytes.
    pub(super) fn encode(&self, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        match self.kind {
            FsKind::Fat32 => {
                for (entry, bytes) in self.entries.iter().zip(bytes.chunks_exact_mut(4)) {
                    bytes.copy_from_slice(&entry.to_le_bytes());
                }
            }
            FsKind::Fat16 => {
                for (entry, bytes) in self.entries.iter().zip(bytes.chunks_exact_mut(2)) {
                    bytes.copy_from_slice(&entry.to_le_bytes()[..2]);
                }
            }
            _ => encode_12(&self.entries, &mut bytes),
        }
        bytes
    }
}

/// Two entries share three bytes.
fn encode_12(entries: &[u32], bytes: &mut [u8]) {
    for (index, entry) in entries.iter().enumerate() {
        let at = index * 3 / 2;
        let Some([low, high]) = bytes.get_mut(at..at + 2) else {
            return;
        };
        let [first, second, ..] = entry.to_le_bytes();
        if index % 2 == 0 {
            *low = first;
            *high = *high & 0xf0 | second & 0x0f;
        } else {
            *low = *low & 0x0f | first << 4;
            *high = first >> 4 | second << 4;
        }
    }
}

fn decode(bytes: &[u8], kind: FsKind, count: usize) -> Vec<u32> {
    let at = |index: usize| u32::from(bytes.get(index).copied().unwrap_or(0));
    (0..count)
        .map(|index| match kind {
            FsKind::Fat32 => {
                let four = [0, 1, 2, 3].map(|n| at(index * 4 + n));
                four[0] | four[1] << 8 | four[2] << 16 | four[3] << 24
            }
            FsKind::Fat16 => at(index * 2) | at(index * 2 + 1) << 8,
            _ => {
                let start = index * 3 / 2;
                let both = at(start) | at(start + 1) << 8;
                if index % 2 == 0 {
                    both & 0xfff
                } else {
                    both >> 4
                }
            }
        })
        .collect()
}

/// The last byte of a FAT12 may hold half an entry that belongs to nobody.
fn differs(layout: &Layout, one: &[u8], other: &[u8]) -> bool {
    let half = matches!(layout.kind, FsKind::Fat12) && layout.clusters % 2 == 1;
    match (one.split_last(), other.split_last()) {
        (Some((last, rest)), Some((other_last, other_rest))) if half => {
            rest != other_rest || last & 0x0f != other_last & 0x0f
        }
        _ => one != other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_every_width_are_written_as_they_are_read() {
        for (kind, most) in [
            (FsKind::Fat12, 0xfff),
            (FsKind::Fat16, 0xffff),
            (FsKind::Fat32, u32::MAX),
        ] {
            for count in 2..40 {
                let entries: Vec<u32> = (0..count)
                    .map(|n: u32| n.wrapping_mul(0x9e37_79b1) & most)
                    .collect();
                let links = Links {
                    kind,
                    entries: entries.clone(),
                };
                let bytes = links.encode(512);
                assert_eq!(decode(&bytes, kind, entries.len()), entries, "{kind:?}");
                assert!(bytes[entries.len() * 4..].iter().all(|byte| *byte == 0));
            }
        }
    }
}
