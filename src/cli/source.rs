//! An image as the command line names it: a file name, driver options or a `json:` name; and what
//! is said when it cannot be opened, in the words of `qemu-img`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use platter::chain::{Chain, ChainOptions, Decision, LinkProblem, OpenPolicy};
use platter::image::{self, FileReference, Format, ImageDriver, Probe, SnapshotSelector};
use platter::storage::{FileStorage, LockMode, Storage};
use platter::{Error, ErrorKind};
use serde_json::Value;

use crate::program::{Failure, Program, system_words};
use crate::words;

/// Options of all verbs that open images.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenOptions {
    /// `--image-opts`: names are lists of driver options.
    pub(crate) image_opts: bool,
    /// `-U`: take no locks.
    pub(crate) force_share: bool,
    /// `--allow-outside`: follow backing files anywhere.
    pub(crate) allow_outside: bool,
    /// `-l`: the guest disk as of this snapshot.
    pub(crate) snapshot: Option<SnapshotSelector>,
}

/// One image of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As typed: how messages call it.
    shown: String,
    /// How QEMU calls the file in what it prints.
    filename: String,
    path: PathBuf,
    format: Option<Format>,
}

/// An image whose header was read, and nothing else.
pub(crate) struct Opened {
    /// The image.
    pub(crate) image: Arc<dyn ImageDriver>,
    /// Its file.
    pub(crate) file: Arc<FileStorage>,
}

impl Source {
    /// The image that an operand names.
    pub(crate) fn new(
        operand: &OsStr,
        format: Option<&OsStr>,
        options: &OpenOptions,
    ) -> Result<Self, Failure> {
        let shown = operand.to_string_lossy().into_owned();
        let named = if options.image_opts {
            Named::from_options(&shown)
        } else if let Some(json) = shown.strip_prefix("json:") {
            Named::from_json(json)
        } else {
            Named::from_file_name(operand)
        };
        let named = named.and_then(|mut named| {
            if let Some(format) = format {
                named.driver = Some(format.to_string_lossy().into_owned());
            }
            let format = named.format()?;
            Ok((named, format))
        });
        match named {
            Ok((named, format)) => Ok(Self {
                filename: named.file.to_string_lossy().into_owned(),
                path: named.file.into(),
                format,
                shown,
            }),
            Err(reason) => Err(could_not_open(&shown, &reason)),
        }
    }

    /// The backing file that this image names.
    pub(crate) fn backing(
        &self,
        reference: &FileReference,
        options: &OpenOptions,
    ) -> Result<Self, Failure> {
        let name = self.name_of_backing(&reference.name);
        let options = OpenOptions {
            image_opts: false,
            ..options.clone()
        };
        let format = reference.format.as_deref().map(OsStr::new);
        let backing = Self::new(OsStr::new(&name), format, &options)?;
        let policy = OpenPolicy {
            allow_outside: options.allow_outside,
            ..OpenPolicy::default()
        };
        let problem = match policy.decide(&self.path, &backing.path) {
            Decision::Allow => return Ok(backing),
            Decision::Ask(why) => LinkProblem::NotAllowed(why),
            Decision::Deny(why) => LinkProblem::Remote(why),
        };
        Err(could_not_open(&backing.shown, &words::of_problem(&problem)))
    }

    /// How QEMU calls the file that this image names: relative to its own folder, unless the name
    /// has a protocol or is absolute.
    pub(crate) fn name_of_backing(&self, name: &str) -> String {
        if protocol(name).is_some() || Path::new(name).is_absolute() {
            return name.to_owned();
        }
        let image = &self.filename;
        let folder = image.rfind('/').map_or("", |slash| &image[..=slash]);
        format!("{folder}{name}")
    }

    /// The file name that is printed.
    pub(crate) fn filename(&self) -> &str {
        &self.filename
    }

    /// Reads the header and opens nothing but the file.
    pub(crate) fn open_header(
        &self,
        program: &Program,
        options: &OpenOptions,
    ) -> Result<Opened, Failure> {
        let lock = if options.force_share {
            LockMode::Peek
        } else {
            LockMode::HeaderOnly
        };
        self.open_file(program, lock)
            .map_err(|error| could_not_open(&self.shown, &reason(&error, &self.path, self.format)))
    }

    fn open_file(&self, program: &Program, lock: LockMode) -> platter::Result<Opened> {
        let file = Arc::new(FileStorage::open(&self.path, lock)?);
        let format = match self.format {
            Some(format) => format,
            None => probed(program, &image::probe(file.as_ref())?),
        };
        let storage: Arc<dyn Storage> = file.clone();
        let image = image::open(storage, format)?;
        Ok(Opened {
            image: image.into(),
            file,
        })
    }

