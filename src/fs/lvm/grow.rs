//! Making a physical volume larger: the metadata text of its volume group gets the number of its
//! extents, and its label its size in bytes. And looking whether both are whole.

use std::time::{SystemTime, UNIX_EPOCH};

use super::config::{Node, replace};
use super::{
    Area, Group, IGNORED, MAX_TEXT, METADATA_MAGIC, RING_START, SECTOR, areas, checksum, format_id,
    label, metadata,
};
use crate::codec::Fields;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::volume::Volume;
use crate::storage::{Storage, WritableStorage};

/// Of the label's extension: the volume belongs to a group.
const USED: u32 = 1;
/// A new text begins at a multiple of this, as LVM's do.
const TEXT_ALIGNMENT: u64 = 512;
/// LVM counts extents with 32 bits.
const MAX_EXTENTS: u64 = u32::MAX as u64;

/// Makes the physical volume as large as `partition`, as `pvresize` does. One whose last extent
/// would not fit stays as it is.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for one that LVM would not resize either, or not without the other
/// physical volumes of its group; [`ErrorKind::Refused`] for a damaged one; I/O errors. Nothing is
/// changed then.
pub(in crate::fs) fn grow(partition: &dyn WritableStorage) -> Result<()> {
    let volume = Volume::open(partition)?;
    let label = Label::read(&volume)?;
    let size = volume.size() - volume.size() % SECTOR as u64;
    let [data] = label.data[..] else {
        return Err(unsupported("it has several data areas"));
    };
    if data.size != 0 {
        return Err(unsupported("its data area has a fixed size"));
    }
    let [area] = label.metadata[..] else {
        return Err(unsupported(match label.metadata.len() {
            0 => "its metadata is on other physical volumes only",
            _ => "it has a second copy of its metadata, as a rule at its end",
        }));
    };
    let behind = area.offset.saturating_add(area.size);
    if behind > data.offset {
        return Err(unsupported("its metadata is not in front of its data"));
    }
    match Metadata::read(&volume, area)? {
        Some(mut metadata) => {
            let grown = grown(&metadata.text, &label.id, data.offset, size)?;
            let Some(text) = grown else {
                return Ok(());
            };
            metadata.write(partition, text)?;
        }
        None if label.is_used => {
            return Err(unsupported(
                "its metadata is on other physical volumes only",
            ));
        }
        None => {}
    }
    label.write(partition, size)
}

/// Looks whether the label and the metadata have the checksums that they say.
///
/// # Errors
/// [`ErrorKind::Refused`] when one does not; I/O errors.
pub(in crate::fs) fn check(partition: &dyn Storage) -> Result<()> {
    let volume = Volume::open(partition)?;
    for area in Label::read(&volume)?.metadata {
        let header = read_header(&volume, area)?;
        let ignored = Fields::new(&header, area.offset).le32(60)? & IGNORED != 0;
        let is_empty = Fields::new(&header, area.offset).le64(48)? == 0;
        if !ignored && !is_empty && metadata(&volume, area)?.is_none() {
            return Err(damaged("the checksum of its metadata does not match"));
        }
    }
    Ok(())
}

/// The sector that a physical volume is recognised by.
struct Label {
    /// Byte offset.
    at: u64,
    sector: Vec<u8>,
    /// Where the volume's header is in it.
    header: usize,
    /// As the metadata names the volume.
    id: String,
    data: Vec<Area>,
    metadata: Vec<Area>,
    is_used: bool,
}

impl Label {
    fn read(volume: &Volume<'_>) -> Result<Self> {
        let at = label(volume).ok_or_else(|| damaged("it has no label"))?;
        let sector = volume.head(at).slice(0, SECTOR)?.to_vec();
        let fields = Fields::new(&sector, at as u64);
        let is_signed = fields.le32(16)? == checksum(&sector[20..]);
        if !is_signed || fields.le64(8)? != (at / SECTOR) as u64 {
            return Err(damaged("the checksum of its label does not match"));
        }
        let header = usize::try_from(fields.le32(20)?).unwrap_or(SECTOR);
        let id = format_id(fields.slice(header, 32)?);
        let mut next = header + 40;
        let data = areas(fields, &mut next)?;
        let metadata = areas(fields, &mut next)?;
        // Older labels end here, with zeroes.
        let is_used = next + 8 <= SECTOR && fields.le32(next + 4)? & USED != 0;
        Ok(Self {
            at: at as u64,
            header,
            id,
            data,
            metadata,
            is_used,
            sector,
        })
    }

