//! Jobs in words.

use std::time::Duration;

use platter::control::Unit;
use platter::job::{Busy, Reading, State, Status};

use crate::comparison::Comparison;
use crate::describe;
use crate::format;
use crate::i18n::{counted, fill, gettext};
use crate::operation::{Draft, Offer};

/// How far all jobs together are, for the ring, and in words. Nothing to do is a full ring.
pub(super) fn summary(statuses: &[Status]) -> (Option<f64>, String) {
    let live: Vec<&Status> = statuses
        .iter()
        .filter(|status| !status.state.is_finished())
        .collect();
    if live.is_empty() {
        return (Some(1.0), gettext("All jobs are finished"));
    }
    let fractions: Vec<f64> = live
        .iter()
        .filter_map(|status| status.reading.fraction)
        .collect();
    #[allow(clippy::cast_precision_loss, reason = "a handful of jobs")]
    let mean =
        (!fractions.is_empty()).then(|| fractions.iter().sum::<f64>() / fractions.len() as f64);
    let running = counted(
        "{n} job is running",
        "{n} jobs are running",
        live.len() as u64,
        &[],
    );
    let words = match mean {
        Some(mean) => format!("{running}, {}", percent(mean)),
        None => running,
    };
    (mean, words)
}

/// What a job does at the moment.
pub(super) fn doing(status: &Status, waits_for: Option<&Busy>) -> String {
    match &status.state {
        State::Queued => waits_for.map_or_else(|| gettext("Waiting"), waiting),
        State::Cancelling => gettext("Stopping at the next safe point"),
        State::Running if status.reading.phase.is_empty() => gettext("Working"),
        State::Running => describe::phase(status.reading.phase),
        State::Done(outcome) => {
            let message = outcome.message.as_ref().map(describe::phrase);
            message.unwrap_or_else(|| gettext("Done"))
        }
        State::Cancelled => gettext("Cancelled"),
        State::Failed(error) => describe::operation_error(error),
    }
}

fn waiting(busy: &Busy) -> String {
    fill(
        &gettext("Waiting: “{name}” is in use by “{job}”"),
        &[
            ("name", &format::file_name(&busy.file)),
            ("job", &describe::phrase(&busy.holder)),
        ],
    )
}

/// "1.2 of 4 GiB · 320 MiB/s · about 9 s left", as much of it as is known.
pub(super) fn numbers(reading: &Reading) -> String {
    let mut parts = Vec::new();
    match (reading.unit, reading.fraction) {
        (Unit::Bytes, Some(_)) => {
            parts.push(format::size_of_total(reading.done, reading.total));
        }
        (Unit::Items, Some(fraction)) => parts.push(percent(fraction)),
        (_, None) => {}
    }
    if let (Unit::Bytes, Some(rate)) = (reading.unit, reading.rate) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is no larger than a count and never negative"
        )]
        let rate = format::size(rate as u64);
        // Translators: a speed; {size} is for example "320 MiB".
        parts.push(fill(&gettext("{size}/s"), &[("size", &rate)]));
    }
    parts.extend(reading.time_left.map(time_left));
    parts.join(" · ")
}

/// Rounded the more, the longer it is.
fn time_left(left: Duration) -> String {
    let seconds = left.as_secs_f64().ceil();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time left is never negative"
    )]
    let seconds = seconds as u64;
    match seconds {
        0..=10 => counted(
            "about {n} second left",
            "about {n} seconds left",
            seconds.max(1),
            &[],
        ),
        11..=60 => {
            let seconds = seconds.next_multiple_of(5);
            counted(
                "about {n} second left",
                "about {n} seconds left",
                seconds,
                &[],
            )
        }
        61..=5400 => {
            let minutes = seconds.div_ceil(60);
            counted(
                "about {n} minute left",
                "about {n} minutes left",
                minutes,
                &[],
            )
        }
        _ => {
            let hours = (seconds + 1800) / 3600;
            counted("about {n} hour left", "about {n} hours left", hours, &[])
        }
    }
}

/// What to say in passing when a job is over.
pub(super) fn ended(status: &Status) -> Option<String> {
    let title = describe::phrase(&status.title);
    let template = match &status.state {
        State::Done(outcome) => match &outcome.message {
            Some(message) => return Some(describe::phrase(message)),
            None => gettext("Done: {job}"),
        },
        State::Cancelled => gettext("Cancelled: {job}"),
        State::Failed(_) => gettext("Failed: {job}"),
        State::Queued | State::Running | State::Cancelling => return None,
    };
    Some(fill(&template, &[("job", &title)]))
}

