//! `-o NAME=VALUE,…`: creation options of an image format, with the complaints of `qemu-img`.

mod definitions;
mod typed;

use platter::image::Format;

use crate::program::Failure;
use crate::size;
use crate::source::split_commas;

pub(crate) use definitions::help;
use definitions::{Definition, Kind, definitions};

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

    /// Whether `list` asks for [`help`].
    pub(crate) fn asks_for_help(list: &str) -> bool {
        let mut parts = split_commas(list).into_iter();
        parts.any(|part| part == "help" || part == "?")
    }

    /// The options in `list`, all of which `format` must know.
    pub(crate) fn parse(list: &str, format: Format) -> Result<Self, Failure> {
        Self::read(list, format).map_err(|reason| {
            Failure::new(reason).and_then_say(format!("Invalid options for file format '{format}'"))
        })
    }

    /// As [`Self::parse`], with the bare reason.
    pub(crate) fn read(list: &str, format: Format) -> Result<Self, String> {
        let mut options = Self {
            format,
            given: Vec::new(),
        };
        if list.is_empty() {
            return Ok(options);
        }
        for part in split_commas(list) {
            let (name, value) = Self::name_and_value(&part);
            options.set(&name, &value)?;
        }
        Ok(options)
    }

    /// Gives an option a value, over an earlier one.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let definition =
            definition(self.format, name).ok_or_else(|| format!("Invalid parameter '{name}'"))?;
        match definition.kind {
            Kind::Flag => flag_of(name, value).map(drop)?,
            Kind::Number => number_of(name, value).map(drop)?,
            Kind::Size => size::parse_option(name, value).map(drop)?,
            Kind::Text => {}
        }
        self.given.push((name.into(), value.into()));
        Ok(())
    }

    /// All options that have a value or a default, as `qemu-img create` prints them: each after a
    /// blank.
    pub(crate) fn shown(&self) -> String {
        definitions(self.format)
            .filter_map(|definition| {
                let Definition { name, kind, .. } = *definition;
                let value = match (self.text(name), kind) {
                    (Some(given), Kind::Size) => size::parse_option(name, given).ok()?.to_string(),
                    (Some(given), Kind::Number) => {
                        number_of(name, given).ok()?.cast_signed().to_string()
                    }
                    (Some(given), Kind::Text) => given.replace(',', ",,"),
                    (Some(given), Kind::Flag) => given.to_owned(),
                    (None, _) => definition.default?.to_owned(),
                };
                Some(format!(" {name}={value}"))
            })
            .collect()
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
        self.value(name, flag_of)
    }

    /// An option in bytes.
    pub(crate) fn size(&self, name: &str) -> Result<Option<u64>, Failure> {
        self.value(name, size::parse_option)
    }

    /// An option that is a plain number; negative ones wrap as in C.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        self.value(name, number_of)
    }

    fn value<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str, &str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let value = self.text(name).map(|value| parse(name, value));
        value.transpose().map_err(Failure::new)
    }

    /// A bare name means "on", a bare name after "no" means "off".
    fn name_and_value(part: &str) -> (String, String) {
        if let Some((name, value)) = part.split_once('=') {
            return (name.into(), value.into());
        }
        match part.strip_prefix("no") {
            Some(name) => (name.into(), "off".into()),
            None => (part.into(), "on".into()),
        }
    }
}

fn definition(format: Format, name: &str) -> Option<&'static Definition> {
    definitions(format).find(|definition| definition.name == name)
}

fn flag_of(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" | "yes" | "true" | "y" => Ok(true),
        "off" | "no" | "false" | "n" => Ok(false),
        _ => Err(format!("Parameter '{name}' expects 'on' or 'off'")),
    }
}

fn number_of(name: &str, value: &str) -> Result<u64, String> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let parsed = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse::<u64>(),
    };
    match parsed {
        Ok(number) if digits.len() < value.len() => Ok(number.wrapping_neg()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("Parameter '{name}' expects a number")),
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
