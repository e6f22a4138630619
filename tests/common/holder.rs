//! Other programs that have an image open.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::tool;

/// A program that has an image open until this is dropped.
pub(crate) struct Holder {
    child: Child,
    input: ChildStdin,
}

impl Holder {
    /// Starts `command`, which answers a line of `input` once it has the image open.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn start(command: &mut Command, input: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the holder starts");
        let mut holder = Self {
            input: child.stdin.take().expect("the input is piped"),
            child,
        };
        holder
            .input
            .write_all(input.as_bytes())
            .expect("the holder reads");
        holder.input.flush().expect("the holder reads");
        let mut answer = String::new();
        let output = holder.child.stdout.take().expect("the output is piped");
        BufReader::new(output)
            .read_line(&mut answer)
            .expect("the holder answers");
        assert!(!answer.is_empty(), "{command:?} says nothing");
        holder
    }

    /// `qemu-io` with `arguments`, which has `image` open.
    pub(crate) fn qemu_io(arguments: &[&str], image: &Path) -> Self {
        Self::start(tool("qemu-io").args(arguments).arg(image), "length\n")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
