//! Big qcow2 images written without any other program, in seconds and on little disk: what the
//! benches measure on and, in small, what the tests check against `qemu-img`.
//!
//! All are QCOW2 version 3 with 64 KiB clusters and 16-bit refcounts, and `qemu-img check` finds
//! nothing wrong with them.

#![allow(
    dead_code,
    clippy::cast_possible_truncation,
    reason = "shared by several test programs and the benches; sizes are the caller's constants"
)]

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::path::Path;

use platter::storage::{Run, Storage};
use platter::{Error, ErrorKind};

/// Bytes of a cluster.
pub(crate) const CLUSTER: u64 = 64 << 10;
/// Entries of an L2 table.
pub(crate) const L2_ENTRIES: u64 = CLUSTER / 8;
/// Refcounts of a refcount block.
const BLOCK_ENTRIES: u64 = CLUSTER / 2;
/// "This cluster has a refcount of exactly one" in L1 and L2 entries.
const COPIED: u64 = 1 << 63;

/// A small generator of numbers that look random (SplitMix64): the same seed, the same image.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (not 0).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of `items`, of which there are some.
    pub(crate) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Brings `items` into random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// Where metadata lies in a file: header, refcount table, refcount blocks, L1 table, one behind
/// the other; then L2 tables and data as the image likes.
#[derive(Clone, Debug)]
struct Frame {
    virtual_size: u64,
    table_clusters: u64,
    blocks: u64,
    l1_clusters: u64,
    l1_size: u64,
    /// Clusters of the whole file.
    clusters: u64,
}

impl Frame {
    /// A frame around `body` clusters of L2 tables and data.
    fn new(virtual_size: u64, body: u64) -> Self {
        let l1_size = virtual_size.div_ceil(CLUSTER * L2_ENTRIES);
        let l1_clusters = (l1_size * 8).div_ceil(CLUSTER);
        let (mut table_clusters, mut blocks) = (1, 1);
        loop {
            let clusters = 1 + table_clusters + blocks + l1_clusters + body;
            let needed = clusters.div_ceil(BLOCK_ENTRIES);
            let needed_table = (needed * 8).div_ceil(CLUSTER);
            if (needed, needed_table) == (blocks, table_clusters) {
                return Self {
                    virtual_size,
                    table_clusters,
                    blocks,
                    l1_clusters,
                    l1_size,
                    clusters,
                };
            }
            (blocks, table_clusters) = (needed, needed_table);
        }
    }

    /// First cluster of the refcount blocks.
    fn blocks_at(&self) -> u64 {
        1 + self.table_clusters
    }

    /// First cluster of the L1 table.
    fn l1_at(&self) -> u64 {
        self.blocks_at() + self.blocks
    }

    /// First cluster behind the metadata that every image has.
    fn body_at(&self) -> u64 {
        self.l1_at() + self.l1_clusters
    }

    fn header(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(112);
        header.extend_from_slice(b"QFI\xfb");
        header.extend_from_slice(&3_u32.to_be_bytes());
        header.extend_from_slice(&[0; 12]); // no backing file
        header.extend_from_slice(&CLUSTER.trailing_zeros().to_be_bytes());
        header.extend_from_slice(&self.virtual_size.to_be_bytes());
        header.extend_from_slice(&[0; 4]); // not encrypted
        header.extend_from_slice(&(self.l1_size as u32).to_be_bytes());
        header.extend_from_slice(&(self.l1_at() * CLUSTER).to_be_bytes());
        header.extend_from_slice(&CLUSTER.to_be_bytes());
        header.extend_from_slice(&(self.table_clusters as u32).to_be_bytes());
        header.extend_from_slice(&[0; 12]); // no snapshots
        header.extend_from_slice(&[0; 24]); // no features
        header.extend_from_slice(&4_u32.to_be_bytes()); // refcounts of 2^4 bits
        header.extend_from_slice(&104_u32.to_be_bytes());
        header.extend_from_slice(&[0; 8]); // end of the extensions
        header
    }

    fn table(&self) -> Vec<u8> {
        (0..self.blocks)
            .flat_map(|i| ((self.blocks_at() + i) * CLUSTER).to_be_bytes())
            .collect()
    }

    /// Refcount block `index`: one for every cluster of the file.
    fn block(&self, index: u64) -> Vec<u8> {
        let used = (self.clusters - index * BLOCK_ENTRIES).min(BLOCK_ENTRIES) as usize;
        let mut block = [0, 1].repeat(used);
        block.resize(CLUSTER as usize, 0);
        block
    }

    fn write(&self, file: &File, l2_cluster: impl Fn(u64) -> u64) -> io::Result<()> {
        file.set_len(self.clusters * CLUSTER)?;
        file.write_all_at(&self.header(), 0)?;
        file.write_all_at(&self.table(), CLUSTER)?;
        for index in 0..self.blocks {
            file.write_all_at(&self.block(index), (self.blocks_at() + index) * CLUSTER)?;
        }
        file.write_all_at(&l1_table(self.l1_size, l2_cluster), self.l1_at() * CLUSTER)
    }
}

