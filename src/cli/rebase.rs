//! `rebase`: an overlay on another backing file, or on none.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use platter::chain::Chain;
use platter::image::{FileReference, Format};
use platter::op::rebase::{NewBacking, RebasePlan, relink};
use platter::op::warning::of_changed_backing;
use platter::{ErrorKind, Stop};

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::interrupt;
use crate::output::print;
use crate::program::{Failure, Outcome, Program, with_cause};
use crate::progress::{print_progress, watched};
use crate::source::{self, OpenOptions, Reach, Source, name_beside};
use crate::warning::warn;

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::flag("quiet", Some('q')),
    Opt::flag("progress", Some('p')),
    Opt::value("format", Some('f')),
    Opt::flag("image-opts", None),
    Opt::value("cache", Some('t')),
    Opt::value("backing", Some('b')),
    Opt::value("backing-format", Some('F')),
    Opt::value("backing-cache", Some('T')),
    Opt::flag("backing-unsafe", Some('u')),
    Opt::flag("compress", Some('c')),
    Opt::flag("force-share", Some('U')),
    Opt::value("object", None),
    Opt::flag("allow-outside", None),
];

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} rebase", program.argv0()), OPTIONS, arguments);
    let mut request = Request::default();
    let (mut progress, mut quiet) = (false, false);
    let mut operands = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Option("help", _) => return help::of(program, "rebase"),
            Arg::Option("quiet", _) => quiet = true,
            Arg::Option("progress", _) => progress = true,
            Arg::Option("format", value) => request.format = Some(value),
            Arg::Option("image-opts", _) => request.open.image_opts = true,
            Arg::Option("cache", value) => request.cache = Some(value),
            Arg::Option("backing", value) => request.backing = Some(text(&value)),
            Arg::Option("backing-format", value) => request.backing_format = Some(text(&value)),
            Arg::Option("backing-cache", value) => request.backing_cache = Some(value),
            Arg::Option("backing-unsafe", _) => request.name_only = true,
            Arg::Option("compress", _) => request.compress = true,
            Arg::Option("force-share", _) => request.force_share = true,
            Arg::Option("object", value) => source::accept_object(&value)?,
            Arg::Option("allow-outside", _) => request.open.allow_outside = true,
            Arg::Option(..) => {}
            Arg::Operand(operand) => operands.push(operand),
        }
    }
    let [operand] = operands.as_slice() else {
        return Err(args.usage("Expecting one image file name"));
    };
    if !request.name_only && request.backing.is_none() {
        return Err(args.usage("Must specify backing file (-b) or use unsafe mode (-u)"));
    }
    let progress = progress && !quiet;
    if progress {
        print_progress(0.0)?;
    }
    let outcome = request.run(program, operand, progress);
    if progress {
        print("\n")?;
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

#[derive(Default)]
struct Request {
    open: OpenOptions,
    format: Option<OsString>,
    cache: Option<OsString>,
    /// Empty for none.
    backing: Option<String>,
    backing_format: Option<String>,
    backing_cache: Option<OsString>,
    name_only: bool,
    compress: bool,
    /// For the new backing file.
    force_share: bool,
}

impl Request {
    fn run(&self, program: &Program, operand: &OsStr, progress: bool) -> Result<(), Failure> {
        source::check_cache_option(self.cache.as_deref())?;
        source::check_cache_mode(self.backing_cache.as_deref())?;
        source::check_format_options(self.format.is_some(), self.open.image_opts)?;
        let open = OpenOptions {
            writable: vec![0],
            ..self.open.clone()
        };
        let source = Source::new(operand, self.format.as_deref(), &open)?;
        let reach = if self.name_only {
            Reach::Header
        } else {
            Reach::Data
        };
        let chain = source.open(program, &open, reach)?;
        let format = chain.active().image().map(|image| image.format());
        if self.compress && format != Some(Format::Qcow2) {
            return Err(Failure::new(
                "Compression not supported for this file format",
            ));
        }
        if let Some(name) = &self.backing_format
            && !is_driver(name)
        {
            return Err(Failure::new(format!("Invalid format name: '{name}'")));
        }
        if self.name_only {
            self.relink(program, &chain, progress)
        } else {
            self.rebase(program, &source, &chain, progress)
        }
    }

    fn relink(&self, program: &Program, chain: &Chain, progress: bool) -> Result<(), Failure> {
        warn(program, || {
            let active = chain.active();
            let (path, info) = (active.path.as_deref(), active.info());
            path.zip(info)
                .and_then(|(path, info)| of_changed_backing(path, info))
        });
        relink(chain, self.reference(), &interrupt::control())
            .map_err(|stop| self.failure(stop))?;
        if progress {
            print_progress(100.0)?;
        }
        Ok(())
    }

    fn rebase(
        &self,
        program: &Program,
        source: &Source,
        chain: &Chain,
        progress: bool,
    ) -> Result<(), Failure> {
        let reference = self.reference();
        // A chain of its own has to live as long as the plan.
        let other;
        let new = match &reference {
            None => None,
            Some(reference) => {
                let (chain, depth) = match chain.find_meant(&reference.name) {
                    Some(depth) => (chain, depth),
                    None => {
                        other = self.open_backing(program, source, &reference.name)?;
                        (&other, 0)
                    }
                };
                Some(NewBacking {
                    reference: reference.clone(),
                    chain,
                    depth,
                })
            }
        };
        let plan = RebasePlan::new(chain, new, self.compress)
            .map_err(|error| self.failure(error.into()))?;
        warn(program, || plan.warnings());
        let control = interrupt::control();
        watched(progress, &control, || plan.run(&control))?.map_err(|stop| self.failure(stop))
    }

    fn open_backing(
        &self,
        program: &Program,
        source: &Source,
        name: &str,
    ) -> Result<Chain, Failure> {
        let open = OpenOptions {
            force_share: self.force_share,
            allow_outside: self.open.allow_outside,
            ..OpenOptions::default()
        };
        let full = name_beside(source.filename(), name);
        let format = self.backing_format.as_deref().map(OsStr::new);
        Source::new_backing(name, OsStr::new(&full), format)?.open(program, &open, Reach::Data)
    }

    /// What the header will say.
    fn reference(&self) -> Option<FileReference> {
        let name = self.backing.clone().filter(|name| !name.is_empty())?;
        Some(FileReference {
            name,
            format: self.backing_format.clone(),
        })
    }

    fn failure(&self, stop: Stop) -> Failure {
        let error = match stop {
            Stop::Cancelled => return Failure::interrupted(),
            Stop::Failed(error) => error,
        };
        let name = self.backing.as_deref().unwrap_or("(null)");
        let lacks_format = self.reference().is_some() && self.backing_format.is_none();
        let reason = match error.kind() {
            ErrorKind::Unsupported | ErrorKind::InvalidInput if lacks_format => {
                "backing format must be specified"
            }
            ErrorKind::Unsupported => "Operation not supported",
            ErrorKind::InvalidInput if error.field() == Some("backing_file_size") => {
                "No space left in the file header"
            }
            ErrorKind::InvalidInput => "Invalid argument",
            _ => return Failure::new(with_cause(&error)),
        };
        Failure::new(format!(
            "Could not change the backing file to '{name}': {reason}"
        ))
    }
}

fn text(value: &OsStr) -> String {
    value.to_string_lossy().into_owned()
}

/// Whether QEMU has a driver of that name, which a backing file may be said to have.
fn is_driver(name: &str) -> bool {
    const PROTOCOLS: [&str; 10] = [
        "file",
        "ftp",
        "ftps",
        "host_cdrom",
        "host_device",
        "http",
        "https",
        "iscsi",
        "nbd",
        "ssh",
    ];
    Format::from_name(name).is_some() || PROTOCOLS.contains(&name)
}
