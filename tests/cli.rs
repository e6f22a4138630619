//! The command line against the program whose place it takes: the same arguments in the same
//! folder, called by the same name, must give the same output, messages and exit code.

mod common;
#[path = "cli/images.rs"]
mod images;
#[path = "cli/own.rs"]
mod own;
#[path = "cli/same.rs"]
mod same;

use same::Stand;

/// `qemu-img` accepts the options of a verb abbreviated, in any order, and complains in the C
/// library's words.
#[test]
fn grammar_and_complaints_are_the_same() {
    let stand = Stand::new();
    images::make_plain(stand.folder());
    stand.assert_same(&[
        "",
        "foo",
        "-Z",
        "--bogus",
        "info",
        "info a.qcow2 raw",
        "info nope",
        "info nope/nope",
        "info folder",
        "info -f foo a.qcow2",
        "info -f qcow2 raw",
        "info -f raw a.qcow2",
        "info -fraw a.qcow2",
        "info --form raw a.qcow2",
        "info --format=raw a.qcow2",
        "info --bogus a.qcow2",
        "info --bogus=1 a.qcow2",
        "info -Z a.qcow2",
        "info -q a.qcow2",
        "info -f",
        "info a.qcow2 --output",
        "info --output=xml a.qcow2",
        "info --output a.qcow2",
        "info a.qcow2 --outp=json",
        "info --o=json a.qcow2",
        "info --o json a.qcow2",
        "info --ba=x a.qcow2",
        "info -Ub a.qcow2",
        "info -- a.qcow2",
        "info a.qcow2 -- -x",
        "info --object secret,id=s,data=x a.qcow2",
        "info --object foo a.qcow2",
        "info --image-opts a.qcow2 -f raw",
        "info --image-opts a.qcow2",
        "info --image-opts driver=qcow2,file.filename=a.qcow2",
        "info --image-opts file.driver=file,file.filename=a.qcow2",
        "info --image-opts driver=raw,file.filename=a.qcow2",
        "info --image-opts driver=qcow2,file.filename=a.qcow2,bogus=1",
        "info --image-opts driver=foo,file.filename=a.qcow2",
        "info json:{}",
        "create -f qcow2 -o help new 1e3",
        "snapshot -c x folder",
        "convert -p -f foo a.qcow2 new",
        "convert -p a.qcow2 nowhere/new",
        "convert -n -B a.qcow2 a.qcow2 a.qcow2 new",
        "compare -p a.qcow2 nope",
        "amend -p -o nope=1 a.qcow2",
        r#"info json:{"driver":"qcow2","file.filename":"a.qcow2"}"#,
        r#"info json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}"#,
        "info file:a.qcow2",
        "info foo:bar",
        "info ./a.qcow2",
        "info --output=json folder/../a.qcow2",
    ]);
    stand.assert_all_same(&[vec!["info", ""], vec!["info", "-f", "", "a.qcow2"]]);
}

#[test]
fn info_is_the_same() {
    let stand = Stand::new();
    let images = images::make_all(stand.folder());
    stand.assert_same_for(&images, &["info", "info -U --output=json"]);
}

#[test]
fn info_opens_nothing_but_the_file() {
    let stand = Stand::new();
    images::make_overlays(stand.folder());
    images::make_loop(stand.folder());
    stand.assert_same(&["info missing.qcow2", "info loop.qcow2", "info remote.qcow2"]);
}

