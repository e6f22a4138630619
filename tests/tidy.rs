//! What the compiler does not hold the sources to: who may import whom, and the house rules that
//! ARCHITECTURE.md and CONTRIBUTING.md state.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::root;

/// The engine's modules by layer: each imports only from layers before its own. In the layers of
/// `SIBLINGS_MEET`, modules of one layer know each other.
const LAYERS: [&[&str]; 9] = [
    &["error", "units", "codec", "control", "phrase"],
    &["storage"],
    &["image", "table", "fs"],
    &["chain", "disk"],
    &["inspect"],
    &["journal"],
    &["op"],
    &["plot"],
    &["job"],
];
const SIBLINGS_MEET: [usize; 2] = [0, 3];

/// The files of `src/image` and `src/fs` that are no format's own.
const SHARED_BY_DRIVERS: [&str; 14] = [
    "change",
    "check",
    "driver",
    "extent",
    "extents",
    "info",
    "mod",
    "probe",
    "registry",
    "writer",
    "scan",
    "signature",
    "identify",
    "volume",
];

const PANES: [&str; 5] = ["overview", "partitions", "map", "chain_pane", "snapshots"];

const TOOLKIT: [&str; 9] = [
    "gtk",
    "gtk4",
    "gdk",
    "gio",
    "glib",
    "adw",
    "relm4",
    "gettextrs",
    "plotters",
];

/// The kernel's interface, and what the bindings of GTK 4.8 withhold.
const UNSAFE_FILES: [&str; 2] = ["src/storage/sys.rs", "src/gui/sys.rs"];

const LONGEST_FILE: usize = 600;

struct Source {
    /// Relative to the repository's root.
    path: String,
    text: String,
}

impl Source {
    /// Without comments.
    fn code(&self) -> String {
        self.text
            .lines()
            .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
            .flat_map(|line| [line, "\n"])
            .collect()
    }

    /// Without the unit tests at its end.
    fn lines_without_tests(&self) -> usize {
        let tests = self
            .text
            .find("#[cfg(test)]\nmod tests {")
            .unwrap_or(self.text.len());
        self.text[..tests].lines().count()
    }

    fn is_test_file(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// `Some("image")` for `src/image/mod.rs`; none for the binaries and the crate's root.
    fn engine_module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let module = inside.split('/').next()?.trim_end_matches(".rs");
        (!["gui", "cli", "lib"].contains(&module)).then_some(module)
    }
}

