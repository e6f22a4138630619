//! `convert`: a disk written anew, in the same or another format.

mod new;
mod request;

use std::borrow::Cow;
use std::error::Error as _;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use platter::chain::Chain;
use platter::image::{Format, FormatDetails};
use platter::op::convert::{
    ConvertOptions, ConvertStop, Keep, Notice, Step, convert_into, convert_to_new,
};
use platter::op::warning::{Warning, of_copy, of_target};
use platter::{Control, Error, ErrorKind, Stop};

use crate::args::Args;
use crate::create_options::{self, CreateOptions};
use crate::help;
use crate::interrupt;
use crate::output::print;
use crate::program::{Failure, Outcome, Program, eprint_line, system_words};
use crate::progress::{print_progress, with_progress};
use crate::source::{self, OpenOptions, Reach, Source};
use crate::warning;

use new::New;
use request::Request;

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let command = format!("{} convert", program.argv0());
    let mut args = Args::new(command, request::OPTIONS, arguments);
    let Some(request) = Request::parse(&mut args)? else {
        return help::of(program, "convert");
    };
    if CreateOptions::asks_for_help(request.options()) {
        return request.list_options();
    }
    let shows_progress = request.progress && !request.quiet;
    if shows_progress {
        print_progress(0.0)?;
    }
    let converted = request.convert(program);
    if shows_progress {
        print("\n")?;
    }
    converted.map(|()| ExitCode::SUCCESS)
}

impl Request {
    fn convert(&self, program: &Program) -> Result<(), Failure> {
        let chains = self.open_sources(program)?;
        let notice = |notice| say(program, self.quiet, &notice);
        let options = ConvertOptions {
            threads: self.threads,
            sparse: self.sparse,
            search_shared: self.explicit_sparse,
            compress: self.compress,
            rate: self.rate,
            salvage: self.salvage,
            verify: self.verify,
            keep: Keep {
                snapshots: self.snapshots,
                bitmaps: self.bitmaps,
                skip_broken_bitmaps: self.skip_broken_bitmaps,
            },
            durable: self.is_durable(),
            notice: &notice,
        };
        let control = interrupt::control();
        if self.no_create {
            return self.convert_into(program, &chains, &options, &control);
        }
        let create = self.create_options(&chains)?;
        self.check_new(&chains, &create)?;
        let target = New::prepare(self, program, &chains, &create)?;
        self.check_target_cache()?;
        warning::warn(program, || self.warnings(&chains, &target));
        self.watch(&control, || {
            convert_to_new(&chains, &target.as_target(), &options, &control)
        })?
        .map_err(|stop| self.failure(program, stop))
    }

