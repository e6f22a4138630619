//! What an L2 entry says of one guest cluster, in a form that is easy to change. A cluster without
//! subclusters is treated as one with a single one.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::image::qcow2::entry::{
    COMPRESSED, COPIED, CompressedCluster, L2Format, OFFSET_MASK, SUBCLUSTERS, ZERO,
};

/// Where a guest cluster is, and which subclusters of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Mapping {
    pub(super) place: Place,
    /// Subclusters whose data is at the place: one bit each.
    pub(super) allocated: u32,
    /// Subclusters that read as zeroes.
    pub(super) zero: u32,
}

/// Where a cluster is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Place {
    /// Nowhere in this image.
    #[default]
    None,
    /// At a host offset. `copied`: nothing else refers to it.
    Plain { host: u64, copied: bool },
    /// Compressed; then no subcluster is told apart.
    Compressed(CompressedCluster),
}

impl Mapping {
    /// All subclusters at `host`, which is this cluster's alone.
    pub(super) fn data(format: L2Format, host: u64) -> Self {
        Self {
            place: Place::Plain { host, copied: true },
            allocated: format.all_subclusters(),
            zero: 0,
        }
    }

    /// All zeroes, nowhere.
    pub(super) fn zeroes(format: L2Format) -> Self {
        Self {
            place: Place::None,
            allocated: 0,
            zero: format.all_subclusters(),
        }
    }

    /// The subclusters that neither this image has nor are known to be zero.
    pub(super) fn missing(&self, format: L2Format) -> u32 {
        match self.place {
            Place::Compressed(_) => 0,
            _ => format.all_subclusters() & !(self.allocated | self.zero),
        }
    }
}

impl L2Format {
    /// One bit for each subcluster of a cluster.
    pub(super) fn all_subclusters(self) -> u32 {
        if self.extended { u32::MAX } else { 1 }
    }

    /// Bytes of a subcluster.
    pub(super) fn subcluster_size(self) -> u64 {
        if self.extended {
            self.cluster_size() / u64::from(SUBCLUSTERS)
        } else {
            self.cluster_size()
        }
    }

    /// The subclusters that the bytes `part` of a cluster (not empty) touch.
    pub(super) fn subclusters(self, part: &Range<u64>) -> u32 {
        let size = self.subcluster_size();
        let (first, last) = (part.start / size, (part.end - 1) / size);
        // Not more than 32 of them.
        (u32::MAX >> (31 - (last - first).min(31))) << first
    }

    /// The bytes of the L2 table that the entries of clusters `clusters` of it are.
    pub(super) fn bytes_of(self, clusters: Range<usize>) -> Range<usize> {
        let size = if self.extended { 16 } else { 8 };
        clusters.start * size..clusters.end * size
    }

    /// What the entry of the guest cluster at `guest` says: its bytes.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for what the format forbids.
    pub(super) fn decode(self, entry: &[u8], guest: u64) -> Result<Mapping> {
        let words = entry.as_chunks::<8>().0;
        let word = |index: usize| {
            words
                .get(index)
                .map_or(0, |word: &[u8; 8]| u64::from_be_bytes(*word))
        };
        let entry = word(0);
        let wrong = |what: &str| {
            Error::corrupt(format!("{what} (guest offset {guest:#x})")).with_field("L2 entry")
        };
        if entry & COMPRESSED != 0 {
            if self.data_file {
                return Err(wrong(
                    "Compressed cluster entry found in image with external data file",
                ));
            }
            let place = CompressedCluster::parse(entry & (COMPRESSED - 1), self.cluster_bits);
            return Ok(Mapping {
                place: Place::Compressed(place),
                ..Mapping::default()
            });
        }
        let host = entry & OFFSET_MASK;
        let copied = entry & COPIED != 0;
        let is_somewhere = host != 0 || self.data_file && copied;
        if !host.is_multiple_of(self.cluster_size()) {
            return Err(wrong(&format!(
                "Cluster allocation offset {host:#x} unaligned"
            )));
        }
        if is_somewhere && self.data_file && host != guest {
            return Err(wrong(&format!(
                "External data file host cluster offset {host:#x} does not match guest cluster \
                 offset"
            )));
        }
        let place = if is_somewhere {
            Place::Plain { host, copied }
        } else {
            Place::None
        };
        let (allocated, zero) = if self.extended {
            let bitmap = word(1);
            #[allow(clippy::cast_possible_truncation, reason = "the halves are meant")]
            let halves = (bitmap as u32, (bitmap >> 32) as u32);
            if halves.0 & halves.1 != 0 || halves.0 != 0 && !is_somewhere {
                return Err(wrong(&format!("invalid subcluster bitmap {bitmap:#018x}")));
            }
            halves
        } else if entry & ZERO != 0 {
            if self.version < 3 {
                return Err(wrong("Zero cluster entry found in pre-v3 image"));
            }
            (0, 1)
        } else {
            (u32::from(is_somewhere), 0)
        };
        Ok(Mapping {
            place,
            allocated,
            zero,
        })
    }

