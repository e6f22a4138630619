//! `map`: which bytes of the guest disk are where. A fragmented image has millions of entries, so
//! they are written as they come, with the numbers formatted by hand.

use std::ffi::OsString;
use std::io::{self, Stdout, Write};
use std::mem;
use std::ops::{ControlFlow, Range};
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use platter::chain::{Chain, MapDetail, MapEntry};
use platter::units::HostOffset;

use crate::args::{Arg, Args, Opt};
use crate::help;
use crate::output::OutputFormat;
use crate::program::{Failure, Outcome, Program};
use crate::size;
use crate::source::{self, OpenOptions, Reach, Source};

const OPTIONS: &[Opt] = &[
    Opt::flag("help", Some('h')),
    Opt::value("format", Some('f')),
    Opt::value("output", None),
    Opt::value("object", None),
    Opt::flag("image-opts", None),
    Opt::flag("force-share", Some('U')),
    Opt::value("start-offset", Some('s')),
    Opt::value("max-length", Some('l')),
    Opt::flag("allow-outside", None),
];

/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;

/// Entries handed over at once to the thread that prints.
const BATCH: usize = 2048;

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let mut args = Args::new(format!("{} map", program.argv0()), OPTIONS, arguments);
    let mut open = OpenOptions::default();
    let (mut format, mut output) = (None, OutputFormat::Human);
    let (mut start, mut length) = (0, u64::MAX);
    let mut operands = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Option("help", _) => return help::of(program, "map"),
            Arg::Option("format", value) => format = Some(value),
            Arg::Option("output", value) => output = OutputFormat::parse(&value, &args)?,
            Arg::Option("object", value) => source::accept_object(&value)?,
            Arg::Option("image-opts", _) => open.image_opts = true,
            Arg::Option("force-share", _) => open.force_share = true,
            Arg::Option("start-offset", value) => {
                let parsed = size::parse_as("start offset", &value.to_string_lossy());
                start = parsed.map_err(Failure::new)?;
            }
            Arg::Option("max-length", value) => {
                let parsed = size::parse_as("max length", &value.to_string_lossy());
                length = parsed.map_err(Failure::new)?;
            }
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
    let chain = source.open(program, &open, Reach::Data)?;
    let mut writer = match output {
        OutputFormat::Human => MapWriter::human(data_file_names(&source, &chain)),
        OutputFormat::Json => MapWriter::json(start),
    };
    write_map(&chain, start..start.saturating_add(length), &mut writer)?;
    Ok(ExitCode::SUCCESS)
}

