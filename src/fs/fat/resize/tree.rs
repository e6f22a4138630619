//! The directories: they name the first cluster of each file and of each directory.

use super::damaged;
use super::geometry::Geometry;
use super::links::{Link, Links};
use crate::control::{Control, Stop};
use crate::error::Result;
use crate::fs::FsKind;
use crate::fs::fat::{ENTRY, Layout};
use crate::storage::{Storage, WritableStorage};

/// The longest directory: 65 536 entries by the specification.
const LONGEST: u64 = 2 << 20;
const DIRECTORY: u8 = 0x10;
const VOLUME_ID: u8 = 0x08;

/// The clusters of each directory, by their numbers before.
pub(super) struct Tree {
    directories: Vec<Vec<u32>>,
}

/// Walks the tree. Every cluster belongs to one file only.
struct Walk<'a> {
    partition: &'a dyn Storage,
    layout: &'a Layout,
    links: &'a Links,
    /// A bit a cluster.
    seen: Vec<u64>,
    /// First clusters of directories that are still to be read.
    waiting: Vec<u32>,
    directories: Vec<Vec<u32>>,
}

impl Tree {
    /// Reads all directories, and follows every chain that they name.
    pub(super) fn read(
        partition: &dyn Storage,
        layout: &Layout,
        links: &Links,
        control: &Control,
    ) -> Result<Self, Stop> {
        let words = usize::try_from((layout.clusters + 2).div_ceil(64)).unwrap_or(0);
        let mut walk = Walk {
            partition,
            layout,
            links,
            seen: vec![0; words],
            waiting: Vec::new(),
            directories: Vec::new(),
        };
        if layout.kind == FsKind::Fat32 {
            let root = u32::try_from(layout.root_cluster).unwrap_or(0);
            if !links.exists(root) {
                return Err(damaged(format!("its root directory is in cluster {root}")).into());
            }
            walk.waiting.push(root);
            walk.directory()?;
        } else {
            let mut root = root_bytes(partition, layout)?;
            walk.entries(&mut root)?;
        }
        while !walk.waiting.is_empty() {
            control.checkpoint()?;
            walk.directory()?;
        }
        Ok(Self {
            directories: walk.directories,
        })
    }

    /// The root directory of FAT12 and FAT16, which is in no cluster; empty for FAT32.
    pub(super) fn fixed_root(&self, partition: &dyn Storage, layout: &Layout) -> Result<Vec<u8>> {
        if layout.kind == FsKind::Fat32 {
            return Ok(Vec::new());
        }
        root_bytes(partition, layout)
    }

