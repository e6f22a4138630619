//! Whether the metadata of an image is consistent; where it is not, the offer to repair it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use platter::image::{self, CheckReport, Finding, Repair};
use platter::job::Outcome;
use platter::op::plan::{Findings, Plan, command_line};
use platter::phrase::{Phrase, gettext_noop};
use platter::storage::FileStamp;
use platter::{Control, Error, ErrorKind, Stop};

use crate::operation::{After, Asks, Draft, Operation, Request};
use crate::subject::Subject;

/// Findings that are shown one by one.
const SHOWN: usize = 12;

/// What a check has found, and of which state of the file.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    report: CheckReport,
    stamp: Option<FileStamp>,
}

impl Seen {
    /// Looks at all of the image's metadata.
    fn look(subject: &Subject, control: &Control) -> Result<Self, Stop> {
        let stamp = FileStamp::of(&subject.path).ok();
        let report = check(subject, control)?;
        Ok(Self { report, stamp })
    }

    /// What is to be said now: another look, if the file is not what it was.
    fn again(&self, subject: &Subject, control: &Control) -> Result<CheckReport, Stop> {
        if self.stamp.is_some() && FileStamp::of(&subject.path).ok() == self.stamp {
            return Ok(self.report.clone());
        }
        check(subject, control)
    }
}

/// Checks, and then shows what `show` makes of what was found.
pub(super) fn look(
    subject: Subject,
    show: impl Fn(Seen) -> Request + Clone + Send + Sync + 'static,
) -> Draft {
    Draft::new(move |_| {
        let title = Phrase::new(gettext_noop("Check {name}")).text("name", subject.name());
        let mut plan = Plan::new(title, Phrase::new(gettext_noop("Check")));
        plan.reads = vec![subject.path.clone()];
        let found: Arc<OnceLock<Seen>> = Arc::default();
        let (seen, show) = (Arc::clone(&found), show.clone());
        let subject = subject.clone();
        Ok(Operation {
            plan: Box::new(plan),
            work: Box::new(move |control| {
                // A job runs once.
                let _ = found.set(Seen::look(&subject, control)?);
                Ok(Outcome::default())
            }),
            after: After {
                asks: Some(Asks::new(move || seen.get().cloned().map(&show))),
                ..After::default()
            },
        })
    })
}

/// Repairs what was `seen`. With `only_leaks`, what endangers data is left as it is.
pub(super) fn draft(subject: Subject, seen: Seen, only_leaks: bool) -> Draft {
    Draft::new(move |control| {
        let report = seen.again(&subject, control)?;
        let plan = plan(&subject, &report, only_leaks);
        let backup = Arc::default();
        let undo = restore(subject.clone(), Arc::clone(&backup));
        let subject = subject.clone();
        let work =
            Box::new(move |control: &Control| repair(&subject, only_leaks, &backup, control));
        Ok(Operation {
            plan: Box::new(plan),
            work,
            after: After {
                undo: Some(undo),
                ..After::default()
            },
        })
    })
}

fn check(subject: &Subject, control: &Control) -> Result<CheckReport, Stop> {
    let chain = subject.look_at_headers()?;
    let image = chain.active().image().ok_or_else(|| not_open(subject))?;
    image.check(control)
}

fn plan(subject: &Subject, report: &CheckReport, only_leaks: bool) -> Plan {
    let about = |template| Phrase::new(template).text("name", subject.name());
    let title = about(gettext_noop("Repair {name}"));
    let mut plan = Plan::new(title, Phrase::new(gettext_noop("Repair")));
    plan.found = Some(findings(subject, report));
    let mendable = if only_leaks {
        report.leaks > 0
    } else {
        !report.is_clean()
    };
    plan.is_report = !mendable;
    if mendable {
        plan.writes = vec![subject.path.clone()];
        plan.steps = vec![
            Phrase::new(gettext_noop(
                "What the repair overwrites is kept in a file beside the image first",
            )),
            Phrase::new(if only_leaks {
                gettext_noop("Leaked clusters are given back")
            } else {
                gettext_noop("References and what is counted of them are made to agree")
            }),
            about(gettext_noop("{name} is checked again")),
        ];
    }
    let path = subject.path.to_string_lossy();
    let mut words = vec!["qemu-img", "check"];
    if mendable {
        words.extend(["-r", if only_leaks { "leaks" } else { "all" }]);
    }
    words.extend(["-f", subject.format.name(), &path]);
    plan.by_hand = vec![command_line(words)];
    if mendable { plan.with_holders() } else { plan }
}

fn summary(report: &CheckReport) -> Phrase {
    Phrase::new(gettext_noop(
        "{corruptions} errors that endanger data, {leaks} leaked clusters, which only waste space",
    ))
    .count("corruptions", report.corruptions + report.check_errors)
    .count("leaks", report.leaks)
}

/// How full and how scattered the image is.
fn shape(report: &CheckReport) -> Option<Phrase> {
    (report.total_clusters > 0).then(|| {
        Phrase::new(gettext_noop(
            "{allocated} of {total} clusters are allocated, {compressed} compressed, {fragmented} apart from the one before",
        ))
        .count("allocated", report.allocated_clusters)
        .count("total", report.total_clusters)
        .count("compressed", report.compressed_clusters)
        .count("fragmented", report.fragmented_clusters)
    })
}

