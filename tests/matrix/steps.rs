//! What is done with a chain.

use std::fs;
use std::path::Path;

use platter::units::GuestOffset;

use crate::common::{output, tool};
use crate::world::{By, World};

/// Steps in the life of a chain.
const STEPS: usize = 8;

impl World {
    /// Lives its life. What was tried.
    pub(crate) fn live(mut self) -> Vec<String> {
        self.verify(By::Us);
        self.verify(By::Qemu);
        for _ in 0..STEPS {
            let by = self.side();
            match self.random.below(14) {
                0..4 => self.write(by),
                4 => self.take_snapshot(by),
                5 => self.apply_snapshot(by),
                6 => self.delete_snapshot(by),
                7 => self.resize(by),
                8 => self.amend(by),
                9 => self.commit(by),
                10 => self.rebase(by),
                _ => self.convert(by),
            }
            self.verify(By::Us);
            self.check_active();
        }
        self.verify(By::Qemu);
        self.check();
        self.combinations
    }

    /// A few writes of all kinds.
    pub(crate) fn write(&mut self, by: By) {
        self.count("write", by, "");
        let writes: Vec<_> = (0..6).map(|_| self.one_write()).collect();
        match by {
            By::Qemu => self.write_by_qemu(&writes),
            By::Us => self.write_by_us(&writes),
        }
    }

    fn one_write(&mut self) -> Write {
        let size = self.content.len() as u64;
        let is_qcow2 = self.active().format == "qcow2";
        let start = self.random.below(size / 512) * 512;
        let length = match self.random.below(4) {
            0 => 512,
            1 => 512 * (1 + self.random.below(16)),
            2 => 4096 * (1 + self.random.below(16)),
            _ => 512 * (1 + self.random.below(400)),
        };
        let end = (start + length).min(size);
        let byte = self.random.below(255) as u8 + 1;
        let kind = match self.random.below(6) {
            0 => Kind::Zero,
            1 => Kind::ZeroDiscard,
            2 if is_qcow2 => Kind::Compressed,
            _ => Kind::Plain,
        };
        let (mut start, mut end) = (start, end);
        if kind == Kind::Compressed {
            // Whole clusters only, and not the one that the end cuts.
            let cluster = self.cluster_size();
            start = start / cluster * cluster;
            end = start + cluster;
            if end > size {
                return Write {
                    kind: Kind::Plain,
                    start,
                    end: size,
                    byte,
                };
            }
        }
        Write {
            kind,
            start,
            end,
            byte,
        }
    }

    fn cluster_size(&self) -> u64 {
        let options = &self.active().options;
        let value = options.split(['=', ',']).nth(1).unwrap_or("64k");
        let digits: String = value.chars().filter(char::is_ascii_digit).collect();
        let number: u64 = digits.parse().expect("a number");
        match value.as_bytes().last() {
            Some(b'k') => number << 10,
            Some(b'M') => number << 20,
            _ => number,
        }
    }

    fn write_by_qemu(&mut self, writes: &[Write]) {
        let mut io = tool("qemu-io");
        io.args(["-f", self.active().format]);
        for write in writes {
            self.model(write);
            let (start, length) = (write.start, write.end - write.start);
            let byte = write.byte;
            io.arg("-c").arg(match write.kind {
                // QEMU compresses only where nothing was written yet.
                Kind::Plain | Kind::Compressed => format!("write -q -P {byte} {start} {length}"),
                Kind::Zero => format!("write -q -z {start} {length}"),
                Kind::ZeroDiscard => format!("write -q -z -u {start} {length}"),
            });
        }
        io.arg(self.path(&self.active().name));
        self.tell(format!("Qemu: {writes:x?}"));
        let said = self.run(&mut io);
        let words = String::from_utf8_lossy(&said.stdout);
        if words.contains("fail") {
            self.fail(&words);
        }
    }

    fn write_by_us(&mut self, writes: &[Write]) {
        self.tell(format!("Us: {writes:x?}"));
        let chain = self.chain(true, None);
        let writer = chain
            .writer(0)
            .unwrap_or_else(|error| self.fail(&format!("{error:?}")));
        for write in writes {
            self.model(write);
            let range = write.start..write.end;
            let bytes = vec![write.byte; (write.end - write.start) as usize];
            let offset = GuestOffset(write.start);
            let done = match write.kind {
                Kind::Plain => writer.write_at(&bytes, offset),
                Kind::Zero => writer.write_zeroes(range, false),
                Kind::ZeroDiscard => writer.write_zeroes(range, true),
                Kind::Compressed => writer.write_compressed(&bytes, offset),
            };
            if let Err(error) = done.and_then(|()| writer.flush()) {
                self.fail(&format!("{write:?}: {error:?}"));
            }
        }
    }

