//! Every message of the window can be translated, and is: `build-aux/dev po` brings `po/` up to
//! date with the sources.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::{root, run, tool};

const HINT: &str = "run build-aux/dev po, then translate what is new";

/// The functions whose literal arguments are messages.
const FUNCTIONS: [&str; 5] = [
    "gettext(",
    "ngettext(",
    "pgettext(",
    "counted(",
    "gettext_noop(",
];

/// What the engine leaves to be translated: marked sentences, and the phases of its work.
const ENGINE_FUNCTIONS: [&str; 3] = ["gettext_noop(", "enter(", "enter_items("];
/// Engine sources whose calls of these functions are examples and tests.
const NOT_FOR_USERS: [&str; 3] = ["src/phrase.rs", "src/control.rs", "src/job"];

/// Sources with the messages in them, relative to the root.
fn sources_with_messages() -> Vec<(PathBuf, BTreeSet<String>)> {
    let relative = |path: &Path| path.strip_prefix(root()).unwrap().to_owned();
    let mut found = Vec::new();
    for path in rust_sources(&root().join("src")) {
        let file = relative(&path);
        let is_window = file.starts_with("src/gui");
        if !is_window && NOT_FOR_USERS.iter().any(|other| file.starts_with(other)) {
            continue;
        }
        let functions: &[&str] = if is_window {
            &FUNCTIONS
        } else {
            &ENGINE_FUNCTIONS
        };
        let messages = messages_in(&read(&path), functions);
        if !messages.is_empty() {
            found.push((file, messages));
        }
    }
    found
}

#[test]
fn potfiles_lists_every_source_with_messages() {
    let listed: BTreeSet<PathBuf> = read(&root().join("po/POTFILES.in"))
        .lines()
        .map(PathBuf::from)
        .collect();
    let with_messages: BTreeSet<PathBuf> = sources_with_messages()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    let unlisted: Vec<_> = with_messages.difference(&listed).collect();
    assert!(
        unlisted.is_empty(),
        "po/POTFILES.in lacks {unlisted:?}: {HINT}"
    );
    for path in &listed {
        assert!(
            root().join(path).is_file(),
            "po/POTFILES.in: no {}: {HINT}",
            path.display()
        );
    }
}

#[test]
fn xgettext_finds_every_message() {
    let found = template();
    for (path, messages) in sources_with_messages() {
        for message in messages {
            assert!(
                found.contains_key(&message),
                "xgettext does not see {message:?} in {}: use one plain literal",
                path.display()
            );
        }
    }
}

#[test]
fn no_message_is_broken_across_lines_of_the_source() {
    // xgettext keeps the indentation of a continued line, which the program's own string has not.
    let broken: Vec<_> = template().into_keys().collect();
    let broken: Vec<_> = broken.iter().filter(|it| it.contains("  ")).collect();
    assert!(broken.is_empty(), "put these on one line: {broken:?}");
}

#[test]
fn every_language_is_complete() {
    let template = template();
    for language in read(&root().join("po/LINGUAS")).split_whitespace() {
        let file = root().join("po").join(language).with_extension("po");
        run(tool("msgfmt")
            .args(["--check", "-o", "/dev/null"])
            .arg(&file));
        for (kind, option) in [
            ("untranslated", "--untranslated"),
            ("fuzzy", "--only-fuzzy"),
        ] {
            let left = run(tool("msgattrib").args([option, "--no-obsolete"]).arg(&file));
            let left: Vec<String> = catalogue(&left).into_keys().collect();
            assert!(
                left.is_empty(),
                "{kind} in {}: {left:#?}: {HINT}",
                file.display()
            );
        }
        let translated = catalogue(&read(&file));
        let missing: Vec<_> = template
            .keys()
            .filter(|m| !translated.contains_key(*m))
            .collect();
        assert!(
            missing.is_empty(),
            "{} lacks {missing:#?}: {HINT}",
            file.display()
        );
    }
}

/// A translation that drops or misspells a `{placeholder}` would show it to the user.
#[test]
fn translations_keep_the_placeholders() {
    for language in read(&root().join("po/LINGUAS")).split_whitespace() {
        let file = root().join("po").join(language).with_extension("po");
        for (message, translations) in catalogue(&read(&file)) {
            let wanted = placeholders(&message);
            for translation in translations.iter().filter(|text| !text.is_empty()) {
                let has = placeholders(translation);
                assert!(
                    has.is_subset(&wanted) && wanted.is_subset(&has),
                    "{}: {message:?} and {translation:?} differ in placeholders",
                    file.display()
                );
            }
        }
    }
}

/// The messages that xgettext finds in everything that po/POTFILES.in lists.
fn template() -> BTreeMap<String, Vec<String>> {
    let options = read(&root().join("po/xgettext-options"));
    catalogue(&run(tool("xgettext")
        .args(options.split_whitespace())
        .args(["--files-from=po/POTFILES.in", "--output=-"])
        .current_dir(root())))
}

/// Messages with their translations, plural forms included, of a PO file.
fn catalogue(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut messages = BTreeMap::new();
    for entry in text.split("\n\n") {
        let mut id = String::new();
        let mut translations: Vec<String> = Vec::new();
        let mut field = "";
        for line in entry.lines() {
            if let Some((keyword, rest)) = line.split_once(" \"").filter(|_| line.starts_with('m'))
            {
                field = keyword;
                if keyword.starts_with("msgstr") {
                    translations.push(unescape(rest));
                } else if keyword == "msgid" {
                    id = unescape(rest);
                }
            } else if let Some(rest) = line.strip_prefix('"') {
                match (field, translations.last_mut()) {
                    ("msgid", _) => id += &unescape(rest),
                    (field, Some(last)) if field.starts_with("msgstr") => *last += &unescape(rest),
                    _ => {}
                }
            }
        }
        if !id.is_empty() {
            messages.insert(id, translations);
        }
    }
    messages
}

/// The rest of a quoted string, from behind its opening quote.
fn unescape(rest: &str) -> String {
    let mut text = String::new();
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => match characters.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(other) => text.push(other),
                None => {}
            },
            _ => text.push(character),
        }
    }
    text
}

/// The first literal argument of each call of a message function in Rust source.
fn messages_in(source: &str, functions: &[&str]) -> BTreeSet<String> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut messages = BTreeSet::new();
    for function in functions {
        for (at, _) in code.match_indices(function) {
            let part_of_a_name = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let arguments = code[at + function.len()..].trim_start();
            if let Some(literal) = arguments.strip_prefix('"').filter(|_| !part_of_a_name) {
                messages.insert(unescape(literal));
            }
        }
    }
    messages.retain(|message| !message.is_empty());
    messages
}

fn placeholders(message: &str) -> BTreeSet<&str> {
    message
        .match_indices('{')
        .filter_map(|(at, _)| message[at..].find('}').map(|end| &message[at..=at + end]))
        .collect()
}

fn rust_sources(folder: &Path) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources.extend(rust_sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
