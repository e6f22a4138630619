//! What a change consists of, as it is kept in the journal.

use crate::codec::Fields;
use crate::error::{Error, Result};
use crate::journal::record::Record;
use crate::storage::{Move, Storage};

/// Largest list of steps, in bytes: some hundred thousand replacements.
pub(super) const MAX_STEPS: u64 = 16 << 20;

/// One step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// The disk gets another length. What is cut off is kept in the journal from `kept_at` on, as
    /// far as `kept` bytes go, counted from the old end.
    Length {
        before: u64,
        after: u64,
        kept: u64,
        kept_at: u64,
    },
    /// Bytes move; the two places may overlap.
    Move { from: u64, to: u64, length: u64 },
    /// Bytes are replaced.
    Write(Vec<Replacement>),
    /// Nothing happens, but going back past it makes these bytes what they were.
    Keep(Vec<Kept>),
    /// Bytes move, all at once and without being copied ([`crate::storage::WritableStorage::remap`]).
    Remap(Vec<Move>),
}

/// Bytes that nothing else brings back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Kept {
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Room for them in the journal; 0 for zeroes, which need none.
    pub(super) at: u64,
}

impl Kept {
    pub(super) fn is_zeroes(&self) -> bool {
        self.at == 0
    }
}

/// Bytes that replace others. Of one step they do not overlap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Replacement {
    pub(super) offset: u64,
    pub(super) length: u64,
    /// The new bytes in the journal.
    pub(super) new_at: u64,
    /// Room for the old ones.
    pub(super) old_at: u64,
}

impl Step {
    /// Bytes that it moves or writes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Length { .. } | Self::Remap(_) => 0,
            Self::Move { length, .. } => *length,
            Self::Write(all) => all.iter().map(|one| one.length).sum(),
            Self::Keep(all) => {
                let data = all.iter().filter(|one| !one.is_zeroes());
                data.map(|one| one.length).sum()
            }
        }
    }

    /// What [`super::record::Position::done`] is when it is done.
    pub(super) fn full(&self) -> u64 {
        match self {
            Self::Length { .. } | Self::Write(_) | Self::Keep(_) | Self::Remap(_) => 1,
            Self::Move { length, .. } => *length,
        }
    }
}

const LENGTH: u64 = 1;
const MOVE: u64 = 2;
const WRITE: u64 = 3;
const REMAP: u64 = 4;
const KEEP: u64 = 5;

/// The steps as they are kept: little-endian 64-bit numbers.
pub(super) fn encode(steps: &[Step]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut put = |numbers: &[u64]| {
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    };
    for step in steps {
        match step {
            Step::Length {
                before,
                after,
                kept,
                kept_at,
            } => put(&[LENGTH, *before, *after, *kept, *kept_at]),
            Step::Move { from, to, length } => put(&[MOVE, *from, *to, *length]),
            Step::Write(all) => {
                put(&[WRITE, all.len() as u64]);
                for one in all {
                    put(&[one.offset, one.length, one.new_at, one.old_at]);
                }
            }
            Step::Keep(all) => {
                put(&[KEEP, all.len() as u64]);
                for one in all {
                    put(&[one.offset, one.length, one.at]);
                }
            }
            Step::Remap(all) => {
                put(&[REMAP, all.len() as u64]);
                for one in all {
                    put(&[one.from, one.to, one.length]);
                }
            }
        }
    }
    bytes
}

/// The steps that `record` leads to.
pub(super) fn load(storage: &dyn Storage, record: &Record) -> Result<Vec<Step>> {
    if record.steps_length > MAX_STEPS {
        return Err(wrong("the steps of the journal are too long"));
    }
    let mut bytes = vec![0; usize::try_from(record.steps_length).unwrap_or(0)];
    storage.read_at(&mut bytes, record.steps_at)?;
    if crc32c::crc32c(&bytes) != record.steps_crc {
        return Err(wrong("the steps of the journal are damaged").with_offset(record.steps_at));
    }
    decode(&bytes)
}

fn decode(bytes: &[u8]) -> Result<Vec<Step>> {
    let fields = Fields::new(bytes, 0);
    let mut at = 0;
    let mut next = || {
        at += 8;
        fields.le64(at - 8)
    };
    let mut steps = Vec::new();
    let mut left = bytes.len() as u64 / 8;
    while left > 0 {
        let step = match next()? {
            LENGTH => Step::Length {
                before: next()?,
                after: next()?,
                kept: next()?,
                kept_at: next()?,
            },
            MOVE => Step::Move {
                from: next()?,
                to: next()?,
                length: next()?,
            },
            WRITE => {
                let count = next()?;
                // Not an allocation yet: each one is read, and the bytes come to an end.
                let all = (0..count).map(|_| {
                    Ok(Replacement {
                        offset: next()?,
                        length: next()?,
                        new_at: next()?,
                        old_at: next()?,
                    })
                });
                Step::Write(all.collect::<Result<_>>()?)
            }
            KEEP => {
                let count = next()?;
                let all = (0..count).map(|_| {
                    Ok(Kept {
                        offset: next()?,
                        length: next()?,
                        at: next()?,
                    })
                });
                Step::Keep(all.collect::<Result<_>>()?)
            }
            REMAP => {
                let count = next()?;
                let all = (0..count).map(|_| {
                    Ok(Move {
                        from: next()?,
                        to: next()?,
                        length: next()?,
                    })
                });
                Step::Remap(all.collect::<Result<_>>()?)
            }
            other => return Err(wrong(&format!("step {other} is not known"))),
        };
        left = left.saturating_sub(encode(std::slice::from_ref(&step)).len() as u64 / 8);
        steps.push(step);
    }
    Ok(steps)
}

fn wrong(message: &str) -> Error {
    Error::corrupt(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_back_as_they_were() {
        let steps = vec![
            Step::Length {
                before: 1,
                after: 2,
                kept: 3,
                kept_at: 4,
            },
            Step::Write(vec![
                Replacement {
                    offset: 1,
                    length: 2,
                    new_at: 3,
                    old_at: 4,
                };
                3
            ]),
            Step::Move {
                from: 5,
                to: 6,
                length: 7,
            },
            Step::Write(Vec::new()),
            Step::Keep(vec![
                Kept {
                    offset: 1,
                    length: 2,
                    at: 3,
                };
                3
            ]),
            Step::Remap(vec![
                Move {
                    from: 8,
                    to: 9,
                    length: 10,
                };
                2
            ]),
        ];
        assert_eq!(decode(&encode(&steps)).unwrap(), steps);
        assert!(decode(&9_u64.to_le_bytes()).is_err());
        let cut = encode(&steps);
        assert!(decode(&cut[..cut.len() - 24]).is_err());
        // A count that no bytes follow.
        for kind in [WRITE, KEEP, REMAP] {
            let many = [kind.to_le_bytes(), u64::MAX.to_le_bytes()].concat();
            assert!(decode(&many).is_err());
        }
    }
}