/// The first for the eye, and all that are kept in a text.
fn findings(subject: &Subject, report: &CheckReport) -> Findings {
    let first = if report.is_clean() {
        Phrase::new(gettext_noop("No errors were found"))
    } else {
        summary(report)
    };
    let mut lines = vec![(first, None)];
    lines.extend(shape(report).map(|shape| (shape, None)));
    let shown = report.findings.iter().take(SHOWN);
    lines.extend(shown.map(|it| (finding(it), it.meaning())));
    if report.findings.len() > SHOWN {
        let more = report.findings.len() - SHOWN;
        let more = Phrase::new(gettext_noop("{count} more")).count("count", more as u64);
        let all = Phrase::new(gettext_noop("Saved as text, they are all there"));
        lines.push((more, Some(all)));
    }
    Findings {
        text: as_text(subject, report),
        lines,
    }
}

/// In the words of the field's own checker.
fn as_text(subject: &Subject, report: &CheckReport) -> String {
    let mut text = format!(
        "{}\n{} corruptions, {} leaks, {} errors of the check\n",
        subject.path.display(),
        report.corruptions,
        report.leaks,
        report.check_errors
    );
    for finding in &report.findings {
        text.push_str(&finding.message);
        text.push('\n');
    }
    let counted = report.corruptions.saturating_add(report.leaks);
    let left_out = counted.saturating_sub(report.findings.len() as u64);
    if left_out > 0 {
        text.push_str(&format!("{left_out} more were counted and not kept\n"));
    }
    text
}

fn finding(finding: &Finding) -> Phrase {
    Phrase::new(gettext_noop("{finding}")).text("finding", &finding.message)
}

/// Puts back what the repair has overwritten.
fn restore(subject: Subject, backup: Arc<OnceLock<PathBuf>>) -> Draft {
    Draft::new(move |_| {
        let Some(backup) = backup.get().cloned() else {
            let nothing = "the repair has changed nothing";
            return Err(Error::new(ErrorKind::InvalidInput, nothing).into());
        };
        let about = |template| Phrase::new(template).text("name", subject.name());
        let mut plan = Plan::new(
            about(gettext_noop("Take the repair of {name} back")),
            Phrase::new(gettext_noop("Undo")),
        );
        plan.writes = vec![subject.path.clone(), backup.clone()];
        let said = about(gettext_noop(
            "The metadata of {name} is as it was before the repair",
        ));
        let path = subject.path.clone();
        Ok(Operation {
            plan: Box::new(plan),
            work: Box::new(move |control| {
                platter::op::repair::restore(&path, &backup, control)?;
                Ok(Outcome {
                    message: Some(said),
                    ..Outcome::default()
                })
            }),
            after: After::default(),
        })
    })
}

fn repair(
    subject: &Subject,
    only_leaks: bool,
    backup: &OnceLock<PathBuf>,
    control: &Control,
) -> Result<Outcome, Stop> {
    let chain = subject.change_header()?;
    let wish = if only_leaks {
        Repair::Leaks
    } else {
        Repair::All
    };
    let repaired =
        platter::op::repair::repair(&chain, wish, &platter::op::repair::Backup::Beside, control)?;
    if let Some(path) = &repaired.backup {
        // A job runs once.
        let _ = backup.set(path.clone());
    }
    let image::RepairReport {
        corruptions_fixed,
        leaks_fixed,
        after,
        ..
    } = repaired.report;
    let template = if after.is_clean() {
        gettext_noop(
            "Repaired {name}: {corruptions} errors and {leaks} leaks are gone, none is left",
        )
    } else {
        gettext_noop(
            "Repaired {name} in part: {corruptions} errors and {leaks} leaks are gone, others are left",
        )
    };
    let mut notes: Vec<String> = after.findings.into_iter().map(|it| it.message).collect();
    notes.extend(repaired.backup.map(|path| path.display().to_string()));
    Ok(Outcome {
        message: Some(
            Phrase::new(template)
                .text("name", subject.name())
                .count("corruptions", corruptions_fixed)
                .count("leaks", leaks_fixed),
        ),
        notes,
        ..Outcome::default()
    })
}

fn not_open(subject: &Subject) -> Error {
    Error::new(ErrorKind::InvalidInput, "the image is not open").with_path(&subject.path)
}

#[cfg(test)]
mod tests {
    use platter::chain::OpenPolicy;
    use platter::image::Format;

    use super::*;

    fn subject() -> Subject {
        Subject {
            path: "/vm/a.qcow2".into(),
            format: Format::Qcow2,
            policy: OpenPolicy::default(),
        }
    }

    fn shown(plan: &Plan) -> Vec<String> {
        let lines = plan.found.iter().flat_map(|found| &found.lines);
        lines.map(|(line, _)| line.to_string()).collect()
    }

    #[test]
    fn a_clean_image_has_nothing_to_repair() {
        let report = CheckReport {
            total_clusters: 10,
            ..CheckReport::default()
        };
        let plan = plan(&subject(), &report, false);
        assert!(plan.is_report && plan.writes.is_empty());
        assert_eq!(shown(&plan)[0], "No errors were found");
        assert_eq!(plan.by_hand, ["qemu-img check -f qcow2 /vm/a.qcow2"]);
    }

    #[test]
    fn findings_come_with_their_numbers_and_in_part() {
        let mut report = CheckReport {
            corruptions: 1,
            leaks: 19,
            ..CheckReport::default()
        };
        for number in 0..20 {
            report.note(Finding {
                corruption: number == 0,
                host: None,
                message: format!("finding {number}"),
            });
        }
        let all = plan(&subject(), &report, false);
        assert!(!all.is_report);
        let lines = shown(&all);
        assert!(lines[0].starts_with("1 errors that endanger data, 19 leaked"));
        assert!(lines.iter().any(|it| it == "8 more"), "{lines:?}");
        let text = all.found.clone().unwrap().text;
        assert!(
            text.contains("finding 19\n") && !text.contains("not kept"),
            "{text}"
        );
        assert!(all.by_hand[0].contains("-r all"));
        report.leaks = 0;
        assert!(plan(&subject(), &report, true).is_report);
    }
}
