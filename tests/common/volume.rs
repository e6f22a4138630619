//! A volume in a file, identified by the engine and by `blkid`.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use platter::fs::{self, FileSystem, FsKind};

use super::disk::CountingFile;
use super::{run, scratch, tool};

/// A sparse file to make a file system in.
pub(crate) struct Image {
    folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Image {
    pub(crate) fn new(size: u64) -> Self {
        let folder = scratch();
        let path = folder.path().join("volume.raw");
        File::create(&path)
            .expect("the volume can be used")
            .set_len(size)
            .expect("the volume can be used");
        Self { folder, path }
    }

    /// An image with what `PROGRAM OPTIONS… FILE` makes of it.
    pub(crate) fn made(size: u64, program: &str, options: &[&str]) -> Self {
        let image = Self::new(size);
        run(tool(program).args(options).arg(&image.path));
        image
    }

    /// A folder with 200 files of 10 KB and one of 3 MB.
    pub(crate) fn files(&self) -> PathBuf {
        let folder = self.folder.path().join("files");
        std::fs::create_dir(&folder).expect("the volume can be used");
        for number in 0..200 {
            std::fs::write(folder.join(format!("file{number}")), [b'x'; 10_000])
                .expect("the volume can be used");
        }
        std::fs::write(folder.join("big"), vec![0x55; 3_000_000]).expect("the volume can be used");
        folder
    }

    pub(crate) fn overwrite(&self, offset: u64, bytes: &[u8]) {
        File::options()
            .write(true)
            .open(&self.path)
            .expect("the volume can be used")
            .write_all_at(bytes, offset)
            .expect("the volume can be used");
    }

    pub(crate) fn resize(&self, size: u64) {
        let file = File::options()
            .write(true)
            .open(&self.path)
            .expect("the volume can be used");
        file.set_len(size).expect("the volume can be used");
    }

    pub(crate) fn identify(&self) -> FileSystem {
        self.identify_within(200 << 10)
    }

    /// Identifies, reading no more than `limit` bytes.
    pub(crate) fn identify_within(&self, limit: u64) -> FileSystem {
        let file = CountingFile::open(&self.path);
        let found = fs::identify(file.as_ref())
            .expect("the volume can be used")
            .expect("the volume can be used");
        let read = file.bytes_read();
        assert!(read <= limit, "{read} bytes were read, not {limit}");
        found
    }

    /// Identifies and compares type, label and UUID with `blkid`.
    pub(crate) fn equals_blkid(&self, kind: FsKind, their_type: &str) -> FileSystem {
        let found = self.identify();
        assert_eq!(found.kind, kind, "{found:?}");
        assert_eq!(self.blkid("TYPE").as_deref(), Some(their_type));
        assert_eq!(found.label, self.blkid("LABEL"));
        assert_eq!(found.uuid, self.blkid("UUID"));
        found
    }

    pub(crate) fn blkid(&self, tag: &str) -> Option<String> {
        let value = run(tool("blkid")
            .args(["--probe", "--output", "value", "--match-tag", tag])
            .arg(&self.path));
        let value = value.trim_end_matches('\n');
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub(crate) fn says(&self, program: &str, options: &[&str]) -> String {
        run(tool(program).args(options).arg(&self.path))
    }
}

/// Bytes used, which it has to say.
pub(crate) fn used(found: &FileSystem) -> u64 {
    found.usage.expect("it says how full it is").used
}

pub(crate) fn free(found: &FileSystem) -> u64 {
    found.usage.expect("it says how full it is").free
}

pub(crate) fn detail<'a>(found: &'a FileSystem, name: &str) -> &'a str {
    let detail = found.details.iter().find(|(key, _)| *key == name);
    detail
        .map(|(_, value)| value.as_str())
        .expect("it has the detail")
}

/// The number behind `key` in the output of a tool ("Free blocks:    1234").
pub(crate) fn number_after(text: &str, key: &str) -> u64 {
    let (_, rest) = text
        .split_once(key)
        .unwrap_or_else(|| panic!("no {key:?} in:\n{text}"));
    let digits: String = rest
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().expect("digits")
}