    /// Opens the image and all that it stands on; a link that cannot be opened is a failure.
    pub(crate) fn open_chain(
        &self,
        program: &Program,
        options: &OpenOptions,
    ) -> Result<Chain, Failure> {
        let chain = self.open_links(program, options)?;
        match chain.first_problem() {
            None => Ok(chain),
            Some((index, problem)) => {
                let mut reason = problem_reason(&chain, index, problem);
                for _ in 0..index {
                    reason.insert_str(0, "Could not open backing file: ");
                }
                Err(could_not_open(&self.shown, &reason))
            }
        }
    }

    /// Opens the image and as much as possible of what it stands on.
    pub(crate) fn open_links(
        &self,
        program: &Program,
        options: &OpenOptions,
    ) -> Result<Chain, Failure> {
        let format = match self.format {
            None if program.is_drop_in() => self.format_for_qemu()?,
            known => known,
        };
        let chain_options = ChainOptions {
            format,
            policy: OpenPolicy {
                allow_outside: options.allow_outside,
                ..OpenPolicy::default()
            },
            force_share: options.force_share,
            snapshot: options.snapshot.clone(),
            ..ChainOptions::default()
        };
        Chain::open(&self.path, &chain_options).map_err(|error| self.chain_failure(&error, options))
    }

    /// What `qemu-img` would take the file for, where that is not what it is.
    fn format_for_qemu(&self) -> Result<Option<Format>, Failure> {
        let probe = FileStorage::open(&self.path, LockMode::Peek)
            .and_then(|file| image::probe(&file))
            .map_err(|error| could_not_open(&self.shown, &reason(&error, &self.path, None)))?;
        Ok((probe.format != probe.qemu_format).then_some(probe.qemu_format))
    }

    fn chain_failure(&self, error: &Error, options: &OpenOptions) -> Failure {
        if options.snapshot.is_some() && error.kind() == ErrorKind::NotFound && no_cause(error) {
            return Failure::new("Failed to load snapshot: Can't find snapshot");
        }
        could_not_open(&self.shown, &reason(error, &self.path, self.format))
    }
}

/// What a name says, before anything is opened.
#[derive(Debug, Default)]
struct Named {
    driver: Option<String>,
    file: OsString,
}

impl Named {
    fn from_file_name(name: &OsStr) -> Result<Self, String> {
        let text = name.to_string_lossy();
        let file = match protocol(&text) {
            None => name.to_owned(),
            Some("file") => OsString::from(&text["file:".len()..]),
            Some(protocol) => return Err(format!("Unknown protocol '{protocol}'")),
        };
        if file.is_empty() {
            return Err("The 'file' block driver requires a file name".into());
        }
        Ok(Self { driver: None, file })
    }

    /// `driver=qcow2,file.filename=a,,b`: a doubled comma is one of the value.
    fn from_options(text: &str) -> Result<Self, String> {
        let mut pairs = Vec::new();
        for (index, part) in split_commas(text).into_iter().enumerate() {
            match part.split_once('=') {
                Some((key, value)) => pairs.push((key.to_owned(), value.to_owned())),
                None if index == 0 => {
                    return Err(format!(
                        "Cannot find device='{part}' nor node-name='{part}'"
                    ));
                }
                None => pairs.push((part, "on".into())),
            }
        }
        Self::from_pairs(pairs)
    }

    fn from_json(text: &str) -> Result<Self, String> {
        let object: Value = serde_json::from_str(text)
            .map_err(|error| format!("Could not parse the JSON options: {error}"))?;
        let mut pairs = Vec::new();
        flatten("", &object, &mut pairs);
        if pairs.is_empty() {
            return Err("Must specify either driver or file".into());
        }
        Self::from_pairs(pairs)
    }

    fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut named = Self::default();
        let mut unknown = None;
        for (key, value) in pairs {
            match key.as_str() {
                "driver" => named.driver = Some(value),
                "file.filename" | "filename" => named.file = value.into(),
                "file.driver" if value != "file" => {
                    return Err(format!("Unknown driver '{value}'"));
                }
                // The name of the node, caching and locking change nothing that is printed.
                "file.driver" | "node-name" | "read-only" | "file.locking" | "file.node-name" => {}
                _ => unknown = unknown.or(Some(key)),
            }
        }
        if let Some(key) = unknown {
            let driver = named.driver.as_deref().unwrap_or("raw");
            return Err(format!(
                "Block format '{driver}' does not support the option '{key}'"
            ));
        }
        if named.file.is_empty() {
            return Err("A block device must be specified for \"file\"".into());
        }
        Ok(named)
    }

    fn format(&self) -> Result<Option<Format>, String> {
        let Some(name) = self.driver.as_deref() else {
            return Ok(None);
        };
        Format::from_name(name)
            .map(Some)
            .ok_or_else(|| format!("Unknown driver '{name}'"))
    }
}

/// The protocol of a name like "nbd:host": what stands before a colon that no slash precedes.
fn protocol(name: &str) -> Option<&str> {
    let end = name.find([':', '/'])?;
    name[end..].starts_with(':').then(|| &name[..end])
}

/// Splits at single commas and makes doubled ones single.
pub(crate) fn split_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

