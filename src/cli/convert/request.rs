//! What the command line of `convert` asks for.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroU64;

use crate::args::{Arg, Args, Opt};
use crate::create_options::CreateOptions;
use crate::program::Failure;
use crate::size::{self, SizeError};
use crate::source::{self, OpenOptions};

pub(super) const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("object", None),
    Opt::flag("source-image-opts", None),
    Opt::flag("image-opts", None),
    Opt::value("source-format", Some('f')),
    Opt::value("source-cache", Some('T')),
    Opt::value("snapshot", Some('l')),
    Opt::value("sparse-size", Some('S')),
    Opt::value("output-format", Some('O')),
    Opt::value("options", Some('o')),
    Opt::value("output-cache", Some('t')),
    Opt::value("backing", Some('B')),
    Opt::value("backing-format", Some('F')),
    Opt::flag("target-image-opts", None),
    Opt::flag("target-is-zero", None),
    Opt::flag("bitmaps", None),
    Opt::flag("snapshots", None),
    Opt::flag("salvage", None),
    Opt::flag("skip-broken-bitmaps", None),
    Opt::flag("force-share", Some('U')),
    Opt::value("rate", Some('r')),
    Opt::value("parallel", Some('m')),
    Opt::flag("oob-writes", Some('W')),
    Opt::flag("copy-range-offloading", Some('C')),
    Opt::flag("quiet", Some('q')),
    Opt::letter("compress", 'c'),
    Opt::letter("no-create", 'n'),
    Opt::letter("progress", 'p'),
    // Ours.
    Opt::flag("verify", None),
    Opt::flag("allow-outside", None),
];

/// Largest `-S` in bytes.
const MAX_SPARSE: u64 = 16 << 20;

/// What `-m` says at most.
const MAX_PARALLEL: u64 = 16;

/// The command line, each option checked by itself.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) sources: Vec<OsString>,
    pub(super) source_format: Option<OsString>,
    pub(super) open: OpenOptions,
    pub(super) target: OsString,
    /// Absent when `--target-image-opts` says it.
    pub(super) target_format: Option<OsString>,
    pub(super) target_image_opts: bool,
    pub(super) target_is_zero: bool,
    pub(super) no_create: bool,
    options: Option<String>,
    pub(super) backing: Option<OsString>,
    pub(super) backing_format: Option<OsString>,
    pub(super) compress: bool,
    pub(super) bitmaps: bool,
    pub(super) snapshots: bool,
    pub(super) skip_broken_bitmaps: bool,
    pub(super) salvage: bool,
    pub(super) verify: bool,
    pub(super) quiet: bool,
    pub(super) progress: bool,
    pub(super) sparse: usize,
    pub(super) rate: Option<NonZeroU64>,
    pub(super) threads: usize,
    source_cache: Option<OsString>,
    target_cache: Option<OsString>,
    offload: bool,
    pub(super) explicit_sparse: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            source_format: None,
            open: OpenOptions::default(),
            target: OsString::new(),
            target_format: None,
            target_image_opts: false,
            target_is_zero: false,
            no_create: false,
            options: None,
            backing: None,
            backing_format: None,
            compress: false,
            bitmaps: false,
            snapshots: false,
            skip_broken_bitmaps: false,
            salvage: false,
            verify: false,
            quiet: false,
            progress: false,
            sparse: 4096,
            rate: None,
            threads: 0,
            source_cache: None,
            target_cache: None,
            offload: false,
            explicit_sparse: false,
        }
    }
}

