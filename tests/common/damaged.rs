//! QCOW2 images of every variant, and ways to damage them.

#![allow(dead_code, reason = "each test crate uses its own part of it")]

use std::path::{Path, PathBuf};

use crate::common::inputs::Random;
use crate::common::{self, run_tool, tool};

/// A kind of image: how `qemu-img create` makes it and what is done with it then.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) options: &'static str,
    pub(crate) snapshots: bool,
    /// How much is written compressed; nothing if empty.
    pub(crate) compressed: &'static str,
    pub(crate) bitmap: bool,
}

pub(crate) const PLAIN: Variant = Variant {
    name: "plain",
    options: "compat=1.1",
    snapshots: false,
    compressed: "",
    bitmap: false,
};

pub(crate) const VARIANTS: [Variant; 9] = [
    PLAIN,
    Variant {
        name: "old",
        options: "compat=0.10,cluster_size=4k",
        snapshots: true,
        compressed: "64k",
        ..PLAIN
    },
    Variant {
        name: "small clusters, one-bit refcounts",
        options: "cluster_size=512,refcount_bits=1",
        ..PLAIN
    },
    Variant {
        name: "two-bit refcounts",
        options: "cluster_size=1k,refcount_bits=2",
        snapshots: true,
        ..PLAIN
    },
    Variant {
        name: "byte refcounts, zstd",
        options: "cluster_size=8k,refcount_bits=8,compression_type=zstd",
        compressed: "64k",
        snapshots: true,
        ..PLAIN
    },
    Variant {
        name: "64-bit refcounts, bitmap",
        options: "cluster_size=16k,refcount_bits=64,lazy_refcounts=on",
        bitmap: true,
        ..PLAIN
    },
    Variant {
        name: "subclusters",
        options: "extended_l2=on,cluster_size=32k,refcount_bits=32",
        snapshots: true,
        ..PLAIN
    },
    Variant {
        name: "big clusters",
        options: "cluster_size=2M,refcount_bits=4",
        compressed: "2M",
        ..PLAIN
    },
    Variant {
        name: "preallocated",
        options: "preallocation=metadata,cluster_size=4k",
        ..PLAIN
    },
];

impl Variant {
    pub(crate) fn make(&self, folder: &Path) -> PathBuf {
        let path = folder.join(format!("{}.qcow2", self.name.replace(' ', "-")));
        let file = path.to_str().unwrap();
        run_tool(
            "qemu-img",
            ["create", "-qf", "qcow2", "-o", self.options, file, "9M"],
        );
        io(
            &path,
            &["write -P 1 0 300k", "write -P 2 5M 64k", "write -z 1M 100k"],
        );
        if !self.compressed.is_empty() {
            for (pattern, offset) in [(3, "2M"), (4, "6M")] {
                io(
                    &path,
                    &[&format!(
                        "write -c -P {pattern} {offset} {}",
                        self.compressed
                    )],
                );
            }
        }
        if self.bitmap {
            let add = ["bitmap", "--add", file, "b0"];
            run_tool("qemu-img", add);
            io(&path, &["write -P 5 2M 1M"]);
            run_tool("qemu-img", ["bitmap", "--add", "-g", "512", file, "b1"]);
        }
        if self.snapshots {
            run_tool("qemu-img", ["snapshot", "-c", "first", file]);
            io(&path, &["write -P 6 100k 40k", "write -P 7 8M 200k"]);
            run_tool("qemu-img", ["snapshot", "-c", "second", file]);
            io(&path, &["discard 5M 64k", "write -P 8 3M 10k"]);
        }
        path
    }
}

pub(crate) fn io(path: &Path, commands: &[&str]) {
    let mut tool = tool("qemu-io");
    for command in commands {
        tool.args(["-c", command]);
    }
    common::run(tool.args(["-f", "qcow2"]).arg(path));
}

/// Offsets of the metadata of an image, by reading it as the specification says.
pub(crate) struct Layout {
    pub(crate) l1: u64,
    pub(crate) refcount_table: u64,
    pub(crate) block: u64,
    pub(crate) l2: u64,
    pub(crate) snapshots: u64,
    pub(crate) l2_entry: u64,
    pub(crate) cluster: u64,
}