/// Walks on this thread and prints on another: each takes half of the time. What was found before
/// the map breaks off is printed.
fn write_map(chain: &Chain, range: Range<u64>, writer: &mut MapWriter) -> Result<(), Failure> {
    let (walked, written) = thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(8);
        let printer = scope.spawn(|| writer.entries(receiver));
        let walked = send_entries(chain, range, &sender);
        drop(sender);
        let written = printer.join();
        (walked, written.unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let failure = written.err().or_else(|| walked.err().map(Failure::from));
    match failure {
        None => Ok(writer.finish()?),
        Some(failure) => {
            writer.flush()?;
            Err(failure)
        }
    }
}

/// Sends the entries of a map in batches.
fn send_entries(
    chain: &Chain,
    range: Range<u64>,
    sender: &SyncSender<Vec<MapEntry>>,
) -> platter::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    let walked = chain.for_each_map_entry(range, MapDetail::HostHoles, &mut |entry| {
        batch.push(entry);
        if batch.len() < BATCH {
            return ControlFlow::Continue(());
        }
        // A printer that has gone says itself why.
        match sender.send(mem::replace(&mut batch, Vec::with_capacity(BATCH))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    let _ = sender.send(batch);
    walked
}

/// The files that hold the data of each link.
fn data_file_names(source: &Source, chain: &Chain) -> Vec<String> {
    let names = source.names(chain).into_iter();
    let links = chain.links().iter();
    names
        .zip(links)
        .map(|(name, link)| {
            let data_file = link.info().and_then(|info| info.data_file.as_ref());
            data_file.map_or_else(
                || name.clone(),
                |data_file| source::name_beside(&name, &data_file.name),
            )
        })
        .collect()
}

struct MapWriter {
    out: Stdout,
    buffer: Vec<u8>,
    layout: Layout,
}

enum Layout {
    /// A table of what is stored as it is; the files by depth.
    Human(Vec<String>),
    Json {
        /// For the entry of an empty map.
        start: u64,
        is_first: bool,
    },
}

impl MapWriter {
    fn human(files: Vec<String>) -> Self {
        let mut writer = Self::new(Layout::Human(files));
        let header = b"Offset          Length          Mapped to       File\n";
        writer.buffer.extend_from_slice(header);
        writer
    }

    fn json(start: u64) -> Self {
        Self::new(Layout::Json {
            start,
            is_first: true,
        })
    }

    fn new(layout: Layout) -> Self {
        Self {
            out: io::stdout(),
            buffer: Vec::with_capacity(BUFFER + 4096),
            layout,
        }
    }

    /// Prints all that comes.
    fn entries(&mut self, batches: Receiver<Vec<MapEntry>>) -> Result<(), Failure> {
        for batch in batches {
            for entry in &batch {
                self.entry(entry)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &MapEntry) -> Result<(), Failure> {
        let buffer = &mut self.buffer;
        match &mut self.layout {
            Layout::Human(files) => {
                if entry.data && !entry.zero {
                    let Some(host) = entry.host else {
                        return Err(Failure::new(
                            "File contains external, encrypted or compressed clusters.",
                        ));
                    };
                    let file = files.get(entry.depth).map_or("", String::as_str);
                    push_human(buffer, entry, host, file);
                }
            }
            Layout::Json { is_first, .. } => {
                let before: &[u8] = if *is_first { b"[" } else { b",\n" };
                *is_first = false;
                buffer.extend_from_slice(before);
                push_json(buffer, entry);
            }
        }
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Layout::Json { start, is_first } = &self.layout {
            if *is_first {
                let nothing = MapEntry {
                    guest: *start..*start,
                    depth: 0,
                    present: false,
                    zero: false,
                    data: false,
                    compressed: false,
                    host: None,
                };
                self.buffer.push(b'[');
                push_json(&mut self.buffer, &nothing);
            }
            self.buffer.extend_from_slice(b"]\n");
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        self.out.flush()
    }
}

fn push_json(buffer: &mut Vec<u8>, entry: &MapEntry) {
    buffer.extend_from_slice(b"{ \"start\": ");
    push_decimal(buffer, entry.guest.start);
    buffer.extend_from_slice(b", \"length\": ");
    push_decimal(buffer, entry.guest.end - entry.guest.start);
    buffer.extend_from_slice(b", \"depth\": ");
    push_decimal(buffer, entry.depth as u64);
    push_flag(buffer, b", \"present\": ", entry.present);
    push_flag(buffer, b", \"zero\": ", entry.zero);
    push_flag(buffer, b", \"data\": ", entry.data);
    push_flag(buffer, b", \"compressed\": ", entry.compressed);
    if let Some(HostOffset(host)) = entry.host {
        buffer.extend_from_slice(b", \"offset\": ");
        push_decimal(buffer, host);
    }
    buffer.push(b'}');
}

fn push_flag(buffer: &mut Vec<u8>, name: &[u8], value: bool) {
    buffer.extend_from_slice(name);
    let value: &[u8] = if value { b"true" } else { b"false" };
    buffer.extend_from_slice(value);
}

fn push_decimal(buffer: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while number > 0 || start == digits.len() {
        start -= 1;
        // A digit fits a byte.
        digits[start] += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    buffer.extend_from_slice(&digits[start..]);
}

fn push_human(buffer: &mut Vec<u8>, entry: &MapEntry, host: HostOffset, file: &str) {
    let length = entry.guest.end - entry.guest.start;
    for number in [entry.guest.start, length, host.0] {
        push_hexadecimal_column(buffer, number);
    }
    buffer.extend_from_slice(file.as_bytes());
    buffer.push(b'\n');
}

/// 16 wide as C's `%#-16x`: zero without prefix.
fn push_hexadecimal_column(buffer: &mut Vec<u8>, number: u64) {
    let start = buffer.len();
    if number == 0 {
        buffer.push(b'0');
    } else {
        buffer.extend_from_slice(b"0x");
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4);
        for digit in (0..digits).rev() {
            let nibble = (number >> (4 * digit)) & 15;
            buffer.push(b"0123456789abcdef"[usize::try_from(nibble).unwrap_or(0)]);
        }
    }
    let end = buffer.len().max(start + 16);
    buffer.resize(end, b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_formatted_as_the_library_does() {
        for number in [0, 1, 9, 10, 16, 4096, 0xdead_beef, u64::MAX - 1, u64::MAX] {
            let mut decimal = Vec::new();
            push_decimal(&mut decimal, number);
            assert_eq!(String::from_utf8(decimal).unwrap(), number.to_string());
            let mut column = Vec::new();
            push_hexadecimal_column(&mut column, number);
            let expected = match number {
                0 => format!("{:<16}", 0),
                _ => format!("{:<16}", format!("{number:#x}")),
            };
            assert_eq!(String::from_utf8(column).unwrap(), expected);
        }
    }

    #[test]
    fn entries_look_as_those_of_qemu() {
        let entry = MapEntry {
            guest: 1_048_576..2_097_152,
            depth: 1,
            present: true,
            zero: false,
            data: true,
            compressed: false,
            host: Some(HostOffset(458_752)),
        };
        let mut buffer = Vec::new();
        push_json(&mut buffer, &entry);
        assert_eq!(
            String::from_utf8(buffer).unwrap(),
            "{ \"start\": 1048576, \"length\": 1048576, \"depth\": 1, \"present\": true, \
             \"zero\": false, \"data\": true, \"compressed\": false, \"offset\": 458752}"
        );
        let mut buffer = Vec::new();
        push_human(&mut buffer, &entry, HostOffset(458_752), "a.qcow2");
        assert_eq!(
            String::from_utf8(buffer).unwrap(),
            "0x100000        0x100000        0x70000         a.qcow2\n"
        );
    }
}
