//! `-o NAME=VALUE,…`: creation options of an image format, with the complaints of `qemu-img`.

use platter::image::Format;

use crate::program::Failure;
use crate::size;
use crate::source::split_commas;

/// What the value of an option is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Flag,
    Number,
    Size,
    Text,
}

/// Options that any image in a file has.
const FILE: &[(&str, Kind)] = &[
    ("extent_size_hint", Kind::Size),
    ("nocow", Kind::Flag),
    ("preallocation", Kind::Text),
    ("size", Kind::Size),
];

const QCOW2: &[(&str, Kind)] = &[
    ("backing_file", Kind::Text),
    ("backing_fmt", Kind::Text),
    ("cluster_size", Kind::Size),
    ("compat", Kind::Text),
    ("compression_type", Kind::Text),
    ("data_file", Kind::Text),
    ("data_file_raw", Kind::Flag),
    ("encrypt.cipher-alg", Kind::Text),
    ("encrypt.cipher-mode", Kind::Text),
    ("encrypt.format", Kind::Text),
    ("encrypt.hash-alg", Kind::Text),
    ("encrypt.iter-time", Kind::Number),
    ("encrypt.ivgen-alg", Kind::Text),
    ("encrypt.ivgen-hash-alg", Kind::Text),
    ("encrypt.key-secret", Kind::Text),
    ("encryption", Kind::Flag),
    ("extended_l2", Kind::Flag),
    ("lazy_refcounts", Kind::Flag),
    ("refcount_bits", Kind::Number),
];

/// The options of one format; of an option that is given twice the last one counts.
#[derive(Debug)]
pub(crate) struct CreateOptions {
    format: Format,
    given: Vec<(String, String)>,
}

impl CreateOptions {
    /// Whether `list` can be joined to others with a comma.
    pub(crate) fn is_valid_list(list: &str) -> bool {
        let trailing = list.len() - list.trim_end_matches(',').len();
        !list.is_empty() && !list.starts_with(',') && trailing.is_multiple_of(2)
    }

    /// The options in `list`, all of which `format` must know.
    pub(crate) fn parse(list: &str, format: Format) -> Result<Self, Failure> {
        let mut options = Self {
            format,
            given: Vec::new(),
        };
        if list.is_empty() {
            return Ok(options);
        }
        for part in split_commas(list) {
            let (name, value) = options.name_and_value(&part);
            let kind = options
                .kind(&name)
                .ok_or_else(|| options.invalid(&format!("Invalid parameter '{name}'")))?;
            options.check(&name, &value, kind)?;
            options.given.push((name, value));
        }
        Ok(options)
    }

    /// The text of an option.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let mut given = self.given.iter().rev();
        given
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// An option that is on or off.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        match value {
            "on" | "yes" | "true" | "y" => Ok(Some(true)),
            "off" | "no" | "false" | "n" => Ok(Some(false)),
            _ => Err(self.invalid(&format!("Parameter '{name}' expects 'on' or 'off'"))),
        }
    }

    /// An option in bytes.
    pub(crate) fn size(&self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        size::parse_option(name, value)
            .map(Some)
            .map_err(|reason| self.invalid(&reason))
    }

    /// An option that is a plain number; negative ones wrap as in C.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        let digits = value.strip_prefix('-').unwrap_or(value);
        let parsed = match digits.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => digits.parse::<u64>(),
        };
        match parsed {
            Ok(number) if digits.len() < value.len() => Ok(Some(number.wrapping_neg())),
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(self.invalid(&format!("Parameter '{name}' expects a number"))),
        }
    }

    /// A bare name means "on", a bare name after "no" means "off".
    fn name_and_value(&self, part: &str) -> (String, String) {
        if let Some((name, value)) = part.split_once('=') {
            return (name.into(), value.into());
        }
        match part.strip_prefix("no") {
            Some(name) if self.kind(part).is_none() && self.kind(name).is_some() => {
                (name.into(), "off".into())
            }
            _ => (part.into(), "on".into()),
        }
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        let own = if self.format == Format::Qcow2 {
            QCOW2
        } else {
            &[]
        };
        let mut known = own.iter().chain(FILE);
        known
            .find(|(other, _)| *other == name)
            .map(|(_, kind)| *kind)
    }

    fn check(&mut self, name: &str, value: &str, kind: Kind) -> Result<(), Failure> {
        let alone = Self {
            format: self.format,
            given: vec![(name.into(), value.into())],
        };
        match kind {
            Kind::Flag => alone.flag(name).map(drop),
            Kind::Number => alone.number(name).map(drop),
            Kind::Size => alone.size(name).map(drop),
            Kind::Text => Ok(()),
        }
    }

    fn invalid(&self, reason: &str) -> Failure {
        let format = self.format;
        Failure::new(reason).and_then_say(format!("Invalid options for file format '{format}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> CreateOptions {
        CreateOptions::parse(list, Format::Qcow2).unwrap()
    }

    #[test]
    fn the_last_value_of_an_option_counts() {
        let options = parse("cluster_size=2M,lazy_refcounts,cluster_size=4k,nonocow");
        assert_eq!(options.size("cluster_size").unwrap(), Some(4096));
        assert_eq!(options.flag("lazy_refcounts").unwrap(), Some(true));
        assert_eq!(options.flag("nocow").unwrap(), Some(false));
        assert_eq!(
            parse("backing_file=a,,b=c").text("backing_file"),
            Some("a,b=c")
        );
        assert_eq!(
            parse("refcount_bits=-1").number("refcount_bits").unwrap(),
            Some(u64::MAX)
        );
    }

    #[test]
    fn unknown_options_and_bad_values_are_refused() {
        for list in [
            "foo",
            "help",
            "lazy_refcounts=x",
            "cluster_size=zz",
            "refcount_bits=zz",
        ] {
            assert!(CreateOptions::parse(list, Format::Qcow2).is_err(), "{list}");
        }
        assert!(CreateOptions::parse("cluster_size=4k", Format::Raw).is_err());
        assert!(CreateOptions::is_valid_list("a,,"));
        for list in ["", ",a", "a,"] {
            assert!(!CreateOptions::is_valid_list(list), "{list}");
        }
    }
}