    /// The entry that says `mapping`: one word, two with subclusters.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] for a place that no entry can hold.
    pub(super) fn encode(self, mapping: &Mapping) -> Result<[u64; 2]> {
        let mut entry = match mapping.place {
            Place::None => 0,
            Place::Plain { host, copied } => host | if copied { COPIED } else { 0 },
            Place::Compressed(place) => return Ok([self.encode_compressed(place)?, 0]),
        };
        if !self.extended && mapping.zero != 0 {
            entry |= ZERO;
        }
        let bitmap = u64::from(mapping.zero) << 32 | u64::from(mapping.allocated);
        Ok([entry, bitmap])
    }

    /// Writes that entry to its bytes in a table.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub(super) fn put(self, mapping: &Mapping, entry: &mut [u8]) -> Result<()> {
        let words = self.encode(mapping)?;
        for (bytes, word) in entry.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.to_be_bytes();
        }
        Ok(())
    }

    fn encode_compressed(self, place: CompressedCluster) -> Result<u64> {
        let offset_bits = 62 - (self.cluster_bits - 8);
        if place.end() > 1 << offset_bits {
            return Err(Error::unsupported(format!(
                "compressed clusters cannot be behind 2^{offset_bits} bytes of the file"
            )));
        }
        let sectors = (place.end() - 1) / 512 - place.host / 512;
        Ok(COMPRESSED | sectors << offset_bits | place.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::qcow2::header::Header;
    use crate::image::qcow2::write::tests::empty_image;
    use crate::storage::MemoryStorage;

    fn format() -> L2Format {
        let image = MemoryStorage::new(empty_image(16, 4, 1 << 30));
        L2Format::new(&Header::read(&image).unwrap())
    }

    #[test]
    fn entries_survive_the_way_there_and_back() {
        let plain = format();
        let extended = L2Format {
            extended: true,
            ..plain
        };
        let place = Place::Plain {
            host: 0x7_0000,
            copied: true,
        };
        let compressed = Mapping {
            place: Place::Compressed(CompressedCluster {
                host: 0x1_2345,
                length: 0x200 * 9 - 0x145,
            }),
            ..Mapping::default()
        };
        let cases = [
            (plain, Mapping::default()),
            (plain, Mapping::zeroes(plain)),
            (plain, Mapping::data(plain, 0x7_0000)),
            (
                plain,
                Mapping {
                    place,
                    allocated: 0,
                    zero: 1,
                },
            ),
            (plain, compressed),
            (extended, compressed),
            (extended, Mapping::zeroes(extended)),
            (
                extended,
                Mapping {
                    place,
                    allocated: 0xf0,
                    zero: 0x8000_0001,
                },
            ),
            (
                extended,
                Mapping {
                    place,
                    allocated: 0,
                    zero: 0,
                },
            ),
        ];
        for (format, mapping) in cases {
            let words = format.encode(&mapping).unwrap();
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            assert_eq!(format.decode(&bytes, 0).unwrap(), mapping);
        }
        assert_eq!(extended.subclusters(&(0..1)), 1);
        assert_eq!(extended.subclusters(&(2047..2049)), 3);
        assert_eq!(extended.subclusters(&(0..65536)), u32::MAX);
        assert_eq!(plain.subclusters(&(5..65536)), 1);
    }
}