/// Nested objects as dotted keys.
fn flatten(prefix: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&key, member, pairs);
            }
        }
        Value::String(text) => pairs.push((prefix.to_owned(), text.clone())),
        other => pairs.push((prefix.to_owned(), other.to_string())),
    }
}

/// The format that a file without given format has for this program.
fn probed(program: &Program, probe: &Probe) -> Format {
    if program.is_drop_in() {
        probe.qemu_format
    } else {
        probe.format
    }
}

fn could_not_open(shown: &str, reason: &str) -> Failure {
    Failure::new(format!("Could not open '{shown}': {reason}"))
}

/// Why a file could not be opened, in the words of `qemu-img` where it has some.
fn reason(error: &Error, path: &Path, format: Option<Format>) -> String {
    let path = error.path().unwrap_or(path);
    let name = path.display();
    if error.kind() == ErrorKind::Locked {
        let words = capitalised(error.message());
        return format!("{words}\nIs another process using the image [{name}]?");
    }
    if path.is_dir() {
        return format!("'file' driver requires '{name}' to be a regular file");
    }
    match (system_cause(error), format) {
        (Some(words), _) => format!("Could not open '{name}': {words}"),
        (None, Some(format)) if error.field() == Some("magic") => not_in_format(format),
        (None, _) => located(error),
    }
}

fn problem_reason(chain: &Chain, index: usize, problem: &LinkProblem) -> String {
    let link = &chain.links()[index];
    let name = link.path.as_deref().unwrap_or(Path::new("")).display();
    match problem {
        LinkProblem::Missing => {
            let words = system_words(&std::io::Error::from_raw_os_error(2));
            format!("Could not open '{name}': {words}")
        }
        LinkProblem::Encrypted(_) => "Parameter 'encrypt.key-secret' is required for cipher".into(),
        LinkProblem::WrongFormat { claimed, .. } => not_in_format(*claimed),
        LinkProblem::Unreadable(error) => {
            reason(error, link.path.as_deref().unwrap_or(Path::new("")), None)
        }
        other => words::of_problem(other),
    }
}

fn not_in_format(format: Format) -> String {
    format!("Image is not in {format} format")
}

/// The message with field and offset, without the file, which stands in front already.
fn located(error: &Error) -> String {
    let text = error.to_string();
    let path = error.path().map(|path| format!("{}: ", path.display()));
    let bare = path.and_then(|prefix| text.strip_prefix(&prefix).map(str::to_owned));
    bare.unwrap_or(text)
}

fn no_cause(error: &Error) -> bool {
    std::error::Error::source(error).is_none()
}

fn system_cause(error: &Error) -> Option<String> {
    std::error::Error::source(error)?
        .downcast_ref::<std::io::Error>()
        .map(system_words)
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// `-f` beside `--image-opts` makes no sense.
pub(crate) fn check_format_options(has_format: bool, image_opts: bool) -> Result<(), Failure> {
    if has_format && image_opts {
        return Err(Failure::new(
            "--image-opts and --format are mutually exclusive",
        ));
    }
    Ok(())
}

/// `-l`: an id or a name, or one of them said to be that.
pub(crate) fn snapshot(value: &OsStr) -> Result<SnapshotSelector, Failure> {
    let text = value.to_string_lossy();
    if !text.starts_with("snapshot.") {
        return Ok(SnapshotSelector::Any(text.into_owned()));
    }
    let mut selector = None;
    for part in split_commas(&text) {
        let (name, value) = part.split_once('=').unwrap_or((&part, "on"));
        match name {
            // An id is the better name.
            "snapshot.id" => selector = Some(SnapshotSelector::Id(value.into())),
            "snapshot.name" if selector.is_none() => {
                selector = Some(SnapshotSelector::Name(value.into()));
            }
            "snapshot.name" => {}
            _ => {
                return Err(Failure::new(format!("Invalid parameter '{name}'"))
                    .and_then_say(format!("Failed in parsing snapshot param '{text}'")));
            }
        }
    }
    Ok(selector.unwrap_or(SnapshotSelector::Any(text.into_owned())))
}

/// `--object`: secrets and the like are accepted, because nothing here needs one yet.
pub(crate) fn accept_object(value: &OsStr) -> Result<(), Failure> {
    const KNOWN: [&str; 8] = [
        "authz-list",
        "authz-simple",
        "secret",
        "secret_keyring",
        "tls-creds-anon",
        "tls-creds-psk",
        "tls-creds-x509",
        "throttle-group",
    ];
    let text = value.to_string_lossy();
    let parts = split_commas(&text);
    let first = parts.first().map_or("", String::as_str);
    let kind = first.strip_prefix("qom-type=").unwrap_or(first);
    if KNOWN.contains(&kind) || text.starts_with('{') {
        return Ok(());
    }
    Err(Failure::new(format!(
        "Parameter 'qom-type' does not accept value '{kind}'"
    )))
}
