//! How each tool is called, and what it says. Labels and sizes are checked before they become
//! arguments; the file is always the last one, and never begins with a dash.

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::FsKind;
use crate::fs::change::private::Private;
use crate::fs::change::{Change, Outcome, identifier, swap, tool};
use crate::units::KIB;

/// A call of a tool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Call {
    program: &'static str,
    /// Before the file.
    arguments: Vec<String>,
    /// Behind it.
    last: Vec<String>,
    /// Exit codes that mean success.
    good: &'static [i32],
}

impl Call {
    fn new(program: &'static str, arguments: &[&str]) -> Self {
        Self {
            program,
            arguments: arguments.iter().map(|&argument| argument.into()).collect(),
            last: Vec::new(),
            good: &[0],
        }
    }

    fn then(mut self, last: impl Into<String>) -> Self {
        self.last.push(last.into());
        self
    }

    fn good(mut self, good: &'static [i32]) -> Self {
        self.good = good;
        self
    }
}

/// The calls that make a change of a file system whose partition has `size` bytes.
pub(super) fn of_change(kind: FsKind, change: &Change, size: u64) -> Result<Vec<Call>> {
    let call = match change {
        Change::Make { label, .. } => return make(kind, label.as_deref()).map(|call| vec![call]),
        Change::Grow => return grow(kind, size),
        Change::Shrink(to) => return shrink(kind, *to),
        Change::Repair => match kind {
            FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => {
                Call::new("e2fsck", &["-f", "-y"]).good(&[0, 1])
            }
            FsKind::Xfs => Call::new("xfs_repair", &[]),
            FsKind::ExFat => Call::new("fsck.exfat", &["-y"]).good(&[0, 1]),
            _ => Call::new("fsck.fat", &["-a"]).good(&[0, 1]),
        },
        Change::Label(label) => rename(kind, label)?,
        Change::Uuid(wanted) => identify_as(kind, &wanted.text(kind)?)?,
    };
    Ok(vec![call])
}

/// The calls that look whether a file system is clean.
pub(super) fn of_check(kind: FsKind) -> Vec<Call> {
    vec![match kind {
        FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => Call::new("e2fsck", &["-f", "-n"]),
        FsKind::Ntfs => Call::new("ntfsresize", &["--info", "--force", "--no-progress-bar"]),
        FsKind::Xfs => Call::new("xfs_repair", &["-n"]),
        FsKind::ExFat => Call::new("fsck.exfat", &["-n"]),
        FsKind::Btrfs => Call::new("btrfs", &["check", "--readonly"]),
        _ => Call::new("fsck.fat", &["-n"]),
    }]
}

/// Runs the calls one after the other; the first that fails ends it.
pub(super) fn run_all(calls: &[Call], file: &Private, control: &Control) -> Result<Outcome, Stop> {
    let mut outcome = Outcome {
        had_window: file.is_window(),
        ..Outcome::default()
    };
    for call in calls {
        let mut arguments = call.arguments.clone();
        arguments.push(file.path().to_string_lossy().into_owned());
        arguments.extend(call.last.iter().cloned());
        control.enter("running a file system tool", 0);
        let ran = tool::run(call.program, &arguments, file.input()?, control)?;
        // The cause says more than what the tool makes of it.
        file.check_failure()?;
        let words = [&[call.program.to_owned()], call.arguments.as_slice()].concat();
        let command = [words, call.last.clone()].concat().join(" ");
        if !ran
            .status
            .code()
            .is_some_and(|code| call.good.contains(&code))
        {
            return Err(Error::new(
                ErrorKind::Refused,
                format!("'{command}' failed ({}): {}", ran.status, ran.said),
            )
            .into());
        }
        outcome.commands.push(command);
        if !outcome.said.is_empty() {
            outcome.said.push('\n');
        }
        outcome.said.push_str(&ran.said);
    }
    Ok(outcome)
}

/// The fewest bytes that a file system can be made to fit in.
pub(super) fn minimum_size(kind: FsKind, file: &Private, control: &Control) -> Result<u64, Stop> {
    let unknown = || {
        Error::new(
            ErrorKind::Refused,
            "its tool does not say how small it can be",
        )
    };
    if kind == FsKind::Ntfs {
        let outcome = run_all(&of_check(kind), file, control)?;
        return Ok(number_after(&outcome.said, "You might resize at ").ok_or_else(unknown)?);
    }
    let blocks = run_all(&[Call::new("resize2fs", &["-P"])], file, control)?;
    let blocks = number_after(&blocks.said, "minimum size of the filesystem: ");
    let geometry = run_all(&[Call::new("tune2fs", &["-l"])], file, control)?;
    let block_size = number_after(&geometry.said, "Block size:").ok_or_else(unknown)?;
    let bytes = blocks.and_then(|blocks| blocks.checked_mul(block_size));
    Ok(bytes.ok_or_else(unknown)?)
}