    /// Gives the directories, which are at their new places by now, the new numbers.
    pub(super) fn renumber(
        &self,
        partition: &dyn WritableStorage,
        layout: &Layout,
        new: &Geometry,
        map: &dyn Fn(u32) -> u32,
        root: &mut [u8],
    ) -> Result<()> {
        let is_wide = layout.kind == FsKind::Fat32;
        let mut patch = |entry: &mut [u8]| {
            let old = first_cluster(entry, is_wide);
            if old != 0 {
                put_first_cluster(entry, is_wide, map(old));
            }
            Ok(())
        };
        if !root.is_empty() {
            for_each_entry(root, &mut patch)?;
            partition.write_at(root, new.root_start)?;
        }
        let mut bytes = vec![0; usize::try_from(layout.cluster_size).unwrap_or(0)];
        for directory in &self.directories {
            for cluster in directory {
                let at = new.place(map(*cluster));
                partition.read_at(&mut bytes, at)?;
                let before = bytes.clone();
                let goes_on = for_each_entry(&mut bytes, &mut patch)?;
                if bytes != before {
                    partition.write_at(&bytes, at)?;
                }
                if !goes_on {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// Reads the next directory that waits.
    fn directory(&mut self) -> Result<()> {
        let Some(first) = self.waiting.pop() else {
            return Ok(());
        };
        let clusters = self.chain(first)?;
        if clusters.len() as u64 * self.layout.cluster_size > LONGEST.max(self.layout.cluster_size)
        {
            return Err(damaged(format!(
                "the directory in cluster {first} is longer than 2 MiB"
            )));
        }
        let mut bytes = vec![0; usize::try_from(self.layout.cluster_size).unwrap_or(0)];
        for cluster in &clusters {
            let at = self.layout.cluster(u64::from(*cluster)).unwrap_or(0);
            self.partition.read_at(&mut bytes, at)?;
            if !self.entries(&mut bytes)? {
                break;
            }
        }
        self.directories.push(clusters);
        Ok(())
    }

    /// Follows what the entries name. False at the end of the directory.
    fn entries(&mut self, bytes: &mut [u8]) -> Result<bool> {
        let is_wide = self.layout.kind == FsKind::Fat32;
        for_each_entry(bytes, &mut |entry| {
            let first = first_cluster(entry, is_wide);
            let is_dot = entry[0] == b'.' && entry[11] & DIRECTORY != 0;
            if first == 0 {
                return Ok(());
            }
            if !self.links.exists(first) {
                return Err(damaged(format!(
                    "a directory names cluster {first}, which does not exist"
                )));
            }
            if is_dot {
                return Ok(());
            }
            if entry[11] & DIRECTORY != 0 {
                self.waiting.push(first);
                return Ok(());
            }
            self.follow(first, &mut |_| {})
        })
    }

    fn chain(&mut self, first: u32) -> Result<Vec<u32>> {
        let mut clusters = Vec::new();
        self.follow(first, &mut |cluster| clusters.push(cluster))?;
        Ok(clusters)
    }

    /// Each cluster is visited once in all, so that this ends whatever the table says.
    fn follow(&mut self, first: u32, visit: &mut dyn FnMut(u32)) -> Result<()> {
        let mut cluster = first;
        loop {
            let bit = 1 << (cluster % 64);
            let word = self.seen.get_mut(cluster as usize / 64);
            let word = word.ok_or_else(|| damaged("a chain leads out of it"))?;
            if *word & bit != 0 {
                return Err(damaged(format!(
                    "its cluster {cluster} belongs to two files, or to a loop"
                )));
            }
            *word |= bit;
            visit(cluster);
            match self.links.link(cluster) {
                Link::Next(next) => cluster = next,
                Link::End => return Ok(()),
                Link::Free | Link::Bad => {
                    return Err(damaged(format!(
                        "its cluster {cluster} is named by a file and is none of a file"
                    )));
                }
            }
        }
    }
}

fn root_bytes(partition: &dyn Storage, layout: &Layout) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(layout.root_size).unwrap_or(0)];
    partition.read_at(&mut bytes, layout.root_start)?;
    Ok(bytes)
}

/// Visits the entries of files and directories. False when the directory ends here.
fn for_each_entry(
    bytes: &mut [u8],
    visit: &mut dyn FnMut(&mut [u8]) -> Result<()>,
) -> Result<bool> {
    for entry in bytes.chunks_exact_mut(ENTRY) {
        match entry[0] {
            0 => return Ok(false),
            0xe5 => continue,
            // A piece of a long name, or the label.
            _ if entry[11] & VOLUME_ID != 0 => continue,
            _ => visit(entry)?,
        }
    }
    Ok(true)
}

/// Before FAT32 the upper half had other uses.
fn first_cluster(entry: &[u8], is_wide: bool) -> u32 {
    let half = |at: usize| u32::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
    half(26) | if is_wide { half(20) << 16 } else { 0 }
}

fn put_first_cluster(entry: &mut [u8], is_wide: bool, cluster: u32) {
    let bytes = cluster.to_le_bytes();
    entry[26..28].copy_from_slice(&bytes[..2]);
    if is_wide {
        entry[20..22].copy_from_slice(&bytes[2..]);
    }
}
