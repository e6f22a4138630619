//! How far a phase is, how fast it goes and how long it will take: from samples, with the time
//! passed in.

use std::time::Duration;

use crate::control::{Progress, Unit};

/// How far back a rate looks: samples older than this count little.
const MEMORY: Duration = Duration::from_secs(3);
/// Samples closer together than this say nothing about a rate.
const SHORTEST_SAMPLE: Duration = Duration::from_millis(50);
/// A rate before this is noise.
const FIRST_RATE: Duration = Duration::from_millis(500);
/// A time left before this is a guess.
const FIRST_TIME_LEFT: Duration = Duration::from_secs(2);
/// Without any advance for this long nobody knows how long it will take.
const STALL: Duration = Duration::from_secs(5);
/// A new estimate that differs by less than this share from what was shown does not replace it;
/// what was shown goes on like a clock and is drawn towards it.
const TOLERANCE: f64 = 0.15;

/// What can be said of a running phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The phase, in the engine's English words; empty before the first.
    pub phase: &'static str,
    /// Units done.
    pub done: u64,
    /// Of this many; 0 while unknown.
    pub total: u64,
    /// The share that is done, below 1. `None` when that is unknown, and when all units are done
    /// but the phase is not: a bar at 100 % that waits says less than the phase's name.
    pub fraction: Option<f64>,
    /// What is counted.
    pub unit: Unit,
    /// Units a second.
    pub rate: Option<f64>,
    /// How long the phase will take, where that can be told.
    pub time_left: Option<Duration>,
}

/// Turns samples of one job's progress into readings.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    phase: Option<Phase>,
}

#[derive(Clone, Debug)]
struct Phase {
    name: &'static str,
    total: u64,
    began: Duration,
    sampled: Duration,
    advanced: Duration,
    done: u64,
    /// Exponentially weighted sum of rates, and of the weights.
    rates: f64,
    weights: f64,
    /// The time left that was shown last, and when.
    shown: Option<(Duration, f64)>,
}

impl Meter {
    /// Takes in `progress` at `now`, a time on any clock that only goes forward.
    pub fn observe(&mut self, now: Duration, progress: &Progress) -> Reading {
        let goes_on = |phase: &Phase| {
            phase.name == progress.phase
                && phase.total == progress.total
                && phase.done <= progress.done
        };
        let phase = match self.phase.take() {
            Some(mut phase) if goes_on(&phase) => {
                phase.sample(now, progress.done);
                phase
            }
            _ => Phase::begin(now, progress),
        };
        self.phase.insert(phase).read(now, progress)
    }
}

impl Phase {
    fn begin(now: Duration, progress: &Progress) -> Self {
        Self {
            name: progress.phase,
            total: progress.total,
            began: now,
            sampled: now,
            advanced: now,
            done: progress.done,
            rates: 0.0,
            weights: 0.0,
            shown: None,
        }
    }

