//! How far a change is: a sector with a checksum, written to two places in turn, so that a torn
//! write leaves the one before.

use crate::codec::Fields;
use crate::error::Result;
use crate::storage::{Storage, WritableStorage};

/// The two places, and what lies behind them.
const PLACES: [u64; 2] = [0, 4096];
/// Where the content of a journal begins.
pub(super) const CONTENT: u64 = 8192;
const SECTOR: usize = 512;
const MAGIC: &[u8; 8] = b"PLTRJRNL";
const VERSION: u32 = 1;

/// The image that a journal belongs to. A journal of another one must not be used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Identity {
    /// `st_dev` of its file.
    pub device: u64,
    /// `st_ino` of its file.
    pub inode: u64,
    /// Length of the disk in bytes before the change.
    pub size: u64,
}

/// A window on its way whose source is overwritten by its destination: it is kept in the journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Hot {
    /// Where it goes on the disk.
    pub(super) target: u64,
    pub(super) length: u64,
    pub(super) crc: u32,
    /// [`Position::done`] once it is there.
    pub(super) then_done: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Position {
    /// The step that is next, or on its way.
    pub(super) step: u64,
    /// Of a move: bytes that have moved. Of another step: 1 once it may have begun. Of a
    /// remapping: [`FORWARD`] or [`BACK`] once it may have begun that way.
    pub(super) done: u64,
    pub(super) hot: Option<Hot>,
    /// Of a remapping that may have begun: [`WritableStorage::layout_mark`] before it.
    pub(super) mark: Option<u64>,
}

/// See [`Position::done`].
pub(super) const FORWARD: u64 = 1;
/// See [`Position::done`].
pub(super) const BACK: u64 = 2;

/// Everything that a record holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Record {
    pub(super) sequence: u64,
    pub(super) identity: Identity,
    pub(super) position: Position,
    /// Where the steps lie in the journal.
    pub(super) steps_at: u64,
    pub(super) steps_length: u64,
    pub(super) steps_crc: u32,
    /// Where hot windows are kept.
    pub(super) hot_at: u64,
}

/// Writes the next record; durable on return.
pub(super) fn save(storage: &dyn WritableStorage, record: &mut Record) -> Result<()> {
    record.sequence += 1;
    let place = PLACES[usize::from(!record.sequence.is_multiple_of(2))];
    storage.write_at(&encode(record), place)?;
    storage.flush()
}

/// The latest whole record; `None` when there is none.
pub(super) fn load(storage: &dyn Storage) -> Result<Option<Record>> {
    let mut latest: Option<Record> = None;
    for place in PLACES {
        let mut sector = [0; SECTOR];
        storage.read_padded_at(&mut sector, place)?;
        if let Some(record) = decode(&sector)?
            && latest
                .as_ref()
                .is_none_or(|other| other.sequence < record.sequence)
        {
            latest = Some(record);
        }
    }
    Ok(latest)
}

fn encode(record: &Record) -> [u8; SECTOR] {
    let hot = record.position.hot;
    let mut sector = [0; SECTOR];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        sector[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(MAGIC);
    put(&VERSION.to_le_bytes());
    put(&[0; 4]); // the checksum
    for field in [
        record.sequence,
        record.identity.device,
        record.identity.inode,
        record.identity.size,
        record.position.step,
        record.position.done,
        record.steps_at,
        record.steps_length,
        u64::from(record.steps_crc),
        record.hot_at,
        u64::from(hot.is_some()),
        hot.map_or(0, |hot| hot.target),
        hot.map_or(0, |hot| hot.length),
        hot.map_or(0, |hot| u64::from(hot.crc)),
        hot.map_or(0, |hot| hot.then_done),
        // Behind the end of what older journals hold: zeroes there.
        u64::from(record.position.mark.is_some()),
        record.position.mark.unwrap_or(0),
    ] {
        put(&field.to_le_bytes());
    }
    let crc = crc32c::crc32c(&sector);
    sector[12..16].copy_from_slice(&crc.to_le_bytes());
    sector
}

fn decode(sector: &[u8; SECTOR]) -> Result<Option<Record>> {
    let fields = Fields::new(sector, 0);
    let mut blank = *sector;
    blank[12..16].fill(0);
    if &sector[..8] != MAGIC
        || fields.le32(8)? != VERSION
        || fields.le32(12)? != crc32c::crc32c(&blank)
    {
        return Ok(None);
    }
    let field = |index: usize| fields.le64(16 + index * 8);
    let crc = |index: usize| fields.le32(16 + index * 8);
    let hot = Hot {
        target: field(11)?,
        length: field(12)?,
        crc: crc(13)?,
        then_done: field(14)?,
    };
    Ok(Some(Record {
        sequence: field(0)?,
        identity: Identity {
            device: field(1)?,
            inode: field(2)?,
            size: field(3)?,
        },
        position: Position {
            step: field(4)?,
            done: field(5)?,
            hot: (field(10)? != 0).then_some(hot),
            mark: match field(15)? {
                0 => None,
                _ => Some(field(16)?),
            },
        },
        steps_at: field(6)?,
        steps_length: field(7)?,
        steps_crc: crc(8)?,
        hot_at: field(9)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn record() -> Record {
        Record {
            sequence: 6,
            identity: Identity {
                device: 1,
                inode: 2,
                size: 3,
            },
            position: Position {
                step: 4,
                done: 5,
                hot: Some(Hot {
                    target: 6,
                    length: 7,
                    crc: 8,
                    then_done: 9,
                }),
                mark: Some(0x5_0000),
            },
            steps_at: 10,
            steps_length: 11,
            steps_crc: u32::MAX,
            hot_at: 12,
        }
    }

    #[test]
    fn the_latest_whole_record_counts() {
        let storage = MemoryStorage::default();
        assert_eq!(load(&storage).unwrap(), None);
        let mut written = record();
        save(&storage, &mut written).unwrap();
        assert_eq!(load(&storage).unwrap(), Some(written.clone()));
        let before = written.clone();
        written.position.hot = None;
        save(&storage, &mut written).unwrap();
        assert_eq!(load(&storage).unwrap(), Some(written.clone()));
        // Torn: the one before counts.
        storage.write_at(&[0xff; 16], PLACES[0] + 100).unwrap();
        assert_eq!(load(&storage).unwrap(), Some(before));
    }
}
