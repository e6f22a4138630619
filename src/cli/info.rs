//! `info`: what the headers say. Opens nothing but the file it was given, unless the whole chain
//! is asked for.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::fs::FileTypeExt;
use std::process::ExitCode;
use std::time::Duration;

use platter::chain::Link;
use platter::image::{Bitmap, FormatDetails, ImageDriver, ImageInfo, Qcow2Details, Snapshot};
use platter::units::ByteSize;
use serde_json::{Map, Value, json};

use crate::args::{Arg, Args, Opt};
use crate::date;
use crate::help;
use crate::output::{OutputFormat, print, print_json};
use crate::program::{Outcome, Program};
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
            let texts: Vec<String> = documents.iter().map(human).collect();
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
        set("snapshots", info.snapshots.iter().map(snapshot).collect());
    }
    set("virtual-size", json!(info.virtual_size));
    set("filename", json!(name));
    if let Some(cluster_size) = info.cluster_size {
        set("cluster-size", json!(cluster_size));
    }
    set("format", json!(info.format.name()));
    set("actual-size", allocated);
    if let Some(details) = details(info) {
        set("format-specific", details);
    }
    if info.encryption.is_some() {
        set("encrypted", json!(true));
    }
    if let Some(backing) = &info.backing {
        set(
            "full-backing-filename",
            json!(source::name_beside(name, &backing.name)),
        );
        set("backing-filename", json!(backing.name));
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

fn snapshot(snapshot: &Snapshot) -> Value {
    let mut entry = Map::new();
    if let Some(icount) = snapshot.icount {
        entry.insert("icount".into(), json!(icount));
    }
    entry.insert(
        "vm-clock-nsec".into(),
        json!(snapshot.vm_clock.subsec_nanos()),
    );
    entry.insert("name".into(), json!(snapshot.name));
    entry.insert("date-sec".into(), json!(snapshot.date.as_secs()));
    entry.insert("date-nsec".into(), json!(snapshot.date.subsec_nanos()));
    entry.insert("vm-clock-sec".into(), json!(snapshot.vm_clock.as_secs()));
    entry.insert("id".into(), json!(snapshot.id));
    entry.insert("vm-state-size".into(), json!(snapshot.vm_state_size));
    entry.into()
}

fn details(info: &ImageInfo) -> Option<Value> {
    match &info.details {
        FormatDetails::Qcow2(details) => Some(json!({
            "type": "qcow2",
            "data": qcow2_details(info, details),
        })),
        _ => None,
    }
}

fn qcow2_details(info: &ImageInfo, details: &Qcow2Details) -> Value {
    let is_v3 = details.version >= 3;
    let mut data = Map::new();
    let mut set = |key: &str, value: Value| data.insert(key.to_owned(), value);
    set("compat", json!(if is_v3 { "1.1" } else { "0.10" }));
    set("compression-type", json!(details.compression));
    if is_v3 {
        set("lazy-refcounts", json!(details.lazy_refcounts));
        if !details.bitmaps.is_empty() {
            set("bitmaps", details.bitmaps.iter().map(bitmap).collect());
        }
    }
    set("refcount-bits", json!(details.refcount_bits));
    if let Some(method) = &info.encryption {
        set("encrypt", json!({ "format": method }));
    }
    if is_v3 {
        if let Some(file) = &info.data_file {
            set("data-file", json!(file.name));
            set("data-file-raw", json!(details.data_file_raw));
        }
        set("corrupt", json!(info.corrupt));
        set("extended-l2", json!(details.extended_l2));
    }
    data.into()
}

fn bitmap(bitmap: &Bitmap) -> Value {
    let flags: Vec<&str> = [(bitmap.in_use, "in-use"), (bitmap.auto, "auto")]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
    json!({ "flags": flags, "name": bitmap.name, "granularity": bitmap.granularity })
}

/// A document as text.
fn human(document: &Value) -> String {
    let mut text = String::new();
    write_node(&mut text, document, None);
    text
}

/// A node of the graph: the image itself, or (indented) a child of it with its path.
fn write_node(text: &mut String, node: &Value, child: Option<&str>) {
    let indent = if child.is_some() { "    " } else { "" };
    let word = |key: &str| node[key].as_str().unwrap_or_default();
    let size = |key: &str| node[key].as_u64().unwrap_or_default();
    let (name, format, length) = match child {
        None => ("image", "file format", "virtual size"),
        Some(_) => ("filename", "protocol type", "file length"),
    };
    let bytes = size("virtual-size");
    let _ = write!(
        text,
        "{indent}{name}: {}\n{indent}{format}: {}\n{indent}{length}: {} ({bytes} bytes)\n\
         {indent}disk size: {}\n",
        word("filename"),
        word("format"),
        ByteSize(bytes),
        ByteSize(size("actual-size")),
    );
    if child.is_some() {
        return;
    }
    write_image_facts(text, node);
    for child in node["children"].as_array().into_iter().flatten() {
        let path = format!("/{}", child["name"].as_str().unwrap_or_default());
        let _ = writeln!(text, "Child node '{path}':");
        write_node(text, &child["info"], Some(&path));
    }
}

fn write_image_facts(text: &mut String, node: &Value) {
    if node["encrypted"] == true {
        text.push_str("encrypted: yes\n");
    }
    if let Some(cluster_size) = node["cluster-size"].as_u64() {
        let _ = writeln!(text, "cluster_size: {cluster_size}");
    }
    if node["dirty-flag"] == true {
        text.push_str("cleanly shut down: no\n");
    }
    if let Some(name) = node["backing-filename"].as_str() {
        let _ = write!(text, "backing file: {name}");
        match node["full-backing-filename"].as_str() {
            Some(full) if full != name => {
                let _ = write!(text, " (actual path: {full})");
            }
            _ => {}
        }
        text.push('\n');
    }
    if let Some(format) = node["backing-filename-format"].as_str() {
        let _ = writeln!(text, "backing file format: {format}");
    }
    if let Some(snapshots) = node["snapshots"].as_array() {
        write_snapshots(text, snapshots);
    }
    if let Some(data) = node["format-specific"]["data"].as_object() {
        text.push_str("Format specific information:\n");
        write_members(text, data, 1);
    }
}

fn write_snapshots(text: &mut String, snapshots: &[Value]) {
    text.push_str(
        "Snapshot list:\n\
         ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT\n",
    );
    for snapshot in snapshots {
        let number = |key: &str| snapshot[key].as_u64().unwrap_or_default();
        let word = |key: &str| snapshot[key].as_str().unwrap_or_default();
        let seconds = number("vm-clock-sec");
        let clock = format!(
            "{:04}:{:02}:{:02}.{:03}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            number("vm-clock-nsec") / 1_000_000
        );
        let date = date::local(Duration::from_secs(number("date-sec")));
        let icount = snapshot["icount"].as_u64().map(|count| count.to_string());
        let _ = writeln!(
            text,
            "{} {} {:>8} {date:>19} {clock:>15} {:>10}",
            padded(word("id"), 7),
            padded(word("name"), 16),
            ByteSize(number("vm-state-size")).to_string(),
            icount.unwrap_or_default(),
        );
    }
}

/// Padded as C pads: by bytes.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.len())))
}

/// The members of an object as indented lines; lists number their elements.
fn write_members(text: &mut String, members: &Map<String, Value>, depth: usize) {
    for (key, value) in members {
        write_member(text, &key.replace('-', " "), value, depth);
    }
}

fn write_member(text: &mut String, name: &str, value: &Value, depth: usize) {
    let indent = "    ".repeat(depth);
    match value {
        Value::Object(members) => {
            let _ = writeln!(text, "{indent}{name}:");
            write_members(text, members, depth + 1);
        }
        Value::Array(elements) => {
            let _ = writeln!(text, "{indent}{name}:");
            for (index, element) in elements.iter().enumerate() {
                write_member(text, &format!("[{index}]"), element, depth + 1);
            }
        }
        Value::String(word) => {
            let _ = writeln!(text, "{indent}{name}: {word}");
        }
        other => {
            let _ = writeln!(text, "{indent}{name}: {other}");
        }
    }
}
