//! Options as `getopt_long` reads them, on top of lexopt: long names may be abbreviated, options
//! may follow operands, and mistakes are reported in the C library's words.

use std::ffi::{OsStr, OsString};

use lexopt::Parser;

use crate::program::Failure;

/// An option that a verb knows, by its long name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Opt {
    long: &'static str,
    short: Option<char>,
    has_value: bool,
    /// The long name is ours alone.
    only_short: bool,
}

impl Opt {
    /// An option without value.
    pub(crate) const fn flag(long: &'static str, short: Option<char>) -> Self {
        Self {
            long,
            short,
            has_value: false,
            only_short: false,
        }
    }

    /// A flag that has a letter only; `name` is for [`Arg::Option`].
    pub(crate) const fn letter(name: &'static str, short: char) -> Self {
        Self {
            long: name,
            short: Some(short),
            has_value: false,
            only_short: true,
        }
    }

    /// An option with a value.
    pub(crate) const fn value(long: &'static str, short: Option<char>) -> Self {
        Self {
            long,
            short,
            has_value: true,
            only_short: false,
        }
    }
}

/// One argument.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Arg {
    /// An option by its full long name, with its value (empty for a flag).
    Option(&'static str, OsString),
    /// Anything else.
    Operand(OsString),
}

/// The arguments of one command.
pub(crate) struct Args {
    /// How the command was called ("qemu-img info"), for messages.
    command: String,
    options: &'static [Opt],
    parser: Parser,
}

impl Args {
    /// The arguments that follow `command`.
    pub(crate) fn new(
        command: impl Into<String>,
        options: &'static [Opt],
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Self {
        Self {
            command: command.into(),
            options,
            parser: Parser::from_args(arguments),
        }
    }

    /// The next one, in the order of the command line.
    pub(crate) fn next(&mut self) -> Result<Option<Arg>, Failure> {
        let found = match self.parser.next() {
            Ok(found) => found,
            Err(error) => return Err(self.mistake(&error.to_string())),
        };
        let (option, shown) = match found {
            None => return Ok(None),
            Some(lexopt::Arg::Value(value)) => return Ok(Some(Arg::Operand(value))),
            Some(lexopt::Arg::Short(short)) => {
                let known = self.options.iter().find(|opt| opt.short == Some(short));
                let Some(option) = known else {
                    return Err(self.mistake(&format!("invalid option -- '{short}'")));
                };
                (*option, None)
            }
            Some(lexopt::Arg::Long(long)) => {
                let long = long.to_owned();
                (self.resolve(&long)?, Some(long))
            }
        };
        self.value_of(option, shown.is_some())
            .map(|value| Some(Arg::Option(option.long, value)))
    }

    /// The next argument as it is, without a look whether it is an option, if `is_wanted`.
    pub(crate) fn next_as_is(
        &mut self,
        is_wanted: impl FnOnce(&OsStr) -> bool,
    ) -> Option<OsString> {
        self.parser.try_raw_args()?.next_if(is_wanted)
    }

    /// What has not been looked at yet, to be parsed with the options of a verb.
    pub(crate) fn rest(mut self) -> Vec<OsString> {
        self.parser
            .raw_args()
            .map(Iterator::collect)
            .unwrap_or_default()
    }

    /// A mistake in the use of this command, with the hint where to find help.
    pub(crate) fn usage(&self, message: impl Into<String>) -> Failure {
        Failure::usage(&self.command, message)
    }

    /// The option of that name, or the only one that begins so.
    fn resolve(&mut self, name: &str) -> Result<Opt, Failure> {
        let long = self.options.iter().filter(|option| !option.only_short);
        if let Some(option) = long.clone().find(|option| option.long == name) {
            return Ok(*option);
        }
        let candidates: Vec<&Opt> = long
            .filter(|option| option.long.starts_with(name))
            .collect();
        match candidates.as_slice() {
            [option] => Ok(**option),
            [] => {
                let shown = self.as_typed(name);
                Err(self.mistake(&format!("unrecognized option '{shown}'")))
            }
            several => {
                let names: String = several
                    .iter()
                    .map(|option| format!(" '--{}'", option.long))
                    .collect();
                let shown = self.as_typed(name);
                Err(self.mistake(&format!(
                    "option '{shown}' is ambiguous; possibilities:{names}"
                )))
            }
        }
    }

    /// A long option with the value that hangs on it, as the user typed it.
    fn as_typed(&mut self, name: &str) -> String {
        self.parser.optional_value().map_or_else(
            || format!("--{name}"),
            |value| format!("--{name}={}", value.to_string_lossy()),
        )
    }

    fn value_of(&mut self, option: Opt, is_long: bool) -> Result<OsString, Failure> {
        let Opt { long, short, .. } = option;
        if option.has_value {
            return self.parser.value().map_err(|_| {
                self.mistake(&match short {
                    Some(short) if !is_long => {
                        format!("option requires an argument -- '{short}'")
                    }
                    _ => format!("option '--{long}' requires an argument"),
                })
            });
        }
        // A cluster of short flags goes on with the next one; only "--flag=value" is a mistake.
        if is_long && self.parser.optional_value().is_some() {
            return Err(self.mistake(&format!("option '--{long}' doesn't allow an argument")));
        }
        Ok(OsString::new())
    }

    fn mistake(&self, message: &str) -> Failure {
        Failure::getopt(&self.command, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[Opt] = &[
        Opt::flag("help", Some('h')),
        Opt::value("format", Some('f')),
        Opt::flag("image-opts", None),
        Opt::value("output", None),
        Opt::value("object", None),
        Opt::flag("quiet", Some('q')),
        Opt::flag("progress", Some('p')),
    ];

    fn parse(line: &[&str]) -> Result<Vec<Arg>, String> {
        let mut args = Args::new("x info", OPTIONS, line.iter().map(OsString::from));
        let mut found = Vec::new();
        while let Some(arg) = args.next().map_err(|failure| failure.to_string())? {
            found.push(arg);
        }
        Ok(found)
    }

    fn option(name: &'static str, value: &str) -> Arg {
        Arg::Option(name, value.into())
    }

    fn operand(value: &str) -> Arg {
        Arg::Operand(value.into())
    }

    #[test]
    fn abbreviates_clusters_and_permutes() {
        assert_eq!(
            parse(&[
                "a",
                "--outp=json",
                "-qp",
                "-fraw",
                "--im",
                "b",
                "--form",
                "-x"
            ])
            .unwrap(),
            [
                operand("a"),
                option("output", "json"),
                option("quiet", ""),
                option("progress", ""),
                option("format", "raw"),
                option("image-opts", ""),
                operand("b"),
                option("format", "-x"),
            ]
        );
        assert_eq!(
            parse(&["-q", "--", "-f", "-"]).unwrap(),
            [option("quiet", ""), operand("-f"), operand("-")]
        );
    }

    #[test]
    fn mistakes_are_reported_in_the_words_of_getopt() {
        for (line, message) in [
            (&["--bogus"][..], "unrecognized option '--bogus'"),
            (&["--bogus=1"], "unrecognized option '--bogus=1'"),
            (&["-Z"], "invalid option -- 'Z'"),
            (&["-f"], "option requires an argument -- 'f'"),
            (&["--output"], "option '--output' requires an argument"),
            (&["--form"], "option '--format' requires an argument"),
            (&["--quiet=1"], "option '--quiet' doesn't allow an argument"),
            (
                &["--o=json"],
                "option '--o=json' is ambiguous; possibilities: '--output' '--object'",
            ),
        ] {
            assert_eq!(parse(line).unwrap_err(), message, "{line:?}");
        }
    }
}
