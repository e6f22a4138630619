//! Which options a format has, in the order in which `qemu-img create` prints them.

use std::fmt::Write as _;

use platter::image::Format;

/// What the value of an option is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Flag,
    Number,
    Size,
    Text,
}

impl Kind {
    fn placeholder(self) -> &'static str {
        match self {
            Self::Flag => "<bool (on/off)>",
            Self::Number => "<num>",
            Self::Size => "<size>",
            Self::Text => "<str>",
        }
    }
}

/// One option.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What is printed where it is not given; the real default where that is `None`, too.
    pub(super) default: Option<&'static str>,
    help: &'static str,
}

const fn option(name: &'static str, kind: Kind, help: &'static str) -> Definition {
    Definition {
        name,
        kind,
        default: None,
        help,
    }
}

const fn with_default(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Definition {
    Definition {
        name,
        kind,
        default: Some(default),
        help,
    }
}

const SIZE: Definition = option("size", Kind::Size, "Virtual disk size");

const RAW: &[Definition] = &[SIZE];

/// Options that any image in a file has.
const FILE: &[Definition] = &[
    SIZE,
    option(
        "preallocation",
        Kind::Text,
        "Preallocation mode (allowed values: off, falloc, full)",
    ),
    option(
        "nocow",
        Kind::Flag,
        "Turn off copy-on-write (valid only on btrfs)",
    ),
    option(
        "extent_size_hint",
        Kind::Size,
        "Extent size hint for the image file, 0 to disable",
    ),
];

const QCOW2: &[Definition] = &[
    option(
        "encryption",
        Kind::Flag,
        "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
    ),
    option(
        "encrypt.format",
        Kind::Text,
        "Encrypt the image, format choices: 'aes', 'luks'",
    ),
    option(
        "encrypt.key-secret",
        Kind::Text,
        "ID of secret providing qcow AES key or LUKS passphrase",
    ),
    option(
        "encrypt.cipher-alg",
        Kind::Text,
        "Name of encryption cipher algorithm",
    ),
    option(
        "encrypt.cipher-mode",
        Kind::Text,
        "Name of encryption cipher mode",
    ),
    option(
        "encrypt.ivgen-alg",
        Kind::Text,
        "Name of IV generator algorithm",
    ),
    option(
        "encrypt.ivgen-hash-alg",
        Kind::Text,
        "Name of IV generator hash algorithm",
    ),
    option(
        "encrypt.hash-alg",
        Kind::Text,
        "Name of encryption hash algorithm",
    ),
    option(
        "encrypt.iter-time",
        Kind::Number,
        "Time to spend in PBKDF in milliseconds",
    ),
    with_default("cluster_size", Kind::Size, "65536", "qcow2 cluster size"),
    with_default("extended_l2", Kind::Flag, "off", "Extended L2 tables"),
    option(
        "preallocation",
        Kind::Text,
        "Preallocation mode (allowed values: off, metadata, falloc, full)",
    ),
    with_default(
        "compression_type",
        Kind::Text,
        "zlib",
        "Compression method used for image cluster compression",
    ),
    SIZE,
    option(
        "compat",
        Kind::Text,
        "Compatibility level (v2 [0.10] or v3 [1.1])",
    ),
    option("backing_file", Kind::Text, "File name of a base image"),
    option("backing_fmt", Kind::Text, "Image format of the base image"),
    option(
        "data_file",
        Kind::Text,
        "File name of an external data file",
    ),
    option(
        "data_file_raw",
        Kind::Flag,
        "The external data file must stay valid as a raw image",
    ),
    with_default(
        "lazy_refcounts",
        Kind::Flag,
        "off",
        "Postpone refcount updates",
    ),
    with_default(
        "refcount_bits",
        Kind::Number,
        "16",
        "Width of a reference count entry in bits",
    ),
];

/// The options of `format` itself.
fn own(format: Format) -> &'static [Definition] {
    match format {
        Format::Qcow2 => QCOW2,
        Format::Raw => RAW,
        _ => &[],
    }
}

/// The options of `format` and, behind them, those of the file that it did not name itself.
pub(super) fn definitions(format: Format) -> impl Iterator<Item = &'static Definition> {
    let own = own(format);
    let of_file = FILE.iter().filter(move |definition| {
        let mut names = own.iter().map(|own| own.name);
        !names.any(|name| name == definition.name)
    });
    own.iter().chain(of_file)
}

/// What `-o help` prints; with the options of the file where the target is known.
pub(crate) fn help(format: Format, with_file: bool) -> String {
    let (mut text, mut listed): (_, Vec<_>) = if with_file {
        (
            "Supported options:\n".to_owned(),
            definitions(format).collect(),
        )
    } else {
        (
            format!("Supported {format} options:\n"),
            own(format).iter().collect(),
        )
    };
    listed.sort_by_key(|definition| definition.name);
    for definition in listed {
        let value = format!("{}={}", definition.name, definition.kind.placeholder());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {value:<22} - {}", definition.help);
    }
    if !with_file {
        text += "\nThe protocol level may support further options.\n\
                 Specify the target filename to include those options.\n";
    }
    text
}
