//! Members of a ZFS pool: the first of the four vdev labels, after the "ZFS On-Disk Specification".

use super::volume::Volume;
use super::{FileSystem, FsKind};
use crate::codec::{Fields, utf8};
use crate::error::Result;
use crate::units::ByteSize;

/// The label's list of names and values, in XDR.
const LIST: usize = 16 << 10;
const MAX_PAIRS: usize = 1024;
const UINT64: u32 = 8;
const STRING: u32 = 9;
const NVLIST: u32 = 19;

pub(super) fn recognises(volume: &Volume<'_>) -> bool {
    // XDR, big or little-endian writer, then version 0 and unique names.
    let known = volume.has(LIST, &[1, 0, 0, 0]) || volume.has(LIST, &[1, 1, 0, 0]);
    known && volume.has(LIST + 4, &[0, 0, 0, 0, 0, 0, 0, 1]) && pool(volume).guid.is_some()
}

pub(super) fn read(volume: &Volume<'_>) -> Result<FileSystem> {
    let mut fs = FileSystem::new(FsKind::Zfs);
    let pool = pool(volume);
    fs.label = pool.name;
    fs.uuid = pool.guid.map(|guid| guid.to_string());
    fs.size = pool.asize;
    fs.block_size = pool.ashift.and_then(|shift| 1_u64.checked_shl(shift));
    if let Some(version) = pool.version {
        fs.detail("pool version", version.to_string());
    }
    if let Some(kind) = pool.vdev_kind {
        fs.detail("device kind", kind);
    }
    if let Some(host) = pool.host {
        fs.detail("last used by", host);
    }
    if let Some(size) = pool.asize {
        fs.detail("allocatable", ByteSize(size).to_string());
    }
    if pool.state == Some(0) {
        fs.note("its pool was not exported");
    }
    Ok(fs)
}

#[derive(Debug, Default)]
struct Pool {
    name: Option<String>,
    guid: Option<u64>,
    host: Option<String>,
    version: Option<u64>,
    state: Option<u64>,
    vdev_kind: Option<String>,
    asize: Option<u64>,
    ashift: Option<u32>,
}

fn pool(volume: &Volume<'_>) -> Pool {
    let mut pool = Pool::default();
    let list = volume.head(LIST);
    // A damaged list gives what came before the damage.
    let _ = pairs(list, 12, &mut |name, value| match (name, value) {
        (b"name", Value::Text(text)) => pool.name = utf8(text),
        (b"hostname", Value::Text(text)) => pool.host = utf8(text),
        (b"pool_guid", Value::Number(number)) => pool.guid = Some(number),
        (b"version", Value::Number(number)) => pool.version = Some(number),
        (b"state", Value::Number(number)) => pool.state = Some(number),
        (b"vdev_tree", Value::List(at)) => {
            let _ = pairs(list, at + 8, &mut |name, value| match (name, value) {
                (b"type", Value::Text(text)) => pool.vdev_kind = utf8(text),
                (b"asize", Value::Number(number)) => pool.asize = Some(number),
                (b"ashift", Value::Number(number)) => pool.ashift = u32::try_from(number).ok(),
                _ => {}
            });
        }
        _ => {}
    });
    pool
}

enum Value<'a> {
    Number(u64),
    Text(&'a [u8]),
    /// Position of a list inside the list.
    List(usize),
    Other,
}

/// Visits the pairs from `at` on: size of the pair here and in memory, name, type, number of
/// elements, value. Two zeroes end the list.
fn pairs<'a>(
    list: Fields<'a>,
    mut at: usize,
    visit: &mut dyn FnMut(&'a [u8], Value<'a>),
) -> Result<()> {
    for _ in 0..MAX_PAIRS {
        let size = list.be32(at)? as usize;
        if size < 20 {
            break;
        }
        let name_length = list.be32(at + 8)? as usize;
        let name = list.slice(at + 12, name_length)?;
        let type_at = at + 12 + name_length.next_multiple_of(4);
        let value_at = type_at + 8;
        let value = match (list.be32(type_at)?, list.be32(type_at + 4)?) {
            (UINT64, 1) => Value::Number(list.be64(value_at)?),
            (STRING, 1) => {
                let length = list.be32(value_at)? as usize;
                Value::Text(list.slice(value_at + 4, length)?)
            }
            (NVLIST, 1) => Value::List(value_at),
            _ => Value::Other,
        };
        visit(name, value);
        at += size;
    }
    Ok(())
}
