//! Who we are called as, and how a command ends.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use platter::Error;

use crate::interrupt;

/// The name that an unmodified script knows.
const DROP_IN: &str = "qemu-img";

/// What a shell reports for a program that a closed pipe ended.
const CLOSED_PIPE: u8 = 141;

/// How the program was called.
#[derive(Debug)]
pub(crate) struct Program {
    argv0: String,
    name: String,
}

impl Program {
    /// From the zeroth argument.
    pub(crate) fn new(argv0: &OsStr) -> Self {
        let argv0 = match argv0.to_string_lossy() {
            empty if empty.is_empty() => env!("CARGO_BIN_NAME").into(),
            given => given.into_owned(),
        };
        let name = Path::new(&argv0)
            .file_name()
            .map_or_else(|| argv0.clone(), |name| name.to_string_lossy().into_owned());
        Self { argv0, name }
    }

    /// As called, with folder.
    pub(crate) fn argv0(&self) -> &str {
        &self.argv0
    }

    /// The base name, with which messages begin.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The caller expects `qemu-img`: nothing but its output.
    pub(crate) fn is_drop_in(&self) -> bool {
        self.name == DROP_IN
    }
}

/// A command's end: its exit code, or what to say on the way out.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    then: Option<String>,
}

#[derive(Debug)]
enum Kind {
    /// With this exit code.
    Exit(u8),
    /// The command (with program) was not used as it should be.
    Usage(String),
    /// As above, found by the option parser, which names the command instead of the program.
    Getopt(String),
    /// Nobody reads our output any more.
    ClosedPipe,
    /// A signal asked for the end, and the work stopped where that leaves everything whole.
    Interrupted,
}

impl Failure {
    /// Exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Exit(1),
            message: message.into(),
            then: None,
        }
    }

    /// `command` was used wrongly; where to find help is said too.
    pub(crate) fn usage(command: &str, message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Usage(command.to_owned()),
            message: message.into(),
            then: None,
        }
    }

    /// As [`Self::usage`], found by the option parser.
    pub(crate) fn getopt(command: &str, message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Getopt(command.to_owned()),
            message: message.into(),
            then: None,
        }
    }

    /// The work was cancelled, which nobody but a signal does.
    pub(crate) fn interrupted() -> Self {
        Self {
            kind: Kind::Interrupted,
            message: "interrupted".to_owned(),
            then: None,
        }
    }

    /// A second message after the first: what could not be done because of it.
    pub(crate) fn and_then_say(mut self, message: String) -> Self {
        self.then = Some(message);
        self
    }

    /// The same with another exit code; a mistake in the use keeps its own.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        if let Kind::Exit(old) = &mut self.kind {
            *old = code;
        }
        self
    }

    /// Says it on stderr.
    pub(crate) fn report(&self, program: &Program) -> ExitCode {
        let Self {
            kind,
            message,
            then,
        } = self;
        let name = program.name();
        match kind {
            Kind::Exit(code) => {
                eprint_line(format_args!("{name}: {message}"));
                if let Some(then) = then {
                    eprint_line(format_args!("{name}: {then}"));
                }
                ExitCode::from(*code)
            }
            Kind::Usage(command) => {
                eprint_line(format_args!(
                    "{name}: {message}\nTry '{command} --help' for more info"
                ));
                ExitCode::FAILURE
            }
            Kind::Getopt(command) => {
                eprint_line(format_args!(
                    "{command}: {message}\nTry '{command} --help' for more info"
                ));
                ExitCode::FAILURE
            }
            Kind::ClosedPipe => ExitCode::from(CLOSED_PIPE),
            Kind::Interrupted => {
                // The other program dies without a word.
                if !program.is_drop_in() {
                    eprint_line(format_args!("{name}: {message}"));
                }
                interrupt::end()
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.to_string())
    }
}

/// A failure to write the output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let closed = error.kind() == io::ErrorKind::BrokenPipe;
        Self {
            kind: if closed {
                Kind::ClosedPipe
            } else {
                Kind::Exit(1)
            },
            message: format!("cannot write the output: {}", system_words(&error)),
            then: None,
        }
    }
}

/// The C library's words for a system error, without Rust's "(os error 2)".
pub(crate) fn system_words(error: &io::Error) -> String {
    let text = error.to_string();
    let cut = text.find(" (os error").unwrap_or(text.len());
    text[..cut].to_owned()
}

/// The message of `error`, with the system's reason where it has one.
pub(crate) fn with_cause(error: &Error) -> String {
    match system_cause(error) {
        Some(words) => format!("{error}: {words}"),
        None => error.to_string(),
    }
}

/// The system's reason for `error`, where it has one.
pub(crate) fn system_cause(error: &Error) -> Option<String> {
    std::error::Error::source(error)?
        .downcast_ref::<io::Error>()
        .map(system_words)
}

/// A line on stderr; unlike `eprintln!` it does not panic when nobody listens.
pub(crate) fn eprint_line(line: fmt::Arguments<'_>) {
    use io::Write;
    let _ = writeln!(io::stderr().lock(), "{line}");
}
