//! What is remembered between runs: the recent images and the window's size. In GSettings where
//! our schema is installed; a program that runs from its build tree keeps a small state file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use platter::APP_ID;
use platter::op::edit::Alignment;
use relm4::gtk::{gio, glib, prelude::*};

/// How many recent images are kept.
const RECENT_LIMIT: usize = 12;
const RECENT: &str = "recent-images";
const ALIGNMENT: &str = "partition-alignment";
const WIDTH: &str = "window-width";
const HEIGHT: &str = "window-height";
const MAXIMIZED: &str = "window-maximized";
const GROUP: &str = "state";

/// The window's size when it was closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct WindowSize {
    /// Logical pixels.
    pub(crate) width: i32,
    /// Logical pixels.
    pub(crate) height: i32,
    /// Fills the screen; the size is that after leaving this state.
    pub(crate) maximized: bool,
}

impl WindowSize {
    const DEFAULT: Self = Self {
        width: 1200,
        height: 800,
        maximized: false,
    };
}

/// The store.
#[derive(Clone, Debug)]
pub(crate) enum Settings {
    /// The desktop's settings.
    Schema(gio::Settings),
    /// A key file.
    File(PathBuf),
}

impl Settings {
    /// Opens the store. GSettings would end the process over a missing schema: looked up first.
    pub(crate) fn open() -> Self {
        let installed = gio::SettingsSchemaSource::default()
            .and_then(|source| source.lookup(APP_ID, true))
            .is_some_and(|schema| {
                [RECENT, ALIGNMENT, WIDTH, HEIGHT, MAXIMIZED]
                    .iter()
                    .all(|key| schema.has_key(key))
            });
        if installed {
            Self::Schema(gio::Settings::new(APP_ID))
        } else {
            Self::File(glib::user_state_dir().join("platter").join("state.ini"))
        }
    }

    /// The recent images, the newest first.
    pub(crate) fn recent(&self) -> Vec<PathBuf> {
        let texts: Vec<String> = match self {
            Self::Schema(settings) => settings
                .strv(RECENT)
                .iter()
                .map(|uri| uri.as_str().to_owned())
                .collect(),
            Self::File(path) => {
                let list = load(path).string(GROUP, RECENT).unwrap_or_default();
                list.split_whitespace().map(str::to_owned).collect()
            }
        };
        texts
            .into_iter()
            .filter_map(|text| path_of(&text))
            .collect()
    }

    /// Puts `path` at the top of the recent images.
    pub(crate) fn add_recent(&self, path: &Path) {
        self.set_recent(&with_first(self.recent(), path));
    }

    /// Forgets `path`.
    pub(crate) fn remove_recent(&self, path: &Path) {
        let mut paths = self.recent();
        paths.retain(|recent| recent != path);
        self.set_recent(&paths);
    }

