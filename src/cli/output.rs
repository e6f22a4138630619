//! What is printed: JSON as QEMU lays it out, tables, and text that is safe on a terminal.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use crate::args::Args;
use crate::program::Failure;

/// What `--output` asks for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum OutputFormat {
    /// Text for people.
    #[default]
    Human,
    /// For programs.
    Json,
}

impl OutputFormat {
    /// For programs.
    pub(crate) fn is_json(self) -> bool {
        self == Self::Json
    }

    /// The format of that name.
    pub(crate) fn parse(name: &OsStr, args: &Args) -> Result<Self, Failure> {
        match name.to_str() {
            Some("human") => Ok(Self::Human),
            Some("json") => Ok(Self::Json),
            _ => {
                let name = name.to_string_lossy();
                Err(args.usage(format!("--output expects 'human' or 'json' not '{name}'")))
            }
        }
    }
}

/// Prints text to stdout.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints a document to stdout as QEMU does: indented by four, one element a line even for empty
/// lists, ASCII only.
pub(crate) fn print_json(document: &Value) -> io::Result<()> {
    print(&to_json(document)?)
}

fn to_json(document: &Value) -> io::Result<String> {
    let mut text = Vec::new();
    document.serialize(&mut Serializer::with_formatter(
        &mut text,
        QemuLayout::default(),
    ))?;
    text.push(b'\n');
    String::from_utf8(text).map_err(io::Error::other)
}

/// Text out of an image or a file name for a terminal: control characters and what reorders or
/// hides text are shown as escapes.
pub(crate) fn for_terminal(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[derive(Default)]
struct QemuLayout {
    depth: usize,
}

impl QemuLayout {
    fn open<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: u8) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(&[bracket])
    }

    fn close<W: ?Sized + Write>(&mut self, writer: &mut W, bracket: u8) -> io::Result<()> {
        self.depth -= 1;
        self.start_line(writer)?;
        writer.write_all(&[bracket])
    }

    fn start_element<W: ?Sized + Write>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.start_line(writer)
    }

    fn start_line<W: ?Sized + Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"    "))
    }
}

impl Formatter for QemuLayout {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'[')
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b']')
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.start_element(writer, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'{')
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b'}')
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.start_element(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut units = [0; 2];
        for c in fragment.chars() {
            if matches!(c, ' '..='~') {
                write!(writer, "{c}")?;
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04X}")?;
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"\\/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_laid_out_as_qemu_does() {
        let document = json!({
            "children": [],
            "name": "we\"\\ird\t\u{fc}\u{1f600}\u{7f}\u{1}",
            "list": [1, true],
            "data": {},
        });
        let expected = r#"{
    "children": [
    ],
    "name": "we\"\\ird\t\u00FC\uD83D\uDE00\u007F\u0001",
    "list": [
        1,
        true
    ],
    "data": {
    }
}
"#;
        assert_eq!(to_json(&document).unwrap(), expected);
    }

    #[test]
    fn terminals_are_safe_from_names() {
        assert_eq!(for_terminal("häuser 日本"), "häuser 日本");
        assert_eq!(
            for_terminal("a\u{1b}[31m\n\u{202e}b"),
            "a\\u{1b}[31m\\n\\u{202e}b"
        );
    }
}