#[test]
fn measure_without_an_image_is_the_same() {
    let stand = Stand::new();
    let mut lines: Vec<String> = [
        "measure",
        "measure --size",
        "measure --size x",
        "measure --size -1",
        "measure --size 9E",
        "measure --size 1.5M",
        "measure --size 0x200",
        "measure --size 513",
        "measure --size 1MiB",
        "measure -s 1G",
        "measure -O foo --size 1G",
        "measure -O vmdk --size 1G",
        "measure --size 1G a b",
        "measure --size 1G a",
        "measure -l s1 --size 1G",
        "measure -f qcow2 --size 1G",
        "measure --size 1G --image-opts",
        "measure --image-opts -f raw x",
        "measure --output=json --size 1G",
        "measure --output=foo --size 1G",
        "measure -O qcow2 --output=json --size 1G",
        "measure -o foo=1 --size 1G",
        "measure -o preallocation=full --size 1G",
        "measure -o preallocation=x --size 1G",
        "measure -o , --size 1G",
        "measure -o a, --size 1G",
        "measure -O qcow2 -o cluster_size=2M -o cluster_size=4k --size 1G",
        "measure -O qcow2 --size 0",
        "measure -O qcow2 --size 1E",
        "measure -O qcow2 -o cluster_size=512 --size 1T",
    ]
    .map(str::to_owned)
    .into();
    lines.extend(
        [
            "backing_fmt=zzz",
            "cluster_size",
            "cluster_size=",
            "cluster_size=-1",
            "cluster_size=0x1000",
            "cluster_size=1.5k",
            "cluster_size=256",
            "cluster_size=4M",
            "cluster_size=512,extended_l2=on",
            "cluster_size=99999999999999999999",
            "compat=",
            "compat=0.10",
            "compat=0.10,refcount_bits=1",
            "compat=0.10,compression_type=zstd",
            "compat=1.1,compat=0.10",
            "compat=v3",
            "compression_level=1",
            "data_file=x,data_file_raw=on",
            "encrypt.format=aes",
            "extended_l2=on",
            "help",
            "lazy_refcounts",
            "lazy_refcounts=x",
            "nolazy_refcounts",
            "preallocation=",
            "preallocation=bogus",
            "preallocation=falloc",
            "preallocation=full",
            "preallocation=metadata",
            "refcount_bits=-1",
            "refcount_bits=0",
            "refcount_bits=0x10",
            "refcount_bits=1",
            "refcount_bits=128",
            "refcount_bits=3,compat=9",
            "refcount_bits=64",
            "refcount_bits=zz",
            "size=5G",
            "size=zz",
        ]
        .map(|options| format!("measure -O qcow2 -o {options} --size 1T")),
    );
    for exponent in 9..=21 {
        for extended in ["off", "on"] {
            let size = 1 << exponent;
            let options = format!("cluster_size={size},extended_l2={extended}");
            lines.push(format!("measure -O qcow2 -o {options} --size 3G"));
        }
    }
    stand.assert_same(&lines);
}

#[test]
fn map_is_the_same() {
    let stand = Stand::new();
    let images = images::make_all(stand.folder());
    stand.assert_same_for(&images, &["map", "map --output=json"]);
    stand.assert_same(&[
        "map",
        "map a.qcow2 raw",
        "map nope",
        "map -s 1M -l 1M --output=json a.qcow2",
        "map --start-offset=1000 --max-length=70000 --output=json a.qcow2",
        "map --start-offset 1100000 a.qcow2",
        "map -s -1 a.qcow2",
        "map -s foo a.qcow2",
        "map -l 1x a.qcow2",
        "map -s 9E a.qcow2",
        "map -s 100M --output=json a.qcow2",
        "map -s 100M a.qcow2",
        "map -l 0 --output=json a.qcow2",
        "map -f raw a.qcow2",
        "map -f raw --output=json a.qcow2",
        "map -U --output=json raw",
        "map folder",
    ]);
}

#[test]
fn measure_of_images_is_the_same() {
    let stand = Stand::new();
    let images = images::make_all(stand.folder());
    stand.assert_same_for(
        &images,
        &[
            "measure -O qcow2",
            "measure -O qcow2 -o cluster_size=4k",
            "measure -O qcow2 -o cluster_size=2M --output=json",
            "measure -O raw",
        ],
    );
    stand.assert_same(&[
        "measure nope",
        "measure -O foo nope",
        "measure -O foo a.qcow2",
        "measure -l nope a.qcow2",
        "measure -l s1 raw",
        "measure -O qcow2 -l s1 a.qcow2",
        "measure -O qcow2 -l 1 a.qcow2",
        "measure -O qcow2 -l snapshot.id=1 a.qcow2",
        "measure -O qcow2 -l snapshot.name=s1 a.qcow2",
        "measure -O qcow2 --snapshot snapshot.name=x a.qcow2",
        "measure -l snapshot.foo=1 a.qcow2",
        "measure -O qcow2 -o backing_file=base.qcow2 relative.qcow2",
        "measure -O qcow2 -o preallocation=full a.qcow2",
        "measure -O qcow2 -o compat=0.10 bitmaps.qcow2",
        "measure -O qcow2 -o size=5G a.qcow2",
        "measure -f qcow2 -U a.qcow2",
    ]);
}

