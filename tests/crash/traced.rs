//! What a real program writes, taken down by `strace` and replayed into a log of changes.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use platter::storage::{LogStorage, WritableStorage, WriteLog};

use crate::common;

const CALLS: &str = "pwrite64,pwritev,pwritev2,fallocate,ftruncate,fdatasync,fsync,\
    copy_file_range,rename,renameat,renameat2";

/// A whole run of a program.
pub(crate) struct Trace {
    pub(crate) log: WriteLog,
    /// The files as it left them, under whatever name.
    pub(crate) after: Vec<Vec<u8>>,
    /// The changes that had been made when a file got another name, and that name.
    pub(crate) renamed: Vec<(usize, PathBuf)>,
    /// Other files that it wrote to, and folders that it made durable.
    pub(crate) others: BTreeSet<PathBuf>,
}

/// Runs `program` in `folder` to its end and takes down what it does to `files`, which may come
/// into being meanwhile.
///
/// # Errors
/// When it fails, or does what cannot be taken down.
pub(crate) fn record(folder: &Path, program: &Command, files: &[&str]) -> Result<Trace, String> {
    let log = WriteLog::new();
    let storages: Vec<_> = files
        .iter()
        .map(|name| log.storage(fs::read(folder.join(name)).unwrap_or_default()))
        .collect();
    let text = folder.join("strace.log");
    let mut strace = common::tool("strace");
    strace
        .args(["-f", "-y", "-xx", "-s", "33554432", "-e", "signal=none"])
        .args(["-e", &format!("trace={CALLS}"), "-o"])
        .arg(&text)
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(folder);
    let said = common::output(&mut strace);
    if !said.status.success() {
        return Err(format!(
            "{program:?}: {}",
            String::from_utf8_lossy(&said.stderr)
        ));
    }
    let mut names: Vec<_> = files.iter().map(|name| folder.join(name)).collect();
    let (mut renamed, mut others) = (Vec::new(), BTreeSet::new());
    let mut unfinished: HashMap<&str, &str> = HashMap::new();
    let written = fs::read_to_string(&text).map_err(|error| error.to_string())?;
    fs::remove_file(&text).map_err(|error| error.to_string())?;
    for line in written.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, begun);
            continue;
        }
        // The arguments were printed when the call began.
        let whole = match call.strip_prefix("<... ") {
            Some(rest) => {
                let rest = rest.split_once("resumed>").map_or(rest, |(_, rest)| rest);
                format!("{}{rest}", unfinished.remove(thread).unwrap_or_default())
            }
            None => call.to_owned(),
        };
        let Some(call) = Call::parse(&whole) else {
            continue;
        };
        if let Some((from, to)) = call.rename(folder) {
            if let Some(name) = names.iter_mut().find(|name| **name == from) {
                name.clone_from(&to);
                renamed.push((log.position(), to));
            }
            continue;
        }
        let path = call.path();
        match names.iter().position(|name| *name == path) {
            Some(index) => call.replay(&storages[index])?,
            None => drop(others.insert(path)),
        }
    }
    let after: Vec<_> = names
        .iter()
        .map(|name| fs::read(name).unwrap_or_default())
        .collect();
    for ((name, storage), after) in files.iter().zip(&storages).zip(&after) {
        if storage.to_vec() != *after {
            return Err(format!("{name}: what was taken down is not what was done"));
        }
    }
    Ok(Trace {
        log,
        after,
        renamed,
        others,
    })
}

/// A system call that succeeded.
struct Call<'a> {
    name: &'a str,
    arguments: Vec<&'a str>,
}

impl<'a> Call<'a> {
    /// `None` for what failed and for what is no call.
    fn parse(line: &'a str) -> Option<Self> {
        let (call, result) = line.rsplit_once(" = ")?;
        if result.starts_with('-') {
            return None;
        }
        let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
        // All strings are in hexadecimal: no comma is part of one.
        let arguments = arguments.split(", ").map(str::trim).collect();
        Some(Self { name, arguments })
    }

    fn number(&self, index: usize) -> Result<u64, String> {
        let word = self.arguments.get(index).copied().unwrap_or_default();
        word.parse()
            .map_err(|_| format!("{}: {word:?} is no number", self.name))
    }

    /// The file of the descriptor that is the first argument.
    fn path(&self) -> PathBuf {
        let (_, path) = self.arguments[0].split_once('<').unwrap_or_default();
        let path = bytes_of(path.trim_end_matches('>'));
        PathBuf::from(String::from_utf8_lossy(&path).into_owned())
    }

    /// The old name and the new one.
    fn rename(&self, folder: &Path) -> Option<(PathBuf, PathBuf)> {
        let places = match self.name {
            "rename" => [0, 1],
            "renameat" | "renameat2" => [1, 3],
            _ => return None,
        };
        let [from, to] = places.map(|place| {
            let name = bytes_of(self.arguments[place].trim_matches('"'));
            folder.join(String::from_utf8_lossy(&name).into_owned())
        });
        Some((from, to))
    }

    fn replay(&self, file: &LogStorage) -> Result<(), String> {
        let done = match self.name {
            "pwrite64" => {
                let bytes = bytes_of(self.arguments[1].trim_matches('"'));
                if bytes.len() as u64 != self.number(2)? {
                    return Err("strace cut a write short".to_owned());
                }
                file.write_at(&bytes, self.number(3)?)
            }
            "ftruncate" => file.set_len(self.number(1)?),
            "fdatasync" | "fsync" => file.flush(),
            "fallocate" => {
                let start = self.number(2)?;
                let range = start..start + self.number(3)?;
                match self.arguments[1] {
                    "0" => file.allocate(range),
                    mode if mode.contains("PUNCH_HOLE") => file.punch_hole(range),
                    mode if mode.contains("ZERO_RANGE") => file.write_zeroes(range),
                    mode => return Err(format!("fallocate with {mode}")),
                }
            }
            other => return Err(format!("{other} is not understood")),
        };
        done.map_err(|error| error.to_string())
    }
}

/// `\x41b` is what `-xx` makes of anything.
fn bytes_of(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    text.as_bytes()
        .chunks(4)
        .map(|escaped| match escaped {
            [_, _, high, low] => digit(*high) << 4 | digit(*low),
            _ => 0,
        })
        .collect()
}
