//! What a file name inside an image means, by QEMU's grammar.
//!
//! A name is a path, a path behind `file:`, the address of a network or pseudo protocol, or a tree
//! of driver options behind `json:`. Only what comes down to one plain local file gets a path here.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use crate::image::Format;

/// What a name means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// A local file, which need not exist.
    File {
        /// Where: absolute, or relative to the current directory if the image's own path is.
        path: PathBuf,
        /// The format that the name itself states (`json:` only).
        format: Option<String>,
    },
    /// Something on a network, a device or a pseudo protocol ("nbd", "host_device", "blkdebug").
    Remote {
        /// The protocol.
        protocol: String,
    },
    /// Nothing that is followed; why.
    Unusable(String),
}

/// What `name`, found in the image at `image`, means. Looks at no file.
///
/// QEMU takes a relative name behind `file:` or in `json:` from the current directory of whoever
/// opens it, which a backing chain on a disk cannot know; here every relative name starts at the
/// image's folder.
#[must_use]
pub fn resolve(name: &str, image: &Path) -> Target {
    if name.is_empty() {
        return Target::Unusable("the name is empty".into());
    }
    if let Some(options) = name.strip_prefix("json:") {
        return resolve_options(options, image);
    }
    match protocol_of(name) {
        None => local(name, image, None),
        Some("file") => local(&name["file:".len()..], image, None),
        Some(protocol) => Target::Remote {
            protocol: protocol.to_owned(),
        },
    }
}

/// `path` without `.` and `..`, for showing and comparing; the file need not exist. Where `..`
/// follows what may be a symbolic link, the host is asked.
pub(super) fn normalise(path: &Path) -> PathBuf {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if climbs
        && let (Some(folder), Some(name)) = (path.parent(), path.file_name())
        && let Ok(folder) = fs::canonicalize(folder)
    {
        return folder.join(name);
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            // There is nothing above the root.
            Component::ParentDir if plain.has_root() => {}
            other => plain.push(other),
        }
    }
    plain
}

/// A name has a protocol when a colon comes before the first slash.
fn protocol_of(name: &str) -> Option<&str> {
    let end = name.find([':', '/'])?;
    name[end..].starts_with(':').then(|| &name[..end])
}

fn local(name: &str, image: &Path, format: Option<String>) -> Target {
    if name.is_empty() || name.contains('\0') {
        return Target::Unusable(format!("{name:?} is not a file name"));
    }
    let folder = image.parent().unwrap_or(Path::new(""));
    Target::File {
        path: folder.join(name),
        format,
    }
}

/// Options that change how a file is read, but not which bytes.
const HARMLESS: [&str; 12] = [
    "aio",
    "auto-read-only",
    "cache.direct",
    "cache.no-flush",
    "detect-zeroes",
    "discard",
    "drop-cache",
    "force-share",
    "locking",
    "node-name",
    "pr-manager",
    "read-only",
];

fn resolve_options(text: &str, image: &Path) -> Target {
    let options = match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(options) => options,
        Err(error) => return Target::Unusable(format!("its json: options are invalid: {error}")),
    };
    let mut flat = Vec::new();
    if let Err(reason) = flatten("", &options, 0, &mut flat) {
        return Target::Unusable(reason);
    }
    let mut take = |key: &str| -> Option<String> {
        let index = flat.iter().position(|(name, _)| name == key)?;
        Some(flat.swap_remove(index).1)
    };

    let driver = take("driver");
    let (protocol, filename, format) = match driver.as_deref() {
        // The file itself, without a format above it: its bytes are the disk.
        Some("file") => (driver, take("filename"), Some("raw".to_owned())),
        _ => (take("file.driver"), take("file.filename"), driver),
    };
    match protocol {
        Some(format) if Format::from_name(&format).is_some() => {
            return Target::Unusable("its json: options stack formats".into());
        }
        Some(protocol) if protocol != "file" => return Target::Remote { protocol },
        _ => {}
    }
    let Some(filename) = filename else {
        return match format {
            // nbd, ssh, … name a server here, and no file.
            Some(driver) if Format::from_name(&driver).is_none() => {
                Target::Remote { protocol: driver }
            }
            _ => Target::Unusable("its json: options name no file".into()),
        };
    };
    if let Some((key, _)) = flat.iter().find(|(key, _)| !is_harmless(key)) {
        return Target::Unusable(format!("its json: option '{key}' is not supported"));
    }
    // As in QEMU, a protocol in a `filename` option is not looked for: it is a file's name.
    local(&filename, image, format)
}

/// QEMU takes nested objects and dotted keys alike.
fn flatten(
    prefix: &str,
    options: &Map<String, Value>,
    depth: usize,
    flat: &mut Vec<(String, String)>,
) -> Result<(), String> {
    for (key, value) in options {
        let key = format!("{prefix}{key}");
        match value {
            Value::Object(inner) if depth < 4 => {
                flatten(&format!("{key}."), inner, depth + 1, flat)?;
            }
            Value::Object(_) => return Err("its json: options are nested too deeply".into()),
            _ if flat.iter().any(|(known, _)| *known == key) => {
                return Err(format!("its json: option '{key}' is given twice"));
            }
            Value::String(text) => flat.push((key, text.clone())),
            other => flat.push((key, other.to_string())),
        }
    }
    Ok(())
}