#[test]
fn check_is_the_same() {
    let stand = Stand::new();
    let mut images = images::make_all(stand.folder());
    images.extend(images::make_damaged(stand.folder()));
    stand.assert_same_for(&images, &["check", "check --output=json"]);
    stand.assert_same(&[
        "check",
        "check a.qcow2 raw",
        "check nope",
        "check folder",
        "check -f raw a.qcow2",
        "check -T foo a.qcow2",
        "check -T none a.qcow2",
        "check -r foo a.qcow2",
        "check -r a.qcow2",
        "check --output=foo a.qcow2",
        "check -q a.qcow2",
        "check -q leaks.qcow2",
        "check -q --output=json damaged.qcow2",
        "check -U a.qcow2",
    ]);
}

#[test]
fn compare_is_the_same() {
    let stand = Stand::new();
    images::make_all(stand.folder());
    images::make_pairs(stand.folder());
    let mut lines: Vec<String> = [
        "compare",
        "compare a.qcow2",
        "compare a.qcow2 b c",
        "compare a.qcow2 nope",
        "compare nope a.qcow2",
        "compare -f qcow2 raw a.qcow2",
        "compare -F foo raw a.qcow2",
        "compare -T foo a.qcow2 a.qcow2",
        "compare -f raw a.qcow2 a.raw",
        "compare -f raw -F raw a.qcow2 a.qcow2",
        "compare --image-opts driver=qcow2,file.filename=a.qcow2 driver=raw,file.filename=a.raw",
        "compare --image-opts -f raw a b",
        "compare -q a.qcow2 changed.qcow2",
        "compare -qp a.qcow2 a.raw",
        "compare a.qcow2 missing.qcow2",
        "compare odd empty",
        "compare empty odd",
        "compare odd one",
        "compare empty empty",
    ]
    .map(str::to_owned)
    .into();
    let pairs = [
        "a.qcow2 a.qcow2",
        "a.qcow2 a.raw",
        "a.raw a.qcow2",
        "a.qcow2 a-zlib.qcow2",
        "a.qcow2 a-zstd.qcow2",
        "a-zlib.qcow2 a-zstd.qcow2",
        "a.qcow2 changed.qcow2",
        "changed.qcow2 a.raw",
        "changed.qcow2 a-zlib.qcow2",
        "a.qcow2 longer.raw",
        "longer.raw a.qcow2",
        "a.qcow2 longer-changed.raw",
        "longer-changed.raw a-zlib.qcow2",
        "a.qcow2 raw",
        "base.qcow2 top.qcow2",
        "base.qcow2 short.qcow2",
        "empty10.qcow2 zeroes10.qcow2",
        "empty10.qcow2 hole10.raw",
        "hole10.raw hole10.raw",
    ];
    for pair in pairs {
        lines.push(format!("compare {pair}"));
        lines.push(format!("compare -s {pair}"));
        lines.push(format!("compare -U -p {pair}"));
    }
    stand.assert_same(&lines);
}

/// While another program writes, an image is refused as `qemu-img` refuses it, unless `-U` says
/// otherwise.
#[test]
fn locks_are_respected_alike() {
    let stand = Stand::new();
    images::make_plain(stand.folder());
    images::make_overlays(stand.folder());
    let _writer = images::hold_open(stand.folder(), "base.qcow2");
    stand.assert_same(&[
        "info base.qcow2",
        "info -U base.qcow2",
        "info relative.qcow2",
        "info --backing-chain relative.qcow2",
        "info -b -U relative.qcow2",
        "check base.qcow2",
        "check -U base.qcow2",
        "map base.qcow2",
        "map relative.qcow2",
        "map top.qcow2",
        "compare base.qcow2 a.qcow2",
        "compare a.qcow2 base.qcow2",
        "compare -U base.qcow2 base.qcow2",
        "measure base.qcow2",
        "measure -U -O qcow2 base.qcow2",
    ]);
}

#[test]
fn chains_are_described_alike() {
    let stand = Stand::new();
    let mut images = images::make_overlays(stand.folder());
    images.extend(images::make_loop(stand.folder()));
    stand.assert_same_for(&images, &["info -b", "info --backing-chain --output=json"]);
}

/// A reader that goes away, as `head` does, is no reason for a message.
#[test]
fn a_closed_pipe_ends_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = common::ours()
        .args(["measure", "--size", "1G"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}
