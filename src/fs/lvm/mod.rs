//! LVM2 physical volumes: the label, and the volume group's metadata text.

mod config;
mod grow;

pub(super) use grow::{check, grow};

use config::Node;

use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::codec::{Fields, printable};
use crate::error::Result;
use crate::units::ByteSize;

const SECTOR: usize = 512;
/// The label stands in one of the first four sectors.
const LABEL_SECTORS: usize = 4;
const METADATA_MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
/// The text's ring begins behind its header.
const RING_START: u64 = 512;
/// Longest metadata text; real ones have kilobytes.
const MAX_TEXT: u64 = 2 << 20;
/// Entries of the lists of areas in the label.
const MAX_AREAS: usize = 16;
const IGNORED: u32 = 1;
/// What LVM starts its checksums with.
const CRC_SEED: u32 = 0xf597_a6cf;
const SHOWN_VOLUMES: usize = 24;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    label(volume).is_some()
}

/// Offset of the label.
fn label(volume: &Volume<'_>) -> Option<usize> {
    (0..LABEL_SECTORS)
        .map(|sector| sector * SECTOR)
        .find(|at| volume.has(*at, b"LABELONE") && volume.has(*at + 24, b"LVM2 001"))
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let mut fs = FileSystem::new(FsKind::Lvm2);
    let Some(at) = label(volume) else {
        return Ok(fs);
    };
    let label = Fields::new(volume.head(at).slice(0, SECTOR)?, at as u64);
    if label.le32(16)? != checksum(label.slice(20, SECTOR - 20)?) {
        fs.note("checksum of its label does not match");
    }
    let header = usize::try_from(label.le32(20)?).unwrap_or(SECTOR);
    let id = label.slice(header, 32)?;
    let uuid = format_id(id);
    fs.size = Some(label.le64(header + 32)?);

    let mut at = header + 40;
    let _data = areas(label, &mut at)?;
    let mut text = None;
    for area in areas(label, &mut at)? {
        if text.is_none() {
            text = metadata(volume, area)?.map(|text| Node::parse(&text));
        }
    }
    match text.as_ref().and_then(Group::find) {
        Some(group) => group.describe(&mut fs, &uuid),
        None if text.is_some() => fs.note("its metadata names no volume group"),
        None => fs.detail("volume group", "none"),
    }
    fs.uuid = Some(uuid);
    Ok(fs)
}

/// LVM's CRC-32 has a seed of its own and is not inverted at the end.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!CRC_SEED);
    hasher.update(bytes);
    !hasher.finalize()
}

/// The identifier as `pvs` and `blkid` print it.
fn format_id(id: &[u8]) -> String {
    let mut text = String::new();
    for (index, byte) in id.iter().enumerate() {
        if matches!(index, 6 | 10 | 14 | 18 | 22 | 26) {
            text.push('-');
        }
        let letter = char::from(*byte);
        text.push(if letter.is_ascii_graphic() {
            letter
        } else {
            '?'
        });
    }
    text
}

#[derive(Clone, Copy, Debug)]
struct Area {
    offset: u64,
    size: u64,
}

/// A list of areas that an empty one ends; `at` is behind it then. There are two: of data, then of
/// metadata.
fn areas(label: Fields<'_>, at: &mut usize) -> Result<Vec<Area>> {
    let mut areas = Vec::new();
    while areas.len() <= MAX_AREAS {
        let area = Area {
            offset: label.le64(*at)?,
            size: label.le64(*at + 8)?,
        };
        *at += 16;
        if area.offset == 0 {
            break;
        }
        areas.push(area);
    }
    Ok(areas)
}

/// The text in a metadata area, which is a ring: a text may go on at its beginning. `None` where
/// there is none, or not the one that its checksum is of.
fn metadata(volume: &Volume<'_>, area: Area) -> Result<Option<Vec<u8>>> {
    let Some(bytes) = volume.read(area.offset, SECTOR)? else {
        return Ok(None);
    };
    let header = Fields::new(&bytes, area.offset);
    if header.slice(4, 16)? != METADATA_MAGIC {
        return Ok(None);
    }
    let (offset, length) = (header.le64(40)?, header.le64(48)?);
    let (stored, flags) = (header.le32(56)?, header.le32(60)?);
    let ring = area.size.min(volume.size());
    let fits = offset >= RING_START && offset < ring && length <= MAX_TEXT.min(ring);
    if !fits || length == 0 || flags & IGNORED != 0 {
        return Ok(None);
    }
    let first = length.min(ring - offset);
    let mut text = Vec::new();
    for (at, length) in [(offset, first), (RING_START, length - first)] {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(part) = volume.read(area.offset.saturating_add(at), length)? else {
            return Ok(None);
        };
        text.extend_from_slice(&part);
    }
    Ok((checksum(&text) == stored).then_some(text))
}