fn l1_table(size: u64, l2_cluster: impl Fn(u64) -> u64) -> Vec<u8> {
    (0..size)
        .flat_map(|i| ((l2_cluster(i) * CLUSTER) | COPIED).to_be_bytes())
        .collect()
}

/// An image as a guest leaves it that wrote everywhere for years: clusters at random guest
/// offsets, in random order on the host.
#[derive(Clone, Debug)]
pub(crate) struct Scattered {
    /// Virtual size in bytes, a multiple of 512 MiB.
    pub(crate) virtual_size: u64,
    /// How many of its clusters are mapped.
    pub(crate) clusters: u64,
    /// Bytes written at the start of each mapped cluster, at most a cluster; the rest is a hole of
    /// the host file.
    pub(crate) written: usize,
    /// L2 tables lie in random order between the data, as they do when a guest makes them one by
    /// one, and not in one piece.
    pub(crate) tables_between: bool,
}

impl Scattered {
    /// 1 TiB with 524 288 clusters: 2 048 L2 tables, 2 GiB of the disk.
    pub(crate) fn tebibyte() -> Self {
        Self {
            virtual_size: 1 << 40,
            clusters: 524_288,
            written: 4096,
            tables_between: false,
        }
    }

    /// The same shape at 1/64 of the size.
    pub(crate) fn small() -> Self {
        Self {
            virtual_size: 16 << 30,
            clusters: 8192,
            written: 4096,
            tables_between: false,
        }
    }

    /// Writes the image.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut random = Random(0x5ca7_7e3d);
        let tables = self.virtual_size / (CLUSTER * L2_ENTRIES);
        let frame = Frame::new(self.virtual_size, tables + self.clusters);
        let mut places: Vec<u64> = (frame.body_at()..frame.clusters).collect();
        let data_from = if self.tables_between {
            0
        } else {
            tables as usize
        };
        random.shuffle(&mut places[data_from..]);
        let (l2_places, data_places) = places.split_at(tables as usize);

        let file = File::create_new(path)?;
        frame.write(&file, |i| l2_places[i as usize])?;
        let mut l2 = vec![0_u8; (tables * CLUSTER) as usize];
        let mut seen = HashSet::new();
        for place in data_places {
            let guest = loop {
                let guest = random.below(self.virtual_size / CLUSTER);
                if seen.insert(guest) {
                    break guest;
                }
            };
            let entry = ((place * CLUSTER) | COPIED).to_be_bytes();
            l2[guest as usize * 8..][..8].copy_from_slice(&entry);
        }
        for (table, place) in l2.chunks_exact(CLUSTER as usize).zip(l2_places) {
            file.write_all_at(table, place * CLUSTER)?;
        }
        // In host order: the host file system then needs seconds, not minutes.
        let mut data_places = data_places.to_vec();
        data_places.sort_unstable();
        let mut data = vec![0_u8; self.written];
        for place in data_places {
            data.fill((place % 251) as u8 + 1);
            file.write_all_at(&data, place * CLUSTER)?;
        }
        Ok(())
    }
}

/// An image whose every cluster is mapped, in guest order, each L2 table before the data it maps:
/// what `preallocation=metadata` leaves. Data are holes. It can be written to a file or read
/// directly as a [`Storage`] that computes its bytes and needs no memory.
#[derive(Clone, Debug)]
pub(crate) struct Mapped {
    frame: Frame,
}

impl Mapped {
    /// An image of `virtual_size`, a multiple of 512 MiB.
    pub(crate) fn new(virtual_size: u64) -> Self {
        let tables = virtual_size / (CLUSTER * L2_ENTRIES);
        Self {
            frame: Frame::new(virtual_size, tables * (L2_ENTRIES + 1)),
        }
    }

    /// Its L2 tables.
    pub(crate) fn tables(&self) -> u64 {
        self.frame.l1_size
    }

    /// Its refcount blocks.
    pub(crate) fn blocks(&self) -> u64 {
        self.frame.blocks
    }

    /// Writes the image.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let file = File::create_new(path)?;
        self.frame.write(&file, |i| self.l2_cluster(i))?;
        for index in 0..self.tables() {
            file.write_all_at(&self.l2_table(index), self.l2_cluster(index) * CLUSTER)?;
        }
        Ok(())
    }

    fn l2_cluster(&self, index: u64) -> u64 {
        self.frame.body_at() + index * (L2_ENTRIES + 1)
    }

    fn l2_table(&self, index: u64) -> Vec<u8> {
        let first = self.l2_cluster(index) + 1;
        let mut table = Vec::with_capacity(CLUSTER as usize);
        for cluster in first..first + L2_ENTRIES {
            table.extend_from_slice(&((cluster * CLUSTER) | COPIED).to_be_bytes());
        }
        table
    }

    /// The content of one cluster of the file.
    fn cluster(&self, cluster: u64) -> Vec<u8> {
        let frame = &self.frame;
        let l1 = || l1_table(frame.l1_size, |i| self.l2_cluster(i));
        let mut bytes = match cluster {
            0 => frame.header(),
            at if at < frame.blocks_at() => part(&frame.table(), at - 1),
            at if at < frame.l1_at() => frame.block(at - frame.blocks_at()),
            at if at < frame.body_at() => part(&l1(), at - frame.l1_at()),
            at if (at - frame.body_at()).is_multiple_of(L2_ENTRIES + 1) => {
                self.l2_table((at - frame.body_at()) / (L2_ENTRIES + 1))
            }
            _ => Vec::new(),
        };
        bytes.resize(CLUSTER as usize, 0);
        bytes
    }
}

