//! Timing in pairs, and the table of results.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs pairs and prints a line for each row as it is done.
pub(crate) struct Bench {
    filters: Vec<String>,
    missed: Vec<String>,
}

/// What a row is aimed at.
pub(crate) enum Target {
    /// So many times the peer's speed.
    Ratio(f64),
    /// Ours alone, at most this long.
    Time(Duration),
}

/// The two that are compared.
pub(crate) struct Sides<'a> {
    /// Before each run of either, not timed: the files as they have to be.
    pub(crate) prepare: &'a mut dyn FnMut(),
    pub(crate) ours: &'a mut dyn FnMut(),
    pub(crate) peer: &'a mut dyn FnMut(),
}

impl Bench {
    pub(crate) fn new(filters: Vec<String>) -> Self {
        println!("| operation | platter | peer | ratio | aim | | peer is |");
        println!("|---|--:|--:|--:|--:|---|---|");
        Self {
            filters,
            missed: Vec::new(),
        }
    }

    /// Whether a row of this name was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filters.is_empty()
            || self
                .filters
                .iter()
                .any(|filter| name.contains(filter.as_str()))
    }

    /// Whether a row that takes long was asked for by its name.
    pub(crate) fn names(&self, name: &str) -> bool {
        !self.filters.is_empty() && self.wants(name)
    }

    /// Times `ours` and `peer` once: for what cannot be done twice, or takes minutes.
    pub(crate) fn once(
        &mut self,
        name: &str,
        peer_is: &str,
        target: &Target,
        ours: &mut dyn FnMut(),
        peer: &mut dyn FnMut(),
    ) {
        let times = [(time(ours), time(peer))];
        self.report(name, peer_is, target, &times);
    }

    /// Times `ours` and `peer` in turn, `pairs` times after one run of each to warm up.
    pub(crate) fn pairs(
        &mut self,
        name: &str,
        peer_is: &str,
        target: &Target,
        pairs: usize,
        ours: &mut dyn FnMut(),
        peer: &mut dyn FnMut(),
    ) {
        let prepare = &mut || ();
        let sides = Sides {
            prepare,
            ours,
            peer,
        };
        self.prepared_pairs(name, peer_is, target, pairs, sides);
    }

    /// As [`Self::pairs`], with something before each run that is not timed.
    pub(crate) fn prepared_pairs(
        &mut self,
        name: &str,
        peer_is: &str,
        target: &Target,
        pairs: usize,
        sides: Sides<'_>,
    ) {
        if !self.wants(name) {
            return;
        }
        let Sides {
            prepare,
            ours,
            peer,
        } = sides;
        let mut prepared = |work: &mut dyn FnMut()| {
            prepare();
            time(work)
        };
        prepared(ours);
        prepared(peer);
        let times: Vec<(f64, f64)> = (0..pairs)
            .map(|_| (prepared(ours), prepared(peer)))
            .collect();
        self.report(name, peer_is, target, &times);
    }

    /// Times `ours` alone, `times` times after one run to warm up.
    pub(crate) fn alone(
        &mut self,
        name: &str,
        peer_is: &str,
        most: Duration,
        times: usize,
        ours: &mut dyn FnMut(),
    ) {
        ours();
        let our = median((0..times).map(|_| time(ours)));
        let met = our <= most.as_secs_f64();
        let (our, aim) = (seconds(our), seconds(most.as_secs_f64()));
        self.line(name, [&our, "", "", &aim], met, peer_is);
    }

    fn report(&mut self, name: &str, peer_is: &str, target: &Target, times: &[(f64, f64)]) {
        let our = median(times.iter().map(|(our, _)| *our));
        let their = median(times.iter().map(|(_, their)| *their));
        let ratio = median(times.iter().map(|(our, their)| their / our));
        let (aim, met) = match target {
            Target::Ratio(aim) => (format!("{aim}x"), ratio >= *aim),
            Target::Time(most) => (seconds(most.as_secs_f64()), our <= most.as_secs_f64()),
        };
        let (our, their) = (seconds(our), seconds(their));
        let ratio = format!("{ratio:.1}x");
        self.line(name, [&our, &their, &ratio, &aim], met, peer_is);
    }

    /// Compares peak memory of two commands: ours must be below `part` of the peer's, or below
    /// `most` MiB where that is given.
    pub(crate) fn memory(
        &mut self,
        name: &str,
        peer_is: &str,
        part: f64,
        most: Option<f64>,
        ours: &mut Command,
        peer: &mut Command,
    ) {
        if !self.wants(name) {
            return;
        }
        let (our, their) = (peak_mib(ours), peak_mib(peer));
        let limit = most.unwrap_or(their * part);
        let ratio = format!("{:.2}", our / their);
        let (met, aim) = (our <= limit, format!("≤ {limit:.0} MiB"));
        let (our, their) = (format!("{our:.1} MiB"), format!("{their:.1} MiB"));
        self.line(name, [&our, &their, &ratio, &aim], met, peer_is);
    }

    fn line(&mut self, name: &str, cells: [&str; 4], met: bool, peer_is: &str) {
        let verdict = if met { "met" } else { "**missed**" };
        let [our, their, ratio, aim] = cells;
        println!("| {name} | {our} | {their} | {ratio} | {aim} | {verdict} | {peer_is} |");
        if !met {
            self.missed.push(name.to_owned());
        }
    }

    /// Says what missed its aim.
    pub(crate) fn finish(self) {
        match self.missed.as_slice() {
            [] => println!("\nAll aims met."),
            missed => println!("\nMissed: {}.", missed.join(", ")),
        }
    }
}

/// Runs a command that has to succeed, its output thrown away.
pub(crate) fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// What a command that has to succeed prints.
pub(crate) fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

/// Seconds that `work` takes.
pub(crate) fn time(work: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn seconds(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.2} s")
    }
}

/// Peak resident memory of a command in MiB: the kernel's own high-water mark, looked at until the
/// command is gone.
fn peak_mib(command: &mut Command) -> f64 {
    let child = command.stdout(Stdio::null()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    while child
        .try_wait()
        .expect("the child can be waited for")
        .is_none()
    {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = mark.and_then(|mark| mark.trim().strip_suffix("kB")?.trim().parse().ok());
        peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
    }
    peak
}

/// What the copy of an input left to be written is no part of the work.
pub(crate) fn settle(file: &Path) {
    let file = fs::File::open(file).expect("the copy is there");
    file.sync_all().expect("the copy can be written");
}
