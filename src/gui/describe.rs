//! Engine values in translated words.

mod estimate;
mod operation;

use platter::chain::LinkProblem;
use platter::fs::FsKind;
use platter::image::Format;
use platter::table::TableKind;
use platter::{Error, ErrorKind};

pub(crate) use estimate::estimate;
pub(crate) use operation::{operation_error, phase, phrase, sentence, warning};

use crate::i18n::{fill, gettext};

/// The name on a format's badge and pill: short, as people write it. Names are not translated.
pub(crate) fn format_label(format: Format) -> &'static str {
    match format {
        Format::Bochs => "BOCHS",
        Format::Cloop => "CLOOP",
        Format::Dmg => "DMG",
        Format::Luks => "LUKS",
        Format::Parallels => "HDD",
        Format::Qcow1 => "QCOW",
        Format::Qcow2 => "QCOW2",
        Format::Qed => "QED",
        Format::Raw => "RAW",
        Format::Vdi => "VDI",
        Format::Vhd => "VHD",
        Format::Vhdx => "VHDX",
        Format::Vmdk => "VMDK",
        _ => "?",
    }
}

/// The format with the program it comes from, for a sentence or a fact row.
pub(crate) fn format_name(format: Format) -> String {
    match format {
        Format::Bochs => gettext("Bochs growing disk"),
        Format::Cloop => gettext("Compressed loop image"),
        Format::Dmg => gettext("Apple disk image (DMG)"),
        Format::Luks => gettext("LUKS encrypted disk"),
        Format::Parallels => gettext("Parallels disk"),
        Format::Qcow1 => gettext("QCOW version 1"),
        Format::Qcow2 => "QCOW2".to_owned(),
        Format::Qed => gettext("QEMU enhanced disk (QED)"),
        Format::Raw => gettext("Raw disk image"),
        Format::Vdi => gettext("VirtualBox disk (VDI)"),
        Format::Vhd => gettext("Virtual PC disk (VHD)"),
        Format::Vhdx => gettext("Hyper-V disk (VHDX)"),
        Format::Vmdk => gettext("VMware disk (VMDK)"),
        other => other.to_string(),
    }
}

/// Why something could not be read, in a plain sentence.
pub(crate) fn error_sentence(error: &Error) -> String {
    let reason = match error.kind() {
        ErrorKind::NotFound => return gettext("The file does not exist any more."),
        ErrorKind::PermissionDenied => {
            return gettext("You do not have permission to read this file.");
        }
        ErrorKind::Corrupt => gettext("The image is damaged: {reason}."),
        ErrorKind::Locked => gettext("Another program is using the image: {reason}."),
        ErrorKind::Unsupported => gettext(
            "The image uses something that this version of Platter does not support: {reason}.",
        ),
        ErrorKind::Refused => gettext("The image asks for a file that was not allowed: {reason}."),
        ErrorKind::Io => gettext("The file could not be read: {reason}."),
        _ => gettext("It did not work: {reason}."),
    };
    fill(&reason, &[("reason", error.message())])
}

/// All that is known of an error, for someone who looks into it: the engine's words with file,
/// offset and field, then each cause on a line.
pub(crate) fn error_details(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push('\n');
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The name of a file system, as people write it.
pub(crate) fn fs_name(kind: FsKind) -> String {
    match kind {
        FsKind::Swap => gettext("Swap"),
        other => other.title().to_owned(),
    }
}

/// The name of a partition table's kind.
pub(crate) fn table_name(kind: TableKind) -> String {
    match kind {
        TableKind::Gpt => "GPT".to_owned(),
        TableKind::Mbr => "MBR".to_owned(),
        TableKind::None => gettext("No partition table"),
    }
}

/// What is wrong with a link of a chain, in a short phrase.
pub(crate) fn link_problem(problem: &LinkProblem) -> String {
    match problem {
        LinkProblem::Missing => gettext("missing"),
        LinkProblem::Cyclic => gettext("stands on itself"),
        LinkProblem::TooDeep => gettext("the chain is too long"),
        LinkProblem::WrongFormat { claimed, found } => fill(
            &gettext("should be {claimed}, is {found}"),
            &[
                ("claimed", format_label(*claimed)),
                ("found", format_label(*found)),
            ],
        ),
        LinkProblem::NotAllowed(_) => gettext("not opened without your permission"),
        LinkProblem::Remote(protocol) => fill(
            &gettext("on a server ({protocol}), not opened"),
            &[("protocol", protocol)],
        ),
        LinkProblem::Encrypted(cipher) => {
            fill(&gettext("encrypted ({cipher})"), &[("cipher", cipher)])
        }
        LinkProblem::Unreadable(error) => fill(
            &gettext("cannot be read: {reason}"),
            &[("reason", error.message())],
        ),
    }
}
