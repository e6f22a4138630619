//! The command line against the program whose place it takes: the same arguments in the same
//! folder, called by the same name, must give the same output, messages and exit code.

mod common;
#[path = "cli/images.rs"]
mod images;
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
        r#"info json:{"driver":"qcow2","file.filename":"a.qcow2"}"#,
        r#"info json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}"#,
        "info file:a.qcow2",
        "info foo:bar",
        "info ./a.qcow2",
        "info --output=json folder/../a.qcow2",
    ]);
    stand.assert_same_words(&["info", ""]);
    stand.assert_same_words(&["info", "-f", "", "a.qcow2"]);
}

#[test]
fn info_is_the_same() {
    let stand = Stand::new();
    let mut images = images::make_plain(stand.folder());
    images.extend(images::make_qcow2_variants(stand.folder()));
    images.extend(images::make_overlays(stand.folder()));
    for image in &images {
        stand.assert_same_words(&["info", image]);
        stand.assert_same_words(&["info", "-U", "--output=json", image]);
    }
}

#[test]
fn info_opens_nothing_but_the_file() {
    let stand = Stand::new();
    images::make_overlays(stand.folder());
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
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    stand.assert_same(&lines);
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
