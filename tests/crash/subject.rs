//! The images that crash tests start from, and how a state after a crash is judged.

use std::ops::Range;
use std::sync::Arc;

use platter::Control;
use platter::image::{self, Format, FormatDetails, ImageDriver, ImageWriter, WritableFiles};
use platter::storage::{Crash, MemoryStorage, Storage, WritableStorage};
use platter::units::GuestOffset;

use crate::common;
use crate::common::inputs::Random;
use crate::harness::{Effort, QemuSample, Verdict};

/// An image in memory, as `qemu-img create` makes it.
pub(crate) fn create(options: &str, size: &str, backing: Option<&[u8]>) -> Vec<u8> {
    let folder = common::scratch();
    let path = folder.path().join("image.qcow2");
    let mut create = common::tool("qemu-img");
    create.current_dir(folder.path());
    create.args(["create", "-q", "-f", "qcow2", "-o", options]);
    if let Some(backing) = backing {
        std::fs::write(folder.path().join("base.raw"), backing).unwrap();
        create.args(["-b", "base.raw", "-F", "raw"]);
    }
    common::run(create.arg(&path).arg(size));
    std::fs::read(&path).unwrap()
}

/// The files that a state is made of.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) image: Arc<dyn WritableStorage>,
    pub(crate) data_file: Option<Arc<dyn WritableStorage>>,
    pub(crate) backing: Option<Arc<dyn Storage>>,
}

impl Files {
    pub(crate) fn of(image: Arc<dyn WritableStorage>) -> Self {
        Self {
            image,
            data_file: None,
            backing: None,
        }
    }

    pub(crate) fn on(mut self, backing: Option<&Arc<MemoryStorage>>) -> Self {
        self.backing = backing.map(|backing| Arc::clone(backing) as _);
        self
    }

    /// Opens it for change.
    pub(crate) fn writer(&self) -> platter::Result<Box<dyn ImageWriter>> {
        let files = WritableFiles {
            storage: Arc::clone(&self.image),
            data_file: self.data_file.clone(),
            backing: self.backing.clone(),
        };
        image::open_writable(files, Format::Qcow2)
    }

    /// Opens it for reading.
    pub(crate) fn reader(&self) -> platter::Result<Box<dyn ImageDriver>> {
        let mut image = image::open(Arc::clone(&self.image) as Arc<dyn Storage>, Format::Qcow2)?;
        if let Some(data) = &self.data_file {
            image.attach_data_file(Arc::clone(data) as _)?;
        }
        Ok(image)
    }

    /// All that the guest sees.
    pub(crate) fn content(&self) -> platter::Result<Vec<u8>> {
        self.content_of(self.reader()?.as_ref())
    }

    /// All that the guest sees through `image`, one of these files or a snapshot in it.
    pub(crate) fn content_of(&self, image: &dyn ImageDriver) -> platter::Result<Vec<u8>> {
        let size = usize::try_from(image.virtual_size()).expect("the disks are small");
        let mut found = vec![0; size];
        let mut missing = Vec::new();
        image.read_at(&mut found, GuestOffset(0), &mut missing)?;
        self.fill_from_backing(&mut found, &missing)?;
        Ok(found)
    }

    fn fill_from_backing(&self, found: &mut [u8], missing: &[Range<u64>]) -> platter::Result<()> {
        let Some(backing) = &self.backing else {
            return Ok(());
        };
        for range in missing {
            let (start, end) = (range.start as usize, range.end as usize);
            backing.read_padded_at(&mut found[start..end], range.start)?;
        }
        Ok(())
    }
}

/// What is wrong with an image apart from what it holds; an image that says itself that a repair
/// is due may be as wrong as it likes.
///
/// # Errors
/// What is wrong.
pub(crate) fn condition(files: &Files) -> Result<Verdict, String> {
    let image = files
        .reader()
        .map_err(|error| format!("does not open: {error:?}"))?;
    let report = image
        .check(&Control::new())
        .map_err(|stop| format!("is not checked: {stop}"))?;
    let FormatDetails::Qcow2(details) = &image.info().details else {
        return Err("is no qcow2 image".to_owned());
    };
    if image.info().dirty {
        return Ok(Verdict::Dirty);
    }
    let wrong = report.corruptions + report.check_errors;
    // Version 2 cannot say that it was not closed well, and two sectors cannot change at once.
    let in_transit = details.version == 2
        && report.check_errors == 0
        && report
            .findings
            .iter()
            .filter(|finding| finding.corruption)
            .all(|finding| finding.message.contains("OFLAG_COPIED"));
    if wrong > 0 && !in_transit {
        return Err(format!("is corrupt: {:#?}", report.findings));
    }
    Ok(if report.is_clean() {
        Verdict::Clean
    } else {
        Verdict::Leaks
    })
}