    fn model(&mut self, write: &Write) {
        let byte = match write.kind {
            Kind::Plain | Kind::Compressed => write.byte,
            Kind::Zero | Kind::ZeroDiscard => 0,
        };
        self.content[write.start as usize..write.end as usize].fill(byte);
    }

    /// Runs a verb on the active layer. Whether it did it: what one side refuses the other refuses
    /// too, on a copy.
    fn verb(&mut self, by: By, before: &[&str], after: &[&str]) -> bool {
        let name = self.active().name.clone();
        let command = |by: By, name: &str| {
            let mut command = by.img(self.folder());
            command.args(before).arg(name).args(after);
            command
        };
        let copy = format!("copy-{name}");
        fs::copy(self.path(&name), self.path(&copy)).unwrap();
        let bytes = fs::read(self.path(&name)).unwrap();
        let said = output(&mut command(by, &name));
        let done = said.status.success();
        let words = String::from_utf8_lossy(&said.stderr).into_owned();
        if !done && output(&mut command(by.other(), &copy)).status.success() {
            self.fail(&format!(
                "only {by:?} refuses {before:?} {after:?}: {words}"
            ));
        }
        let _ = fs::remove_file(self.path(&copy));
        if !done && by == By::Qemu {
            // It does not take back all that it had done until then.
            fs::write(self.path(&name), bytes).unwrap();
        }
        self.tell(format!("{by:?}: {before:?} {after:?}: {done} {words}"));
        self.count(before[0], by, &format!("{before:?} {after:?} {done}"));
        done
    }

    fn take_snapshot(&mut self, by: By) {
        if self.active().format != "qcow2" {
            return;
        }
        let name = format!("s{}", self.story.len());
        if self.verb(by, &["snapshot", "-c", &name], &[]) {
            self.snapshots.push((name, self.content.clone()));
        }
    }

    fn apply_snapshot(&mut self, by: By) {
        let Some((name, content)) = self.snapshots.last().cloned() else {
            return self.take_snapshot(by);
        };
        // QEMU counts one more before it counts one less: with the disk and two snapshots that is 4.
        let is_full = self.active().options.contains("refcount_bits=2") && self.snapshots.len() > 1;
        let by = if is_full { By::Us } else { by };
        if self.verb(by, &["snapshot", "-a", &name], &[]) {
            self.content = content;
        }
    }

    fn delete_snapshot(&mut self, by: By) {
        if self.snapshots.is_empty() {
            return self.take_snapshot(by);
        }
        let name = self.snapshots[0].0.clone();
        if self.verb(by, &["snapshot", "-d", &name], &[]) {
            self.snapshots.remove(0);
        }
    }

    fn resize(&mut self, by: By) {
        let before = self.content.len() as u64;
        let format = self.active().format;
        let shrink = self.random.below(2) == 0 && before > 512 << 10;
        let size = if shrink {
            before / 2 / 512 * 512
        } else {
            before + 512 * self.random.below(4000)
        };
        let size_word = size.to_string();
        let mut options = vec!["resize", "-q", "-f", format];
        if shrink {
            options.push("--shrink");
        }
        if self.verb(by, &options, &[&size_word]) {
            self.content.resize(size as usize, 0);
        }
    }

    fn amend(&mut self, by: By) {
        if self.active().format != "qcow2" {
            return;
        }
        let option = self.pick(&[
            "lazy_refcounts=on",
            "lazy_refcounts=off",
            "compat=1.1",
            "refcount_bits=8",
            "refcount_bits=16",
            "refcount_bits=64",
        ]);
        // QEMU looks at every refcount that the table could hold: hours with clusters of 2 MiB.
        let is_endless = option.starts_with("refcount_bits") && self.cluster_size() > 256 << 10;
        let by = if is_endless { By::Us } else { by };
        self.verb(by, &["amend", "-f", "qcow2", "-o", option], &[]);
    }

