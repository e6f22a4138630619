//! What is installed beside the binaries: launcher, metainfo, settings, icons, Flatpak manifest.
//! Each is judged by the desktop's own validator, as meson installs it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use common::{root, run, tool};
use platter::APP_ID;
use tempfile::TempDir;

/// What `meson install` puts into a prefix, without the binaries: cargo builds those.
struct Installed {
    scratch: TempDir,
}

static INSTALLED: LazyLock<Installed> = LazyLock::new(|| {
    let scratch = common::scratch();
    let build = scratch.path().join("build");
    run(tool("meson")
        .args(["setup", "--prefix=/usr", "-Dbuild_binaries=false"])
        .arg(&build)
        .arg(root()));
    run(tool("meson")
        .args(["install", "-C"])
        .arg(&build)
        .env("DESTDIR", scratch.path().join("destination")));
    Installed { scratch }
});

impl Installed {
    /// The installed file, `name` relative to `/usr/share`.
    fn file(&self, name: &str) -> PathBuf {
        let path = self.share().join(name);
        assert!(path.is_file(), "{name} is not installed");
        path
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    fn share(&self) -> PathBuf {
        self.scratch.path().join("destination/usr/share")
    }
}

#[test]
fn everything_the_desktop_looks_for_is_installed_under_the_application_id() {
    for name in [
        format!("applications/{APP_ID}.desktop"),
        format!("dbus-1/services/{APP_ID}.service"),
        format!("glib-2.0/schemas/{APP_ID}.gschema.xml"),
        format!("icons/hicolor/scalable/apps/{APP_ID}.svg"),
        format!("icons/hicolor/symbolic/apps/{APP_ID}-symbolic.svg"),
        format!("metainfo/{APP_ID}.metainfo.xml"),
        format!("mime/packages/{APP_ID}.xml"),
        "locale/de/LC_MESSAGES/platter.mo".to_owned(),
    ] {
        INSTALLED.file(&name);
    }
    for (file, line) in [
        ("applications/ID.desktop", "Icon=ID"),
        ("dbus-1/services/ID.service", "Name=ID"),
        ("glib-2.0/schemas/ID.gschema.xml", "<schema id=\"ID\""),
        ("metainfo/ID.metainfo.xml", "<id>ID</id>"),
    ] {
        let text = INSTALLED.read(&file.replace("ID", APP_ID));
        assert!(
            text.contains(&line.replace("ID", APP_ID)),
            "{file} has no {line}"
        );
    }
}

#[test]
fn the_launcher_is_valid_and_activated_over_the_bus() {
    let name = format!("applications/{APP_ID}.desktop");
    let said = run(tool("desktop-file-validate").arg(INSTALLED.file(&name)));
    assert_eq!(said, "", "hints and warnings count as well");

    let text = INSTALLED.read(&name);
    assert!(text.contains("\nDBusActivatable=true\n"));
    assert!(text.contains("\nExec=platter %U\n"));
    assert!(text.contains("\nComment[de]="), "translations are merged");
    let service = INSTALLED.read(&format!("dbus-1/services/{APP_ID}.service"));
    assert!(
        service.contains("\nExec=/usr/bin/platter --gapplication-service\n"),
        "{service}"
    );
}

#[test]
fn the_launcher_takes_every_type_that_is_ours() {
    let text = INSTALLED.read(&format!("applications/{APP_ID}.desktop"));
    let types: Vec<&str> = text
        .lines()
        .find_map(|line| line.strip_prefix("MimeType="))
        .unwrap()
        .split_terminator(';')
        .collect();
    let package = INSTALLED.read(&format!("mime/packages/{APP_ID}.xml"));
    let described = package
        .split("<mime-type type=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    for described in described {
        assert!(
            types.contains(&described),
            "{described} is described, but not opened"
        );
    }
    assert_eq!(
        types.last(),
        Some(&"application/x-cd-image"),
        "optical images belong to others first"
    );
}

#[test]
fn the_metainfo_is_valid_and_names_this_release() {
    let file = INSTALLED.file(&format!("metainfo/{APP_ID}.metainfo.xml"));
    run(tool("appstreamcli")
        .args(["validate", "--no-net", "--explain"])
        .arg(&file));

    let text = std::fs::read_to_string(file).unwrap();
    let newest = format!("<release version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(
        text.contains(&newest),
        "the metainfo has no release {}",
        env!("CARGO_PKG_VERSION")
    );
    for screenshot in text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("<image>"))
    {
        let (_, path) = screenshot.split_once("/docs/").unwrap();
        let path = root().join("docs").join(path.trim_end_matches("</image>"));
        assert!(path.is_file(), "{} is not there", path.display());
    }
    let meson = std::fs::read_to_string(root().join("meson.build")).unwrap();
    assert!(meson.contains(&format!("version: '{}'", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn the_settings_compile_strictly_with_the_keys_the_window_uses() {
    let schema = INSTALLED.file(&format!("glib-2.0/schemas/{APP_ID}.gschema.xml"));
    run(tool("glib-compile-schemas")
        .args(["--strict", "--dry-run"])
        .arg(schema.parent().unwrap()));

    let text = std::fs::read_to_string(schema).unwrap();
    let window = std::fs::read_to_string(root().join("src/gui/settings.rs")).unwrap();
    let keys: Vec<&str> = text
        .split("<key name=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(!keys.is_empty());
    for key in keys {
        assert!(
            window.contains(&format!("\"{key}\"")),
            "nobody uses the setting {key}"
        );
    }
}

#[test]
fn the_icons_can_be_drawn_at_every_size() {
    let icons = INSTALLED.share().join("icons/hicolor");
    for (name, sizes, canvas) in [
        (
            format!("scalable/apps/{APP_ID}.svg"),
            &[16, 32, 64, 128, 512][..],
            "0 0 128 128",
        ),
        (
            format!("symbolic/apps/{APP_ID}-symbolic.svg"),
            &[16, 32][..],
            "0 0 16 16",
        ),
    ] {
        let svg = icons.join(name);
        let text = std::fs::read_to_string(&svg).unwrap();
        assert!(
            text.contains(&format!("viewBox=\"{canvas}\"")),
            "{}",
            svg.display()
        );
        for size in sizes {
            let png = INSTALLED.scratch.path().join(format!("{size}.png"));
            run(tool("rsvg-convert")
                .args(["-w", &size.to_string(), "-h", &size.to_string(), "-o"])
                .arg(&png)
                .arg(&svg));
            let png = std::fs::read(png).unwrap();
            assert_eq!(
                png[16..20],
                i32::to_be_bytes(*size),
                "width of {}",
                svg.display()
            );
        }
    }
}

#[test]
fn the_flatpak_manifest_builds_this_application_for_the_network_less_sandbox() {
    let path = root().join(format!("build-aux/{APP_ID}.json"));
    let manifest = std::fs::read(&path).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["id"], APP_ID);
    assert_eq!(manifest["command"], env!("CARGO_PKG_NAME"));
    for field in ["runtime", "runtime-version", "sdk"] {
        assert!(manifest[field].is_string(), "{field} is missing");
    }
    let permissions: Vec<&str> = manifest["finish-args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p.as_str().unwrap())
        .collect();
    // Backing files lie beside the image; holes and locks need the real file system.
    assert!(permissions.contains(&"--filesystem=host"));
    assert!(
        !permissions
            .iter()
            .any(|p| p.contains("network") || p.contains("-name=")),
        "neither the network nor a bus name is needed: {permissions:?}"
    );
    let module = &manifest["modules"][0];
    assert_eq!(module["buildsystem"], "meson");
    let options = std::fs::read_to_string(root().join("meson_options.txt")).unwrap();
    for option in module["config-opts"].as_array().unwrap() {
        let name = option
            .as_str()
            .unwrap()
            .trim_start_matches("-D")
            .split('=')
            .next()
            .unwrap();
        assert!(
            options.contains(&format!("option('{name}'")),
            "meson has no option {name}"
        );
    }
    assert!(has_folder_source(module, path.parent().unwrap()));
}

/// Whether the module's sources contain the repository itself.
fn has_folder_source(module: &serde_json::Value, manifest_folder: &Path) -> bool {
    module["sources"].as_array().unwrap().iter().any(|source| {
        source["type"] == "dir"
            && source["path"]
                .as_str()
                .and_then(|path| manifest_folder.join(path).canonicalize().ok())
                .is_some_and(|path| Some(path) == root().canonicalize().ok())
    })
}
