//! Named values for boxed lists: what panes compute, and [`crate::widgets::fact_list`] shows.

use std::path::PathBuf;

/// How a value is to be taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Tone {
    /// A fact.
    #[default]
    Neutral,
    /// As it should be.
    Good,
    /// The user should know.
    Warning,
    /// Something is wrong.
    Bad,
}

/// A named value. Activating its row copies the value, unless the row opens something.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Fact {
    /// What it is.
    pub(crate) title: String,
    /// More about the title, dim, below it.
    pub(crate) subtitle: Option<String>,
    /// The value.
    pub(crate) value: String,
    /// What is copied, where that is not the value as shown (exact bytes, a whole path).
    pub(crate) copy: Option<String>,
    /// The exact value of what is rounded.
    pub(crate) tooltip: Option<String>,
    /// Colour, and an icon with it.
    pub(crate) tone: Tone,
    /// An image that activating the row opens.
    pub(crate) opens: Option<PathBuf>,
    /// A button at its end: its label with mnemonic, and its action.
    pub(crate) offers: Option<(String, &'static str)>,
}

impl Fact {
    /// A value that is shown as it is.
    pub(crate) fn new(title: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            value: value.into(),
            ..Self::default()
        }
    }

    /// A number of bytes: rounded, the exact number in the tooltip; that is what is copied.
    pub(crate) fn size(title: impl Into<String>, bytes: u64) -> Self {
        Self::new(title, crate::format::size(bytes))
            .tooltip(crate::format::exact_bytes(bytes))
            .copying(bytes.to_string())
    }

    pub(crate) fn subtitle(mut self, text: impl Into<String>) -> Self {
        self.subtitle = Some(text.into());
        self
    }

    pub(crate) fn tooltip(mut self, text: impl Into<String>) -> Self {
        self.tooltip = Some(text.into());
        self
    }

    pub(crate) fn copying(mut self, text: impl Into<String>) -> Self {
        self.copy = Some(text.into());
        self
    }

    pub(crate) fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    pub(crate) fn opening(mut self, path: impl Into<PathBuf>) -> Self {
        self.opens = Some(path.into());
        self
    }

    /// What goes onto the clipboard.
    pub(crate) fn copied(&self) -> &str {
        match &self.copy {
            Some(text) => text,
            None if self.value.is_empty() => &self.title,
            None => &self.value,
        }
    }
}

/// A boxed list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct FactGroup {
    /// Its heading.
    pub(crate) title: String,
    /// Its rows.
    pub(crate) facts: Vec<Fact>,
    /// Rows that are folded away under a last one of this title.
    pub(crate) more: Option<(String, Vec<Fact>)>,
}

impl FactGroup {
    pub(crate) fn new(title: impl Into<String>, facts: Vec<Fact>) -> Self {
        Self {
            title: title.into(),
            facts,
            more: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_number_is_copied() {
        assert_eq!(Fact::size("Size", 1536).copied(), "1536");
        assert_eq!(Fact::new("Format", "QCOW2").copied(), "QCOW2");
        assert_eq!(Fact::new("No problems", "").copied(), "No problems");
    }
}