#[test]
fn engine_modules_import_only_lower_layers() {
    let layer_of = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut wrong = Vec::new();
    for source in sources("src") {
        let Some(module) = source.engine_module() else {
            continue;
        };
        let layer = layer_of(module)
            .unwrap_or_else(|| panic!("{} is in no layer: see src/lib.rs", source.path));
        for imported in crate_imports(&source.code()) {
            let allowed = imported == module
                || layer_of(&imported).is_none_or(|other| {
                    other < layer || (other == layer && SIBLINGS_MEET.contains(&layer))
                });
            if !allowed {
                wrong.push(format!("{} ({module}) imports {imported}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The modules of the crate that `code` names as `crate::MODULE`, in groups too; items of the
/// crate's root are not modules.
fn crate_imports(code: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut modules = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = &group[..group.find(';').unwrap_or(group.len())];
            let mut depth = 0;
            let mut start = 0;
            for (i, c) in group.char_indices().chain([(group.len(), ',')]) {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth <= 0 => {
                        let name = group[start..i].trim();
                        modules.insert(name.chars().take_while(|c| is_name(*c)).collect());
                        start = i + 1;
                    }
                    _ => {}
                }
            }
        } else {
            modules.insert(rest.chars().take_while(|c| is_name(*c)).collect());
        }
    }
    modules
}

#[test]
fn no_format_knows_a_sibling() {
    let mut wrong = Vec::new();
    for layer in ["image", "fs"] {
        let all = sources(&format!("src/{layer}"));
        let formats: BTreeSet<&str> = all
            .iter()
            .map(format_of)
            .filter(|f| !SHARED_BY_DRIVERS.contains(f))
            .collect();
        for source in all
            .iter()
            .filter(|source| formats.contains(format_of(source)))
        {
            let code = source.code();
            let direct_child = source.path.matches('/').count() == 2;
            for sibling in formats
                .iter()
                .filter(|format| **format != format_of(source))
            {
                let full = format!("{layer}::{sibling}");
                let relative = format!("super::{sibling}");
                if has_word(&code, &full) || (direct_child && has_word(&code, &relative)) {
                    wrong.push(format!("{} knows {sibling}", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `qcow2` for `src/image/qcow2.rs` and for `src/image/qcow2/header.rs`.
fn format_of(source: &Source) -> &str {
    let inside = source.path.split('/').nth(2).unwrap();
    inside.trim_end_matches(".rs")
}

#[test]
fn the_engine_and_the_command_line_know_no_toolkit_and_no_runtime() {
    let mut wrong = Vec::new();
    for source in sources("src")
        .iter()
        .filter(|source| !source.path.starts_with("src/gui/"))
    {
        let code = source.code();
        let runs_threads = source.path.starts_with("src/job/");
        let runtime: &[&str] = if runs_threads { &[] } else { &["tokio"] };
        for name in TOOLKIT.iter().chain(runtime) {
            if has_word(&code, &format!("{name}::")) {
                wrong.push(format!("{} uses {name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn panes_never_import_panes() {
    let mut wrong = Vec::new();
    for pane in PANES {
        for source in sources(&format!("src/gui/{pane}")) {
            let code = source.code();
            for other in PANES.iter().filter(|other| **other != pane) {
                if has_word(&code, &format!("crate::{other}")) {
                    wrong.push(format!("{} imports {other}", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_code_stays_in_its_files() {
    let forms = ["{", "fn", "impl", "trait", "extern"].map(|form| format!("unsafe {form}"));
    for source in sources("src") {
        let code = source.code();
        if forms.iter().any(|form| code.contains(form)) {
            assert!(
                UNSAFE_FILES.contains(&source.path.as_str()),
                "unsafe in {}",
                source.path
            );
        }
    }
}

#[test]
fn files_are_one_idea_and_say_which() {
    for source in sources("src") {
        let lines = source.lines_without_tests();
        assert!(
            source.is_test_file() || lines <= LONGEST_FILE,
            "{} has {lines} lines without its tests",
            source.path
        );
        assert!(
            source.is_test_file() || begins_with_its_subject(&source.text),
            "{} does not begin with what it is",
            source.path
        );
    }
}

/// Whether a `//!` comes before the first item; attributes may stand above it.
fn begins_with_its_subject(text: &str) -> bool {
    text.lines()
        .take_while(|line| !line.starts_with("use ") && !line.starts_with("mod "))
        .any(|line| line.starts_with("//!"))
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two parts, or this file would be found.
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["to", "do!("],
        ["unimpl", "emented!("],
    ];
    let scripts = ["build-aux/dev", "build-aux/make-demo"].map(|path| Source {
        path: path.to_owned(),
        text: std::fs::read_to_string(root().join(path)).unwrap(),
    });
    for source in sources("src")
        .iter()
        .chain(&sources("tests"))
        .chain(&scripts)
    {
        for mark in marks.map(|parts| parts.concat()) {
            assert!(!source.text.contains(&mark), "{mark} in {}", source.path);
        }
    }
}

#[test]
fn the_application_id_is_written_once() {
    let id = format!("\"{}\"", platter::APP_ID);
    let path = format!("\"/{}\"", platter::APP_ID.replace('.', "/"));
    let places: Vec<_> = sources("src")
        .into_iter()
        .filter(|source| source.text.contains(&id))
        .map(|source| source.path)
        .collect();
    assert_eq!(places, ["src/lib.rs"]);
    // The resources' base path is the id's other spelling.
    let bases = sources("src/gui")
        .iter()
        .filter(|source| source.text.contains(&path))
        .count();
    assert_eq!(bases, 1, "one constant for {path}");
}

/// A name that no theme has draws nothing, or the picture of a missing one.
#[test]
fn icons_exist() {
    let own = files(&root().join("data"), "svg");
    let adwaita = files(Path::new("/usr/share/icons/Adwaita"), "svg");
    assert!(
        !adwaita.is_empty(),
        "adwaita-icon-theme: {}",
        common::INSTALL_HINT
    );
    let known: BTreeSet<&str> = own
        .iter()
        .chain(&adwaita)
        .filter_map(|path| path.file_stem()?.to_str())
        .collect();
    for source in sources("src/gui") {
        for name in source
            .text
            .split('"')
            .filter(|literal| is_icon_name(literal))
        {
            assert!(
                known.contains(name),
                "{}: there is no icon {name}",
                source.path
            );
        }
    }
}

fn is_icon_name(literal: &str) -> bool {
    literal.ends_with("-symbolic")
        && literal.len() > "-symbolic".len()
        && literal
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

/// As `cargo deny check licenses`, which is not packaged everywhere.
#[test]
fn every_dependency_has_an_allowed_licence() {
    let rules = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let (_, allowed) = rules.split_once("\nallow = [").unwrap();
    let (allowed, _) = allowed.split_once(']').unwrap();
    let allowed: Vec<&str> = allowed.split('"').skip(1).step_by(2).collect();

    let cargo = std::env::var_os("CARGO").expect("cargo runs the tests");
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = common::run(
        std::process::Command::new(cargo)
            .args(["metadata", "--format-version=1", "--locked", "--offline"])
            .args(["--filter-platform", &platform])
            .current_dir(root()),
    );
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "cargo metadata names the dependencies");
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(
            may_use(licence, &allowed),
            "{}: licence {licence}",
            package["name"]
        );
    }
}

/// Whether an SPDX expression without nested parentheses can be met with the `allowed` licences.
fn may_use(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    // A wrong reading of "A AND (B OR C)" as "(A AND B) OR C" only asks for another look.
    expression.split(" OR ").any(|all| {
        all.split(" AND ").all(|licence| {
            let licence = licence.split(" WITH ").next().unwrap_or_default().trim();
            allowed.contains(&licence)
        })
    })
}

/// Whether `code` has `word` with nothing of a name before or behind it.
fn has_word(code: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let behind = &code[at + word.len()..];
        !code[..at].ends_with(is_name) && (word.ends_with(':') || !behind.starts_with(is_name))
    })
}

/// All Rust sources below `folder`, which is relative to the repository's root.
fn sources(folder: &str) -> Vec<Source> {
    let sources: Vec<Source> = files(&root().join(folder), "rs")
        .into_iter()
        .map(|path| Source {
            text: std::fs::read_to_string(&path).unwrap(),
            path: path
                .strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
        })
        .collect();
    assert!(
        !sources.is_empty(),
        "{folder} has no sources: has it moved?"
    );
    sources
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
