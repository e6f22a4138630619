//! An image as the command line names it: a file name, driver options or a `json:` name; and what
//! is said when it cannot be opened, in the words of `qemu-img`.

mod named;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use platter::chain::{
    Chain, ChainOptions, Link, LinkProblem, LinkState, OpenPolicy, Target, resolve,
};
use platter::image::{self, Format, SnapshotSelector};
use platter::storage::{FileStorage, LockMode};
use platter::{Error, ErrorKind};
use rustix::io::Errno;

use crate::program::{Failure, Program, eprint_line, system_cause, system_words};
use crate::words;

use named::Named;
pub(crate) use named::{protocol, split_commas};

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
    /// Depths of the links that are to be changed (0 is the image itself).
    pub(crate) writable: Vec<usize>,
}

/// One image of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// What could not be done when it could not be opened.
    intro: &'static str,
    /// As typed: how messages call it.
    shown: String,
    /// How QEMU calls the file in what it prints.
    filename: String,
    path: PathBuf,
    format: Option<Format>,
}

/// How much of a chain is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// The header of the image itself.
    Header,
    /// The headers of the image and of all that it stands on.
    Headers,
    /// Everything that it takes to read the guest disk.
    Data,
    /// As much as can be: what is wrong with a link stays a fact of the chain.
    Whatever,
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
                intro: COULD_NOT_OPEN,
                filename: named.file.to_string_lossy().into_owned(),
                path: named.file.into(),
                format,
                shown,
            }),
            Err(reason) => Err(could_not_open(COULD_NOT_OPEN, &shown, &reason)),
        }
    }

    /// The image that is to become a backing file: `name` as the overlay will write it, `file` as
    /// it is found from here.
    pub(crate) fn new_backing(
        name: &str,
        file: &OsStr,
        format: Option<&OsStr>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            intro: "Could not open new backing file",
            shown: name.to_owned(),
            ..Self::new(file, format, &OpenOptions::default())?
        })
    }

    /// How QEMU calls the file.
    pub(crate) fn filename(&self) -> &str {
        &self.filename
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How QEMU calls the files of the links.
    pub(crate) fn names(&self, chain: &Chain) -> Vec<String> {
        let mut name = self.filename.clone();
        let mut names = vec![name.clone()];
        for link in chain.links().iter().skip(1) {
            if let Some(reference) = &link.reference {
                name = file_beside(&name, &reference.name);
            }
            names.push(name.clone());
        }
        names
    }

    /// Opens the image as far as `reach` says.
    pub(crate) fn open(
        &self,
        program: &Program,
        options: &OpenOptions,
        reach: Reach,
    ) -> Result<Chain, Failure> {
        if options.force_share && !options.writable.is_empty() {
            return Err(
                self.could_not_open("force-share=on can only be used with read-only images")
            );
        }
        if options.writable.contains(&0) && self.path.is_dir() {
            let words = format!("Could not open '{}': Is a directory", self.filename);
            return Err(self.could_not_open(&words));
        }
        let format = match self.format {
            None if program.is_drop_in() => self.format_for_qemu(program)?,
            known => known,
        };
        let chain_options = ChainOptions {
            format,
            policy: OpenPolicy {
                allow_outside: options.allow_outside,
                ..OpenPolicy::default()
            },
            force_share: options.force_share,
            observe: false,
            snapshot: options.snapshot.clone(),
            writable: options.writable.clone(),
            active_only: reach == Reach::Header,
            headers_only: matches!(reach, Reach::Header | Reach::Headers),
        };
        let chain = Chain::open(&self.path, &chain_options)
            .map_err(|error| self.open_failure(program, &error, options))?;
        if options.writable.contains(&0) {
            self.warn_of_guessed_raw(&chain);
        }
        match self.first_obstacle(program, &chain, reach) {
            None => Ok(chain),
            Some((index, reason)) if index > 0 && options.writable.contains(&index) => {
                Err(self.base_failure(program, &chain, index, &reason))
            }
            Some((index, reason)) => Err(self.obstacle_failure(&chain, reach, index, &reason)),
        }
    }

    /// Whoever wrote into a raw disk decides what it looks like the next time.
    fn warn_of_guessed_raw(&self, chain: &Chain) {
        let format = chain.active().image().map(|image| image.format());
        if self.format.is_none() && format == Some(Format::Raw) {
            eprint_line(format_args!(
                "WARNING: Image format was not specified for '{}' and probing guessed raw.\n         \
                 Automatically detecting the format is dangerous for raw images, write operations \
                 on block 0 will be restricted.\n         \
                 Specify the 'raw' format explicitly to remove the restrictions.",
                self.filename
            ));
        }
    }

    /// Opens the headers of what a new image is to stand on, whoever uses it; why it cannot be
    /// opened, without the name that stands in front elsewhere.
    pub(crate) fn open_as_backing(
        operand: &OsStr,
        format: Option<&OsStr>,
        program: &Program,
        options: &OpenOptions,
    ) -> Result<Chain, String> {
        let options = OpenOptions {
            force_share: true,
            ..options.clone()
        };
        let opened = Self::new(operand, format, &options)
            .and_then(|source| source.open(program, &options, Reach::Headers));
        opened.map_err(|failure| {
            let text = failure.to_string();
            let shown = format!("Could not open '{}': ", operand.to_string_lossy());
            text.strip_prefix(&shown).unwrap_or(&text).to_owned()
        })
    }

    /// What `qemu-img` would take the file for, where that is not what it is.
    fn format_for_qemu(&self, program: &Program) -> Result<Option<Format>, Failure> {
        let probe = FileStorage::open(&self.path, LockMode::Peek)
            .and_then(|file| image::probe(&file))
            .map_err(|error| self.could_not_open(&reason(&error, &self.filename, None, program)))?;
        Ok((probe.format != probe.qemu_format).then_some(probe.qemu_format))
    }

    /// The first link that keeps us from doing what `reach` asks for, and why.
    fn first_obstacle(
        &self,
        program: &Program,
        chain: &Chain,
        reach: Reach,
    ) -> Option<(usize, String)> {
        if reach == Reach::Whatever {
            return None;
        }
        let names = self.names(chain);
        chain
            .links()
            .iter()
            .zip(&names)
            .enumerate()
            .find_map(|(index, (link, name))| {
                let problem = match &link.state {
                    LinkState::HeaderOnly(..) if reach != Reach::Data => None,
                    _ => link.problem(),
                };
                let reason = match (&link.lock_conflict, problem) {
                    (Some(conflict), _) => lock_reason(conflict, name, program),
                    (None, Some(problem)) => problem_reason(link, name, problem, program),
                    (None, None) => return None,
                };
                Some((index, reason))
            })
    }

    /// QEMU opens the links one in another for their data, and one after another for headers.
    fn obstacle_failure(&self, chain: &Chain, reach: Reach, index: usize, reason: &str) -> Failure {
        let is_loop = matches!(
            chain.links()[index].problem(),
            Some(LinkProblem::Cyclic | LinkProblem::TooDeep)
        );
        match self.names(chain).get(index) {
            Some(_) if reach != Reach::Data && is_loop => Failure::new(reason),
            Some(name) if reach != Reach::Data && index > 0 => {
                Failure::new(format!("Could not open '{name}': {reason}"))
            }
            _ => {
                let nested = "Could not open backing file: ".repeat(index);
                self.could_not_open(&format!("{nested}{reason}"))
            }
        }
    }

    /// QEMU opens a backing file for reading with the rest, and asks for more when it has all.
    fn base_failure(
        &self,
        program: &Program,
        chain: &Chain,
        index: usize,
        reason: &str,
    ) -> Failure {
        let link = &chain.links()[index];
        // What we hold ourselves, only we would keep from being read.
        let as_reader = link
            .path
            .as_deref()
            .filter(|_| link.writable.is_none())
            .map(|path| FileStorage::open(path, LockMode::Read));
        match (as_reader, self.names(chain).get(index)) {
            (Some(Ok(_)), _) if reason.starts_with(LOCK_CONFLICT) => Failure::new(reason),
            (Some(Err(error)), Some(name)) if error.kind() == ErrorKind::Locked => {
                let reason = lock_reason(error.message(), name, program);
                self.obstacle_failure(chain, Reach::Data, index, &reason)
            }
            _ => self.obstacle_failure(chain, Reach::Data, index, reason),
        }
    }

    fn open_failure(&self, program: &Program, error: &Error, options: &OpenOptions) -> Failure {
        let wants_snapshot = options.snapshot.is_some();
        if wants_snapshot && error.kind() == ErrorKind::NotFound && system_cause(error).is_none() {
            let reason = match error.message() {
                "raw images have no internal snapshots" => {
                    "Block format 'raw' used by device '' does not support temporarily loading \
                     internal snapshots"
                }
                _ => "Can't find snapshot",
            };
            return Failure::new(format!("Failed to load snapshot: {reason}"));
        }
        self.could_not_open(&reason(error, &self.filename, self.format, program))
    }

    fn could_not_open(&self, reason: &str) -> Failure {
        could_not_open(self.intro, &self.shown, reason)
    }
}