    fn write(mut self, partition: &dyn WritableStorage, size: u64) -> Result<()> {
        let at = self.header + 32;
        self.sector[at..at + 8].copy_from_slice(&size.to_le_bytes());
        let sum = checksum(&self.sector[20..]);
        self.sector[16..20].copy_from_slice(&sum.to_le_bytes());
        partition.write_at(&self.sector, self.at)
    }
}

/// The header of an area, which must be whole.
fn read_header(volume: &Volume<'_>, area: Area) -> Result<Vec<u8>> {
    let header = volume
        .read(area.offset, SECTOR)?
        .ok_or_else(|| damaged("its metadata lies outside of it"))?;
    let fields = Fields::new(&header, area.offset);
    if &header[4..20] != METADATA_MAGIC || fields.le32(0)? != checksum(&header[4..]) {
        return Err(damaged("the header of its metadata is damaged"));
    }
    let end = area.offset.checked_add(area.size);
    if end.is_none_or(|end| end > volume.size()) || area.size <= RING_START {
        return Err(damaged("its metadata lies outside of it"));
    }
    if fields.le32(20)? != 1 || (fields.le64(24)?, fields.le64(32)?) != (area.offset, area.size) {
        return Err(damaged("the header of its metadata contradicts its label"));
    }
    Ok(header)
}

/// A metadata area with a text.
struct Metadata {
    area: Area,
    header: Vec<u8>,
    text: Vec<u8>,
}

impl Metadata {
    /// `None` when the area is empty, as in a volume without a group.
    fn read(volume: &Volume<'_>, area: Area) -> Result<Option<Self>> {
        let header = read_header(volume, area)?;
        let fields = Fields::new(&header, area.offset);
        if fields.le32(60)? & IGNORED != 0 {
            return Err(unsupported(
                "its metadata is on other physical volumes only",
            ));
        }
        // The second place is that of a text that is not valid yet.
        if fields.le64(64)? != 0 {
            return Err(unsupported(
                "a change of its volume group was not finished: run vgck in the guest",
            ));
        }
        if fields.le64(48)? == 0 {
            return Ok(None);
        }
        let text = metadata(volume, area)?
            .ok_or_else(|| damaged("the checksum of its metadata does not match"))?;
        Ok(Some(Self { area, header, text }))
    }

    /// The new text goes to free room of the ring. One sector says then that it is valid.
    fn write(&mut self, partition: &dyn WritableStorage, text: Vec<u8>) -> Result<()> {
        let length = text.len() as u64;
        let at = self.room_for(length)?;
        partition.write_at(&text, self.area.offset + at)?;
        partition.flush()?;
        self.header[40..48].copy_from_slice(&at.to_le_bytes());
        self.header[48..56].copy_from_slice(&length.to_le_bytes());
        self.header[56..60].copy_from_slice(&checksum(&text).to_le_bytes());
        let sum = checksum(&self.header[4..]);
        self.header[..4].copy_from_slice(&sum.to_le_bytes());
        partition.write_at(&self.header, self.area.offset)?;
        self.text = text;
        partition.flush()
    }

    /// Where in the area so many bytes have room in one piece, beside the text that is there.
    fn room_for(&self, length: u64) -> Result<u64> {
        let fields = Fields::new(&self.header, self.area.offset);
        let (old, ring) = (fields.le64(40)?, self.area.size);
        let end = old.saturating_add(self.text.len() as u64);
        // The old one may go on at the beginning of the ring.
        let (used, behind) = match end.checked_sub(ring) {
            Some(wrapped) => (RING_START + wrapped..old, RING_START + wrapped),
            None => (RING_START..old, end),
        };
        let behind = behind.next_multiple_of(TEXT_ALIGNMENT);
        let last = if end > ring { old } else { ring };
        if length <= MAX_TEXT && behind.checked_add(length).is_some_and(|end| end <= last) {
            return Ok(behind);
        }
        if end <= ring && used.start + length <= used.end {
            return Ok(RING_START);
        }
        Err(unsupported(
            "its metadata area has no room for another text",
        ))
    }
}

