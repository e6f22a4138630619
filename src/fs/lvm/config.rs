//! The configuration language that LVM2 writes its metadata in: `name { … }`, `name = value`,
//! `# comments`.

use std::ops::Range;

/// Sections inside sections; LVM itself needs four.
const MAX_DEPTH: usize = 8;
/// Values in one text.
const MAX_NODES: usize = 1 << 18;

/// A value, or a section of named ones.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Section(Vec<(String, Self)>),
    Text(String),
    Number(u64),
    List(Vec<Self>),
}

impl Node {
    /// Parses a whole text; what makes no sense ends it early, with the sections read so far.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut parser = Parser {
            rest: text,
            nodes: 0,
        };
        Self::Section(parser.section(0))
    }

    /// The member `name` of a section.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let members = self.members().iter();
        members.rev().find(|(key, _)| key == name).map(|(_, v)| v)
    }

    /// Gives the member at `path`, through sections, another value; one that is not there stays so.
    pub(super) fn set(&mut self, path: &[&str], value: Self) {
        let (Self::Section(members), Some((name, path))) = (self, path.split_first()) else {
            return;
        };
        let mut members = members.iter_mut().rev();
        match members.find(|(key, _)| key == name) {
            Some((_, node)) if path.is_empty() => *node = value,
            Some((_, node)) => node.set(path, value),
            None => {}
        }
    }

    /// The members of a section, in order; none of anything else.
    pub(super) fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Section(members) => members,
            _ => &[],
        }
    }

    pub(super) fn is_section(&self) -> bool {
        matches!(self, Self::Section(_))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of a list; none of anything else.
    pub(super) fn list(&self, name: &str) -> &[Self] {
        match self.get(name) {
            Some(Self::List(elements)) => elements,
            _ => &[],
        }
    }
}

/// The text with another value of the first member at `path`, through sections. A comment behind
/// the old value goes with it: it explains that one. `None` where there is no such member.
pub(super) fn replace(text: &[u8], path: &[&str], value: &str) -> Option<Vec<u8>> {
    let range = locate(text, path)?;
    let behind = &text[range.end..];
    let line = behind.iter().position(|byte| *byte == b'\n');
    let (blank, more) = behind.split_at(line.unwrap_or(0));
    let is_comment = blank.trim_ascii_start().first() == Some(&b'#');
    let rest = if is_comment { more } else { behind };
    Some([&text[..range.start], value.as_bytes(), rest].concat())
}

/// Where the value of the first member at `path` stands in the text.
fn locate(text: &[u8], path: &[&str]) -> Option<Range<usize>> {
    let mut parser = Parser {
        rest: text,
        nodes: 0,
    };
    let (last, sections) = path.split_last()?;
    let mut inside = 0;
    loop {
        let name = parser.name()?;
        match parser.next()? {
            b'{' if sections.get(inside).is_some_and(|section| *section == name) => inside += 1,
            b'{' => {
                parser.section(inside + 1);
            }
            b'=' => {
                parser.peek()?;
                let start = text.len() - parser.rest.len();
                parser.value()?;
                if inside == sections.len() && name == *last {
                    return Some(start..text.len() - parser.rest.len());
                }
            }
            _ => return None,
        }
    }
}

struct Parser<'a> {
    rest: &'a [u8],
    nodes: usize,
}