    fn list_options(&self) -> Outcome {
        let name = self.format_name();
        let Some(format) = Format::from_name(&name) else {
            return Err(Failure::new(format!("Unknown file format '{name}'")));
        };
        print(&create_options::help(format, !self.target.is_empty()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// With `-n`.
    fn convert_into(
        &self,
        program: &Program,
        chains: &[Chain],
        options: &ConvertOptions<'_>,
        control: &Control,
    ) -> Result<(), Failure> {
        if self.target_is_zero && self.backing.is_some() {
            return Err(Failure::new(
                "Cannot use --target-is-zero when the destination image has a backing file",
            ));
        }
        if chains.len() > 1 && self.backing.is_some() {
            return Err(Failure::new(ONE_BACKING));
        }
        self.check_target_cache()?;
        let open = OpenOptions {
            image_opts: self.target_image_opts,
            writable: vec![0],
            allow_outside: self.open.allow_outside,
            ..OpenOptions::default()
        };
        source::check_format_options(self.target_format.is_some(), self.target_image_opts)?;
        let source = Source::new(&self.target, self.target_format.as_deref(), &open)?;
        let chain = source.open(program, &open, Reach::Data)?;
        let info = chain.active().info();
        let format = info.map_or(Format::Raw, |info| info.format);
        if self.compress && format != Format::Qcow2 {
            return Err(Failure::new(NOT_COMPRESSED));
        }
        let writer = chain.writer(0)?;
        let cluster_size = info.and_then(|info| info.cluster_size);
        self.watch(control, || {
            let is_zero = self.target_is_zero;
            convert_into(
                chains,
                writer.as_ref(),
                cluster_size,
                is_zero,
                options,
                control,
            )
        })?
        .map_err(|stop| match stop {
            ConvertStop {
                step: Step::Prepare,
                stop: Stop::Failed(error),
            } => Failure::new(error.message()),
            stop => self.failure(program, stop),
        })
    }

    fn watch<T>(&self, control: &Control, convert: impl FnOnce() -> T) -> Result<T, Failure> {
        if self.progress && !self.quiet {
            Ok(with_progress(control, convert)?)
        } else {
            Ok(convert())
        }
    }

    fn open_sources(&self, program: &Program) -> Result<Vec<Chain>, Failure> {
        source::check_format_options(self.source_format.is_some(), self.open.image_opts)?;
        // The snapshot is looked for when all images are open.
        let mut open = self.open.clone();
        open.snapshot = None;
        let mut chains = Vec::new();
        for operand in &self.sources {
            let source = Source::new(operand, self.source_format.as_deref(), &open)?;
            chains.push(source.open(program, &open, Reach::Data)?);
        }
        if self.open.snapshot.is_none() {
            return Ok(chains);
        }
        let [operand] = self.sources.as_slice() else {
            return Err(Failure::new(
                "No support for concatenating multiple snapshot",
            ));
        };
        let source = Source::new(operand, self.source_format.as_deref(), &self.open)?;
        Ok(vec![source.open(program, &self.open, Reach::Data)?])
    }

    /// The options of the new image, those that have letters of their own among them.
    fn create_options(&self, chains: &[Chain]) -> Result<CreateOptions, Failure> {
        let name = self.format_name();
        let format = match Format::from_name(&name) {
            None => return Err(Failure::new(format!("Unknown file format '{name}'"))),
            Some(format @ (Format::Raw | Format::Qcow2)) => format,
            Some(Format::Bochs | Format::Cloop | Format::Dmg) => {
                return Err(Failure::new(format!(
                    "Format driver '{name}' does not support image creation"
                )));
            }
            Some(_) => {
                return Err(Failure::new(format!(
                    "creating {name} images is not supported yet"
                )));
            }
        };
        let mut options = CreateOptions::read(self.options(), format).map_err(Failure::new)?;
        let size: u64 = chains.iter().map(virtual_size).sum();
        options
            .set("size", &size.to_string())
            .map_err(Failure::new)?;
        let old_style = [
            ("backing_file", &self.backing, "Backing file"),
            ("backing_fmt", &self.backing_format, "Backing file format"),
        ];
        for (option, value, what) in old_style {
            let Some(value) = value else {
                continue;
            };
            options.set(option, &value.to_string_lossy()).map_err(|_| {
                Failure::new(format!("{what} not supported for file format '{name}'"))
            })?;
        }
        Ok(options)
    }

    /// What cannot be, in the order in which `qemu-img` finds it.
    fn check_new(&self, chains: &[Chain], options: &CreateOptions) -> Result<(), Failure> {
        let has_backing = options.text("backing_file").is_some();
        let is_qcow2 = self.format_name() == "qcow2";
        let is_encrypted = options.text("encrypt.format").is_some()
            || options.flag("encryption").ok().flatten() == Some(true);
        let preallocates = options
            .text("preallocation")
            .is_some_and(|how| how != "off");
        let source = chains.first().and_then(|chain| chain.active().info());
        let has_bitmaps = source.is_some_and(|info| match &info.details {
            FormatDetails::Qcow2(details) => details.version >= 3,
            _ => false,
        });
        let from_qcow2 = source.is_some_and(|info| info.format == Format::Qcow2);
        let wrong = [
            (chains.len() > 1 && has_backing, ONE_BACKING),
            (
                has_backing && options.text("backing_fmt").is_none(),
                "Use of backing file requires explicit backing format",
            ),
            (self.compress && !is_qcow2, NOT_COMPRESSED),
            (
                self.compress && is_encrypted,
                "Compression and encryption not supported at the same time",
            ),
            (
                self.compress && preallocates,
                "Compression and preallocation not supported at the same time",
            ),
            (
                self.bitmaps && chains.len() > 1,
                "Copying bitmaps only possible with single source",
            ),
            (self.bitmaps && !has_bitmaps, "Source lacks bitmap support"),
            (
                self.bitmaps && !is_qcow2,
                "Format driver 'raw' does not support bitmaps",
            ),
            (
                self.snapshots && (chains.len() > 1 || self.open.snapshot.is_some()),
                "Snapshots can only be kept of a single source as it is now",
            ),
            (
                self.snapshots && !(is_qcow2 && from_qcow2),
                "Only qcow2 images have internal snapshots, as source and as target",
            ),
        ];
        match wrong.iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, message)) => Err(Failure::new(*message)),
            None => Ok(()),
        }
    }

