//! `check`: whether the metadata of an image is consistent, and with `-r` making it so. Needs
//! neither backing nor data file, so it opens none.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use platter::chain::Chain;
use platter::image::{CheckReport, Finding, Repair, RepairReport};
use platter::op::repair::Backup;
use platter::{Control, ErrorKind, Stop, op};
use serde_json::{Map, Value, json};

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::interrupt;
use crate::output::{OutputFormat, print, print_json};
use crate::program::{Failure, Outcome, Program, eprint_line, with_cause};
use crate::source::{self, OpenOptions, Reach, Source};

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("format", Some('f')),
    Opt::value("repair", Some('r')),
    Opt::value("output", None),
    Opt::value("object", None),
    Opt::flag("image-opts", None),
    Opt::flag("force-share", Some('U')),
    Opt::value("cache", Some('T')),
    Opt::flag("quiet", Some('q')),
    Opt::value("backup", None),
    Opt::flag("no-backup", None),
    Opt::value("restore", None),
];

const HAS_CORRUPTIONS: u8 = 2;
const HAS_LEAKS: u8 = 3;
const NOT_SUPPORTED: u8 = 63;

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} check", program.argv0()), OPTIONS, arguments);
    let mut open = OpenOptions::default();
    let (mut format, mut output, mut cache) = (None, OutputFormat::Human, None);
    let (mut quiet, mut repair) = (false, None);
    let (mut backup, mut backup_to_restore) = (None, None);
    let mut operands = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Option("help", _) => return help::of(program, "check"),
            Arg::Option("format", value) => format = Some(value),
            Arg::Option("repair", value) => match value.to_str() {
                Some("leaks") => repair = Some(Repair::Leaks),
                Some("all") => repair = Some(Repair::All),
                _ => {
                    let value = value.to_string_lossy();
                    return Err(args.usage(format!(
                        "--repair (-r) expects 'leaks' or 'all' not '{value}'"
                    )));
                }
            },
            Arg::Option("output", value) => output = OutputFormat::parse(&value, &args)?,
            Arg::Option("object", value) => source::accept_object(&value)?,
            Arg::Option("image-opts", _) => open.image_opts = true,
            Arg::Option("force-share", _) => open.force_share = true,
            Arg::Option("cache", value) => cache = Some(value),
            Arg::Option("quiet", _) => quiet = true,
            Arg::Option("backup", value) => backup = Some(Backup::At(value.into())),
            Arg::Option("no-backup", _) => backup = Some(Backup::None),
            Arg::Option("restore", value) => backup_to_restore = Some(value),
            Arg::Option(..) => {}
            Arg::Operand(operand) => operands.push(operand),
        }
    }
    let [operand] = operands.as_slice() else {
        return Err(args.usage("Expecting one image file name"));
    };
    if repair.is_none() && backup.is_some() {
        return Err(args.usage("--backup and --no-backup only make sense with --repair (-r)"));
    }
    if let Some(backup) = backup_to_restore {
        if repair.is_some() {
            return Err(args.usage("Cannot mix '--restore' and '-r'"));
        }
        return take_back(operand, &backup, quiet);
    }
    source::check_format_options(format.is_some(), open.image_opts)?;
    source::check_cache_mode(cache.as_deref())?;
    let source = Source::new(operand, format.as_deref(), &open)?;
    if repair.is_some() {
        open.writable = vec![0];
    }
    let chain = source.open(program, &open, Reach::Header)?;
    let checked = match repair {
        None => Checked::only(&chain, &Control::new())?,
        Some(repair) => {
            let backup = backup.unwrap_or_else(|| default_backup(program, &chain));
            let is_silent = program.is_drop_in() || quiet;
            let tell = |saved: &Path| {
                if !is_silent {
                    eprint_line(format_args!(
                        "{}: what the repair overwrote is in '{}'",
                        program.name(),
                        saved.display()
                    ));
                }
            };
            Checked::repaired(&chain, repair, &backup, &tell, quiet || output.is_json())?
        }
    };
    if !quiet {
        match output {
            OutputFormat::Human => print(&human(&checked.report))?,
            OutputFormat::Json => {
                let format = chain
                    .active()
                    .image()
                    .map_or("", |image| image.format().name());
                print_json(&json(&checked, source.filename(), format))?;
            }
        }
    }
    exit_code(&checked.report)
}

/// What there is to say in the end.
#[derive(Default)]
struct Checked {
    report: CheckReport,
    corruptions_fixed: u64,
    leaks_fixed: u64,
}

impl Checked {
    fn only(chain: &Chain, control: &Control) -> Result<Self, Failure> {
        let Some(image) = chain.active().image() else {
            return Err(Failure::new("The image is not open"));
        };
        let report = image.check(control).map_err(failure)?;
        say(&report.findings);
        Ok(Self {
            report,
            ..Self::default()
        })
    }

