//! Where two disks differ.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use platter::chain::{Chain, ChainOptions};
use platter::inspect::Contents;
use platter::job::Outcome;
use platter::op::difference::{Differences, differences};
use platter::op::plan::{Plan, command_line, name_of};
use platter::phrase::{Phrase, gettext_noop};
use platter::storage::Storage;
use platter::table::Role;
use platter::{Control, Error, ErrorKind, Result, Stop};

use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

/// Ranges that the report lists.
const LISTED: usize = 10_000;

pub(super) fn draft(subject: Subject, other: PathBuf) -> Draft {
    Draft::new(move |_| {
        let (one, two) = (subject.look()?, open(&subject, &other)?);
        one.disk()?;
        two.disk()?;
        if one.active().path.is_some() && one.active().path == two.active().path {
            let same = "an image is equal to itself";
            return Err(Error::new(ErrorKind::InvalidInput, same).into());
        }
        let plan = plan(&subject, &other, &one, &two);
        let (subject, other) = (subject.clone(), other.clone());
        let work = Box::new(move |control: &Control| compare(&subject, &other, control));
        Ok(Operation {
            plan: Box::new(plan),
            work,
            after: After::default(),
        })
    })
}

fn open(subject: &Subject, other: &Path) -> Result<Chain> {
    let options = ChainOptions {
        policy: subject.policy.clone(),
        observe: true,
        ..ChainOptions::default()
    };
    Chain::open(other, &options)
}

fn plan(subject: &Subject, other: &Path, one: &Chain, two: &Chain) -> Plan {
    let title = Phrase::new(gettext_noop("Compare {name} with {other}"))
        .text("name", subject.name())
        .text("other", name_of(other));
    let mut plan = Plan::new(title, Phrase::new(gettext_noop("Compare")));
    let files = one.links().iter().chain(two.links());
    plan.reads = files.filter_map(|link| link.path.clone()).collect();
    let (path, other) = (subject.path.to_string_lossy(), other.to_string_lossy());
    plan.by_hand = vec![command_line(["qemu-img", "compare", &path, &other])];
    plan
}

fn compare(subject: &Subject, other: &Path, control: &Control) -> Result<Outcome, Stop> {
    let one: Arc<dyn Storage> = Arc::new(subject.look()?.disk()?);
    let two = open(subject, other)?.disk()?;
    let found = differences(one.as_ref(), &two, control)?;
    let contents = Contents::read(&one).ok();
    let about = |template| {
        Phrase::new(template)
            .text("name", subject.name())
            .text("other", name_of(other))
    };
    let message = if found.ranges.is_empty() {
        about(gettext_noop("The disks of {name} and {other} are equal"))
    } else {
        about(gettext_noop(
            "The disks of {name} and {other} differ in {count} places, {size} in all",
        ))
        .count("count", found.ranges.len() as u64)
        .size("size", found.bytes)
    };
    Ok(Outcome {
        message: Some(message),
        notes: lines(&found, contents.as_ref()),
        ..Outcome::default()
    })
}

/// A line a range, as CSV: where it begins, its length, and the partition that it is in.
fn lines(found: &Differences, contents: Option<&Contents>) -> Vec<String> {
    if found.ranges.is_empty() {
        return Vec::new();
    }
    let head = "guest offset,length,partition".to_owned();
    let line = |range: &Range<u64>| {
        let partition = contents.and_then(|contents| partition_of(contents, range.start));
        let partition = partition.map_or_else(String::new, |number| number.to_string());
        format!("{},{},{partition}", range.start, range.end - range.start)
    };
    let rest = found.ranges.len().saturating_sub(LISTED);
    let rest = (rest > 0).then(|| format!("… {rest}"));
    let listed = found.ranges.iter().take(LISTED).map(line);
    std::iter::once(head).chain(listed).chain(rest).collect()
}

fn partition_of(contents: &Contents, offset: u64) -> Option<u32> {
    let mut partitions = contents.table.partitions.iter();
    let found = partitions
        .find(|partition| partition.role != Role::Extended && partition.range.contains(&offset));
    Some(found?.number)
}

#[cfg(test)]
mod tests {
    use platter::chain::OpenPolicy;
    use platter::image::Format;

    use super::*;

    #[test]
    fn every_difference_is_listed_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![0_u8; 1 << 20];
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.raw"), &bytes).unwrap();
        bytes[8192] = 1;
        bytes[500_000] = 1;
        std::fs::write(path("b.raw"), &bytes).unwrap();
        let subject = Subject {
            path: path("a.raw"),
            format: Format::Raw,
            policy: OpenPolicy::default(),
        };
        let control = Control::new();
        let operation = draft(subject.clone(), path("b.raw"))
            .draw_up(&control)
            .unwrap();
        let outcome = (operation.work)(&control).unwrap();
        assert_eq!(
            outcome.message.unwrap().to_string(),
            "The disks of a.raw and b.raw differ in 2 places, 8 KiB in all"
        );
        assert_eq!(
            outcome.notes,
            [
                "guest offset,length,partition",
                "8192,4096,",
                "499712,4096,"
            ]
        );
        assert!(draft(subject, path("a.raw")).draw_up(&control).is_err());
    }
}