/// As [`name_beside`], but the plain file name out of a `file:` or `json:` name.
fn file_beside(image: &str, name: &str) -> String {
    if protocol(name).is_some()
        && let Target::File { path, .. } = resolve(name, Path::new(image))
    {
        return path.to_string_lossy().into_owned();
    }
    name_beside(image, name)
}

/// How QEMU calls a file that an image names: relative to the image's own folder, unless the name
/// has a protocol or is absolute.
pub(crate) fn name_beside(image: &str, name: &str) -> String {
    if protocol(name).is_some() || Path::new(name).is_absolute() {
        return name.to_owned();
    }
    let folder = image.rfind('/').map_or("", |slash| &image[..=slash]);
    format!("{folder}{name}")
}

/// How QEMU's complaints about locks begin.
const LOCK_CONFLICT: &str = "Failed to get ";

const COULD_NOT_OPEN: &str = "Could not open";

fn could_not_open(intro: &str, shown: &str, reason: &str) -> Failure {
    Failure::new(format!("{intro} '{shown}': {reason}"))
}

/// Why the file `name` could not be opened, in the words of `qemu-img` where it has some.
fn reason(error: &Error, name: &str, format: Option<Format>, program: &Program) -> String {
    if error.kind() == ErrorKind::Locked {
        return lock_reason(error.message(), name, program);
    }
    if error.path().is_some_and(Path::is_dir) {
        return format!("'file' driver requires '{name}' to be a regular file");
    }
    match (system_cause(error), format) {
        (Some(words), _) => format!("Could not open '{name}': {words}"),
        (None, Some(format)) if error.field() == Some("magic") => not_in_format(format),
        (None, _) => located(error),
    }
}