    fn warnings(&self, chains: &[Chain], target: &New) -> Vec<Warning> {
        let paths = [Some(&target.path), target.data_file.as_ref()];
        let mut warnings: Vec<_> = paths
            .into_iter()
            .flatten()
            .filter_map(|path| of_target(path))
            .collect();
        for chain in chains {
            let active = chain.active();
            if let (Some(path), Some(info)) = (&active.path, active.info()) {
                warnings.extend(of_copy(path, info, self.snapshots, self.bitmaps));
            }
        }
        warnings
    }

    fn format_name(&self) -> Cow<'_, str> {
        let name = self.target_format.as_deref();
        name.unwrap_or_default().to_string_lossy()
    }

    fn cannot_create(&self, reason: &str) -> Failure {
        let target = self.target.to_string_lossy();
        let format = self.format_name();
        Failure::new(format!(
            "{target}: error while converting {format}: {reason}"
        ))
    }

    fn failure(&self, program: &Program, stop: ConvertStop) -> Failure {
        let error = match stop.stop {
            Stop::Cancelled => return Failure::interrupted(),
            Stop::Failed(error) => error,
        };
        match stop.step {
            Step::Prepare => {
                let target = self.target.to_string_lossy();
                self.cannot_create(&match error.kind() {
                    ErrorKind::Locked => source::lock_reason(error.message(), &target, program),
                    _ if Path::new(&self.target).is_dir() => {
                        format!("Could not create '{target}': Is a directory")
                    }
                    _ => format!("Could not create '{target}': {}", words(&error)),
                })
            }
            Step::Map => Failure::new(format!(
                "error while reading block status: {}",
                words(&error)
            )),
            Step::Read(offset) => Failure::new(format!(
                "error while reading at byte {offset}: {}",
                words(&error)
            )),
            Step::Write(offset) => Failure::new(format!(
                "error while writing at byte {offset}: {}",
                words(&error)
            )),
            Step::Keep if program.is_drop_in() => Failure::new(error.message()),
            Step::Finish | Step::Verify | Step::Keep => Failure::new(error.to_string()),
        }
    }
}

const ONE_BACKING: &str = "Having a backing file for the target makes no sense when concatenating \
                           multiple input images";
const NOT_COMPRESSED: &str = "Compression not supported for this file format";

fn virtual_size(chain: &Chain) -> u64 {
    chain.active().info().map_or(0, |info| info.virtual_size)
}

/// Why, in the C library's words where it was a system call that failed.
fn words(error: &Error) -> String {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause.map_or_else(|| error.to_string(), system_words)
}

fn say(program: &Program, quiet: bool, notice: &Notice) {
    if quiet && !matches!(notice, Notice::BrokenBitmap { .. }) {
        return;
    }
    let name = program.name();
    match notice {
        Notice::Unreadable { offset, error } => eprint_line(format_args!(
            "{name}: warning: error while reading offset {offset}: {}",
            words(error)
        )),
        Notice::BrokenBitmap { name } => eprint_line(format_args!(
            "warning: Skipping inconsistent bitmap '{name}'"
        )),
        other => eprint_line(format_args!("{name}: warning: {other:?}")),
    }
}
