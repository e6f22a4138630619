//! What a guest wrote and when, and so what it may find after a crash.

use std::ops::Range;

/// A disk sector, the smallest thing a crash keeps or loses.
const SECTOR: usize = 512;

/// The content of a guest disk over time. Time is the position in the log of changes.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The content that is durable at `at`.
    durable: Vec<u8>,
    events: Vec<Event>,
    /// Events that are part of `durable`.
    done: usize,
    /// The content with all events.
    now: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Event {
    /// Asked for at a position.
    Write {
        begun: usize,
        offset: usize,
        bytes: Vec<u8>,
    },
    /// Everything before was durable at a position.
    Flush { done: usize },
}

impl History {
    /// A disk that holds `content` durably.
    pub(crate) fn new(content: Vec<u8>) -> Self {
        Self {
            durable: content.clone(),
            events: Vec::new(),
            done: 0,
            now: content,
        }
    }

    /// The content if nothing crashes.
    pub(crate) fn now(&self) -> &[u8] {
        &self.now
    }

    /// A write that begins when the log is at `begun`.
    pub(crate) fn write(&mut self, begun: usize, offset: usize, bytes: &[u8]) {
        self.now[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.events.push(Event::Write {
            begun,
            offset,
            bytes: bytes.to_vec(),
        });
    }

    /// A flush that has returned when the log is at `done`.
    pub(crate) fn flush(&mut self, done: usize) {
        self.events.push(Event::Flush { done });
    }

    /// Whether the content found after a crash at `position` is one that may be there: sector by
    /// sector what was durable, or what was written since. Positions are asked in ascending order.
    ///
    /// # Errors
    /// The first sector that holds something else.
    pub(crate) fn allows(&mut self, position: usize, found: &[u8]) -> Result<(), String> {
        self.advance(position);
        if found.len() != self.durable.len() {
            return Err(format!(
                "the disk has {} bytes and not {}",
                found.len(),
                self.durable.len()
            ));
        }
        for (index, (is, was)) in found
            .chunks(SECTOR)
            .zip(self.durable.chunks(SECTOR))
            .enumerate()
        {
            let range = index * SECTOR..index * SECTOR + is.len();
            if is != was && !self.was_written(position, &range, is) {
                return Err(format!(
                    "guest sector at {:#x} holds {:02x?}…, durable was {:02x?}…",
                    range.start,
                    &is[..8],
                    &was[..8]
                ));
            }
        }
        Ok(())
    }

    /// Takes over what was made durable up to `position`.
    fn advance(&mut self, position: usize) {
        let flushed = self.events[self.done..]
            .iter()
            .rposition(|event| matches!(event, Event::Flush { done } if *done <= position));
        let Some(flushed) = flushed else {
            return;
        };
        let end = self.done + flushed + 1;
        for event in &self.events[self.done..end] {
            if let Event::Write { offset, bytes, .. } = event {
                self.durable[*offset..*offset + bytes.len()].copy_from_slice(bytes);
            }
        }
        self.done = end;
    }

    fn was_written(&self, position: usize, sector: &Range<usize>, is: &[u8]) -> bool {
        self.events[self.done..].iter().any(|event| match event {
            Event::Write {
                begun,
                offset,
                bytes,
            } if *begun < position => {
                let inside = *offset <= sector.start && sector.end <= offset + bytes.len();
                inside && bytes[sector.start - offset..sector.end - offset] == *is
            }
            _ => false,
        })
    }
}
