//! `commit` beside the program whose place it takes.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use common::chains;
use common::holder::Holder;
use common::inputs::Random;
use common::qemu::{contents, img, io, three};
use common::twins::Twins;
use common::{ours, output, scratch};
use platter::chain::{Chain, ChainOptions};
use platter::image::ExtentState;
use platter::op::commit::{Commit, CommitPlan};
use platter::{Control, Stop};

#[test]
fn grammar_and_complaints_are_the_same() {
    let twins = Twins::new(|folder| {
        three(folder);
        img(
            folder,
            "create -q -f qcow2 -b mid.qcow2 -F qcow2 gone.qcow2",
        );
        img(folder, "rebase -u -b nothing -F qcow2 gone.qcow2");
    });
    twins.assert_same_afresh(&[
        "commit",
        "commit a b",
        "commit -Z",
        "commit -f",
        "commit nope",
        "commit base.raw",
        "commit -f raw base.raw",
        "commit -f raw top.qcow2",
        "commit -f qcow2 base.raw",
        "commit -f foo top.qcow2",
        "commit -t foo top.qcow2",
        "commit -r x top.qcow2",
        "commit -r -5 top.qcow2",
        "commit --object foo top.qcow2",
        "commit --image-opts -f qcow2 top.qcow2",
        "commit gone.qcow2",
        "commit -b nope top.qcow2",
        "commit -b top.qcow2 top.qcow2",
        "commit -b file:base.raw top.qcow2",
        "commit -d mid.qcow2",
        "commit --drop -q mid.qcow2",
        "commit -b base.raw top.qcow2",
        "commit -b ./base.raw -q top.qcow2",
        "commit -t writethrough -b base.raw top.qcow2",
        "commit --base=base.raw --rate 100M top.qcow2",
        "commit -b base.raw --image-opts driver=qcow2,file.filename=top.qcow2",
    ]);
}

#[test]
fn a_base_is_found_from_wherever_its_overlay_is() {
    let twins = Twins::new(three);
    let twins_name = |name: &str| twins.ours(name).display().to_string();
    let found = |base: &str| {
        let mut commit = ours();
        commit.args(["commit", "-q", "-b", base]);
        output(commit.arg(twins.ours("top.qcow2")).current_dir("/"))
            .status
            .success()
    };
    assert!(found("base.raw"));
    assert!(found(&twins_name("base.raw")));
    assert!(found(&twins_name("../nothing/../base.raw")) == Path::new("/nothing").exists());
    assert!(!found("elsewhere/base.raw"));
}

/// Every image of the chain has the same content with both programs, whatever the chain, and is
/// sound; an overlay that was committed to its own backing file is as empty as theirs.
#[test]
fn random_chains_end_up_the_same() {
    let mut random = Random(0x00c0_3317);
    for round in 0..12 {
        let length = 2 + usize::try_from(random.below(3)).unwrap();
        let raw_base = random.below(3) == 0;
        let mut layers = Vec::new();
        let twins = Twins::new(|folder| {
            layers = chains::make(folder, &mut random, length, raw_base);
        });
        let top = &layers.last().unwrap().name;
        let before = contents(&twins.ours(top));
        let line = match random.below(3) {
            0 => format!("commit {top}"),
            1 => format!("commit -d {top}"),
            _ => {
                let base = random.of(&layers[..length - 1]);
                format!("commit -b {} {top}", base.name)
            }
        };
        println!("round {round}: {layers:?} {line}");
        twins.assert_same(&line);
        for layer in &layers {
            twins.assert_same_disk(&layer.name);
            if layer.format == "qcow2" {
                img(&twins.ours(""), &format!("check -q {}", layer.name));
            }
        }
        assert!(contents(&twins.ours(top)) == before);
        if line == format!("commit {top}") {
            assert_eq!(held(&twins.ours(top)), held(&twins.theirs(top)));
        }
    }
}

/// The guest disk of an overlay is the same when it is empty: no bitmap of it was in use.
#[test]
fn bitmaps_are_as_good_as_before() {
    let twins = Twins::new(|folder| {
        three(folder);
        for image in ["mid.qcow2", "top.qcow2"] {
            img(folder, &format!("bitmap --add {image} full"));
            img(folder, &format!("bitmap --add --disable {image} off"));
        }
        io(folder, "qcow2", "top.qcow2", &["write -P 5 6M 64k"]);
    });
    let flags = |image: &str| {
        let info = img(&twins.ours(""), &format!("info --output=json {image}"));
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let bitmaps = &info["format-specific"]["data"]["bitmaps"];
        (bitmaps[0]["flags"].clone(), bitmaps[1]["flags"].clone())
    };
    twins.assert_same("commit top.qcow2");
    for image in ["mid.qcow2", "top.qcow2"] {
        assert_eq!(
            flags(image),
            (serde_json::json!(["auto"]), serde_json::json!([])),
            "{image}"
        );
    }
}