impl Parser<'_> {
    /// Members up to the closing brace or to the end.
    fn section(&mut self, depth: usize) -> Vec<(String, Node)> {
        let mut members = Vec::new();
        while let Some(name) = self.name() {
            let value = match self.next() {
                Some(b'{') if depth < MAX_DEPTH => Some(Node::Section(self.section(depth + 1))),
                Some(b'=') => self.value(),
                _ => None,
            };
            let Some(value) = value else {
                self.rest = &[];
                break;
            };
            members.push((name, value));
        }
        if self.peek() == Some(b'}') {
            self.next();
        }
        members
    }

    fn value(&mut self) -> Option<Node> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return None;
        }
        match self.peek()? {
            b'"' => self.string().map(Node::Text),
            b'[' => self.list(),
            _ => self.number(),
        }
    }

    fn list(&mut self) -> Option<Node> {
        let mut elements = Vec::new();
        self.next();
        loop {
            match self.peek()? {
                b']' => {
                    self.next();
                    return Some(Node::List(elements));
                }
                b',' => {
                    self.next();
                }
                // Lists hold no lists.
                b'[' => return None,
                _ => elements.push(self.value()?),
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.next();
        let mut text = Vec::new();
        loop {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            match byte {
                b'"' => return Some(String::from_utf8_lossy(&text).into_owned()),
                b'\\' => {
                    let (escaped, rest) = self.rest.split_first()?;
                    text.push(*escaped);
                    self.rest = rest;
                }
                byte => text.push(*byte),
            }
        }
    }

    fn number(&mut self) -> Option<Node> {
        let text = self.word(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))?;
        // A fraction or a negative number means nothing that is asked for here.
        Some(text.parse().map_or(Node::Text(text), Node::Number))
    }

    fn name(&mut self) -> Option<String> {
        self.word(|byte| byte.is_ascii_alphanumeric() || b"-_.+/".contains(&byte))
    }

    fn word(&mut self, belongs: impl Fn(u8) -> bool) -> Option<String> {
        self.peek()?;
        let end = self
            .rest
            .iter()
            .position(|byte| !belongs(*byte))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| String::from_utf8_lossy(word).into_owned())
    }

    /// The next byte that is neither space nor comment.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.rest.first()?;
            if byte == b'#' {
                let end = self.rest.iter().position(|byte| *byte == b'\n');
                self.rest = end.map_or(&[][..], |end| &self.rest[end..]);
            } else if byte.is_ascii_whitespace() {
                self.rest = &self.rest[1..];
            } else {
                return Some(byte);
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.rest = &self.rest[1..];
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_lvm_writes() {
        let node = Node::parse(
            b"vg0 {\n id = \"a\\\"b\" # c } \"\n\tseqno = 12\n flags = []\n\
              lv-1.x+y_z { stripes = [\n\"pv0\", 0\n] n = -1 }\n}\nversion = 1\n",
        );
        let group = node.get("vg0").unwrap();
        assert_eq!(group.text("id"), Some("a\"b"));
        assert_eq!(group.number("seqno"), Some(12));
        assert_eq!(group.list("flags"), []);
        let volume = group.get("lv-1.x+y_z").unwrap();
        assert_eq!(
            volume.list("stripes"),
            [Node::Text("pv0".to_owned()), Node::Number(0)]
        );
        assert_eq!(volume.number("n"), None);
        assert_eq!(node.number("version"), Some(1));
    }

    #[test]
    fn one_value_is_replaced_where_it_stands() {
        let text = b"a { n = 1\n b { n = 2 } c { n = 3 }\n}\nn = 4\t# four\nm = \"x\"\n";
        for (path, value, expected) in [
            (
                &["a", "c", "n"][..],
                "30",
                &b"a { n = 1\n b { n = 2 } c { n = 30 }\n}\nn = 4\t# four\nm = \"x\"\n"[..],
            ),
            (
                &["n"],
                "5",
                b"a { n = 1\n b { n = 2 } c { n = 3 }\n}\nn = 5\nm = \"x\"\n",
            ),
            (
                &["m"],
                "\"y\"",
                b"a { n = 1\n b { n = 2 } c { n = 3 }\n}\nn = 4\t# four\nm = \"y\"\n",
            ),
        ] {
            assert_eq!(replace(text, path, value).unwrap(), expected, "{path:?}");
            let mut node = Node::parse(text);
            let value = Node::parse(format!("v = {value}").as_bytes());
            node.set(path, value.get("v").unwrap().clone());
            assert_eq!(Node::parse(expected), node, "{path:?}");
        }
        for path in [&["b", "n"][..], &["a", "x"], &["a"], &[]] {
            assert_eq!(replace(text, path, "0"), None, "{path:?}");
        }
    }

    #[test]
    fn stops_at_nonsense_and_at_its_limits() {
        for text in [
            &b""[..],
            b"a",
            b"a {",
            b"a = ",
            b"a = \"",
            b"a = [",
            b"a = [[[[",
            b"}}}}",
            b"= 3",
            b"a = [1, \"x",
            b"\0\0\0",
            b"# only a comment",
        ] {
            let _ = Node::parse(text);
        }
        let deep = "a{".repeat(100_000);
        let mut node = &Node::parse(deep.as_bytes());
        let mut depth = 0;
        while let Some(inner) = node.get("a") {
            node = inner;
            depth += 1;
        }
        assert!(depth <= MAX_DEPTH);
    }
}