/// `conflict` is the engine's message, maybe with the file before it, and with the programs that
/// hold the locks behind it, which `qemu-img` does not know.
pub(crate) fn lock_reason(conflict: &str, name: &str, program: &Program) -> String {
    const CONFLICT: &str = "ailed to get ";
    let mut words = conflict
        .find(CONFLICT)
        .map_or_else(|| conflict.to_owned(), |at| format!("F{}", &conflict[at..]));
    if program.is_drop_in()
        && let Some(holders) = words.find(" (")
    {
        words.truncate(holders);
    }
    format!("{words}\nIs another process using the image [{name}]?")
}

fn problem_reason(link: &Link, name: &str, problem: &LinkProblem, program: &Program) -> String {
    let data_file = link.info().and_then(|info| info.data_file.as_ref());
    let name = match data_file {
        // Only a data file keeps an open image from being read so.
        Some(data_file) => name_beside(name, &data_file.name),
        None => name.to_owned(),
    };
    match problem {
        LinkProblem::Missing => {
            let missing = io::Error::from(Errno::NOENT);
            format!("Could not open '{name}': {}", system_words(&missing))
        }
        LinkProblem::Encrypted(_) if program.is_drop_in() => {
            "Parameter 'encrypt.key-secret' is required for cipher".into()
        }
        LinkProblem::Encrypted(method) => {
            format!("the guest data is encrypted ({method}), which is not supported yet")
        }
        LinkProblem::WrongFormat { claimed, .. } => not_in_format(*claimed),
        LinkProblem::Unreadable(error) => reason(error, &name, None, program),
        LinkProblem::Cyclic | LinkProblem::TooDeep => {
            format!("Backing file '{name}' creates an infinite loop.")
        }
        other => format!("'{name}': {}", words::of_problem(other)),
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

/// `-T` of a source: accepted where QEMU has such a mode; the page cache is used all the same.
pub(crate) fn check_cache_mode(mode: Option<&OsStr>) -> Result<(), Failure> {
    check_mode("source cache", mode)
}

/// `-t` of what is written: as [`check_cache_mode`].
pub(crate) fn check_cache_option(mode: Option<&OsStr>) -> Result<(), Failure> {
    check_mode("cache", mode)
}

fn check_mode(what: &str, mode: Option<&OsStr>) -> Result<(), Failure> {
    const MODES: [&str; 6] = [
        "directsync",
        "none",
        "off",
        "unsafe",
        "writeback",
        "writethrough",
    ];
    match mode.map(OsStr::to_string_lossy) {
        Some(mode) if !MODES.contains(&mode.as_ref()) => {
            Err(Failure::new(format!("Invalid {what} option: {mode}")))
        }
        _ => Ok(()),
    }
}