/// Cluster `index` of a longer table.
fn part(table: &[u8], index: u64) -> Vec<u8> {
    let start = ((index * CLUSTER) as usize).min(table.len());
    table[start..table.len().min(start + CLUSTER as usize)].to_vec()
}

impl Storage for Mapped {
    fn size(&self) -> platter::Result<u64> {
        Ok(self.frame.clusters * CLUSTER)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> platter::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.frame.clusters * CLUSTER) {
            return Err(Error::new(ErrorKind::OutOfBounds, "behind the end"));
        }
        let (mut rest, mut at) = (buf, offset);
        while !rest.is_empty() {
            let bytes = self.cluster(at / CLUSTER);
            let from = (at % CLUSTER) as usize;
            let length = rest.len().min(bytes.len() - from);
            let (head, tail) = rest.split_at_mut(length);
            head.copy_from_slice(&bytes[from..from + length]);
            (rest, at) = (tail, at + length as u64);
        }
        Ok(())
    }

    fn for_each_run(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> platter::Result<()> {
        let end = range.end.min(self.frame.clusters * CLUSTER);
        let mut at = range.start;
        while at < end {
            let (hole, until) = self.run_at(at / CLUSTER);
            let until = (until * CLUSTER).min(end);
            if visit(Run {
                range: at..until,
                hole,
            })
            .is_break()
            {
                break;
            }
            at = until;
        }
        Ok(())
    }
}

impl Mapped {
    /// Whether `cluster` is in a hole, and the first cluster behind the run.
    fn run_at(&self, cluster: u64) -> (bool, u64) {
        let body = self.frame.body_at();
        if cluster < body {
            return (false, body + 1);
        }
        let table = (cluster - body) / (L2_ENTRIES + 1);
        if cluster == self.l2_cluster(table) {
            (false, cluster + 1)
        } else {
            (true, self.l2_cluster(table + 1))
        }
    }
}

/// Writes `bytes` that compress as the disk of a real guest does (to about a third): pages of
/// text, of machine-made records, of noise, and a few of zeroes.
pub(crate) fn content(path: &Path, bytes: u64, seed: u64) -> io::Result<()> {
    let mut random = Random(seed);
    let words: Vec<Vec<u8>> = (0..4096).map(|_| word(&mut random)).collect();
    let mut file = io::BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    let mut page = Vec::with_capacity(PAGE + 64);
    let mut left = bytes;
    while left > 0 {
        page.clear();
        match random.below(100) {
            0..65 => text(&mut page, &words, &mut random),
            65..90 => records(&mut page, &mut random),
            90..97 => noise(&mut page, &mut random),
            _ => page.resize(PAGE, 0),
        }
        let length = (PAGE as u64).min(left) as usize;
        file.write_all(&page[..length])?;
        left -= length as u64;
    }
    file.flush()
}

/// Bytes of one kind of content at a time.
const PAGE: usize = 16 << 10;

fn word(random: &mut Random) -> Vec<u8> {
    let length = 2 + random.below(9);
    let mut word: Vec<u8> = (0..length)
        .map(|_| b"etaoinshrdlucmfwypvbgkqjxz"[(random.below(26) * random.below(26) / 26) as usize])
        .collect();
    word.push(b' ');
    word
}

fn text(page: &mut Vec<u8>, words: &[Vec<u8>], random: &mut Random) {
    while page.len() < PAGE {
        // The product of two dice favours the first words, as language does.
        let bits = random.next();
        let index = ((bits & 0xfff) * (bits >> 12 & 0xfff)) >> 12;
        page.extend_from_slice(&words[index as usize]);
        if bits >> 61 == 0 && page.len() > 200 {
            // Phrases come again, on disks more than in prose.
            let from = (bits >> 24) as usize % (page.len() - 100);
            page.extend_from_within(from..from + 20 + (bits >> 40 & 63) as usize);
        }
    }
}

fn records(page: &mut Vec<u8>, random: &mut Random) {
    let base = random.next();
    for index in 0.. {
        if page.len() >= PAGE {
            break;
        }
        let bits = random.next();
        page.extend_from_slice(&(base.wrapping_add(index * 16)).to_le_bytes());
        page.extend_from_slice(&(bits as u16).to_le_bytes());
        page.extend_from_slice(&[0, 0, (bits >> 16 & 7) as u8, 0]);
        page.extend_from_slice(&((bits >> 20) as u32 & 0xff).to_le_bytes());
    }
}

fn noise(page: &mut Vec<u8>, random: &mut Random) {
    while page.len() < PAGE {
        page.extend_from_slice(&random.next().to_le_bytes());
    }
}
