//! What is measured, and on what.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use platter::Control;
use platter::chain::{Chain, ChainOptions, FolderIndex, MapDetail};
use platter::disk::read_parallel;
use platter::plot::summary::Summary;
use platter::storage::Storage;

use crate::measure::{Bench, Target, output, run, time};
use crate::workshop::Workshop;

/// All rows, inputs in turn so that little disk is needed at a time.
pub(crate) fn all(bench: &mut Bench, workshop: &Workshop) {
    scattered(bench, workshop);
    mapped(bench, workshop);
    chain(bench, workshop);
    read(bench, workshop, "read plain", "plain.qcow2", &[], 1.15);
    let zlib = ["-c", "-o", "compression_type=zlib"];
    read(bench, workshop, "read zlib", "zlib.qcow2", &zlib, 2.2);
    let zstd = ["-c", "-o", "compression_type=zstd"];
    read(bench, workshop, "read zstd", "zstd.qcow2", &zstd, 2.2);
    folder(bench, workshop);
}

/// A verb of ours or of the peer on an image.
fn verb(program: &str, words: &[&str], image: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(words).arg(image);
    command
}

pub(crate) const PLATTER: &str = env!("CARGO_BIN_EXE_platter-img");
pub(crate) const QEMU: &str = "qemu-img";
const MAP: [&str; 2] = ["map", "--output=json"];
const CHECK: [&str; 2] = ["check", "--output=json"];
const MEASURE: [&str; 4] = ["measure", "--output=json", "-O", "qcow2"];

/// The same verb of both, in pairs.
fn compare_verb(
    bench: &mut Bench,
    name: &str,
    words: &[&str],
    image: &Path,
    aim: f64,
    pairs: usize,
) {
    if !bench.wants(name) {
        return;
    }
    let ours = || verb(PLATTER, words, image);
    let peer = || verb(QEMU, words, image);
    assert!(
        output(&mut ours()) == output(&mut peer()),
        "{name}: the outputs differ"
    );
    let peer_is = format!("qemu-img {}", words.join(" "));
    bench.pairs(
        name,
        &peer_is,
        &Target::Ratio(aim),
        pairs,
        &mut || run(&mut ours()),
        &mut || run(&mut peer()),
    );
}

fn scattered(bench: &mut Bench, workshop: &Workshop) {
    let names = [
        "map scattered",
        "map scattered, guest view",
        "open the map pane, scattered",
        "check scattered",
        "measure scattered",
        "info",
    ];
    if !names.iter().any(|name| bench.wants(name)) {
        return;
    }
    let image = workshop.scattered();
    let qemu_map = || run(&mut verb(QEMU, &MAP, &image));
    compare_verb(bench, names[0], &MAP, &image, 20.0, 3);
    let peer_is = "qemu-img map --output=json";
    bench.pairs(
        names[1],
        peer_is,
        &Target::Ratio(80.0),
        3,
        &mut || count_map_entries(&image),
        &mut || qemu_map(),
    );
    bench.pairs(
        names[2],
        peer_is,
        &Target::Ratio(80.0),
        3,
        &mut || open_map_pane(&image),
        &mut || qemu_map(),
    );
    compare_verb(bench, names[3], &CHECK, &image, 50.0, 5);
    compare_verb(bench, names[4], &MEASURE, &image, 40.0, 5);
    compare_verb(bench, names[5], &["info"], &image, 2.0, 21);
    workshop.done_with(&[&image]);
}

fn open(image: &Path) -> Chain {
    Chain::open(image, &ChainOptions::default()).expect("the image opens")
}

fn count_map_entries(image: &Path) {
    let chain = open(image);
    let size = chain.active().info().map_or(0, |info| info.virtual_size);
    let mut entries = 0_u64;
    let mut count = |_| {
        entries += 1;
        ControlFlow::Continue(())
    };
    chain
        .for_each_map_entry(0..size, MapDetail::Tables, &mut count)
        .expect("the image has a map");
    assert!(entries > 0);
}

fn open_map_pane(image: &Path) {
    let summary = Summary::read(&open(image), &Control::new()).expect("the image has a map");
    assert!(summary.totals().share.total() > 0);
}

