//! Command lines that a script could hold, right and wrong ones, by chance.

use crate::common::inputs::Random;

/// What each verb takes: `[30 ...]` is there in 30 of 100 lines, `{name}` is one of the words of
/// that name.
const VERBS: &[&str] = &[
    "create [20 -q] [90 -f {format}] [10 -u] [40 -o {option}] [15 -o {option}] [25 -b {file}] \
     [20 -F {format}] {target} [85 {size}] [3 extra]",
    "info [50 --output {output}] [30 --backing-chain] [10 -U] [40 -f {format}] {file}",
    "check [40 --output {output}] [10 -q] [40 -f {format}] [20 -r {repair}] {file}",
    "map [50 --output {output}] [40 -f {format}] [20 -s {size}] [20 -l {size}] {file}",
    "compare [20 -s] [10 -q] [10 -p] [30 -f {format}] [30 -F {format}] {file} {file} [3 extra]",
    "measure [50 --output {output}] [80 -O {format}] [30 -o {option}] [50 --size {size}] \
     [20 -f {format}] [10 -l {snapshot}] [60 {file}]",
    "resize [10 -q] [30 --shrink] [50 -f {format}] [25 --preallocation={preallocation}] {file} \
     {size}",
    "snapshot [10 -q] [90 {deed} {snapshot}] {file}",
    "snapshot [5 -c x] -l {file}",
    "convert [30 -f {format}] [80 -O {format}] [20 -c] [10 -n] [10 -p] [10 -W] [5 -q] \
     [30 -o {option}] [15 -B {file}] [12 -F {format}] [15 -S {sparse}] [15 -m {threads}] \
     [15 -l {snapshot}] [10 --bitmaps] [7 --salvage] [7 --target-is-zero] [7 -r {size}] {file} \
     [20 {file}] {target}",
    "commit [10 -q] [20 -d] [10 -p] [30 -f {format}] [25 -b {file}] {overlay}",
    "rebase [10 -q] [30 -u] [10 -p] [10 -c] [30 -f {format}] [90 -b {file}] [70 -F {format}] \
     {overlay}",
    "amend [10 -q] [10 -p] [10 --force] [30 -f {format}] [95 -o {option}] {qcow2}",
    "bitmap [80 {bitmap-deed}] [15 {bitmap-deed}] [20 --merge {bitmap}] [20 -g {size}] \
     [10 -b {file}] [30 -f {format}] {qcow2} {bitmap}",
    "dd [30 -f {format}] [60 -O {format}] if={file} [95 of={target}] [40 bs={block}] \
     [40 count={count}] [40 skip={count}] [3 conv=x]",
];

/// The words of a name.
fn words(name: &str) -> &'static [&'static str] {
    match name {
        "file" => &[
            "r.raw",
            "a.qcow2",
            "b.qcow2",
            "c.qcow2",
            "s.qcow2",
            "k.qcow2",
            "e.qcow2",
            "long.qcow2",
            "short.qcow2",
            "v2.qcow2",
            "bm.qcow2",
            "z.qcow2",
            "text",
            "empty",
            "missing",
            ".",
            "new.img",
        ],
        "qcow2" => &[
            "a.qcow2", "s.qcow2", "k.qcow2", "e.qcow2", "v2.qcow2", "bm.qcow2", "missing",
        ],
        // Not v2.qcow2: put on a file with data, it loses its zeroes with qemu-img 10.
        "overlay" => &[
            "a.qcow2",
            "b.qcow2",
            "c.qcow2",
            "long.qcow2",
            "short.qcow2",
            "r.raw",
            "missing",
        ],
        "target" => &["new.img", "new.qcow2", "k.qcow2", "nowhere/x"],
        "format" => &["raw", "qcow2", "qcow2", "qcow2", "nonsense"],
        "output" => &["json", "json", "human", "human", "xml"],
        "size" => &[
            "1M", "2M", "0", "512", "1000", "3M", "1.5M", "200M", "x", "1k", "10M", "+1M", "-1M",
            "1e3", "8E", "0x10000", "64k",
        ],
        "block" => &["512", "1k", "1M", "0", "x", "64k"],
        "count" => &["0", "1", "5", "100000", "x"],
        "repair" => &["leaks", "all", "bad"],
        "preallocation" => &["off", "metadata", "falloc", "full", "bad"],
        "deed" => &["-c", "-a", "-d"],
        "snapshot" => &[
            "one",
            "two",
            "1",
            "snapshot.name=two",
            "snapshot.id=2",
            "nope",
        ],
        "sparse" => &["0", "4k", "1", "x", "512", "100M"],
        "threads" => &["1", "16", "17", "0", "x"],
        "bitmap-deed" => &["--add", "--remove", "--clear", "--enable", "--disable"],
        "bitmap" => &["x", "y", "new"],
        "option" => &[
            "cluster_size=4k",
            "cluster_size=3k",
            "cluster_size=2M",
            "cluster_size=4M",
            "compat=0.10",
            "compat=1.1",
            "compat=v3",
            "lazy_refcounts=on",
            "lazy_refcounts=maybe",
            "refcount_bits=1",
            "refcount_bits=64",
            "refcount_bits=3",
            "extended_l2=on",
            "extended_l2=on,cluster_size=4k",
            "preallocation=falloc",
            "preallocation=full",
            "preallocation=off",
            "preallocation=bad",
            "size=1M",
            "backing_file=a.qcow2",
            "backing_file=a.qcow2,backing_fmt=qcow2",
            "backing_fmt=raw",
            "compression_type=zstd",
            "compression_type=lz",
            "data_file=d.raw",
            "data_file=d.raw,data_file_raw=on",
            "nocow=on",
            "nope=1",
            "help",
            "?",
        ],
        other => panic!("no words are named '{other}'"),
    }
}

/// A line, without the program's name.
pub(crate) fn line(random: &mut Random) -> String {
    let verb = random.of(VERBS);
    let filled = filled(&chosen(verb, random), random);
    filled.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Leaves out the parts in brackets that are not there this time.
fn chosen(pattern: &str, random: &mut Random) -> String {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('[') {
        let (part, behind) = behind.split_once(']').expect("every bracket is closed");
        let (percent, part) = part
            .split_once(' ')
            .expect("a bracket begins with a number");
        text.push_str(before);
        if random.below(100) < percent.parse().expect("a percentage") {
            text.push_str(part);
        }
        rest = behind;
    }
    text + rest
}

fn filled(pattern: &str, random: &mut Random) -> String {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').expect("every brace is closed");
        text.push_str(before);
        let word: &&str = random.of(words(name));
        text.push_str(word);
        rest = behind;
    }
    text + rest
}
