//! Running a tool of somebody else: an argument array, no shell, no input, no environment, bounded
//! time, memory and output.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::control::{Control, Stop};
use crate::error::{Error, ErrorKind, Result};

/// Folders where such tools are; `PATH` is not asked, it belongs to the user's shell.
const FOLDERS: [&str; 6] = [
    "/usr/sbin",
    "/sbin",
    "/usr/bin",
    "/bin",
    "/app/sbin",
    "/app/bin",
];
/// Address space that a tool gets, in bytes.
const MEMORY: u64 = 4 << 30;
/// CPU seconds that a tool gets.
const CPU: u64 = 4 * 3600;
/// Bytes of its output that are kept.
const OUTPUT: u64 = 64 << 10;
/// How long a cancel may take to be seen.
const BLINK: Duration = Duration::from_millis(50);

/// What a tool did.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) status: ExitStatus,
    /// Both its streams, one after the other.
    pub(super) said: String,
}

/// The program of this name, if it is installed.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
}

/// Runs a program to its end; a cancel kills it. `input` is for it to open by name; it can read
/// nothing from there that was opened for nothing else.
pub(super) fn run(
    program: &str,
    arguments: &[String],
    input: Option<File>,
    control: &Control,
) -> Result<Ran, Stop> {
    let path = find(program).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("the program '{program}' is not installed"),
        )
    })?;
    let mut child = Command::new(path)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", FOLDERS.join(":"))
        .current_dir("/")
        .stdin(input.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Error::io(format!("cannot run '{program}'"), error))?;
    limit(&child);
    let (sender, ends) = channel();
    let mut readers = Vec::new();
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as _),
        child.stderr.take().map(|stream| Box::new(stream) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        readers.push(thread::spawn(move || {
            let said = head_of(stream);
            drop(sender);
            said
        }));
    }
    drop(sender);
    // Both streams end with the program: until then the only thing that can happen is a cancel.
    let mut cancelled = false;
    while !cancelled && ends.recv_timeout(BLINK) == Err::<(), _>(RecvTimeoutError::Timeout) {
        cancelled = control.checkpoint().is_err();
    }
    if cancelled {
        let _ = child.kill();
    }
    let status = child
        .wait()
        .map_err(|error| Error::io(format!("cannot wait for '{program}'"), error))?;
    let said: Vec<String> = readers
        .into_iter()
        .filter_map(|reader| reader.join().ok())
        .filter(|said| !said.is_empty())
        .collect();
    if cancelled {
        return Err(Stop::Cancelled);
    }
    Ok(Ran {
        status,
        said: said.join("\n"),
    })
}

fn limit(child: &Child) {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return;
    };
    for (resource, most) in [(Resource::As, MEMORY), (Resource::Cpu, CPU)] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        // It may have ended already.
        let _ = prlimit(Some(pid), resource, limit);
    }
}

/// The beginning of what is said; the rest is read and dropped, so that nobody waits for us.
fn head_of(mut stream: impl Read) -> String {
    let mut said = Vec::new();
    let _ = stream.by_ref().take(OUTPUT).read_to_end(&mut said);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
    String::from_utf8_lossy(&said).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_status_and_environment() {
        let ran = run("env", &[], None, &Control::new()).unwrap();
        assert!(ran.status.success());
        assert!(ran.said.contains("LC_ALL=C") && !ran.said.contains("HOME="));
        let ran = run("cat", &["/no such file".into()], None, &Control::new()).unwrap();
        assert!(!ran.status.success());
        assert!(ran.said.contains("No such file"));
        assert!(run("no-such-program", &[], None, &Control::new()).is_err());
    }

    #[test]
    fn endless_output_is_cut_and_a_cancel_kills() {
        let control = Control::new();
        let watched = control.clone();
        let killer = thread::spawn(move || watched.cancel());
        let stop = run("yes", &[], None, &control);
        assert!(matches!(stop, Err(Stop::Cancelled)));
        killer.join().unwrap();
    }
}
