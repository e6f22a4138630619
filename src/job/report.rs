//! What a job did, step by step, with the time each took.

use std::fmt::Write as _;
use std::time::Duration;

use crate::job::State;
use crate::phrase::Phrase;

/// A step of a job: a phase of its control.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// The phase, in the engine's English words.
    pub phase: &'static str,
    /// Time spent in it.
    pub elapsed: Duration,
    /// How often it was entered.
    pub times: u64,
}

/// A job and its steps, in the order they were first entered.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the job does.
    pub title: Phrase,
    /// How it stands, or ended.
    pub state: State,
    /// When it began, since 1970-01-01 UTC.
    pub began: Duration,
    /// How long it ran.
    pub elapsed: Duration,
    /// What it did. Phases are literals of the engine: there are not many.
    pub steps: Vec<Step>,
}

impl Report {
    /// For a log or a letter, in English: a line for the job, then its steps, messages and, for a
    /// failure, its causes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        let state = match &self.state {
            State::Queued => "waiting",
            State::Running | State::Cancelling => "running",
            State::Done(_) => "done",
            State::Cancelled => "cancelled",
            State::Failed(_) => "failed",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{state} after {}", seconds(self.elapsed));
        for step in &self.steps {
            let times = match step.times {
                1 => String::new(),
                times => format!(" ({times} times)"),
            };
            let _ = writeln!(text, "  {}{times}: {}", step.phase, seconds(step.elapsed));
        }
        match &self.state {
            State::Done(outcome) => {
                let message = outcome.message.iter().map(ToString::to_string);
                for line in message.chain(outcome.notes.iter().cloned()) {
                    let _ = writeln!(text, "{line}");
                }
            }
            State::Failed(error) => {
                let _ = writeln!(text, "{error}");
                let mut cause = std::error::Error::source(error.as_ref());
                while let Some(error) = cause {
                    let _ = writeln!(text, "  {error}");
                    cause = error.source();
                }
            }
            State::Queued | State::Running | State::Cancelling | State::Cancelled => {}
        }
        text
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Takes the times of phases while a job runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder {
    steps: Vec<Step>,
    /// Index of the phase that runs, and since when.
    current: Option<(usize, Duration)>,
}

impl Recorder {
    /// `phase` begins at `now`, and what was before ends.
    pub(super) fn enter(&mut self, phase: &'static str, now: Duration) {
        self.leave(now);
        let known = self.steps.iter().position(|step| step.phase == phase);
        let index = known.unwrap_or_else(|| {
            self.steps.push(Step {
                phase,
                elapsed: Duration::ZERO,
                times: 0,
            });
            self.steps.len() - 1
        });
        self.steps[index].times += 1;
        self.current = Some((index, now));
    }

    /// The job is over.
    pub(super) fn leave(&mut self, now: Duration) {
        if let Some((index, since)) = self.current.take() {
            self.steps[index].elapsed += now.saturating_sub(since);
        }
    }

    /// The steps as of `now`.
    pub(super) fn steps(&self, now: Duration) -> Vec<Step> {
        let mut recorder = self.clone();
        recorder.leave(now);
        recorder.steps
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::error::Error;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn steps_add_up() {
        let mut recorder = Recorder::default();
        recorder.enter("copying", at(1));
        recorder.enter("flushing", at(4));
        recorder.enter("copying", at(5));
        let steps = recorder.steps(at(7));
        assert_eq!(steps.len(), 2);
        assert_eq!((steps[0].elapsed, steps[0].times), (at(5), 2));
        assert_eq!((steps[1].elapsed, steps[1].times), (at(1), 1));
        recorder.leave(at(8));
        assert_eq!(recorder.steps(at(99))[0].elapsed, at(6));
    }

    #[test]
    fn a_failure_is_written_down_with_its_cause() {
        let cause = io::Error::other("no space left on device");
        let error = Error::io("cannot write", cause).with_path("/vm/a.raw");
        let mut recorder = Recorder::default();
        recorder.enter("copying", at(0));
        let report = Report {
            title: Phrase::new("Copy"),
            state: State::Failed(Arc::new(error)),
            began: at(0),
            elapsed: at(3),
            steps: recorder.steps(at(3)),
        };
        assert_eq!(
            report.to_text(),
            "Copy\nfailed after 3.0 s\n  copying: 3.0 s\n/vm/a.raw: cannot write\n  no space left on device\n"
        );
    }
}