    fn set_recent(&self, paths: &[PathBuf]) {
        let texts: Vec<String> = paths.iter().map(|path| text_of(path)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        match self {
            Self::Schema(settings) => report(settings.set_strv(RECENT, texts)),
            // A URI has no spaces in it.
            Self::File(path) => report(change(path, |file| {
                file.set_string(GROUP, RECENT, &texts.join(" "));
            })),
        }
    }

    /// Where borders of partitions go.
    pub(crate) fn alignment(&self) -> Alignment {
        let text = match self {
            Self::Schema(settings) => settings.string(ALIGNMENT),
            Self::File(path) => load(path).string(GROUP, ALIGNMENT).unwrap_or_default(),
        };
        text.parse().unwrap_or_default()
    }

    /// Remembers where borders of partitions go.
    pub(crate) fn set_alignment(&self, alignment: Alignment) {
        let text = alignment.to_string();
        match self {
            Self::Schema(settings) => report(settings.set_string(ALIGNMENT, &text)),
            Self::File(path) => report(change(path, |file| {
                file.set_string(GROUP, ALIGNMENT, &text);
            })),
        }
    }

    /// The remembered size, never smaller than the window can be.
    pub(crate) fn window_size(&self) -> WindowSize {
        let size = match self {
            Self::Schema(settings) => WindowSize {
                width: settings.int(WIDTH),
                height: settings.int(HEIGHT),
                maximized: settings.boolean(MAXIMIZED),
            },
            Self::File(path) => {
                let file = load(path);
                WindowSize {
                    width: file.integer(GROUP, WIDTH).unwrap_or_default(),
                    height: file.integer(GROUP, HEIGHT).unwrap_or_default(),
                    maximized: file.boolean(GROUP, MAXIMIZED).unwrap_or_default(),
                }
            }
        };
        if size.width < 360 || size.height < 294 {
            return WindowSize {
                maximized: size.maximized,
                ..WindowSize::DEFAULT
            };
        }
        size
    }

    /// Remembers the size.
    pub(crate) fn set_window_size(&self, size: WindowSize) {
        match self {
            Self::Schema(settings) => {
                report(settings.set_int(WIDTH, size.width));
                report(settings.set_int(HEIGHT, size.height));
                report(settings.set_boolean(MAXIMIZED, size.maximized));
            }
            Self::File(path) => report(change(path, |file| {
                file.set_integer(GROUP, WIDTH, size.width);
                file.set_integer(GROUP, HEIGHT, size.height);
                file.set_boolean(GROUP, MAXIMIZED, size.maximized);
            })),
        }
    }
}

fn with_first(mut paths: Vec<PathBuf>, first: &Path) -> Vec<PathBuf> {
    paths.retain(|path| path != first);
    paths.insert(0, first.to_path_buf());
    paths.truncate(RECENT_LIMIT);
    paths
}

/// A path as a URI: settings hold UTF-8, paths need not.
fn text_of(path: &Path) -> String {
    gio::File::for_path(path).uri().into()
}

fn path_of(text: &str) -> Option<PathBuf> {
    gio::File::for_uri(text).path()
}

fn load(path: &Path) -> glib::KeyFile {
    let file = glib::KeyFile::new();
    // No file yet: nothing to remember.
    let _ = file.load_from_file(path, glib::KeyFileFlags::NONE);
    file
}

fn change(path: &Path, edit: impl FnOnce(&glib::KeyFile)) -> anyhow::Result<()> {
    let file = load(path);
    edit(&file);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    file.save_to_file(path)
        .with_context(|| path.display().to_string())
}

/// Nothing the user asked for depends on it: a line for whoever looks at the output is enough.
fn report(result: Result<(), impl Into<anyhow::Error>>) {
    if let Err(error) = result {
        eprintln!("platter: cannot remember: {:#}", error.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_file_keeps_recent_images_and_size() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::File(dir.path().join("platter/state.ini"));
        assert_eq!(settings.recent(), Vec::<PathBuf>::new());
        assert_eq!(settings.window_size(), WindowSize::DEFAULT);

        settings.add_recent(Path::new("/vm/a;b é.qcow2"));
        settings.add_recent(Path::new("/vm/c.raw"));
        settings.add_recent(Path::new("/vm/a;b é.qcow2"));
        let expected: Vec<PathBuf> = vec!["/vm/a;b é.qcow2".into(), "/vm/c.raw".into()];
        assert_eq!(settings.recent(), expected);
        settings.remove_recent(Path::new("/vm/c.raw"));
        assert_eq!(settings.recent().len(), 1);

        assert_eq!(settings.alignment(), Alignment::Mib);
        settings.set_alignment(Alignment::Cylinder);
        assert_eq!(settings.alignment(), Alignment::Cylinder);

        let size = WindowSize {
            width: 700,
            height: 500,
            maximized: true,
        };
        settings.set_window_size(size);
        assert_eq!(settings.window_size(), size);
    }

    #[test]
    fn recent_images_are_few() {
        let many = (0..30).map(|n| PathBuf::from(format!("/{n}"))).collect();
        let paths = with_first(many, Path::new("/5"));
        assert_eq!(paths.len(), RECENT_LIMIT);
        assert_eq!(paths[0], Path::new("/5"));
        assert_eq!(paths.iter().filter(|path| path.ends_with("5")).count(), 1);
    }
}
