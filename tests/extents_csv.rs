//! The exported table of extents and the sums of the map say what `qemu-img map` says.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::path::Path;

use platter::Control;
use platter::chain::{Chain, ChainOptions};
use platter::plot::cell::Class;
use platter::plot::extents::write_csv;
use platter::plot::summary::Summary;
use serde_json::Value;

use common::{fixtures, run, scratch, tool};

/// One entry of `qemu-img map`, as a line of the table says it.
fn line_of(entry: &Value, files: &[String]) -> String {
    let number = |key: &str| entry[key].as_u64().unwrap();
    let flag = |key: &str| entry[key].as_bool().unwrap();
    let depth = usize::try_from(number("depth")).unwrap();
    let state = match (flag("data"), flag("present")) {
        _ if flag("compressed") => "compressed",
        (true, _) if depth == 0 => "data",
        (true, _) => "backing",
        (false, true) => "zero",
        (false, false) => "unallocated",
    };
    let place = if state == "unallocated" {
        ",".to_owned()
    } else {
        format!("{depth},{}", files[depth])
    };
    let host = entry["offset"].as_u64().map(|host| host.to_string());
    format!(
        "{},{},{state},{place},{}",
        number("start"),
        number("length"),
        host.unwrap_or_default()
    )
}

fn map_of(image: &Path) -> Vec<Value> {
    let map = run(tool("qemu-img").args(["map", "--output=json"]).arg(image));
    serde_json::from_str(&map).unwrap()
}

#[test]
fn table_and_sums_are_those_of_qemu_img_map() {
    let folder = scratch();
    fixtures::make("map", folder.path());
    let image = folder.path().join("map.qcow2");
    let chain = Chain::open(&image, &ChainOptions::default()).unwrap();
    let files: Vec<_> = chain
        .links()
        .iter()
        .map(|link| link.path.as_ref().unwrap().display().to_string())
        .collect();
    let map = map_of(&image);

    let mut csv = Vec::new();
    write_csv(&chain, &mut csv, &Control::new()).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let mut lines = csv.lines();
    assert_eq!(
        lines.next(),
        Some("start,length,state,depth,file,host_offset")
    );
    let expected: Vec<_> = map.iter().map(|entry| line_of(entry, &files)).collect();
    assert_eq!(lines.collect::<Vec<_>>(), expected);

    let summary = Summary::read(&chain, &Control::new()).unwrap();
    for class in Class::ALL {
        let lines = expected
            .iter()
            .map(|line| line.split(',').collect::<Vec<_>>());
        let bytes = lines
            .filter(|fields| fields[2] == class.name())
            .map(|fields| fields[1].parse::<u64>().unwrap())
            .sum::<u64>();
        assert!(bytes > 0, "the fixture has {class:?}");
        assert_eq!(summary.totals().share.of(class), bytes, "{class:?}");
    }
    assert_eq!(summary.totals().data_by_depth, [4 << 20, 8 << 20]);
}

#[test]
fn a_cancelled_export_ends() {
    let folder = scratch();
    fixtures::make("map", folder.path());
    let image = folder.path().join("map.qcow2");
    let chain = Chain::open(&image, &ChainOptions::default()).unwrap();
    let control = Control::new();
    control.cancel();
    let stop = write_csv(&chain, &mut Vec::new(), &control).unwrap_err();
    assert!(matches!(stop, platter::Stop::Cancelled));
}