impl Request {
    /// `None` when help is asked for.
    pub(super) fn parse(args: &mut Args) -> Result<Option<Self>, Failure> {
        let mut request = Self::default();
        let mut operands = Vec::new();
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Option("help", _) => return Ok(None),
                Arg::Option(name, value) => request.take(name, value)?,
                Arg::Operand(operand) => operands.push(operand),
            }
        }
        request.check_combinations()?;
        let asks_for_help = CreateOptions::asks_for_help(request.options());
        match operands.pop() {
            Some(target) if !operands.is_empty() => {
                request.target = target;
                request.sources = operands;
            }
            _ if asks_for_help => {}
            _ => return Err(Failure::new("Must specify image file name")),
        }
        source::check_cache_mode(request.source_cache.as_deref())?;
        if request.target_format.is_none() && !request.target_image_opts {
            request.target_format = Some("raw".into());
        }
        Ok(Some(request))
    }

    /// The list of `-o`.
    pub(super) fn options(&self) -> &str {
        self.options.as_deref().unwrap_or("")
    }

    /// Of the cache modes only the name is looked at, and that when the target is opened.
    pub(super) fn check_target_cache(&self) -> Result<(), Failure> {
        match &self.target_cache {
            Some(mode) if source::check_cache_mode(Some(mode)).is_err() => Err(Failure::new(
                format!("Invalid cache option: {}", mode.to_string_lossy()),
            )),
            _ => Ok(()),
        }
    }

    /// The mode that is meant when none is given does not wait for the disk.
    pub(super) fn is_durable(&self) -> bool {
        self.target_cache
            .as_ref()
            .is_some_and(|mode| mode.to_str() != Some("unsafe"))
    }

    fn take(&mut self, name: &str, value: OsString) -> Result<(), Failure> {
        match name {
            "object" => source::accept_object(&value)?,
            "source-image-opts" | "image-opts" => self.open.image_opts = true,
            "source-format" => self.source_format = Some(value),
            "source-cache" => self.source_cache = Some(value),
            "snapshot" => self.open.snapshot = Some(source::snapshot(&value)?),
            "sparse-size" => {
                self.sparse = sparse(&value)?;
                self.explicit_sparse = true;
            }
            "output-format" => self.target_format = Some(value),
            "options" => self.add_options(&value)?,
            "output-cache" => self.target_cache = Some(value),
            "backing" => self.backing = Some(value),
            "backing-format" => self.backing_format = Some(value),
            "target-image-opts" => self.target_image_opts = true,
            "target-is-zero" => self.target_is_zero = true,
            "bitmaps" => self.bitmaps = true,
            "snapshots" => self.snapshots = true,
            "salvage" => self.salvage = true,
            "verify" => self.verify = true,
            "skip-broken-bitmaps" => self.skip_broken_bitmaps = true,
            "force-share" => self.open.force_share = true,
            "rate" => self.rate = rate(&value)?,
            "parallel" => self.threads = parallel(&value)?,
            "copy-range-offloading" => self.offload = true,
            "quiet" => self.quiet = true,
            "compress" => self.compress = true,
            "no-create" => self.no_create = true,
            "progress" => self.progress = true,
            "allow-outside" => self.open.allow_outside = true,
            // Writes are as much out of order as the target allows.
            _ => {}
        }
        Ok(())
    }

    /// Several `-o` add up.
    fn add_options(&mut self, value: &OsStr) -> Result<(), Failure> {
        let value = value.to_string_lossy();
        if !CreateOptions::is_valid_list(&value) {
            return Err(Failure::new(format!("Invalid option list: {value}")));
        }
        match &mut self.options {
            Some(options) => {
                options.push(',');
                options.push_str(&value);
            }
            none => *none = Some(value.into_owned()),
        }
        Ok(())
    }

    /// In the order in which `qemu-img` finds them.
    fn check_combinations(&self) -> Result<(), Failure> {
        let wrong = [
            (
                self.skip_broken_bitmaps && !self.bitmaps,
                "Use of --skip-broken-bitmaps requires --bitmaps",
            ),
            (
                self.compress && self.offload,
                "Cannot enable copy offloading when -c is used",
            ),
            (
                self.explicit_sparse && self.offload,
                "Cannot enable copy offloading when -S is used",
            ),
            (
                self.offload && self.salvage,
                "Cannot use copy offloading in salvaging mode",
            ),
            (
                self.target_image_opts && !self.no_create,
                "--target-image-opts requires use of -n flag",
            ),
            (
                self.no_create && self.options.is_some(),
                "-o has no effect when skipping image creation",
            ),
            (
                self.target_is_zero && !self.no_create,
                "--target-is-zero requires use of -n flag",
            ),
            (
                self.verify && self.no_create,
                "--verify is for new targets, not for -n",
            ),
        ];
        match wrong.iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, message)) => Err(Failure::new(*message)),
            None => Ok(()),
        }
    }
}

fn sparse(value: &OsStr) -> Result<usize, Failure> {
    const WHAT: &str = "buffer size for sparse output";
    let text = value.to_string_lossy();
    match size::parse_as(WHAT, &text) {
        Err(message) => Err(Failure::new(message)),
        Ok(bytes) if bytes.is_multiple_of(512) && bytes <= MAX_SPARSE => {
            Ok(usize::try_from(bytes).unwrap_or(0))
        }
        Ok(_) => Err(Failure::new(format!(
            "Invalid {WHAT} specified. Valid sizes are multiples of 512 up to {MAX_SPARSE}. \
             Select 0 to disable sparse detection (fully allocates output)."
        ))),
    }
}

/// Bytes a second; 0 means no limit.
fn rate(value: &OsStr) -> Result<Option<NonZeroU64>, Failure> {
    let text = value.to_string_lossy();
    size::parse_as("rate limit", &text)
        .map(NonZeroU64::new)
        .map_err(Failure::new)
}

fn parallel(value: &OsStr) -> Result<usize, Failure> {
    let text = value.to_string_lossy();
    let wrong =
        |detail: &str| Failure::new(format!("Invalid number of coroutines specified{detail}"));
    match size::parse(&text) {
        Err(SizeError::Invalid) => Err(wrong(&format!(": '{text}'."))),
        Ok(number) if (1..=MAX_PARALLEL).contains(&number) => {
            Ok(usize::try_from(number).unwrap_or(1))
        }
        _ => Err(wrong(&format!(". Must be between 1 and {MAX_PARALLEL}."))),
    }
}