fn number_after(text: &str, words: &str) -> Option<u64> {
    let (_, rest) = text.split_once(words)?;
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

fn make(kind: FsKind, label: Option<&str>) -> Result<Call> {
    let (program, arguments, flag): (_, &[&str], _) = match kind {
        FsKind::Ext2 => ("mkfs.ext2", &["-F", "-q", "-E", "nodiscard"], "-L"),
        FsKind::Ext3 => ("mkfs.ext3", &["-F", "-q", "-E", "nodiscard"], "-L"),
        FsKind::Ext4 => ("mkfs.ext4", &["-F", "-q", "-E", "nodiscard"], "-L"),
        FsKind::Fat12 => ("mkfs.fat", &["-F", "12"], "-n"),
        FsKind::Fat16 => ("mkfs.fat", &["-F", "16"], "-n"),
        FsKind::Fat32 => ("mkfs.fat", &["-F", "32"], "-n"),
        FsKind::Ntfs => ("mkfs.ntfs", &["-F", "-Q"], "-L"),
        FsKind::ExFat => ("mkfs.exfat", &[], "-L"),
        FsKind::Xfs => ("mkfs.xfs", &["-f", "-q", "-K"], "-L"),
        _ => ("mkfs.btrfs", &["-f", "-q", "--nodiscard"], "-L"),
    };
    let mut call = Call::new(program, arguments);
    if let Some(label) = label.filter(|label| !label.is_empty()) {
        call.arguments.push(flag.to_owned());
        call.arguments.push(check_label(kind, label)?.to_owned());
    }
    Ok(call)
}

fn rename(kind: FsKind, label: &str) -> Result<Call> {
    let label = check_label(kind, label)?;
    Ok(match kind {
        FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => Call::new("tune2fs", &["-L", label]),
        FsKind::Ntfs => Call::new("ntfslabel", &["--force"]).then(label),
        FsKind::Xfs => Call::new(
            "xfs_admin",
            &["-L", if label.is_empty() { "--" } else { label }],
        ),
        FsKind::Btrfs => Call::new("btrfs", &["filesystem", "label"]).then(label),
        FsKind::ExFat => Call::new("exfatlabel", &[]).then(label),
        _ if label.is_empty() => Call::new("fatlabel", &["--reset"]),
        _ => Call::new("fatlabel", &[]).then(label),
    })
}

fn identify_as(kind: FsKind, text: &str) -> Result<Call> {
    Ok(match kind {
        FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => Call::new("tune2fs", &["-f", "-U", text]),
        FsKind::Xfs => Call::new("xfs_admin", &["-U", text]),
        FsKind::Btrfs => Call::new("btrfstune", &["-f", "-U", text]),
        FsKind::Ntfs => Call::new("ntfslabel", &[&format!("--new-serial={text}")]),
        // Without the prefix it would be taken for a decimal number.
        FsKind::ExFat => {
            let serial = format!("0x{:08x}", identifier::number(text));
            Call::new("exfatlabel", &["-i"]).then(serial)
        }
        _ => return Err(Error::unsupported("its identifier cannot be changed")),
    })
}

fn grow(kind: FsKind, size: u64) -> Result<Vec<Call>> {
    Ok(match kind {
        FsKind::Ntfs => vec![ntfs_resize(size)?],
        _ => vec![preen(), Call::new("resize2fs", &[])],
    })
}

fn shrink(kind: FsKind, to: u64) -> Result<Vec<Call>> {
    Ok(match kind {
        FsKind::Ntfs => vec![ntfs_resize(to)?],
        // In units of 1 KiB: resize2fs takes whole blocks below that.
        _ => vec![
            preen(),
            Call::new("resize2fs", &[]).then(format!("{}K", to / KIB)),
        ],
    })
}

/// resize2fs works on clean file systems only; what needs decisions is left to a repair.
fn preen() -> Call {
    Call::new("e2fsck", &["-f", "-p"]).good(&[0, 1])
}

fn ntfs_resize(size: u64) -> Result<Call> {
    if size < 1 << 20 {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "an NTFS file system has at least 1 MiB",
        ));
    }
    let mut call = Call::new(
        "ntfsresize",
        &["--force", "--force", "--no-progress-bar", "--size"],
    );
    call.arguments.push(size.to_string());
    Ok(call)
}

/// Answers `label` when a file system of this kind can hold it, and no tool takes it for an option.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] with what is wrong with it.
pub fn check_label(kind: FsKind, label: &str) -> Result<&str> {
    let most = match kind {
        FsKind::Ext2 | FsKind::Ext3 | FsKind::Ext4 => 16,
        FsKind::Fat12 | FsKind::Fat16 | FsKind::Fat32 => 11,
        FsKind::Xfs => 12,
        FsKind::ExFat => 15,
        FsKind::Ntfs => 128,
        FsKind::Swap => swap::LABEL_BYTES,
        _ => 255,
    };
    let refuse = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
    if label.len() > most {
        return refuse(format!(
            "a label of {kind} has at most {most} bytes",
            kind = kind.name()
        ));
    }
    if label.starts_with('-') {
        return refuse("a label must not begin with a dash".to_owned());
    }
    if label.chars().any(char::is_control) || label.contains('/') {
        return refuse("a label has no control characters and no slash".to_owned());
    }
    Ok(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_no_options() {
        for label in ["-L/etc", "a\nb", "a/b", "seventeen letters"] {
            let change = Change::Label(label.to_owned());
            assert!(
                of_change(FsKind::Ext4, &change, 1 << 30).is_err(),
                "{label}"
            );
        }
        let calls = of_change(FsKind::Ext4, &Change::Label("root".into()), 1 << 30).unwrap();
        assert_eq!(calls, [Call::new("tune2fs", &["-L", "root"])]);
    }

    #[test]
    fn numbers_are_found_in_what_tools_say() {
        let said = "resize2fs 1.47.0\nEstimated minimum size of the filesystem: 1434\n";
        assert_eq!(
            number_after(said, "minimum size of the filesystem: "),
            Some(1434)
        );
        assert_eq!(
            number_after("Block size:               4096", "Block size:"),
            Some(4096)
        );
        assert_eq!(number_after("nothing", "Block size:"), None);
    }
}