    /// Commits into the layer below, and goes on with that.
    fn commit(&mut self, by: By) {
        if self.layers.len() < 2 || !self.snapshots.is_empty() || self.base_cannot_grow() {
            return self.convert(by);
        }
        if self.verb_on_chain(by, &["commit", "-f", "qcow2", "-d"]) {
            self.layers.remove(0);
            // A larger one keeps its end.
            let below = std::mem::take(&mut self.layers[0].content);
            let end = below.get(self.content.len()..).unwrap_or_default();
            self.content.extend_from_slice(end);
        }
    }

    /// Version 2 cannot hide what a longer backing file has behind the end: both refuse.
    fn base_cannot_grow(&self) -> bool {
        let [_, base, below, ..] = self.layers.as_slice() else {
            return false;
        };
        let length = base.content.len();
        base.options.contains("compat=0.10")
            && self.content.len() > length
            && below.content.len() > length
    }

    /// What changes another layer too is not tried on a copy.
    fn verb_on_chain(&mut self, by: By, words: &[&str]) -> bool {
        let name = self.active().name.clone();
        let said = output(by.img(self.folder()).args(words).arg(name));
        let done = said.status.success();
        let error = String::from_utf8_lossy(&said.stderr).into_owned();
        self.tell(format!("{by:?}: {words:?}: {done} {error}"));
        if !done {
            self.fail("refused");
        }
        self.count(words[0], by, &format!("{words:?}"));
        done
    }

    /// Puts the active layer on the one below its backing file, or on nothing.
    fn rebase(&mut self, by: By) {
        if self.layers.len() < 2 || !self.snapshots.is_empty() {
            return self.convert(by);
        }
        let done = match self.layers.get(2).cloned() {
            Some(below) => self.verb_on_chain(
                by,
                &[
                    "rebase",
                    "-f",
                    "qcow2",
                    "-b",
                    &below.name,
                    "-F",
                    below.format,
                ],
            ),
            None => self.verb_on_chain(by, &["rebase", "-f", "qcow2", "-b", ""]),
        };
        if done {
            self.layers.remove(1);
        }
    }

    /// Converts the whole disk, and looks at what comes out.
    fn convert(&mut self, by: By) {
        let (format, options) = match self.random.below(3) {
            0 => ("raw", String::new()),
            _ => ("qcow2", self.qcow2_options()),
        };
        let mut words = vec!["convert", "-f", self.active().format, "-O", format];
        if !options.is_empty() {
            words.extend(["-o", &options]);
        }
        if format == "qcow2" && self.random.below(2) == 0 {
            words.push("-c");
        } else if self.random.below(3) == 0 {
            words.extend(["-S", "0"]);
        }
        if self.random.below(3) == 0 {
            words.push("-W");
        }
        let snapshot = self.snapshots.first().cloned();
        let selector = snapshot
            .as_ref()
            .map(|(name, _)| format!("snapshot.name={name}"));
        let mut expected = &self.content;
        if let (Some(selector), Some((_, content))) = (&selector, &snapshot) {
            words.extend(["-l", selector]);
            expected = content;
        }
        let target = "target";
        let name = self.active().name.clone();
        self.run(by.img(self.folder()).args(&words).args([&name, target]));
        let found = self.raw_bytes(by.other(), target, format, None);
        let both = match snapshot {
            Some(_) => found.len().min(expected.len()),
            None => found.len().max(expected.len()),
        };
        if found.get(..both) != expected.get(..both) {
            self.fail(&format!("{by:?}: {words:?} has other bytes"));
        }
        if format == "qcow2" {
            let said = output(By::Qemu.img(self.folder()).args(["check", target]));
            if said.status.code() != Some(0) {
                let words = String::from_utf8_lossy(&said.stdout).into_owned();
                self.fail(&format!("{by:?}: {words:?}: check: {words}"));
            }
        }
        let more = format!("{words:?}");
        self.count("convert", by, &more);
        self.tell(format!("{by:?}: {more}"));
        remove(&self.path(target));
    }
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

/// How something is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Plain,
    Zero,
    ZeroDiscard,
    Compressed,
}

/// A write of one byte, over and over.
#[derive(Clone, Copy, Debug)]
struct Write {
    kind: Kind,
    start: u64,
    end: u64,
    byte: u8,
}
