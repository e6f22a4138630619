//! Resizing FAT file systems.
//!
//! The file allocation table has to grow with the file system, and everything behind it begins
//! later then. It grows by as much as makes that a whole number of clusters, so that data stays
//! where it is and only its clusters are counted anew: what moves are the clusters that the longer
//! table covers, or that the shorter file system cuts off.
//!
//! | file | is |
//! |---|---|
//! | `geometry` | where everything is afterwards, and what sizes a type allows |
//! | `links` | the table in memory |
//! | `tree` | the directories, which name first clusters |

mod geometry;
mod links;
mod tree;

use std::ops::Range;

use super::{Layout, was_shut_down};
use crate::codec::Fields;
use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::FsKind;
use crate::fs::volume::Volume;
use crate::storage::{Storage, WritableStorage};
use crate::units::{ByteSize, MIB};

use geometry::Geometry;
use links::Links;
use tree::Tree;

/// Clusters of the largest file system that is resized: their tables fit in memory.
const MOST_CLUSTERS: u64 = 1 << 24;
/// Bytes that are copied or compared at a time.
const PIECE: u64 = MIB;

/// How small a FAT file system can be made, and what keeps it from being smaller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::fs) struct Least {
    /// Bytes.
    pub(in crate::fs) size: u64,
    /// Below, its type would be another one; otherwise its files need the room.
    pub(in crate::fs) by_type: bool,
}

/// Makes the file system in `partition` as large as `size` bytes allow, in whole clusters.
///
/// # Errors
/// [`ErrorKind::Refused`] for a file system that is not clean, or has no room for its files, or
/// whose type would be another one; nothing is changed then. I/O errors, and a cancel, which may
/// leave it half changed.
pub(in crate::fs) fn resize(
    partition: &dyn WritableStorage,
    size: u64,
    control: &Control,
) -> Result<(), Stop> {
    let old = State::read(partition, control)?;
    if size > partition.size()? {
        let why = "the partition is not that large";
        return Err(Error::new(ErrorKind::InvalidInput, why).into());
    }
    let geometry = Geometry::new(&old.layout, size)?;
    if geometry.sectors == old.layout.sectors {
        return Ok(());
    }
    let moves = old.links.moves(&geometry)?;
    let mut root = old.tree.fixed_root(partition, &old.layout)?;
    copy_clusters(partition, &old.layout, &geometry, &moves, control)?;
    let map = |cluster| geometry.renumber(&moves, cluster);
    old.tree
        .renumber(partition, &old.layout, &geometry, &map, &mut root)?;
    let table = old.links.renumbered(&geometry, &map)?;
    write_tables(partition, &old.layout, &geometry, &table, control)?;
    write_head(partition, &old, &geometry, map(old.root_cluster()), &table)?;
    Ok(())
}

/// The fewest bytes that the file system can be made to fit in.
///
/// # Errors
/// As [`resize`].
pub(in crate::fs) fn least(partition: &dyn Storage, control: &Control) -> Result<Least, Stop> {
    let state = State::read(partition, control)?;
    let used = state.links.used();
    let by_type = geometry::fewest(&state.layout);
    let clusters = used.max(by_type);
    Ok(Least {
        size: state.layout.data_start + clusters * state.layout.cluster_size,
        by_type: by_type > used,
    })
}

/// A file system that was read and found in order.
struct State {
    layout: Layout,
    links: Links,
    tree: Tree,
}

impl State {
    fn read(partition: &dyn Storage, control: &Control) -> Result<Self, Stop> {
        let volume = Volume::open(partition)?;
        let boot = volume.head(0);
        let layout = Layout::read(boot)?;
        judge(&volume, boot, &layout)?;
        control.enter("reading the file system", 0);
        let links = Links::read(partition, &layout, control)?;
        let tree = Tree::read(partition, &layout, &links, control)?;
        Ok(Self {
            layout,
            links,
            tree,
        })
    }

    fn root_cluster(&self) -> u32 {
        match self.layout.kind {
            FsKind::Fat32 => u32::try_from(self.layout.root_cluster).unwrap_or(0),
            _ => 0,
        }
    }
}

fn judge(volume: &Volume<'_>, boot: Fields<'_>, layout: &Layout) -> Result<()> {
    let size = layout.sectors * layout.sector_size;
    if size > volume.size() {
        return Err(damaged(format!(
            "it claims {}, more than its partition has",
            ByteSize(size)
        )));
    }
    if layout.clusters == 0 || layout.clusters > MOST_CLUSTERS {
        return Err(Error::unsupported(format!(
            "FAT file systems of up to {MOST_CLUSTERS} clusters are resized, and this one has {}",
            layout.clusters
        )));
    }
    let is_fat32 = layout.kind == FsKind::Fat32;
    let flags = if is_fat32 { 65 } else { 37 };
    if boot.u8(flags)? & 1 != 0 || !was_shut_down(volume, layout)? {
        return Err(damaged("it was not unmounted cleanly"));
    }
    const NOT_MIRRORED: u16 = 0x80;
    if is_fat32 && (boot.le16(40)? & NOT_MIRRORED != 0 || boot.le16(42)? != 0) {
        return Err(Error::unsupported(
            "it keeps only one of its allocation tables up to date, or has a version that is not \
             known",
        ));
    }
    Ok(())
}

