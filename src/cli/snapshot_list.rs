//! The list of internal snapshots, as `info` and `snapshot -l` print it.

use std::fmt::Write as _;
use std::time::Duration;

use platter::image::Snapshot;
use platter::units::ByteSize;
use serde_json::{Map, Value, json};

use crate::date;

/// A snapshot for programs, with the keys in QEMU's order.
pub(crate) fn json(snapshot: &Snapshot) -> Value {
    let mut entry = Map::new();
    if let Some(icount) = snapshot.icount {
        entry.insert("icount".into(), json!(icount));
    }
    entry.insert(
        "vm-clock-nsec".into(),
        json!(snapshot.vm_clock.subsec_nanos()),
    );
    entry.insert("name".into(), json!(snapshot.name));
    entry.insert("date-sec".into(), json!(snapshot.date.as_secs()));
    entry.insert("date-nsec".into(), json!(snapshot.date.subsec_nanos()));
    entry.insert("vm-clock-sec".into(), json!(snapshot.vm_clock.as_secs()));
    entry.insert("id".into(), json!(snapshot.id));
    entry.insert("vm-state-size".into(), json!(snapshot.vm_state_size));
    entry.into()
}

/// Snapshots, as [`json`] describes them, as a table.
pub(crate) fn human(snapshots: &[Value]) -> String {
    let mut text = String::from(
        "Snapshot list:\n\
         ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT\n",
    );
    for snapshot in snapshots {
        let number = |key: &str| snapshot[key].as_u64().unwrap_or_default();
        let word = |key: &str| snapshot[key].as_str().unwrap_or_default();
        let seconds = number("vm-clock-sec");
        let clock = format!(
            "{:04}:{:02}:{:02}.{:03}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            number("vm-clock-nsec") / 1_000_000
        );
        let date = date::local(Duration::from_secs(number("date-sec")));
        let icount = snapshot["icount"].as_u64().map(|count| count.to_string());
        let _ = writeln!(
            text,
            "{} {} {:>8} {date:>19} {clock:>15} {:>10}",
            padded(word("id"), 7),
            padded(word("name"), 16),
            ByteSize(number("vm-state-size")).to_string(),
            icount.unwrap_or_else(|| "--".to_owned()),
        );
    }
    text
}

/// Padded as C pads: by bytes.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.len())))
}