/// A volume group, in the words of its metadata.
struct Group<'a> {
    name: &'a str,
    node: &'a Node,
    extent_size: u64,
}

impl<'a> Group<'a> {
    fn find(text: &'a Node) -> Option<Self> {
        let (name, node) = text.members().iter().find(|(_, node)| node.is_section())?;
        Some(Self {
            name,
            node,
            extent_size: node.number("extent_size")?.checked_mul(512)?,
        })
    }

    fn describe(&self, fs: &mut FileSystem, uuid: &str) {
        fs.block_size = Some(self.extent_size);
        fs.detail("volume group", printable(self.name).unwrap_or_default());
        let physical = self.section("physical_volumes");
        if physical.len() > 1 {
            fs.detail("physical volumes", physical.len().to_string());
        }
        let mut volumes: Vec<String> = self
            .section("logical_volumes")
            .iter()
            .filter(|(_, volume)| is_visible(volume))
            .map(|(name, volume)| {
                let size = self.bytes(extents(volume));
                format!("{} ({size})", printable(name).unwrap_or_default())
            })
            .collect();
        let more = volumes.len().saturating_sub(SHOWN_VOLUMES);
        volumes.truncate(SHOWN_VOLUMES);
        if more > 0 {
            volumes.push(format!("{more} more"));
        }
        if !volumes.is_empty() {
            fs.detail("logical volumes", volumes.join(", "));
        }
        fs.detail("extent size", ByteSize(self.extent_size).to_string());

        let this = physical
            .iter()
            .find(|(_, volume)| volume.text("id") == Some(uuid));
        let Some((name, this)) = this else {
            fs.note("its volume group does not know it");
            return;
        };
        let total = this.number("pe_count").unwrap_or(0);
        // LVM leaves the label as it is when the volume becomes larger, and counts the extents.
        let start = this
            .number("pe_start")
            .and_then(|start| start.checked_mul(512));
        let end = total.checked_mul(self.extent_size).zip(start);
        let end = end.and_then(|(extents, start)| extents.checked_add(start));
        fs.size = fs.size.max(end);
        let free = total.checked_sub(self.allocated_on(name));
        let free = free.and_then(|free| free.checked_mul(self.extent_size));
        if let (Some(size), Some(free)) = (fs.size, free) {
            fs.set_free(size, free);
        }
    }

    fn section(&self, name: &str) -> &'a [(String, Node)] {
        self.node.get(name).map_or(&[], Node::members)
    }

    fn bytes(&self, extents: u64) -> ByteSize {
        ByteSize(extents.saturating_mul(self.extent_size))
    }

    /// Extents of the physical volume `name` that logical volumes lie on.
    fn allocated_on(&self, name: &str) -> u64 {
        let volumes = self.section("logical_volumes").iter();
        volumes
            .flat_map(|(_, volume)| segments(volume))
            .map(|segment| {
                // Pairs of a name and a start. Mirrors and RAID name other logical volumes.
                let stripes = segment.list("stripes");
                let here = stripes
                    .iter()
                    .step_by(2)
                    .filter(|stripe| matches!(stripe, Node::Text(text) if text == name))
                    .count() as u64;
                let all = (stripes.len() / 2).max(1) as u64;
                let extents = segment.number("extent_count").unwrap_or(0);
                (extents / all).saturating_mul(here)
            })
            .fold(0, u64::saturating_add)
    }
}

/// Images and metadata of mirrors and thin pools are logical volumes too, which `lvs` hides.
fn is_visible(volume: &Node) -> bool {
    volume
        .list("status")
        .iter()
        .any(|status| matches!(status, Node::Text(text) if text == "VISIBLE"))
}

fn segments(volume: &Node) -> impl Iterator<Item = &Node> {
    volume
        .members()
        .iter()
        .filter(|(name, node)| name.starts_with("segment") && node.is_section())
        .map(|(_, node)| node)
}

fn extents(volume: &Node) -> u64 {
    segments(volume)
        .map(|segment| segment.number("extent_count").unwrap_or(0))
        .fold(0, u64::saturating_add)
}
