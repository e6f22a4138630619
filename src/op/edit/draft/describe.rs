//! A draft in words.

use std::ops::Range;

use super::{Change, Draft};
use crate::fs::change::Identifier;
use crate::units::ByteSize;

impl Draft {
    /// What will happen, one sentence a step.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let mut steps = Vec::new();
        let size = self.table.disk_size;
        if size > self.size_before {
            steps.push(format!("grow the disk to {}", ByteSize(size)));
        }
        for change in &self.changes {
            describe_change(change, &mut steps);
        }
        steps.push("write the partition table".to_owned());
        if size < self.size_before {
            steps.push(format!("cut the disk to {}", ByteSize(size)));
        }
        steps
    }
}

fn describe_change(change: &Change, steps: &mut Vec<String>) {
    let name = change.number_before.map_or_else(
        || "the new partition".to_owned(),
        |number| format!("partition {number}"),
    );
    let length = |range: &Range<u64>| ByteSize(range.end - range.start);
    let mut say = |what: String| steps.push(what);
    match (&change.before, &change.after) {
        (Some(_), None) => say(format!("delete {name}")),
        (None, Some(after)) if change.is_copy() => {
            say(format!(
                "copy a partition to a new one of {}",
                length(after)
            ));
        }
        (None, Some(after)) => say(format!("create a partition of {}", length(after))),
        (Some(before), Some(after)) => {
            if change.repair {
                say(format!("repair the file system of {name}"));
            }
            if length(after) < length(before) {
                say(format!("shrink {name} to {}", length(after)));
            }
            if before.start != after.start {
                let by = ByteSize(before.start.abs_diff(after.start));
                let way = if after.start > before.start {
                    "right"
                } else {
                    "left"
                };
                say(format!("move {name} by {by} to the {way}"));
            }
            if length(after) > length(before) {
                say(format!("grow {name} to {}", length(after)));
            }
        }
        (None, None) => {}
    }
    if change.after.is_none() {
        return;
    }
    if let Some((fs, _)) = &change.make {
        say(format!("make {} in {name}", fs.name()));
    }
    if let Some(label) = &change.label {
        say(format!("name the file system of {name} '{label}'"));
    }
    match &change.new_uuid {
        Some(Identifier::Random) => say(format!("give the file system of {name} a new UUID")),
        Some(Identifier::Exactly(id)) => {
            say(format!("give the file system of {name} the UUID {id}"));
        }
        None => {}
    }
    if change.check {
        say(format!("check the file system of {name}"));
    }
}
