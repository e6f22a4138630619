//! What the verbs that look into a guest disk have in common.

use std::ffi::OsString;
use std::sync::Arc;

use platter::chain::Chain;
use platter::fs::FileSystem;
use platter::inspect::Contents;
use platter::storage::Storage;
use serde_json::{Map, Value, json};

use crate::args::{Arg, Args, Opt};
use crate::output::OutputFormat;
use crate::program::{Failure, Program};
use crate::source::{self, OpenOptions, Reach, Source};

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("format", Some('f')),
    Opt::flag("image-opts", None),
    Opt::flag("force-share", Some('U')),
    Opt::value("snapshot", Some('l')),
    Opt::value("object", None),
    Opt::value("output", None),
    Opt::flag("allow-outside", None),
    Opt::flag("dump", None),
];

/// One image and how to look at it.
pub(crate) struct Request {
    pub(crate) source: Source,
    pub(crate) open: OpenOptions,
    pub(crate) output: OutputFormat,
    /// The table shall be printed as `sfdisk --dump` does.
    pub(crate) dump: bool,
}

impl Request {
    /// Parses the arguments of `verb`. `None` when help is asked for.
    pub(crate) fn parse(
        program: &Program,
        verb: &str,
        arguments: Vec<OsString>,
    ) -> Result<Option<Self>, Failure> {
        let mut args = Args::new(format!("{} {verb}", program.argv0()), OPTIONS, arguments);
        let mut open = OpenOptions::default();
        let (mut format, mut output) = (None, OutputFormat::Human);
        let (mut operands, mut dump) = (Vec::new(), false);
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Option("help", _) => return Ok(None),
                Arg::Option("format", value) => format = Some(value),
                Arg::Option("image-opts", _) => open.image_opts = true,
                Arg::Option("force-share", _) => open.force_share = true,
                Arg::Option("snapshot", value) => open.snapshot = Some(source::snapshot(&value)?),
                Arg::Option("object", value) => source::accept_object(&value)?,
                Arg::Option("output", value) => output = OutputFormat::parse(&value, &args)?,
                Arg::Option("allow-outside", _) => open.allow_outside = true,
                Arg::Option("dump", _) if verb == "partitions" => dump = true,
                Arg::Option("dump", _) => return Err(args.usage("Only 'partitions' has --dump")),
                Arg::Option(..) => {}
                Arg::Operand(operand) => operands.push(operand),
            }
        }
        let [operand] = operands.as_slice() else {
            return Err(args.usage("Expecting one image file name"));
        };
        source::check_format_options(format.is_some(), open.image_opts)?;
        let source = Source::new(operand, format.as_deref(), &open)?;
        Ok(Some(Self {
            source,
            open,
            output,
            dump,
        }))
    }

    /// Opens the image as far as `reach` says.
    pub(crate) fn open_chain(&self, program: &Program, reach: Reach) -> Result<Chain, Failure> {
        self.source.open(program, &self.open, reach)
    }

    /// Reads the partition table and the superblocks of the guest disk.
    pub(crate) fn contents(&self, program: &Program) -> Result<Contents, Failure> {
        let chain = self.open_chain(program, Reach::Data)?;
        let disk: Arc<dyn Storage> = Arc::new(chain.disk()?);
        Ok(Contents::read(&disk)?)
    }
}

/// A file system for programs; sizes in bytes, `null` where nobody knows.
pub(crate) fn file_system_json(file_system: &FileSystem) -> Value {
    let details: Map<String, Value> = file_system
        .details
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    json!({
        "type": file_system.kind.name(),
        "label": file_system.label,
        "uuid": file_system.uuid,
        "size": file_system.size,
        "used": file_system.usage.map(|usage| usage.used),
        "free": file_system.usage.map(|usage| usage.free),
        "block-size": file_system.block_size,
        "notes": file_system.notes,
        "details": details,
    })
}
