//! New images. A file appears under its name when it is whole and durable, and not before; a block
//! device holds the old image or the new one, or none.

use std::fs;
use std::ops::Range;
use std::sync::Arc;

use platter::Control;
use platter::image::{Before, FileReference, Preallocation, Qcow2Options, create_qcow2};
use platter::storage::{Crash, CrashPlan, LogStorage, Storage, WritableStorage, WriteLog};

use crate::common::{ours, scratch};
use crate::harness::{Effort, QemuSample, Tally, Verdict, examine};
use crate::subject::{Files, condition, create};
use crate::traced::record;

const OPTIONS: [&str; 5] = [
    "cluster_size=512",
    "cluster_size=4k,preallocation=metadata",
    "cluster_size=64k,preallocation=full",
    "compat=0.10",
    "extended_l2=on,preallocation=falloc,refcount_bits=1",
];

/// With a new name and in the place of an image that is there.
pub(crate) fn files(effort: Effort) -> Result<Tally, String> {
    let mut sum = Tally {
        operation: "create".to_owned(),
        ..Tally::default()
    };
    for options in OPTIONS {
        for replaces in [false, true] {
            let tally = file(options, replaces, effort);
            sum.add(&tally.map_err(|reason| format!("create -o {options}: {reason}"))?);
        }
    }
    Ok(sum)
}

/// Only what a crash can leave of the file once it has its name is looked at: until then nothing
/// was changed that anybody knows of.
fn file(options: &str, replaces: bool, effort: Effort) -> Result<Tally, String> {
    let folder = scratch();
    let path = fs::canonicalize(folder.path()).unwrap().join("disk.qcow2");
    if replaces {
        fs::write(&path, create("cluster_size=4k", "1M", None)).unwrap();
    }
    let mut command = ours();
    command.args(["create", "-q", "-f", "qcow2", "-o", options]);
    command.arg(&path).arg("1M");
    let trace = record(path.parent().unwrap(), &command, &["disk.qcow2.part"])?;
    let [(named, name)] = trace.renamed.as_slice() else {
        return Err(format!("it is renamed {} times", trace.renamed.len()));
    };
    if *name != path || trace.others.contains(&path) {
        return Err("what has the name already was written to".to_owned());
    }
    if !trace.others.contains(path.parent().unwrap()) {
        return Err("the name is not made durable".to_owned());
    }
    let records = trace.log.records();
    let mut tally = Tally {
        changes: records.len(),
        ..Tally::default()
    };
    let mut qemu = QemuSample::new(effort, &[]);
    let crashes = trace.log.crashes(CrashPlan::default());
    for crash in crashes.filter(|crash| crash.position >= *named) {
        tally.states += 1;
        judge_named(&crash, &trace.after[0])?;
        tally.clean += 1;
        qemu.offer(&crash.files[0].to_vec(), crash.position, false)?;
    }
    assert!(tally.states > 0, "no state was looked at");
    tally.through_qemu = qemu.judge()?;
    Ok(tally)
}

fn judge_named(crash: &Crash, whole: &[u8]) -> Result<(), String> {
    if crash.files[0].to_vec() != whole {
        return Err(format!("it has its name, but lost {:?}", crash.loss));
    }
    let files = Files::of(Arc::clone(&crash.files[0]) as _);
    match condition(&files)? {
        Verdict::Clean => Ok(()),
        other => Err(format!("it is {other:?}")),
    }
}

/// In the place of an image on a device, which has no second name to be written under.
pub(crate) fn devices(effort: Effort) -> Result<Tally, String> {
    let mut sum = Tally {
        operation: "create (device)".to_owned(),
        ..Tally::default()
    };
    let cases = [
        (512, Preallocation::Off),
        (4096, Preallocation::Metadata),
        (65536, Preallocation::Full),
    ];
    for (cluster_size, preallocation) in cases {
        let backing = (preallocation == Preallocation::Off).then(|| FileReference {
            // So long that it lies in a sector of its own.
            name: format!("{}base.raw", "./".repeat(100)),
            format: Some("raw".to_owned()),
        });
        let options = Qcow2Options {
            size: 1 << 20,
            cluster_size,
            backing,
            preallocation,
            ..Qcow2Options::default()
        };
        sum.add(&device(&options, effort)?);
    }
    Ok(sum)
}

fn device(options: &Qcow2Options, effort: Effort) -> Result<Tally, String> {
    let log = WriteLog::new();
    let mut old = create("cluster_size=512,preallocation=metadata", "1M", None);
    // Like a device, it is never made shorter.
    old.resize(4 << 20, 0);
    let storage = log.storage(old.clone());
    let device = Device(Arc::clone(&storage));
    create_qcow2(&device, None, Before::Old, options, &Control::new())
        .map_err(|stop| stop.to_string())?;
    storage.flush().map_err(|error| error.to_string())?;
    let returned = log.position();
    let mut qemu = QemuSample::new(effort, &[("base.raw", &[])]);
    let mut tally = examine("create (device)", &log, effort, |crash| {
        let bytes = crash.files[0].to_vec();
        if bytes.starts_with(b"QFI\xfb") {
            qemu.offer(&bytes, crash.position, false)?;
            let files = Files::of(Arc::clone(&crash.files[0]) as _);
            let image = files.reader().map_err(|error| format!("{error:?}"))?;
            let backing = image.info().backing.clone();
            let is_new = backing == options.backing && bytes[..512] != old[..512];
            if !is_new && bytes != old {
                return Err("an image that is neither old nor new".to_owned());
            }
            return condition(&files);
        }
        if crash.position >= returned {
            return Err("has returned, and there is no image".to_owned());
        }
        Ok(Verdict::Clean)
    })?;
    tally.through_qemu = qemu.judge()?;
    Ok(tally)
}

/// Has a length of its own.
#[derive(Debug)]
struct Device(Arc<LogStorage>);

impl Storage for Device {
    fn size(&self) -> platter::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> platter::Result<()> {
        self.0.read_at(buf, offset)
    }
}

impl WritableStorage for Device {
    fn write_at(&self, buf: &[u8], offset: u64) -> platter::Result<()> {
        self.0.write_at(buf, offset)
    }

    fn write_zeroes(&self, range: Range<u64>) -> platter::Result<()> {
        self.0.write_zeroes(range)
    }

    fn punch_hole(&self, range: Range<u64>) -> platter::Result<()> {
        self.0.punch_hole(range)
    }

    fn allocate(&self, range: Range<u64>) -> platter::Result<()> {
        self.0.allocate(range)
    }

    fn set_len(&self, length: u64) -> platter::Result<()> {
        assert!(length <= self.0.size()?, "the device is too small");
        Ok(())
    }

    fn flush(&self) -> platter::Result<()> {
        self.0.flush()
    }
}