/// What is offered with that sentence.
pub(super) fn offer(undo: Option<Draft>, compared: Option<&Comparison>) -> Option<Offer> {
    let differs = compared.filter(|compared| !compared.found.is_empty());
    let differences = differs.map(|compared| Offer::Differences(compared.subject.clone()));
    undo.map(Offer::Undo).or(differences)
}

/// How long a step took.
pub(super) fn elapsed(time: Duration) -> String {
    let tenths = time.as_millis().div_ceil(100);
    match tenths {
        0..=599 => fill(
            // Translators: a time in seconds; {n} is for example "3.4".
            &gettext("{n} s"),
            &[("n", &format!("{}.{}", tenths / 10, tenths % 10))],
        ),
        _ => fill(
            // Translators: a time in minutes and seconds.
            &gettext("{minutes} min {seconds} s"),
            &[
                ("minutes", &(tenths / 600).to_string()),
                ("seconds", &(tenths % 600 / 10).to_string()),
            ],
        ),
    }
}

fn percent(fraction: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 10000"
    )]
    let part = (fraction.clamp(0.0, 1.0) * 10_000.0) as u64;
    format::percent(part, 10_000)
}

#[cfg(test)]
mod tests {
    use platter::job::{JobId, Outcome};
    use platter::phrase::Phrase;

    use super::*;

    fn reading() -> Reading {
        Reading {
            phase: "copying",
            done: 1 << 30,
            total: 4 << 30,
            fraction: Some(0.25),
            rate: Some(320.0 * 1024.0 * 1024.0),
            time_left: Some(Duration::from_secs(9)),
            ..Reading::default()
        }
    }

    fn status(state: State) -> Status {
        Status {
            id: JobId::default(),
            title: Phrase::new("Copy a.raw"),
            state,
            reading: reading(),
            elapsed: Duration::from_secs(3),
            writes: Vec::new(),
        }
    }

    fn plain(text: &str) -> String {
        text.replace(['\u{a0}', '\u{202f}'], " ")
    }

    #[test]
    fn numbers_say_what_is_known() {
        assert_eq!(
            plain(&numbers(&reading())),
            "1 of 4 GiB · 320 MiB/s · about 9 seconds left"
        );
        let items = Reading {
            unit: Unit::Items,
            ..reading()
        };
        assert_eq!(plain(&numbers(&items)), "25 % · about 9 seconds left");
        assert_eq!(numbers(&Reading::default()), "");
    }

    #[test]
    fn times_are_as_exact_as_they_are_worth() {
        let left = |seconds| time_left(Duration::from_secs(seconds));
        assert_eq!(left(0), "about 1 second left");
        assert_eq!(left(41), "about 45 seconds left");
        assert_eq!(left(61), "about 2 minutes left");
        assert_eq!(left(7300), "about 2 hours left");
        assert_eq!(elapsed(Duration::from_millis(3400)), "3.4 s");
        assert_eq!(elapsed(Duration::from_secs(125)), "2 min 5 s");
    }

    #[test]
    fn the_ring_is_the_mean_of_what_is_known() {
        let mut other = status(State::Running);
        other.reading.fraction = Some(0.75);
        let (mean, words) = summary(&[status(State::Running), other]);
        assert_eq!(mean, Some(0.5));
        assert_eq!(plain(&words), "2 jobs are running, 50 %");
        assert_eq!(summary(&[status(State::Cancelled)]).0, Some(1.0));
        let mut unknown = status(State::Running);
        unknown.reading.fraction = None;
        assert_eq!(summary(&[unknown]).0, None);
    }

    #[test]
    fn the_end_is_said_in_the_words_of_the_job() {
        assert_eq!(ended(&status(State::Running)), None);
        assert_eq!(
            ended(&status(State::Cancelled)).unwrap(),
            "Cancelled: Copy a.raw"
        );
        let outcome = Outcome {
            message: Some(Phrase::new("Gave back {size}").size("size", 1 << 30)),
            ..Outcome::default()
        };
        assert_eq!(
            plain(&ended(&status(State::Done(outcome))).unwrap()),
            "Gave back 1 GiB"
        );
    }
}
