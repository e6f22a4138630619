//! The window, end to end: the real binary on a private desktop, driven through its accessibility
//! tree as a user would, on images that other programs made.
//!
//! Every `tests/e2e/*.steps` is a test; `tests/README.md` says how to write one.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::device::Device;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each test is a desktop of its own: more at once than this only slows all of them.
    arguments.test_threads.get_or_insert(2);
    let installed = Installed::make();
    let trials = steps_files()
        .into_iter()
        .map(|file| {
            let name = file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let installed = installed.clone();
            Trial::test(name, move || run_steps(&file, &installed))
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn steps_files() -> Vec<PathBuf> {
    let folder = common::root().join("tests/e2e");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("tests/e2e can be listed").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "steps")
        })
        .collect();
    assert!(!files.is_empty(), "{} has no steps files", folder.display());
    files.sort();
    files
}

/// What the application finds below its prefix when it is installed.
#[derive(Clone, Debug)]
struct Installed {
    schemas: PathBuf,
    locale: PathBuf,
}

impl Installed {
    /// Made anew by each run: the sources may have changed.
    fn make() -> Self {
        let share = Path::new(env!("CARGO_TARGET_TMPDIR")).join("share");
        let installed = Self {
            schemas: share.join("schemas"),
            locale: share.join("locale"),
        };
        let folder = |path: &Path| {
            std::fs::create_dir_all(path).expect("a folder below target can be made");
        };
        folder(&installed.schemas);
        common::run(
            common::tool("glib-compile-schemas")
                .args(["--strict", "--targetdir"])
                .arg(&installed.schemas)
                .arg(common::root().join("data")),
        );
        let po = common::root().join("po");
        let languages = std::fs::read_to_string(po.join("LINGUAS")).expect("po/LINGUAS is there");
        for language in languages.split_whitespace() {
            let messages = installed.locale.join(language).join("LC_MESSAGES");
            folder(&messages);
            common::run(
                common::tool("msgfmt")
                    .arg("-o")
                    .arg(messages.join("platter.mo"))
                    .arg(po.join(language).with_extension("po")),
            );
        }
        installed
    }

    /// The environment that takes the application there, for the driver's `--env`.
    fn environment(&self) -> [OsString; 2] {
        let assign = |name: &str, path: &Path| {
            let mut text = OsString::from(name);
            text.push("=");
            text.push(path);
            text
        };
        [
            assign("GSETTINGS_SCHEMA_DIR", &self.schemas),
            assign("PLATTER_LOCALEDIR", &self.locale),
        ]
    }
}

/// What a steps file asks for before its first step, in lines that begin with `#:`.
#[derive(Debug, Default)]
struct Needs {
    fixtures: Vec<String>,
    /// The file whose bytes a block device has: `$DEVICE`.
    device: Option<String>,
    /// Tools work in windows on partitions.
    fuse: bool,
    open: Vec<String>,
    /// For the driver: `--env K=V`, `--setting K=V`, `--size WxH`.
    options: Vec<String>,
}

fn parse_needs(text: &str) -> Result<Needs, Failed> {
    let mut needs = Needs::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("#:")) {
        let (key, value) = line
            .trim()
            .split_once(' ')
            .ok_or_else(|| format!("'#:{line}' has no value"))?;
        let value = value.trim().to_owned();
        match key {
            "fixture" => needs.fixtures.push(value),
            "device" => needs.device = Some(value),
            "needs" if value == "fuse" => needs.fuse = true,
            "open" => needs.open.push(value),
            "env" | "setting" | "size" => needs.options.extend([format!("--{key}"), value]),
            _ => return Err(format!("'#:{line}': no such key").into()),
        }
    }
    Ok(needs)
}

fn run_steps(file: &Path, installed: &Installed) -> Result<(), Failed> {
    let needs = parse_needs(&std::fs::read_to_string(file)?)?;
    require_desktop();
    if needs.fuse && !common::windows::has_windows() {
        return Ok(());
    }
    let scratch = common::scratch();
    for fixture in &needs.fixtures {
        common::fixtures::make(fixture, scratch.path());
    }
    let artifacts = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("window")
        .join(file.file_stem().unwrap_or_default());
    let mut tmp = OsString::from("TMP=");
    tmp.push(scratch.path());
    let mut defines: Vec<OsString> = vec!["--define".into(), tmp];

    let device = match &needs.device {
        Some(name) => match Device::of(&scratch.path().join(name)) {
            Some(device) => Some(device),
            None => return Ok(()),
        },
        None => None,
    };
    let mut driver = driver();
    if let Some(device) = &device {
        let mut define = OsString::from("DEVICE=");
        define.push(device.node());
        defines.extend(["--define".into(), define]);
    }
    driver
        .arg(common::root().join("tests/uidrive/uidrive.py"))
        .arg("run")
        .arg(file)
        .arg("--artifacts")
        .arg(&artifacts)
        .args(defines)
        .args(["--wm", "xfwm4"])
        .args(
            installed
                .environment()
                .iter()
                .flat_map(|env| ["--env".as_ref(), env.as_os_str()]),
        )
        .args(&needs.options)
        .arg("--cwd")
        .arg(scratch.path())
        .arg("--")
        .arg(env!("CARGO_BIN_EXE_platter"))
        .args(needs.open.iter().map(|image| scratch.path().join(image)));
    if std::env::var_os("CI").is_some() && std::env::var_os("UIDRIVE_SLOW").is_none() {
        driver.env("UIDRIVE_SLOW", "4");
    }
    let output = common::output(&mut driver);
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{}\n{}{}\nscreenshot and accessibility tree: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        artifacts.display()
    )
    .into())
}

/// The distribution's Python, which has the `gi` module; `python3` in `PATH` may be another one.
fn driver() -> Command {
    Command::new("/usr/bin/python3")
}

/// Fails in words where a part of the desktop is missing.
fn require_desktop() {
    for program in ["Xvfb", "xfwm4", "dbus-daemon"] {
        drop(common::tool(program));
    }
    let has_gi = driver().args(["-c", "import gi"]).output();
    assert!(
        has_gi.is_ok_and(|output| output.status.success()),
        "python3-gi is not installed: {}",
        common::INSTALL_HINT
    );
}
