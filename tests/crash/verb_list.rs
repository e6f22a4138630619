//! Which verbs, on which images.

use crate::verbs::{Keeps, Verb};

const ALL: &[&str] = &[
    "cluster_size=512",
    "cluster_size=4k",
    "cluster_size=512,compat=0.10",
    "cluster_size=16k,extended_l2=on",
    "cluster_size=2k,refcount_bits=64",
    "cluster_size=1k,lazy_refcounts=on,refcount_bits=2",
];
const ONE: &[&str] = &["snapshot", "-c", "one", "disk.qcow2"];
const TWO: &[&str] = &["snapshot", "-c", "two", "disk.qcow2"];
const WRITE: &[&str] = &["write"];

/// All of them.
pub(crate) const VERBS: &[(&str, Verb)] = &[
    (
        "snapshot_create",
        Verb {
            name: "snapshot -c",
            images: ALL,
            arguments: &["snapshot", "-c", "three", "disk.qcow2"],
            before: &[ONE, WRITE],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "snapshot_apply",
        Verb {
            name: "snapshot -a",
            images: ALL,
            arguments: &["snapshot", "-a", "one", "disk.qcow2"],
            before: &[ONE, WRITE, TWO, WRITE],
            base: Some("base.raw"),
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "snapshot_delete",
        Verb {
            name: "snapshot -d",
            images: ALL,
            arguments: &["snapshot", "-d", "one", "disk.qcow2"],
            before: &[ONE, WRITE, TWO, WRITE],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "resize_grow",
        Verb {
            name: "resize (grow)",
            images: ALL,
            arguments: &["resize", "-q", "disk.qcow2", "5M"],
            before: &[],
            base: Some("base.raw"),
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "resize_shrink",
        Verb {
            name: "resize --shrink",
            images: ALL,
            arguments: &["resize", "-q", "--shrink", "disk.qcow2", "100k"],
            before: &[],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "commit_to_raw",
        Verb {
            name: "commit (raw base)",
            images: &[
                "cluster_size=512",
                "cluster_size=4k",
                "cluster_size=16k,extended_l2=on",
            ],
            arguments: &["commit", "-q", "disk.qcow2"],
            before: &[],
            base: Some("base.raw"),
            keeps: Keeps::Content,
        },
    ),
    (
        "commit_to_qcow2",
        Verb {
            name: "commit (qcow2 base)",
            images: &[
                "cluster_size=512",
                "cluster_size=4k",
                "cluster_size=512,compat=0.10",
            ],
            arguments: &["commit", "-q", "disk.qcow2"],
            before: &[],
            base: Some("base.qcow2"),
            keeps: Keeps::Content,
        },
    ),
    (
        "rebase_to_nothing",
        Verb {
            name: "rebase -b ''",
            images: &[
                "cluster_size=512",
                "cluster_size=4k",
                "cluster_size=512,compat=0.10",
            ],
            arguments: &["rebase", "-b", "", "disk.qcow2"],
            before: &[],
            base: Some("base.raw"),
            keeps: Keeps::Content,
        },
    ),
    (
        "check_leaks",
        Verb {
            name: "check -r leaks",
            images: &[
                "cluster_size=512",
                "cluster_size=4k",
                "cluster_size=512,compat=0.10",
            ],
            arguments: &["check", "-q", "-r", "leaks", "disk.qcow2"],
            before: &[&["damage", "1"]],
            base: None,
            keeps: Keeps::Mended,
        },
    ),
    (
        "check_all",
        Verb {
            name: "check -r all",
            images: &[
                "cluster_size=512",
                "cluster_size=4k",
                "cluster_size=512,compat=0.10",
            ],
            arguments: &["check", "-q", "-r", "all", "disk.qcow2"],
            before: &[ONE, WRITE, &["damage", "-1"]],
            base: None,
            keeps: Keeps::Mended,
        },
    ),
    (
        "amend_version",
        Verb {
            name: "amend compat",
            images: &["cluster_size=512", "cluster_size=4k"],
            arguments: &["amend", "-o", "compat=0.10", "disk.qcow2"],
            before: &[],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "amend_refcount_bits",
        Verb {
            name: "amend refcount_bits",
            images: &["cluster_size=512", "cluster_size=4k"],
            arguments: &["amend", "-o", "refcount_bits=64", "disk.qcow2"],
            before: &[ONE, WRITE],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    // Several changes, each of which is made or not; in this order.
    (
        "amend_all_and_grow",
        Verb {
            name: "amend refcount_bits, size",
            images: &[
                "cluster_size=512",
                "cluster_size=4k",
                "cluster_size=1k,compat=0.10",
            ],
            arguments: &[
                "amend",
                "-o",
                "compat=1.1,refcount_bits=64,lazy_refcounts=on,size=5M",
                "disk.qcow2",
            ],
            before: &[ONE, WRITE],
            base: Some("base.raw"),
            keeps: Keeps::Steps,
        },
    ),
    (
        "amend_all_and_shrink",
        Verb {
            name: "amend compat, size",
            images: &["cluster_size=512", "cluster_size=4k"],
            arguments: &["amend", "-o", "compat=0.10,size=100k", "disk.qcow2"],
            before: &[WRITE],
            base: None,
            keeps: Keeps::Steps,
        },
    ),
    (
        "bitmap_add",
        Verb {
            name: "bitmap --add",
            images: &["cluster_size=512", "cluster_size=4k"],
            arguments: &["bitmap", "--add", "-g", "4k", "disk.qcow2", "new"],
            before: &[&["bitmap", "--add", "disk.qcow2", "bits"], WRITE],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "bitmap_remove",
        Verb {
            name: "bitmap --remove",
            images: &["cluster_size=512", "cluster_size=4k"],
            arguments: &["bitmap", "--remove", "disk.qcow2", "bits"],
            before: &[&["bitmap", "--add", "disk.qcow2", "bits"], WRITE],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "bitmap_clear",
        Verb {
            name: "bitmap --clear",
            images: &["cluster_size=512", "cluster_size=4k"],
            arguments: &["bitmap", "--clear", "disk.qcow2", "bits"],
            before: &[&["bitmap", "--add", "disk.qcow2", "bits"], WRITE],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "rebase_name",
        Verb {
            name: "rebase -u",
            images: &[
                "cluster_size=512",
                "cluster_size=4k",
                "cluster_size=64k",
                "cluster_size=4k,compat=0.10",
            ],
            arguments: &[
                "rebase",
                "-u",
                "-b",
                "./base.raw",
                "-F",
                "raw",
                "disk.qcow2",
            ],
            before: &[],
            base: Some("base.raw"),
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "rebase_to_other",
        Verb {
            name: "rebase -b other",
            images: &[
                "cluster_size=512",
                "cluster_size=4k",
                "cluster_size=64k",
                "cluster_size=4k,compat=0.10",
            ],
            arguments: &["rebase", "-b", "other.raw", "-F", "raw", "disk.qcow2"],
            before: &[&["other"]],
            base: Some("base.raw"),
            keeps: Keeps::Content,
        },
    ),
    (
        "bitmap_merge",
        Verb {
            name: "bitmap --merge",
            images: &["cluster_size=512", "cluster_size=4k"],
            arguments: &["bitmap", "--merge", "bits", "disk.qcow2", "more"],
            before: &[
                &["bitmap", "--add", "-g", "4k", "disk.qcow2", "bits"],
                WRITE,
                &["bitmap", "--add", "-g", "8k", "disk.qcow2", "more"],
                WRITE,
            ],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "bitmap_disable",
        Verb {
            name: "bitmap --disable",
            images: &["cluster_size=512", "cluster_size=4k"],
            arguments: &["bitmap", "--disable", "disk.qcow2", "bits"],
            before: &[
                &["bitmap", "--add", "-g", "4k", "disk.qcow2", "bits"],
                WRITE,
                &["bitmap", "--add", "-g", "8k", "disk.qcow2", "more"],
                WRITE,
            ],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "data_file_grow",
        Verb {
            name: "resize (data file)",
            images: &[
                "cluster_size=4k,data_file=data.raw",
                "cluster_size=4k,data_file=data.raw,data_file_raw=on",
            ],
            arguments: &["resize", "-q", "disk.qcow2", "5M"],
            before: &[],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "data_file_shrink",
        Verb {
            name: "resize --shrink (data file)",
            images: &[
                "cluster_size=4k,data_file=data.raw",
                "cluster_size=4k,data_file=data.raw,data_file_raw=on",
            ],
            arguments: &["resize", "-q", "--shrink", "disk.qcow2", "100k"],
            before: &[],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
    (
        "data_file_amend",
        Verb {
            name: "amend (data file)",
            images: &[
                "cluster_size=4k,data_file=data.raw",
                "cluster_size=4k,data_file=data.raw,data_file_raw=on",
            ],
            arguments: &[
                "amend",
                "-o",
                "refcount_bits=64,lazy_refcounts=on",
                "disk.qcow2",
            ],
            before: &[],
            base: None,
            keeps: Keeps::Content,
        },
    ),
    (
        "data_file_bitmap",
        Verb {
            name: "bitmap --add (data file)",
            images: &[
                "cluster_size=4k,data_file=data.raw",
                "cluster_size=4k,data_file=data.raw,data_file_raw=on",
            ],
            arguments: &["bitmap", "--add", "-g", "4k", "disk.qcow2", "new"],
            before: &[],
            base: None,
            keeps: Keeps::OldOrNew,
        },
    ),
];