/// Judges the states of one operation.
pub(crate) struct Judge {
    qemu: QemuSample,
    seen: usize,
    /// Refcounts lag behind: a repair is due after every open.
    lazy: bool,
}

impl Judge {
    /// For images with these options beside files of these names and contents.
    pub(crate) fn new(effort: Effort, options: &str, beside: &[(&str, &[u8])]) -> Self {
        Self {
            qemu: QemuSample::new(effort, beside),
            seen: 0,
            lazy: options.contains("lazy_refcounts=on"),
        }
    }

    /// Judges a state: it is sound or says that it is not, what the guest sees is what `content`
    /// allows, and the next writer gets on with it.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn state(
        &mut self,
        crash: &Crash,
        files: &Files,
        content: impl FnOnce(&[u8]) -> Result<(), String>,
    ) -> Result<Verdict, String> {
        self.seen += 1;
        let verdict = condition(files)?;
        let found = files
            .content()
            .map_err(|error| format!("does not read: {error:?}"))?;
        content(&found)?;
        if files.data_file.is_none() {
            self.qemu.offer(
                &crash.files[0].to_vec(),
                crash.position,
                verdict == Verdict::Dirty,
            )?;
        }
        if verdict == Verdict::Dirty || self.seen.is_multiple_of(4) {
            self.reopen(files, verdict, &found)?;
        }
        if self.seen.is_multiple_of(8) {
            self.go_on(files, found)?;
        }
        Ok(verdict)
    }

    /// Opens it for change, which repairs it where it has to be.
    fn reopen(&self, files: &Files, verdict: Verdict, content: &[u8]) -> Result<(), String> {
        let writer = files
            .writer()
            .map_err(|error| format!("no writer: {error:?}"))?;
        writer
            .flush()
            .map_err(|error| format!("no flush: {error:?}"))?;
        drop(writer);
        let after = condition(files).map_err(|reason| format!("a new writer: {reason}"))?;
        if verdict == Verdict::Dirty && after != Verdict::Clean {
            return Err(format!("repaired, it is not clean: {after:?}"));
        }
        let found = files
            .content()
            .map_err(|error| format!("repaired: {error:?}"))?;
        if found != content {
            return Err("the content changes when it is opened for change".to_owned());
        }
        Ok(())
    }

    /// The next user of the disk finds nothing unusual.
    fn go_on(&self, files: &Files, mut content: Vec<u8>) -> Result<(), String> {
        let failed = |error: platter::Error| format!("going on: {error:?}");
        let writer = files.writer().map_err(failed)?;
        let mut random = Random(self.seen as u64);
        for _ in 0..25 {
            let sectors = content.len() as u64 / 512;
            let start = random.below(sectors);
            let end = (start + 1 + random.below(24)).min(sectors);
            let bytes: Vec<u8> = (start..end)
                .flat_map(|_| [random.next() as u8; 512])
                .collect();
            let at = start as usize * 512;
            content[at..at + bytes.len()].copy_from_slice(&bytes);
            writer
                .write_at(&bytes, GuestOffset(start * 512))
                .map_err(failed)?;
        }
        writer.flush().map_err(failed)?;
        drop(writer);
        let after = condition(files).map_err(|reason| format!("going on: {reason}"))?;
        if after == Verdict::Dirty && !self.lazy {
            return Err("going on leaves it dirty".to_owned());
        }
        if files.content().map_err(failed)? != content {
            return Err("going on: what is written is not what is read".to_owned());
        }
        Ok(())
    }

    /// Lets `qemu-img` judge its share. How many states that was.
    ///
    /// # Errors
    /// As [`QemuSample::judge`].
    pub(crate) fn finish(self) -> Result<usize, String> {
        self.qemu.judge()
    }
}
