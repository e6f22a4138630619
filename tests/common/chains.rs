//! Random backing chains: the same seed, the same chain.

use std::path::Path;

use crate::common::inputs::Random;
use crate::common::{run, tool};

/// One image of a chain.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The file's name.
    pub(crate) name: String,
    /// "raw" or "qcow2".
    pub(crate) format: &'static str,
    /// Its virtual size.
    pub(crate) size: u64,
}

/// Options of `qemu-img create`, and the size of a cluster.
const OPTIONS: [(&str, u64); 9] = [
    ("cluster_size=64k", 65536),
    ("cluster_size=512", 512),
    ("cluster_size=4k,refcount_bits=1", 4096),
    ("cluster_size=2M", 2 << 20),
    ("extended_l2=on", 65536),
    ("extended_l2=on,cluster_size=16k", 16384),
    ("compat=0.10", 65536),
    ("compression_type=zstd", 65536),
    ("lazy_refcounts=on,refcount_bits=64", 65536),
];

/// Makes `length` images in `folder`, each on the one before: `l0` (raw, if `raw_base`), `l1.qcow2` …
pub(crate) fn make(
    folder: &Path,
    random: &mut Random,
    length: usize,
    raw_base: bool,
) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for depth in 0..length {
        let format = if depth == 0 && raw_base {
            "raw"
        } else {
            "qcow2"
        };
        let layer = Layer {
            name: format!("l{depth}.{format}"),
            format,
            size: 512 * (8192 + random.below(16384)),
        };
        add(folder, random, &layer, layers.last());
        layers.push(layer);
    }
    layers
}

/// Makes one image on `backing` and writes to it here and there.
pub(crate) fn add(folder: &Path, random: &mut Random, layer: &Layer, backing: Option<&Layer>) {
    let (options, cluster) = *random.of(&OPTIONS);
    let mut create = tool("qemu-img");
    create
        .args(["create", "-q", "-f", layer.format])
        .current_dir(folder);
    if layer.format == "qcow2" {
        create.args(["-o", options]);
    }
    if let Some(backing) = backing {
        create.args(["-b", &backing.name, "-F", backing.format]);
    }
    run(create.args([&layer.name, &layer.size.to_string()]));

    let mut writes = tool("qemu-io");
    writes.args(["-f", layer.format]).current_dir(folder);
    if layer.format == "qcow2" && layer.size >= cluster {
        // First: qemu-io compresses into clusters that hold nothing yet, and each only once.
        let step = 1 + random.below(9);
        for at in (0..4)
            .map(|n| n * step)
            .take_while(|at| *at < layer.size / cluster)
        {
            let pattern = 1 + random.below(255);
            let write = format!("write -c -P {pattern} {} {cluster}", at * cluster);
            writes.args(["-c", &write]);
        }
    }
    for _ in 0..6 + random.below(14) {
        writes.args(["-c", &command(random, layer)]);
    }
    run(writes.arg(&layer.name));
}

fn command(random: &mut Random, layer: &Layer) -> String {
    let start = 512 * random.below(layer.size / 512);
    let length = 512 * (1 + random.below(1500)).min((layer.size - start) / 512);
    let pattern = 1 + random.below(255);
    match random.below(7) {
        0 => format!("write -z {start} {length}"),
        1 => format!("write -z -u {start} {length}"),
        2 => format!("discard {start} {length}"),
        // Data that is zeroes all the same.
        3 => format!("write -P 0 {start} {length}"),
        _ => format!("write -P {pattern} {start} {length}"),
    }
}