impl Layout {
    pub(crate) fn of(image: &[u8]) -> Self {
        let field = |at: u64| be64(image, at);
        let offset = |entry: u64| entry & 0x00ff_ffff_ffff_fe00;
        let (l1, refcount_table) = (field(40), field(48));
        let cluster_bits = u32::from_be_bytes(image[20..24].try_into().unwrap());
        let extended = field(4) >> 32 == 3 && field(72) & 16 != 0;
        Self {
            l1,
            refcount_table,
            block: offset(field(refcount_table)),
            l2: offset(field(l1)),
            snapshots: field(64),
            l2_entry: if extended { 16 } else { 8 },
            cluster: 1 << cluster_bits,
        }
    }
}

pub(crate) fn be64(image: &[u8], at: u64) -> u64 {
    u64::from_be_bytes(image[at as usize..][..8].try_into().unwrap())
}

pub(crate) fn put(image: &mut [u8], at: u64, value: u64) {
    image[at as usize..][..8].copy_from_slice(&value.to_be_bytes());
}

/// Single damages of the image `sound`: what it is, where, and what is written there.
pub(crate) fn damages(sound: &[u8]) -> Vec<(&'static str, u64, u64)> {
    let layout = Layout::of(sound);
    let (l1, l2, table) = (layout.l1, layout.l2, layout.refcount_table);
    let entry = be64(sound, l2);
    let second = l2 + layout.l2_entry;
    vec![
        ("L2 table far outside", l1, (1 << 63) | (1 << 40)),
        (
            "L2 table half outside",
            l1,
            (1 << 63) | (sound.len() as u64 - 512),
        ),
        (
            "L1 entry with reserved bits",
            l1,
            be64(sound, l1) | 1 << 56 | 2,
        ),
        ("unaligned L2 table", l1, be64(sound, l1) + 512),
        ("L2 table is the L1 table", l1, (1 << 63) | l1),
        ("L2 table is the header", l1, 1 << 63),
        ("no L2 table", l1, 0),
        ("L1 flag gone", l1, be64(sound, l1) & !(1 << 63)),
        ("data far outside", l2, (1 << 63) | (1 << 44)),
        (
            "data just outside",
            l2,
            (1 << 63) | (sound.len() as u64).next_multiple_of(layout.cluster),
        ),
        ("unaligned data", l2, entry | 512),
        ("data flag gone", l2, entry & !(1 << 63)),
        ("same data twice", second, entry),
        ("reserved L2 bits", l2, entry | 1 << 57 | 4),
        ("zero flag", l2, entry | 1),
        ("unaligned zero cluster", l2, entry | 513),
        ("compressed and copied", l2, entry | 1 << 62),
        ("compressed outside", l2, (1 << 62) | (1 << 45) | 77),
        ("data is the L2 table", l2, (1 << 63) | l2),
        (
            "data is the refcount block",
            second,
            (1 << 63) | layout.block,
        ),
        ("refcount block with reserved bits", table, layout.block | 1),
        ("refcount block far outside", table, 1 << 50),
        ("refcount block is the L1 table", table, l1),
        ("no refcount block", table, 0),
        ("refcounts of zero", layout.block, 0),
        ("refcounts of many", layout.block, u64::MAX),
        ("refcount block twice", table + 8, layout.block),
        (
            "subclusters where there are none",
            second + 8,
            0x0000_0003_0000_0001,
        ),
    ]
}

/// Random entries of random tables replaced by numbers that mean something.
pub(crate) fn at_random(random: &mut Random, sound: &[u8]) -> Vec<u8> {
    let layout = Layout::of(sound);
    let mut image = sound.to_vec();
    for _ in 0..=random.below(6) {
        let base = match random.below(8) {
            0 => layout.l1,
            1 => layout.refcount_table,
            2 | 3 => layout.block,
            _ => layout.l2,
        };
        let at = base + random.below(40) * 8;
        let value = interesting(random, image.len() as u64, layout.cluster);
        // An entry that QEMU cannot read refcounts through says nothing more.
        let value = match base {
            base if base == layout.refcount_table => value & !(layout.cluster - 1),
            _ => value,
        };
        put(&mut image, at, value);
    }
    image
}

pub(crate) fn interesting(random: &mut Random, size: u64, cluster: u64) -> u64 {
    let place = random.below(size / cluster + 2) * cluster;
    match random.below(8) {
        0 => 0,
        1 => random.next(),
        2 => place + 512 * random.below(4),
        3 => (1 << 62) | (place + random.below(cluster)),
        4 => place | 1,
        _ => (1 << 63) | place,
    }
}