    fn sample(&mut self, now: Duration, done: u64) {
        let passed = now.saturating_sub(self.sampled);
        if passed < SHORTEST_SAMPLE {
            return;
        }
        let rate = as_f64(done - self.done) / passed.as_secs_f64();
        let weight = 1.0 - (-passed.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.rates += weight * (rate - self.rates);
        // A mean of few samples is divided by what they weigh, or it would start at 0.
        self.weights += weight * (1.0 - self.weights);
        if done > self.done {
            self.advanced = now;
        }
        self.sampled = now;
        self.done = done;
    }

    fn read(&mut self, now: Duration, progress: &Progress) -> Reading {
        let counts = progress.total > 0 && progress.done < progress.total;
        let age = now.saturating_sub(self.began);
        let rate = (age >= FIRST_RATE && self.weights > 0.0)
            .then(|| self.rates / self.weights)
            .filter(|rate| *rate > 0.0);
        let stalled = now.saturating_sub(self.advanced) >= STALL;
        let left = match rate {
            Some(rate) if counts && !stalled && age >= FIRST_TIME_LEFT => {
                Some(self.smooth(now, as_f64(progress.total - progress.done) / rate))
            }
            _ => None,
        };
        self.shown = left.map(|left| (now, left));
        Reading {
            phase: progress.phase,
            done: progress.done,
            total: progress.total,
            unit: progress.unit,
            fraction: counts.then(|| as_f64(progress.done) / as_f64(progress.total)),
            rate: rate.filter(|_| !stalled),
            time_left: left.and_then(|left| Duration::try_from_secs_f64(left).ok()),
        }
    }

    /// What to show when `estimate` seconds is what the rate says now.
    fn smooth(&self, now: Duration, estimate: f64) -> f64 {
        let Some((then, shown)) = self.shown else {
            return estimate;
        };
        let passed = now.saturating_sub(then).as_secs_f64();
        let expected = (shown - passed).max(0.0);
        if (estimate - expected).abs() > TOLERANCE * expected.max(4.0) {
            return estimate;
        }
        let pulled = expected + (estimate - expected) * (passed / MEMORY.as_secs_f64()).min(1.0);
        pulled.min(shown)
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "estimates need no more than 50 bits"
)]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);
    const TOTAL: u64 = 100_000;

    /// Readings every 100 ms while `advance` (by tick) is added up to `TOTAL`.
    fn run(advance: impl Fn(u32) -> u64) -> Vec<(f64, Reading)> {
        let mut meter = Meter::default();
        let mut progress = Progress {
            phase: "copying",
            done: 0,
            total: TOTAL,
            unit: Unit::Bytes,
        };
        let mut readings = Vec::new();
        let mut tick = 0;
        while progress.done < TOTAL && tick < 10_000 {
            let reading = meter.observe(TICK * tick, &progress);
            readings.push((f64::from(tick) / 10.0, reading));
            progress.done = (progress.done + advance(tick)).min(TOTAL);
            tick += 1;
        }
        readings
    }

    fn times(readings: &[(f64, Reading)]) -> Vec<(f64, f64)> {
        let left = |(at, reading): &(f64, Reading)| Some((*at, reading.time_left?.as_secs_f64()));
        readings.iter().filter_map(left).collect()
    }

    #[test]
    fn a_steady_rate_counts_down_to_the_end() {
        let readings = run(|_| 500); // 20 s
        let times = times(&readings);
        assert!(times[0].0 <= 2.05, "known after two seconds");
        for (at, left) in &times {
            assert!((at + left - 20.0).abs() < 0.5, "{left} at {at}");
        }
        assert!(times.is_sorted_by(|one, next| next.1 <= one.1));
        let rate = readings[50].1.rate.unwrap();
        assert!((rate - 5000.0).abs() < 50.0, "{rate}");
    }

    #[test]
    fn a_jerky_rate_does_not_make_the_time_jump() {
        // Bursts: four ticks nothing, then five times as much.
        let times = times(&run(|tick| if tick % 5 == 4 { 2500 } else { 0 }));
        let rises = times
            .windows(2)
            .filter(|pair| pair[1].1 > pair[0].1)
            .count();
        assert!(rises <= 2, "{rises} rises in {} readings", times.len());
        for (at, left) in times.iter().filter(|(at, _)| *at > 5.0) {
            assert!((at + left - 20.0).abs() < 4.0, "{left} at {at}");
        }
    }

    #[test]
    fn a_change_of_rate_is_believed_soon() {
        // 10 s at full speed, then a fifth of it: 50 s more.
        let times = times(&run(|tick| if tick < 100 { 500 } else { 100 }));
        for (at, left) in times.iter().filter(|(at, _)| *at > 22.0) {
            assert!((at + left - 60.0).abs() < 9.0, "{left} at {at}");
        }
    }

    #[test]
    fn what_stalls_has_no_time_left() {
        let mut meter = Meter::default();
        let at = |seconds| Duration::from_secs(seconds);
        let mut progress = Progress {
            phase: "copying",
            done: 0,
            total: 1000,
            unit: Unit::Bytes,
        };
        for second in 0..6 {
            progress.done = second * 100;
            meter.observe(at(second), &progress);
        }
        assert!(meter.observe(at(6), &progress).time_left.is_some());
        let reading = meter.observe(at(12), &progress);
        assert_eq!((reading.time_left, reading.rate), (None, None));
        assert_eq!(reading.fraction, Some(0.5));
    }

    #[test]
    fn a_full_bar_gives_way_to_the_phase() {
        let mut meter = Meter::default();
        let progress = |phase, done, total| Progress {
            phase,
            done,
            total,
            unit: Unit::Items,
        };
        let reading = meter.observe(TICK, &progress("copying", 10, 10));
        assert_eq!((reading.fraction, reading.time_left), (None, None));
        let reading = meter.observe(TICK * 2, &progress("flushing", 0, 0));
        assert_eq!((reading.phase, reading.fraction), ("flushing", None));
    }

    #[test]
    fn a_new_phase_starts_anew() {
        let mut meter = Meter::default();
        for second in 0..5 {
            let progress = Progress {
                phase: "reading",
                done: second * 100,
                total: 1000,
                unit: Unit::Bytes,
            };
            meter.observe(Duration::from_secs(second), &progress);
        }
        let progress = Progress {
            phase: "writing",
            done: 0,
            total: 1000,
            unit: Unit::Bytes,
        };
        let reading = meter.observe(Duration::from_secs(5), &progress);
        assert_eq!((reading.rate, reading.time_left), (None, None));
    }
}