/// The metadata text with the volume `id`, whose data begins at byte `data`, on a device of `size`
/// bytes. `None` when it has all the extents that there is room for.
fn grown(text: &[u8], id: &str, data: u64, size: u64) -> Result<Option<Vec<u8>>> {
    let node = Node::parse(text);
    let group = Group::find(&node).ok_or_else(nonsense)?;
    let (name, this) = judge(&node, &group, id)?;
    let number = |name: &str| this.number(name).ok_or_else(nonsense);
    let (start, count) = (number("pe_start")?, number("pe_count")?);
    if start.checked_mul(SECTOR as u64) != Some(data) || group.extent_size == 0 {
        return Err(damaged("its metadata contradicts its label"));
    }
    if group.allocated_on(name) > count {
        return Err(damaged("its logical volumes have more extents than it has"));
    }
    let room = size.saturating_sub(data);
    let extents = (room / group.extent_size).min(MAX_EXTENTS);
    if extents < count {
        return Err(damaged("it is larger than its partition"));
    }
    if extents == count {
        return Ok(None);
    }
    let sequence = group.node.number("seqno").and_then(|it| it.checked_add(1));
    let sequence = sequence.ok_or_else(nonsense)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let here = ["physical_volumes", name];
    let of_volume = |field| [&[group.name], &here[..], &[field]].concat();
    let description = "Platter made the physical volume larger";
    let changes = [
        (vec![group.name, "seqno"], Node::Number(sequence)),
        (of_volume("pe_count"), Node::Number(extents)),
        // What pvresize writes here is the room for extents, unlike vgcreate.
        (of_volume("dev_size"), Node::Number(room / SECTOR as u64)),
        (vec!["description"], Node::Text(description.to_owned())),
        (vec!["creation_time"], Node::Number(now)),
    ];
    let mut expected = node.clone();
    let mut text = text.to_vec();
    for (path, value) in changes {
        let written = match &value {
            Node::Text(text) => format!("\"{text}\""),
            Node::Number(number) => number.to_string(),
            Node::Section(_) | Node::List(_) => return Err(nonsense()),
        };
        text = replace(&text, &path, &written).ok_or_else(nonsense)?;
        expected.set(&path, value);
    }
    // What is named twice, or ends early, must not be taken for something else.
    if Node::parse(&text) != expected {
        return Err(nonsense());
    }
    Ok(Some(text))
}

/// The volume `id` of a group that LVM would change too, with this volume alone at hand.
fn judge<'a>(text: &'a Node, group: &Group<'a>, id: &str) -> Result<(&'a str, &'a Node)> {
    let is_known = text.text("contents") == Some("Text Format Volume Group")
        && text.number("version") == Some(1)
        && group
            .node
            .text("format")
            .is_none_or(|format| format == "lvm2");
    if !is_known {
        return Err(unsupported("its metadata has a format that is not known"));
    }
    let has = |node: &Node, list: &str, flag: &str| {
        let flags = node.list(list).iter();
        flags
            .into_iter()
            .any(|it| matches!(it, Node::Text(it) if it == flag))
    };
    let says = |flag: &str| has(group.node, "status", flag) || has(group.node, "flags", flag);
    if says("EXPORTED") {
        return Err(unsupported("its volume group is exported"));
    }
    if says("CLUSTERED") || group.node.text("lock_type").is_some_and(|it| it != "none") {
        return Err(unsupported("its volume group is shared by several hosts"));
    }
    if !says("WRITE") && !says("WRITE_LOCKED") {
        return Err(unsupported("its volume group is read-only"));
    }
    let volumes = group.section("physical_volumes");
    // The others keep copies of the text. Should theirs be newer than this one, as after LVM ran
    // without it, a new one here would bring the old state back.
    if volumes.len() > 1 {
        return Err(unsupported(&format!(
            "its volume group spans {} physical volumes: run pvresize in the guest",
            volumes.len()
        )));
    }
    let this = volumes
        .iter()
        .find(|(_, volume)| volume.text("id") == Some(id));
    let (name, this) = this.ok_or_else(|| damaged("its volume group does not know it"))?;
    if has(this, "flags", "MISSING") || has(this, "status", "MISSING") {
        return Err(unsupported("its volume group has it down as missing"));
    }
    Ok((name, this))
}

fn unsupported(why: &str) -> Error {
    Error::unsupported(why.to_owned())
}

fn nonsense() -> Error {
    damaged("its metadata makes no sense")
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("{what}: check it first"))
}
