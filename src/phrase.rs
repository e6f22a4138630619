//! Sentences for users that the engine words and a window may translate: a template and the values
//! that go into it. The engine knows no translations; it only marks what can be translated.

use std::fmt;

use crate::units::ByteSize;

/// Marks a literal for the tool that collects messages to translate; it is returned as it is.
#[must_use]
pub const fn gettext_noop(text: &'static str) -> &'static str {
    text
}

/// A value inside a [`Phrase`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// A name, or text in the words of another program: shown as it is.
    Text(String),
    /// A number of bytes: shown with a unit.
    Size(u64),
    /// A number of things.
    Count(u64),
    /// A sentence inside the sentence, which may be translated as well.
    Phrase(Phrase),
}

/// A sentence: `{name}` in the template stands for the value of that name.
///
/// Displays in English.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Phrase {
    template: &'static str,
    values: Vec<(&'static str, Value)>,
}

impl Phrase {
    /// A sentence without values yet. The template is marked with [`gettext_noop`] where it is
    /// written.
    #[must_use]
    pub fn new(template: &'static str) -> Self {
        Self {
            template,
            values: Vec::new(),
        }
    }

    /// The English template; the key of its translation.
    #[must_use]
    pub fn template(&self) -> &'static str {
        self.template
    }

    /// The values by name.
    #[must_use]
    pub fn values(&self) -> &[(&'static str, Value)] {
        &self.values
    }

    /// Adds text.
    #[must_use]
    pub fn text(self, name: &'static str, value: impl Into<String>) -> Self {
        self.with(name, Value::Text(value.into()))
    }

    /// Adds a number of bytes.
    #[must_use]
    pub fn size(self, name: &'static str, bytes: u64) -> Self {
        self.with(name, Value::Size(bytes))
    }

    /// Adds a number of things.
    #[must_use]
    pub fn count(self, name: &'static str, n: u64) -> Self {
        self.with(name, Value::Count(n))
    }

    /// Adds a sentence, a reason for example.
    #[must_use]
    pub fn phrase(self, name: &'static str, value: Self) -> Self {
        self.with(name, Value::Phrase(value))
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.values.push((name, value));
        self
    }

    /// The sentence with another template (a translation), its values written by `show`. What the
    /// template asks for and is not there stays as it stands: nothing panics over a translation.
    #[must_use]
    pub fn fill(&self, template: &str, show: impl Fn(&Value) -> String) -> String {
        let mut text = String::with_capacity(template.len() + 16);
        let mut rest = template;
        while let Some(start) = rest.find('{') {
            text.push_str(&rest[..start]);
            let from_brace = &rest[start..];
            let value = from_brace.find('}').and_then(|end| {
                let name = &from_brace[1..end];
                let (_, value) = self.values.iter().find(|(key, _)| *key == name)?;
                Some((end, show(value)))
            });
            let used = match value {
                Some((end, value)) => {
                    text.push_str(&value);
                    end + 1
                }
                None => {
                    text.push('{');
                    1
                }
            };
            rest = &from_brace[used..];
        }
        text.push_str(rest);
        text
    }
}

impl fmt::Display for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fill(self.template, ToString::to_string))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Size(bytes) => ByteSize(*bytes).fmt(f),
            Self::Count(n) => n.fmt(f),
            Self::Phrase(phrase) => phrase.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_can_have_a_reason_with_its_own_values() {
        let reason = Phrase::new(gettext_noop("only {n} are there")).count("n", 3);
        let phrase = Phrase::new(gettext_noop("no: {reason}")).phrase("reason", reason);
        assert_eq!(phrase.to_string(), "no: only 3 are there");
    }

    #[test]
    fn values_go_where_the_template_names_them() {
        let phrase = Phrase::new(gettext_noop("Grow {name} to {size}"))
            .text("name", "{size}.raw")
            .size("size", 3 << 30);
        assert_eq!(phrase.to_string(), "Grow {size}.raw to 3 GiB");
        assert_eq!(
            phrase.fill("{size} für {name} {other} {", |value| match value {
                Value::Size(bytes) => format!("{bytes} B"),
                other => other.to_string(),
            }),
            "3221225472 B für {size}.raw {other} {"
        );
    }
}