fn mapped(bench: &mut Bench, workshop: &Workshop) {
    let names = [
        "map 8 TiB mapped",
        "map 8 TiB mapped, memory",
        "open the map pane, 8 TiB mapped",
        "check 8 TiB mapped",
        "check 8 TiB mapped, memory",
        "measure 8 TiB mapped",
    ];
    if !names.iter().any(|name| bench.wants(name)) {
        return;
    }
    let image = workshop.mapped();
    let memory = |bench: &mut Bench, name, words: &[&str], part, most| {
        let peer_is = format!("qemu-img {}", words.join(" "));
        let (mut ours, mut peer) = (verb(PLATTER, words, &image), verb(QEMU, words, &image));
        bench.memory(name, &peer_is, part, most, &mut ours, &mut peer);
    };
    compare_verb(bench, names[0], &MAP, &image, 15.0, 3);
    memory(bench, names[1], &MAP, 1.0, Some(64.0));
    bench.pairs(
        names[2],
        "qemu-img map --output=json",
        &Target::Ratio(15.0),
        3,
        &mut || open_map_pane(&image),
        &mut || run(&mut verb(QEMU, &MAP, &image)),
    );
    compare_verb(bench, names[3], &CHECK, &image, 10.0, 5);
    memory(bench, names[4], &CHECK, 0.25, None);
    compare_verb(bench, names[5], &MEASURE, &image, 15.0, 3);
    workshop.done_with(&[&image]);
}

fn chain(bench: &mut Bench, workshop: &Workshop) {
    let name = "map chain of 4";
    if bench.wants(name) {
        let image = workshop.chain();
        compare_verb(bench, name, &MAP, &image, 8.0, 9);
    }
}

/// Reads all of a disk: ours through the library on all cores, the peer in whichever of its ways is
/// the fastest here.
fn read(
    bench: &mut Bench,
    workshop: &Workshop,
    name: &str,
    file: &str,
    options: &[&str],
    aim: f64,
) {
    if !bench.wants(name) {
        return;
    }
    let image = workshop.converted(file, options);
    let disk = open(&image).disk().expect("the chain is whole");
    let size = disk.size().expect("a disk has a size");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut ours = || {
        read_parallel(&disk, 0..size, cores, &Control::new(), &|_| Ok(()))
            .expect("the disk can be read");
    };
    let mut ways = peer_ways_to_read(&image, size);
    let speeds = ways.iter_mut().map(|(_, command)| {
        let mut once = || run(command);
        once();
        time(&mut once).min(time(&mut once))
    });
    let speeds: Vec<f64> = speeds.collect();
    let fastest = (0..ways.len()).min_by(|a, b| speeds[*a].total_cmp(&speeds[*b]));
    let (peer_is, command) = &mut ways[fastest.expect("there are ways")];
    bench.pairs(
        name,
        peer_is,
        &Target::Ratio(aim),
        5,
        &mut ours,
        &mut || run(command),
    );
    if file != "plain.qcow2" {
        workshop.done_with(&[&image]);
    }
}

fn peer_ways_to_read(image: &Path, size: u64) -> Vec<(&'static str, Command)> {
    let request = 2 << 20;
    let mut requests = Command::new(QEMU);
    requests
        .args([
            "bench",
            "-f",
            "qcow2",
            "-d",
            "16",
            "-s",
            &request.to_string(),
        ])
        .args(["-c", &size.div_ceil(request).to_string()])
        .arg(image);
    let convert = |options: &[&str]| {
        let mut convert = Command::new(QEMU);
        convert
            .args(["convert", "-n", "-f", "qcow2"])
            .args(options)
            .arg("--target-image-opts")
            .arg(image)
            .arg(format!("driver=null-co,size={size}"));
        convert
    };
    vec![
        ("qemu-img bench, 16 reads of 2 MiB in flight", requests),
        ("qemu-img convert to null", convert(&[])),
        (
            "qemu-img convert -W -m 16 to null",
            convert(&["-W", "-m", "16"]),
        ),
    ]
}

fn folder(bench: &mut Bench, workshop: &Workshop) {
    let name = "list a folder of 200 images";
    if !bench.wants(name) {
        return;
    }
    let folder = workshop.folder_of_images();
    let images: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    bench.pairs(
        name,
        "qemu-img info, once for each",
        &Target::Time(Duration::from_millis(25)),
        3,
        &mut || {
            let index = FolderIndex::read(&folder, &Control::new()).expect("it can be listed");
            assert_eq!(index.images.len(), images.len());
        },
        &mut || {
            for image in &images {
                run(&mut verb(QEMU, &["info", "--output=json"], image));
            }
        },
    );
    workshop.done_with(&[&folder]);
}
