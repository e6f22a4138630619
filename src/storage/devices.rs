//! The block devices of this host: what a user may want to make an image of. Read from `/sys` and
//! `/proc`; nothing is opened.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::storage::holders::unescape;

/// A whole disk; its partitions are part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlockDevice {
    /// Its node ("/dev/sda").
    pub node: PathBuf,
    /// In bytes; 0 for a drive without medium.
    pub size: u64,
    /// What it calls itself ("SanDisk Ultra Fit"), if it does.
    pub model: Option<String>,
    /// It can be taken out or unplugged.
    pub removable: bool,
    /// It cannot be written to.
    pub read_only: bool,
    /// Where it and its partitions are mounted, or what else stands on them ("swap", "dm-0").
    pub used_by: Vec<String>,
}

/// All whole disks that have a size, in the order of their names. Devices that only exist in
/// memory or stand on another device (RAM disks, loop devices without a file, device mapper) are
/// left out.
#[must_use]
pub fn block_devices() -> Vec<BlockDevice> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    devices_in(Path::new("/sys/block"), &users_of_nodes(&mounts, &swaps))
}

/// Who uses a node, by the node.
type Users = HashMap<String, Vec<String>>;

fn users_of_nodes(mounts: &str, swaps: &str) -> Users {
    let mut users = Users::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        if let (Some(node), Some(place)) = (fields.next(), fields.next())
            && node.starts_with("/dev/")
        {
            let place = unescape(place);
            users.entry(node.to_owned()).or_default().push(place);
        }
    }
    for line in swaps.lines().skip(1) {
        if let Some(node) = line.split_whitespace().next() {
            let users = users.entry(node.to_owned()).or_default();
            users.push("swap".to_owned());
        }
    }
    users
}

fn devices_in(folder: &Path, users: &Users) -> Vec<BlockDevice> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            !["ram", "zram", "dm-", "md"]
                .iter()
                .any(|kind| name.starts_with(kind))
        })
        .collect();
    names.sort();
    names
        .iter()
        .filter_map(|name| device(&folder.join(name), name, users))
        .collect()
}

fn device(folder: &Path, name: &str, users: &Users) -> Option<BlockDevice> {
    let read = |file: &str| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    // Always in units of 512 bytes, whatever the sector size of the device.
    let sectors: u64 = read("size")?.parse().ok()?;
    if sectors == 0 {
        return None;
    }
    let model = [read("device/vendor"), read("device/model")];
    let model: Vec<String> = model.into_iter().flatten().collect();
    let is_set = |file| read(file).as_deref() == Some("1");
    Some(BlockDevice {
        node: node_of(name),
        size: sectors.saturating_mul(512),
        model: (!model.is_empty()).then(|| model.join(" ")),
        removable: is_set("removable"),
        read_only: is_set("ro"),
        used_by: used_by(folder, name, users),
    })
}

/// A slash in a kernel name is an exclamation mark in `/sys`.
fn node_of(name: &str) -> PathBuf {
    Path::new("/dev").join(name.replace('!', "/"))
}

/// Mounts, swap areas and holders (device mapper, RAID) of the device and of its partitions.
fn used_by(folder: &Path, name: &str, users: &Users) -> Vec<String> {
    let mut parts = vec![(folder.to_path_buf(), name.to_owned())];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().join("partition").exists()
            && let Ok(name) = entry.file_name().into_string()
        {
            parts.push((entry.path(), name));
        }
    }
    parts.sort();
    let mut all = Vec::new();
    for (folder, name) in parts {
        let node = node_of(&name);
        all.extend(
            users
                .get(node.to_string_lossy().as_ref())
                .cloned()
                .unwrap_or_default(),
        );
        let holders = fs::read_dir(folder.join("holders")).into_iter().flatten();
        all.extend(
            holders
                .flatten()
                .filter_map(|holder| holder.file_name().into_string().ok()),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_with_what_stands_on_their_partitions() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("sdb/size", "2048\n");
        write("sdb/removable", "1\n");
        write("sdb/ro", "0\n");
        write("sdb/device/vendor", "SanDisk \n");
        write("sdb/device/model", "Ultra Fit\n");
        write("sdb/sdb1/partition", "1\n");
        write("sdb/sdb2/partition", "2\n");
        write("sdb/sdb2/holders/dm-0", "");
        write("sda/size", "0\n");
        write("ram0/size", "2048\n");
        write("cciss!c0d0/size", "8\n");
        let users = users_of_nodes(
            "/dev/sdb1 /media/my\\040stick vfat rw 0 0\nproc /proc proc rw 0 0\n",
            "Filename Type Size Used Priority\n/dev/cciss/c0d0 partition 1 0 -2\n",
        );
        let devices = devices_in(folder.path(), &users);
        let sdb = BlockDevice {
            node: "/dev/sdb".into(),
            size: 1 << 20,
            model: Some("SanDisk Ultra Fit".into()),
            removable: true,
            read_only: false,
            used_by: vec!["/media/my stick".into(), "dm-0".into()],
        };
        assert_eq!(devices[1..], [sdb]);
        assert_eq!(devices[0].node, Path::new("/dev/cciss/c0d0"));
        assert_eq!(devices[0].used_by, ["swap"]);
    }

    #[test]
    fn this_host_is_asked_without_failing() {
        for device in block_devices() {
            assert!(device.node.starts_with("/dev"));
            assert!(device.size > 0);
        }
    }
}
