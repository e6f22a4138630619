//! Where two disks differ.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use platter::chain::{Chain, ChainOptions};
use platter::disk::Disk;
use platter::inspect::Contents;
use platter::job::Outcome;
use platter::op::difference::{Differences, differences};
use platter::op::plan::{Plan, command_line, name_of};
use platter::op::sample::Effort;
use platter::phrase::{Phrase, gettext_noop};
use platter::storage::Storage;
use platter::{Control, Error, ErrorKind, Result, Stop};

use crate::comparison::Comparison;
use crate::operation::{After, Draft, Operation};
use crate::subject::Subject;

/// Ranges that the report lists.
const LISTED: usize = 10_000;

pub(super) fn draft(subject: Subject, other: PathBuf) -> Draft {
    Draft::new(move |_| {
        let (one, two) = (subject.look()?, open(&subject, &other)?);
        let disks = [one.disk()?, two.disk()?];
        if one.active().path.is_some() && one.active().path == two.active().path {
            let same = "an image is equal to itself";
            return Err(Error::new(ErrorKind::InvalidInput, same).into());
        }
        let plan = plan(&subject, &other, &one, &two);
        let (subject, other) = (subject.clone(), other.clone());
        let compared = Arc::default();
        let after = After {
            effort: Some(effort(&[&one, &two], disks)),
            compared: Some(Arc::clone(&compared)),
            ..After::default()
        };
        Ok(Operation {
            plan: Box::new(plan),
            work: Box::new(move |control| compare(&subject, &other, &compared, control)),
            after,
        })
    })
}

/// What both files hold is read.
fn effort(chains: &[&Chain], disks: [Disk; 2]) -> Effort {
    let links = chains.iter().flat_map(|chain| chain.links());
    let held = links.filter_map(|link| link.allocated_size);
    let disks = disks.map(|disk| -> Arc<dyn Storage> { Arc::new(disk) });
    Effort {
        sources: disks.into(),
        bytes: held.fold(0, u64::saturating_add),
        compression: None,
        target: None,
    }
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

fn compare(
    subject: &Subject,
    other: &Path,
    compared: &OnceLock<Arc<Comparison>>,
    control: &Control,
) -> Result<Outcome, Stop> {
    let one: Arc<dyn Storage> = Arc::new(subject.look()?.disk()?);
    let two = open(subject, other)?.disk()?;
    let found = differences(one.as_ref(), &two, control)?;
    let contents = Contents::read(&one).ok();
    let about = |template| {
        Phrase::new(template)
            .text("name", subject.name())
            .text("other", name_of(other))
    };
    let message = if found.is_empty() {
        about(gettext_noop("The disks of {name} and {other} are equal"))
    } else {
        let template = match found.count() {
            1 => gettext_noop("The disks of {name} and {other} differ in one place, {size}"),
            _ => gettext_noop(
                "The disks of {name} and {other} differ in {count} places, {size} in all",
            ),
        };
        about(template)
            .count("count", found.count())
            .size("size", found.bytes())
    };
    let notes = lines(&found, contents.as_ref())?;
    // A job runs once.
    let _ = compared.set(Arc::new(Comparison {
        subject: subject.path.clone(),
        other: other.to_owned(),
        found,
    }));
    Ok(Outcome {
        message: Some(message),
        notes,
        ..Outcome::default()
    })
}

/// The differences as CSV, as far as a report is read; the map saves all of them.
fn lines(found: &Differences, contents: Option<&Contents>) -> Result<Vec<String>> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let mut text = Beginning::default();
    found.write_csv(contents, &mut text)?;
    let mut lines: Vec<String> = text.lines;
    if text.more > 0 {
        lines.push(format!("… {}", text.more));
    }
    Ok(lines)
}

/// Keeps the first lines of a text.
#[derive(Default)]
struct Beginning {
    lines: Vec<String>,
    line: Vec<u8>,
    /// Lines that were not kept.
    more: u64,
}

impl Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            // The first is the heading.
            if self.lines.len() <= LISTED {
                self.lines.push(String::from_utf8_lossy(&line).into_owned());
            } else {
                self.more += 1;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
        let (work, after) = (operation.work, operation.after);
        let outcome = work(&control).unwrap();
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
        let compared = after.compared.unwrap();
        assert_eq!(compared.get().unwrap().found.count(), 2);
        bytes[500_000] = 0;
        std::fs::write(path("b.raw"), &bytes).unwrap();
        let again = draft(subject.clone(), path("b.raw")).draw_up(&control);
        let outcome = (again.unwrap().work)(&control).unwrap();
        assert_eq!(
            outcome.message.unwrap().to_string(),
            "The disks of a.raw and b.raw differ in one place, 4 KiB"
        );
        assert!(draft(subject, path("a.raw")).draw_up(&control).is_err());
    }
}