/// What only a check can put in order.
fn damaged(what: impl AsRef<str>) -> Error {
    let what = what.as_ref();
    Error::new(ErrorKind::Refused, format!("{what}: check it first"))
}

/// Copies the clusters that have to go elsewhere, neighbours together.
fn copy_clusters(
    partition: &dyn WritableStorage,
    old: &Layout,
    new: &Geometry,
    moves: &[(u32, u32)],
    control: &Control,
) -> Result<(), Stop> {
    control.enter("moving clusters", moves.len() as u64 * old.cluster_size);
    let most = usize::try_from((PIECE / old.cluster_size).max(1)).unwrap_or(1);
    let mut buf = Vec::new();
    let mut rest = moves;
    while let Some((from, to)) = rest.first() {
        control.checkpoint()?;
        let together = (0_u32..)
            .zip(rest)
            .take(most)
            .take_while(|(n, (next, next_to))| (*next, *next_to) == (from + n, to + n))
            .count();
        let bytes = together as u64 * old.cluster_size;
        buf.resize(usize::try_from(bytes).unwrap_or(0), 0);
        let source = old.data_start + (u64::from(*from) - 2) * old.cluster_size;
        partition.read_at(&mut buf, source)?;
        partition.write_at(&buf, new.place(*to))?;
        control.advance(bytes);
        rest = &rest[together..];
    }
    Ok(())
}

fn write_tables(
    partition: &dyn WritableStorage,
    old: &Layout,
    new: &Geometry,
    table: &Links,
    control: &Control,
) -> Result<(), Stop> {
    let bytes = table.encode(new.fat_size);
    control.enter(
        "writing the allocation tables",
        bytes.len() as u64 * new.fats,
    );
    for copy in 0..new.fats {
        write_changes(
            partition,
            old.fat_start + copy * new.fat_size,
            &bytes,
            control,
        )?;
    }
    Ok(())
}

fn write_changes(
    partition: &dyn WritableStorage,
    offset: u64,
    bytes: &[u8],
    control: &Control,
) -> Result<(), Stop> {
    const CHUNK: usize = 64 << 10;
    let mut there = Vec::new();
    for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
        control.checkpoint()?;
        let at = offset + (index * CHUNK) as u64;
        there.resize(chunk.len(), 0);
        partition.read_at(&mut there, at)?;
        if there != chunk {
            partition.write_at(chunk, at)?;
        }
        control.advance(chunk.len() as u64);
    }
    Ok(())
}

/// The boot sector and what FAT32 keeps beside it, each with its backup.
fn write_head(
    partition: &dyn WritableStorage,
    old: &State,
    new: &Geometry,
    root: u32,
    table: &Links,
) -> Result<()> {
    let layout = &old.layout;
    let mut boot = [0; 512];
    partition.read_at(&mut boot, 0)?;
    let fields = Fields::new(&boot, 0);
    let is_fat32 = layout.kind == FsKind::Fat32;
    let backup = if is_fat32 {
        u64::from(fields.le16(50)?)
    } else {
        0
    };
    let backup = (1..layout.fat_start / layout.sector_size)
        .contains(&backup)
        .then_some(backup);
    for sector in [Some(0), backup].into_iter().flatten() {
        let at = sector * layout.sector_size;
        partition.read_at(&mut boot, at)?;
        if boot[510..] != [0x55, 0xaa] {
            continue;
        }
        put_sizes(&mut boot, layout, new, root);
        partition.write_at(&boot, at)?;
    }
    if !is_fat32 {
        return Ok(());
    }
    let free = u32::try_from(new.clusters - table.used()).unwrap_or(u32::MAX);
    for sector in [Some(0), backup].into_iter().flatten() {
        let at = (sector + layout.info_sector) * layout.sector_size;
        if layout.info_sector == 0 || at + 512 > layout.fat_start {
            continue;
        }
        let mut info = [0; 512];
        partition.read_at(&mut info, at)?;
        if info[..4] == *b"RRaA" && info[484..488] == *b"rrAa" {
            // Where the next free one is, is not known.
            info[488..492].copy_from_slice(&free.to_le_bytes());
            info[492..496].fill(0xff);
            partition.write_at(&info, at)?;
        }
    }
    Ok(())
}

fn put_sizes(boot: &mut [u8; 512], layout: &Layout, new: &Geometry, root: u32) {
    let mut put = |range: Range<usize>, value: u64| {
        let length = range.len();
        boot[range].copy_from_slice(&value.to_le_bytes()[..length]);
    };
    let fat_sectors = new.fat_size / layout.sector_size;
    if layout.kind == FsKind::Fat32 {
        put(19..21, 0);
        put(32..36, new.sectors);
        put(36..40, fat_sectors);
        put(44..48, u64::from(root));
        return;
    }
    let is_short = new.sectors < 1 << 16;
    put(19..21, if is_short { new.sectors } else { 0 });
    put(32..36, if is_short { 0 } else { new.sectors });
    put(22..24, fat_sectors);
}
