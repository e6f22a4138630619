//! `info`: what the headers say. Opens nothing but the file it was given, unless the whole chain
//! is asked for.

mod human;
mod qcow2;

use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt;
use std::process::ExitCode;

use platter::chain::Link;
use platter::image::{FormatDetails, ImageDriver};
use serde_json::{Map, Value, json};

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::output::{OutputFormat, print, print_json};
use crate::program::{Outcome, Program};
use crate::snapshot_list;
use crate::source::{self, OpenOptions, Reach, Source};

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("format", Some('f')),
    Opt::flag("image-opts", None),
    Opt::flag("backing-chain", Some('b')),
    Opt::flag("force-share", Some('U')),
    Opt::value("output", None),
    Opt::value("object", None),
    Opt::flag("allow-outside", None),
];

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} info", program.argv0()), OPTIONS, arguments);
    let mut open = OpenOptions::default();
    let (mut format, mut output, mut whole_chain) = (None, OutputFormat::Human, false);
    let mut operands = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Option("help", _) => return help::of(program, "info"),
            Arg::Option("format", value) => format = Some(value),
            Arg::Option("image-opts", _) => open.image_opts = true,
            Arg::Option("backing-chain", _) => whole_chain = true,
            Arg::Option("force-share", _) => open.force_share = true,
            Arg::Option("output", value) => output = OutputFormat::parse(&value, &args)?,
            Arg::Option("object", value) => source::accept_object(&value)?,
            Arg::Option("allow-outside", _) => open.allow_outside = true,
            Arg::Option(..) => {}
            Arg::Operand(operand) => operands.push(operand),
        }
    }
    let [operand] = operands.as_slice() else {
        return Err(args.usage("Expecting one image file name"));
    };
    source::check_format_options(format.is_some(), open.image_opts)?;
    let source = Source::new(operand, format.as_deref(), &open)?;
    let reach = if whole_chain {
        Reach::Headers
    } else {
        Reach::Header
    };
    let chain = source.open(program, &open, reach)?;
    let names = source.names(&chain);
    let links = chain.links().iter().zip(&names);
    let documents: Vec<Value> = links
        .filter_map(|(link, name)| Some(document(link, link.image()?.as_ref(), name)))
        .collect();
    match output {
        OutputFormat::Human => {
            let texts: Vec<String> = documents.iter().map(human::human).collect();
            print(&texts.join("\n"))?;
        }
        OutputFormat::Json if whole_chain => print_json(&Value::Array(documents))?,
        OutputFormat::Json => documents.iter().try_for_each(print_json)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One image, with the keys in QEMU's order.
fn document(link: &Link, image: &dyn ImageDriver, name: &str) -> Value {
    let info = image.info();
    let mut document = Map::new();
    let mut set = |key: &str, value: Value| document.insert(key.to_owned(), value);
    let file = file_node(link, image, name);
    let allocated = file["actual-size"].clone();
    set("children", json!([{ "name": "file", "info": file }]));
    if let Some(format) = info.backing.as_ref().and_then(|file| file.format.as_ref()) {
        set("backing-filename-format", json!(format));
    }
    if !info.snapshots.is_empty() {
        set(
            "snapshots",
            info.snapshots.iter().map(snapshot_list::json).collect(),
        );
    }
    set("virtual-size", json!(info.virtual_size));
    set("filename", json!(name));
    if let Some(cluster_size) = info.cluster_size {
        set("cluster-size", json!(cluster_size));
    }
    set("format", json!(info.format.name()));
    set("actual-size", allocated);
    if let Some(details) = details(image) {
        set("format-specific", details);
    }
    let backing = info.backing.as_ref().map(|backing| &backing.name);
    if let Some(backing) = backing {
        set(
            "full-backing-filename",
            json!(source::name_beside(name, backing)),
        );
    }
    if info.encryption.is_some() {
        set("encrypted", json!(true));
    }
    if let Some(backing) = backing {
        set("backing-filename", json!(backing));
    }
    set("dirty-flag", json!(info.dirty));
    document.into()
}

/// The file below the format.
fn file_node(link: &Link, image: &dyn ImageDriver, name: &str) -> Value {
    let path = link.path.as_deref();
    let is_device = path
        .and_then(|path| path.metadata().ok())
        .is_some_and(|metadata| metadata.file_type().is_block_device());
    let driver = if is_device { "host_device" } else { "file" };
    let size = link.file_size.unwrap_or(0).next_multiple_of(512);
    // Of the link itself: a data file counts for itself.
    let allocated = image.storage().allocated().ok().flatten().unwrap_or(0);
    let mut node = Map::new();
    let mut set = |key: &str, value: Value| node.insert(key.to_owned(), value);
    set("children", json!([]));
    set("virtual-size", json!(size));
    set("filename", json!(name));
    set("format", json!(driver));
    set("actual-size", json!(allocated));
    if !is_device {
        set("format-specific", json!({ "type": driver, "data": {} }));
    }
    set("dirty-flag", json!(false));
    node.into()
}

fn details(image: &dyn ImageDriver) -> Option<Value> {
    match &image.info().details {
        FormatDetails::Qcow2(details) => Some(json!({
            "type": "qcow2",
            "data": qcow2::details(image, details),
        })),
        _ => None,
    }
}
