//! The tests of the test: writers that keep the wrong order, and one that keeps the right one. A
//! harness that lets a wrong one pass proves nothing.

use std::sync::Arc;

use platter::storage::{LogStorage, Storage, WritableStorage, WriteLog};

use crate::harness::{Effort, Tally, examine};
use crate::model::History;
use crate::subject::{Files, condition, create};

const CLUSTER: u64 = 4096;
const COPIED: u64 = 1 << 63;

/// In which order a cluster is allocated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    /// Data and refcount, flush, L2 entry, flush.
    Right,
    /// The L2 entry may be there before the refcount.
    NoBarrier,
    /// The L2 entry may be there before the data.
    DataLate,
    /// Says that it is flushed, but is not.
    NoFlush,
    /// The refcount after the L2 entry.
    CountLate,
    /// Frees what the L2 entry still names.
    FreeEarly,
}

/// The right order passes, each wrong one is found.
pub(crate) fn judged(effort: Effort) -> Result<Tally, String> {
    let mut sum =
        run(Order::Right, effort).map_err(|reason| format!("falsely accused: {reason}"))?;
    "(wrong orders, all found)".clone_into(&mut sum.operation);
    sum.is_self_test = true;
    for (order, expected) in [
        (Order::NoBarrier, "is corrupt"),
        (Order::CountLate, "is corrupt"),
        (Order::FreeEarly, "is corrupt"),
        (Order::DataLate, "guest sector"),
        (Order::NoFlush, "guest sector"),
    ] {
        match run(order, effort) {
            Ok(_) => return Err(format!("{order:?} passes, although it is wrong")),
            Err(reason) if reason.contains(expected) => {}
            Err(reason) => return Err(format!("{order:?} is found for another reason: {reason}")),
        }
    }
    Ok(sum)
}

/// Writes three clusters, one after the other, then frees the first.
fn run(order: Order, effort: Effort) -> Result<Tally, String> {
    let log = WriteLog::new();
    let mut image = create("cluster_size=4k", "64k", None);
    // An L2 table behind the metadata, so that the toy has only clusters to allocate.
    let l2 = (image.len() as u64).next_multiple_of(CLUSTER);
    image.resize((l2 + CLUSTER) as usize, 0);
    let l1 = field(&image, 40);
    put(&mut image, l1, &(l2 | COPIED).to_be_bytes());
    let counts = field(&image, field(&image, 48));
    put(&mut image, counts + l2 / CLUSTER * 2, &[0, 1]);
    let storage = log.storage(image);
    let toy = Toy {
        storage: Arc::clone(&storage),
        l2,
        counts,
        order,
    };
    let mut history = History::new(vec![0; 64 << 10]);
    for index in 0..3_u8 {
        let bytes = [0x41 + index; CLUSTER as usize];
        history.write(
            log.position(),
            usize::from(index) * CLUSTER as usize,
            &bytes,
        );
        toy.allocate(u64::from(index), &bytes)
            .map_err(|error| error.to_string())?;
        history.flush(log.position());
    }
    history.write(log.position(), 0, &[0; CLUSTER as usize]);
    toy.free(0).map_err(|error| error.to_string())?;
    history.flush(log.position());
    let before = Files::of(storage);
    if condition(&before).is_err() || before.content().ok().as_deref() != Some(history.now()) {
        return Err("the toy is wrong without any crash".to_owned());
    }
    examine(&format!("toy {order:?}"), &log, effort, |crash| {
        let files = Files::of(Arc::clone(&crash.files[0]) as _);
        let verdict = condition(&files)?;
        let found = files.content().map_err(|error| error.to_string())?;
        history.allows(crash.position, &found)?;
        Ok(verdict)
    })
}

fn field(image: &[u8], at: u64) -> u64 {
    let at = at as usize;
    u64::from_be_bytes(image[at..at + 8].try_into().expect("eight bytes"))
}

fn put(image: &mut [u8], at: u64, bytes: &[u8]) {
    image[at as usize..][..bytes.len()].copy_from_slice(bytes);
}

struct Toy {
    storage: Arc<LogStorage>,
    l2: u64,
    /// Where the refcount block is.
    counts: u64,
    order: Order,
}

impl Toy {
    fn allocate(&self, guest: u64, bytes: &[u8]) -> platter::Result<()> {
        let host = self.storage.size()?.next_multiple_of(CLUSTER);
        let count = || self.count(host, 1);
        let data = || self.storage.write_at(bytes, host);
        let entry = || self.entry(guest, host | COPIED);
        let flush = || self.storage.flush();
        match self.order {
            Order::Right | Order::FreeEarly => {
                data()?;
                count()?;
                flush()?;
                entry()?;
                flush()
            }
            Order::NoBarrier => {
                data()?;
                flush()?;
                count()?;
                entry()?;
                flush()
            }
            Order::DataLate => {
                self.storage.set_len(host + CLUSTER)?;
                count()?;
                flush()?;
                entry()?;
                flush()?;
                data()
            }
            Order::NoFlush => {
                data()?;
                count()?;
                flush()?;
                entry()
            }
            Order::CountLate => {
                data()?;
                flush()?;
                entry()?;
                flush()?;
                count()?;
                flush()
            }
        }
    }

    fn free(&self, guest: u64) -> platter::Result<()> {
        let mut entry = [0; 8];
        self.storage.read_at(&mut entry, self.l2 + guest * 8)?;
        let host = u64::from_be_bytes(entry) & !COPIED;
        if self.order == Order::FreeEarly {
            self.count(host, 0)?;
            self.storage.flush()?;
        }
        self.entry(guest, 0)?;
        self.storage.flush()?;
        self.count(host, 0)?;
        self.storage.flush()
    }

    fn count(&self, host: u64, count: u16) -> platter::Result<()> {
        let at = self.counts + host / CLUSTER * 2;
        self.storage.write_at(&count.to_be_bytes(), at)
    }

    fn entry(&self, guest: u64, entry: u64) -> platter::Result<()> {
        self.storage
            .write_at(&entry.to_be_bytes(), self.l2 + guest * 8)
    }
}
