//! What the integration tests share: other programs as oracles, scratch folders, fixtures.
//!
//! A program that is not installed fails the test that needs it: a skipped oracle is noticed by
//! nobody.

#![allow(
    dead_code,
    reason = "each test crate compiles this module and uses its own part of it"
)]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

pub(crate) mod chains;
pub(crate) mod device;
pub(crate) mod disk;
pub(crate) mod fixtures;
pub(crate) mod holder;
pub(crate) mod inputs;
pub(crate) mod physical_volume;
pub(crate) mod qemu;
pub(crate) mod twins;
pub(crate) mod volume;
pub(crate) mod windows;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// How to get what a test needs; part of every message about a missing program.
pub(crate) const INSTALL_HINT: &str = "install with build-aux/dev test";

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A command for the installed program `name`, with untranslated output.
///
/// Administrators' programs (`mkfs.*`, `sfdisk`) are found where an ordinary user's `PATH` does
/// not reach.
///
/// # Panics
/// When the program is not installed.
pub(crate) fn tool(name: &str) -> Command {
    let program =
        find_program(name).unwrap_or_else(|| panic!("{name} is not installed: {INSTALL_HINT}"));
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command
}

/// The command line program that is tested.
pub(crate) fn ours() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_platter-img"));
    command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A scratch folder, removed when dropped.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("platter-test-")
        .tempdir()
        .expect("a scratch folder can be made")
}

/// Runs a command to its end, whatever its exit status.
pub(crate) fn output(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// Runs a command that has to succeed; its standard output.
///
/// # Panics
/// When it fails, with all that it said.
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// `run` for a program by name: `run_tool("qemu-img", ["info", "a.qcow2"])`.
pub(crate) fn run_tool<I, S>(name: &str, arguments: I) -> String
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    run(tool(name).args(arguments))
}

/// Runs a command that has to succeed and reads `input`; its standard output.
///
/// # Panics
/// When it fails.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("the input is piped");
    stdin
        .write_all(input.as_bytes())
        .expect("the program reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}