fn is_harmless(key: &str) -> bool {
    HARMLESS.contains(&key.strip_prefix("file.").unwrap_or(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(name: &str) -> (PathBuf, Option<String>) {
        match resolve(name, Path::new("/vm/disks/overlay.qcow2")) {
            Target::File { path, format } => (path, format),
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn paths_start_at_the_folder_of_the_image() {
        for (name, path) in [
            ("base.qcow2", "/vm/disks/base.qcow2"),
            ("../a/base.qcow2", "/vm/disks/../a/base.qcow2"),
            ("/srv/base.qcow2", "/srv/base.qcow2"),
            ("./odd:name", "/vm/disks/./odd:name"),
            ("file:base.qcow2", "/vm/disks/base.qcow2"),
            ("file:///srv/base.qcow2", "///srv/base.qcow2"),
            (
                r#"json:{"driver":"file","filename":"a:b"}"#,
                "/vm/disks/a:b",
            ),
        ] {
            assert_eq!(path_of(name).0, Path::new(path), "{name}");
        }
        assert_eq!(
            resolve("base.qcow2", Path::new("overlay.qcow2")),
            Target::File {
                path: "base.qcow2".into(),
                format: None
            }
        );
    }

    #[test]
    fn normal_paths_climb_through_links_as_the_host_does() {
        for (path, normal) in [
            ("/no/./such/../x", "/no/x"),
            ("/../no/x", "/no/x"),
            ("no/../../x", "../x"),
            ("./x", "x"),
        ] {
            assert_eq!(normalise(Path::new(path)), Path::new(normal), "{path}");
        }
        let house = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(house.path()).unwrap();
        fs::create_dir_all(root.join("far/away")).unwrap();
        std::os::unix::fs::symlink("far/away", root.join("link")).unwrap();
        assert_eq!(normalise(&root.join("link/../x")), root.join("far/x"));
        assert_eq!(normalise(&root.join("link/./x")), root.join("link/x"));
    }

    #[test]
    fn options_nested_and_dotted_mean_the_same() {
        let expected = (PathBuf::from("/b.img"), Some("qcow2".to_owned()));
        for name in [
            r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"/b.img"}}"#,
            r#"json:{"driver":"qcow2","file.driver":"file","file.filename":"/b.img"}"#,
            r#"json:{"file":{"filename":"/b.img","locking":"off"},"driver":"qcow2","read-only":true}"#,
        ] {
            assert_eq!(path_of(name), expected, "{name}");
        }
        let raw = path_of(r#"json:{"driver":"file","filename":"/b.img"}"#);
        assert_eq!(raw.1.as_deref(), Some("raw"));
        assert_eq!(path_of(r#"json:{"file.filename":"/b.img"}"#).1, None);
    }

    #[test]
    fn protocols_never_become_paths() {
        for (name, expected) in [
            ("nbd://10.0.0.1/x", "nbd"),
            ("nbd:unix:/run/x.sock", "nbd"),
            ("ssh://host/etc/passwd", "ssh"),
            ("https://host/x.qcow2", "https"),
            ("host_device:/dev/sda", "host_device"),
            ("blkdebug::/etc/shadow", "blkdebug"),
            ("fat:rw:/home", "fat"),
            ("rbd:pool/image", "rbd"),
            (r#"json:{"driver":"nbd","host":"h","port":"1"}"#, "nbd"),
            (
                r#"json:{"driver":"raw","file":{"driver":"ssh","host":"h"}}"#,
                "ssh",
            ),
            (
                r#"json:{"driver":"raw","file.driver":"host_device","file.filename":"/dev/sda"}"#,
                "host_device",
            ),
        ] {
            let target = resolve(name, Path::new("/vm/a.qcow2"));
            assert_eq!(
                target,
                Target::Remote {
                    protocol: expected.into()
                },
                "{name}"
            );
        }
    }

    #[test]
    fn anything_else_is_unusable() {
        for name in [
            "",
            "file:",
            "json:",
            "json:[]",
            r#"json:{"driver":"qcow2","file":"node0"}"#,
            r#"json:{"driver":"raw","file":{"driver":"qcow2","file.filename":"/b"}}"#,
            r#"json:{"driver":"raw","offset":512,"file.filename":"/b.img"}"#,
            r#"json:{"driver":"qcow2","file.filename":"/b","backing.file.filename":"/etc/shadow"}"#,
            r#"json:{"driver":"qcow2","file":{"filename":"/a"},"file.filename":"/b"}"#,
            r#"json:{"a":{"b":{"c":{"d":{"e":{"f":1}}}}}}"#,
            r#"json:{"file.filename":"/a\u0000b"}"#,
        ] {
            let target = resolve(name, Path::new("/vm/a.qcow2"));
            assert!(matches!(target, Target::Unusable(_)), "{name}: {target:?}");
        }
    }
}