    fn repaired(
        chain: &Chain,
        repair: Repair,
        backup: &Backup,
        tell: &dyn Fn(&Path),
        quiet: bool,
    ) -> Result<Self, Failure> {
        let control = interrupt::control();
        let repaired = op::repair::repair(chain, repair, backup, &control).map_err(failure)?;
        let RepairReport {
            steps,
            corruptions_fixed,
            leaks_fixed,
            needs_rebuild,
            after,
            ..
        } = repaired.report;
        say(&steps);
        if let Some(saved) = &repaired.backup {
            tell(saved);
        }
        if needs_rebuild {
            eprint_line(format_args!("ERROR need to rebuild refcount structures"));
            return Err(Failure::new("Check failed: Input/output error"));
        }
        if corruptions_fixed + leaks_fixed > 0 {
            if !quiet {
                print(&format!(
                    "The following inconsistencies were found and repaired:\n\n    \
                     {leaks_fixed} leaked clusters\n    \
                     {corruptions_fixed} corruptions\n\n\
                     Double checking the fixed image now...\n"
                ))?;
            }
            say(&after.findings);
        }
        Ok(Self {
            report: after,
            corruptions_fixed,
            leaks_fixed,
        })
    }
}

/// Beside the image; a device has no place there, which is said. The other program makes none, so
/// one that cannot be made must not keep who calls us by its name from a repair.
fn default_backup(program: &Program, chain: &Chain) -> Backup {
    if program.is_drop_in() {
        return Backup::BesideIfPossible;
    }
    let file = chain.active().writable.as_ref().map(|files| &files.file);
    if !file.is_some_and(|file| file.is_block_device()) {
        return Backup::Beside;
    }
    eprint_line(format_args!(
        "warning: what a repair overwrites on a device is saved only with --backup"
    ));
    Backup::None
}

/// `--restore`.
fn take_back(image: &OsStr, backup: &OsStr, quiet: bool) -> Outcome {
    let control = interrupt::control();
    let restored = op::repair::restore(Path::new(image), Path::new(backup), &control);
    restored.map_err(|stop| match stop {
        Stop::Cancelled => Failure::interrupted(),
        Stop::Failed(error) => Failure::new(format!("Cannot take the repair back: {error}")),
    })?;
    if !quiet {
        print("The metadata is as it was before the repair.\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn say(findings: &[Finding]) {
    for finding in findings {
        eprint_line(format_args!("{}", finding.message));
    }
}

fn failure(stop: Stop) -> Failure {
    match stop {
        Stop::Failed(error) if error.kind() == ErrorKind::Unsupported => {
            Failure::new("This image format does not support checks").with_code(NOT_SUPPORTED)
        }
        Stop::Failed(error) => Failure::new(format!("Check failed: {}", with_cause(&error))),
        Stop::Cancelled => Failure::interrupted(),
    }
}

fn exit_code(report: &CheckReport) -> Outcome {
    if report.check_errors > 0 {
        Err(Failure::new("Check failed"))
    } else if report.corruptions > 0 {
        Ok(ExitCode::from(HAS_CORRUPTIONS))
    } else if report.leaks > 0 {
        Ok(ExitCode::from(HAS_LEAKS))
    } else {
        Ok(ExitCode::SUCCESS)
    }
}

fn human(report: &CheckReport) -> String {
    let mut text = String::new();
    if report.is_clean() {
        text.push_str("No errors were found on the image.\n");
    }
    for (count, sentence) in [
        (
            report.corruptions,
            "errors were found on the image.\n\
             Data may be corrupted, or further writes to the image may corrupt it.",
        ),
        (
            report.leaks,
            "leaked clusters were found on the image.\n\
             This means waste of disk space, but no harm to data.",
        ),
        (
            report.check_errors,
            "internal errors have occurred during the check.",
        ),
    ] {
        if count > 0 {
            let _ = writeln!(text, "\n{count} {sentence}");
        }
    }
    let CheckReport {
        total_clusters: total,
        allocated_clusters: allocated,
        ..
    } = *report;
    if total > 0 && allocated > 0 {
        let _ = writeln!(
            text,
            "{allocated}/{total} = {:.2}% allocated, {:.2}% fragmented, {:.2}% compressed clusters",
            percent(allocated, total),
            percent(report.fragmented_clusters, allocated),
            percent(report.compressed_clusters, allocated),
        );
    }
    if report.image_end_offset > 0 {
        let _ = writeln!(text, "Image end offset: {}", report.image_end_offset);
    }
    text
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts of clusters are far below 2^53"
)]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// In QEMU's order; counters that are zero are left out.
fn json(checked: &Checked, filename: &str, format: &str) -> Value {
    let report = &checked.report;
    let mut document = Map::new();
    let mut set = |key: &str, value: Value| document.insert(key.to_owned(), value);
    let counter = |count: u64| (count > 0).then(|| json!(count));
    let counters = [
        ("image-end-offset", counter(report.image_end_offset)),
        ("compressed-clusters", counter(report.compressed_clusters)),
        ("total-clusters", counter(report.total_clusters)),
        ("corruptions", counter(report.corruptions)),
        ("corruptions-fixed", counter(checked.corruptions_fixed)),
        ("check-errors", Some(json!(report.check_errors))),
        ("leaks", counter(report.leaks)),
        ("leaks-fixed", counter(checked.leaks_fixed)),
        ("allocated-clusters", counter(report.allocated_clusters)),
        ("filename", Some(json!(filename))),
        ("format", Some(json!(format))),
        ("fragmented-clusters", counter(report.fragmented_clusters)),
    ];
    for (key, value) in counters {
        if let Some(value) = value {
            set(key, value);
        }
    }
    document.into()
}