/// Bytes that the image itself holds.
fn held(image: &Path) -> u64 {
    let chain = Chain::open(image, &ChainOptions::default()).unwrap();
    let mut held = 0;
    let active = chain.active().image().unwrap();
    active
        .for_each_extent(0..u64::MAX, &mut |extent| {
            if !matches!(extent.state, ExtentState::Unallocated { .. }) {
                held += extent.guest.end - extent.guest.start;
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    held
}

/// A base that is shorter than the overlay and than what it stands on itself: what was hidden
/// behind its end stays hidden.
#[test]
fn a_base_that_grows_shows_nothing_of_what_lies_below() {
    let twins = Twins::new(|folder| {
        img(folder, "create -q -f raw root.raw 8M");
        io(folder, "raw", "root.raw", &["write -P 1 0 8M"]);
        img(
            folder,
            "create -q -f qcow2 -b root.raw -F raw base.qcow2 2M",
        );
        img(
            folder,
            "create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 8M",
        );
        io(folder, "qcow2", "top.qcow2", &["write -P 2 3M 100k"]);
    });
    let before = contents(&twins.ours("top.qcow2"));
    twins.assert_same("commit top.qcow2");
    assert!(contents(&twins.ours("top.qcow2")) == before);
    twins.assert_same_disk("base.qcow2");
    twins.assert_same_disk("top.qcow2");
}

/// A commit that was stopped leaves the disk as it was, and can be run again.
#[test]
fn a_stopped_commit_can_be_run_again() {
    let house = scratch();
    let folder = house.path();
    three(folder);
    let top = folder.join("mid.qcow2");
    let before = contents(&top);
    let commit = |control: &Control| {
        let options = ChainOptions {
            writable: vec![0, 1],
            ..ChainOptions::default()
        };
        let chain = Chain::open(&top, &options).unwrap();
        let request = Commit {
            base: 1,
            keep_top: false,
            rate: 0,
        };
        CommitPlan::new(&chain, request).unwrap().run(control)
    };
    let control = Control::new();
    control.cancel();
    assert!(matches!(commit(&control), Err(Stop::Cancelled)));
    img(folder, "check -q mid.qcow2");
    assert!(contents(&top) == before);
    commit(&Control::new()).unwrap();
    assert!(contents(&top) == before);
    assert_eq!(held(&top), 0);
}

/// Another process that uses a file keeps us out, and is named as the other program does.
#[test]
fn files_in_use_are_left_alone() {
    let twins = Twins::new(three);
    for (options, name) in [
        (&[][..], "top.qcow2"),
        (&[], "mid.qcow2"),
        (&["-r"], "top.qcow2"),
        (&["-r"], "mid.qcow2"),
    ] {
        let images = [twins.theirs(name), twins.ours(name)];
        let holders = images.map(|image| Holder::qemu_io(options, &image));
        twins.assert_same("commit top.qcow2");
        drop(holders);
    }
}

/// Under our own name, who reads differently afterwards is said; under the other's, nothing.
#[test]
fn the_traps_of_a_commit_are_told() {
    let house = scratch();
    let folder = house.path();
    three(folder);
    img(
        folder,
        "create -q -f qcow2 -b base.raw -F raw sibling.qcow2",
    );
    img(folder, "snapshot -c s top.qcow2");
    let commit = |line: &str| {
        let mut command = ours();
        let done = output(command.args(line.split_whitespace()).current_dir(folder));
        assert!(done.status.success(), "{done:?}");
        assert_eq!(String::from_utf8_lossy(&done.stdout), "Image committed.\n");
        String::from_utf8_lossy(&done.stderr).into_owned()
    };
    let said = commit("commit -b base.raw top.qcow2");
    let real = fs::canonicalize(folder).unwrap();
    let name = |name: &str| real.join(name).display().to_string();
    assert_eq!(
        said,
        format!(
            "warning: other images stand on 'base.raw' and will read differently: '{}', '{}'\n\
             warning: 1 internal snapshot of 'top.qcow2' will read differently, as what lies below \
             changes\n",
            name("mid.qcow2"),
            name("sibling.qcow2"),
        )
    );
}

/// What a guest wrote does not make a raw disk an image of another format.
#[test]
fn a_raw_base_that_nobody_calls_raw_stays_raw() {
    let twins = Twins::new(|folder| {
        img(folder, "create -q -f raw base.raw 8M");
        img(folder, "create -q -f qcow2 -b base.raw -F raw top.qcow2");
        let path = folder.join("top.qcow2");
        let mut bytes = fs::read(&path).unwrap();
        let format = 0xe279_2aca_u32.to_be_bytes();
        let place = bytes.windows(4).position(|window| window == format);
        bytes[place.unwrap()..][..16].fill(0);
        fs::write(&path, bytes).unwrap();
        let header = folder.join("header");
        fs::write(&header, b"QFI\xfb\0\0\0\x03").unwrap();
        let write = format!("write -s {} 0 512", header.display());
        io(folder, "qcow2", "top.qcow2", &[&write]);
    });
    twins.assert_same("commit -d top.qcow2");
    assert!(fs::read(twins.ours("base.raw")).unwrap() == vec![0; 8 << 20]);
}
