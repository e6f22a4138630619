//! Raw images: what is written is where it is, and the length is old or new.

use std::sync::Arc;

use platter::Control;
use platter::image::{self, Format, ImageWriter, Preallocation, WritableFiles};
use platter::storage::{Storage, WritableStorage, WriteLog};
use platter::units::GuestOffset;

use crate::common::inputs::Random;
use crate::guest::noise;
use crate::harness::{Effort, Tally, Verdict, examine};
use crate::model::History;

const SIZE: usize = 256 << 10;

fn writer(storage: Arc<dyn WritableStorage>) -> Result<Box<dyn ImageWriter>, String> {
    let files = WritableFiles {
        storage,
        data_file: None,
        backing: None,
    };
    image::open_writable(files, Format::Raw).map_err(|error| error.to_string())
}

fn bytes_of(storage: &dyn Storage) -> Vec<u8> {
    let size = storage.size().expect("memory has a size");
    let mut bytes = vec![0; size as usize];
    storage.read_at(&mut bytes, 0).expect("memory can be read");
    bytes
}

pub(crate) fn writes(effort: Effort) -> Result<Tally, String> {
    let log = WriteLog::new();
    let before = noise(SIZE, 1);
    let raw = writer(log.storage(before.clone()))?;
    let mut history = History::new(before);
    let mut random = Random(2);
    for round in 0..60 {
        let start = random.below(SIZE as u64 / 512) as usize * 512;
        let end = (start + 512 * (1 + random.below(40) as usize)).min(SIZE);
        let range = start as u64..end as u64;
        let (byte, kind) = (random.next() as u8, random.below(4));
        let bytes = vec![if kind < 2 { byte } else { 0 }; end - start];
        history.write(log.position(), start, &bytes);
        let done = match kind {
            0 | 1 => raw.write_at(&bytes, GuestOffset(range.start)),
            2 => raw.write_zeroes(range, byte & 1 == 0),
            _ => raw.discard(range, false),
        };
        done.map_err(|error| error.to_string())?;
        if round % 10 == 9 {
            raw.flush().map_err(|error| error.to_string())?;
            history.flush(log.position());
        }
    }
    examine("raw: write, zero, discard", &log, effort, |crash| {
        history.allows(crash.position, &bytes_of(crash.files[0].as_ref()))?;
        Ok(Verdict::Clean)
    })
}

/// Grown or not, cut or not; what stays of the disk is what it was.
pub(crate) fn resize(effort: Effort) -> Result<Tally, String> {
    let mut sum = Tally {
        operation: "raw: resize".to_owned(),
        ..Tally::default()
    };
    for (new, how) in [
        (SIZE * 2, Preallocation::Off),
        (SIZE * 2, Preallocation::Falloc),
        (SIZE * 2, Preallocation::Full),
        (SIZE / 2, Preallocation::Off),
    ] {
        let log = WriteLog::new();
        let before = noise(SIZE, 3);
        let raw = writer(log.storage(before.clone()))?;
        let resized = raw.resize(new as u64, true, how, &Control::new());
        resized.map_err(|stop| stop.to_string())?;
        let returned = log.position();
        sum.add(&examine("raw: resize", &log, effort, |crash| {
            let found = bytes_of(crash.files[0].as_ref());
            if crash.position >= returned && found.len() != new {
                return Err(format!("{} bytes, although it returned", found.len()));
            }
            let kept = SIZE.min(new);
            let rest = found.get(kept..).unwrap_or_default();
            let tail_is = |byte: &[u8]| rest.iter().zip(byte).all(|(is, was)| is == was);
            let zeroes = vec![0; rest.len()];
            let tail_before = before.get(kept..).unwrap_or_default();
            let tail_fits = if new > SIZE {
                tail_is(&zeroes)
            } else {
                tail_is(tail_before)
            };
            if found.get(..kept) != before.get(..kept) || !tail_fits {
                return Err("neither old nor new".to_owned());
            }
            Ok(Verdict::Clean)
        })?);
    }
    Ok(sum)
}
