//! Jobs that wait for each other on channels: no test waits for time to pass.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::error::ErrorKind;

struct House {
    manager: Manager,
    events: Receiver<Event>,
    /// The manager's jobs run on it.
    _runtime: Runtime,
}

impl House {
    fn new(slots: usize) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let (told, events) = channel();
        let listener = move |event| {
            // The test may be over.
            let _ = told.send(event);
        };
        Self {
            manager: Manager::new(runtime.handle().clone(), slots, Box::new(listener)),
            events,
            _runtime: runtime,
        }
    }

    fn submit(&self, job: Job) -> JobId {
        self.manager.submit(job, WhenBusy::Wait).unwrap()
    }

    fn expect(&self, events: &[Event]) {
        for event in events {
            assert_eq!(self.events.recv().unwrap(), *event);
        }
    }

    fn state(&self, id: JobId) -> State {
        self.manager.status(id).unwrap().state
    }
}

fn job(title: &'static str, claims: &[Claim], work: Work) -> Job {
    Job {
        title: Phrase::new(title),
        claims: claims.to_vec(),
        work,
    }
}

/// A job that runs until it is told to end, or is cancelled at a checkpoint when it is told.
fn held(title: &'static str, claims: &[Claim]) -> (Job, Sender<()>) {
    let (end, told) = channel();
    let work = move |control: &Control| {
        control.enter("waiting", 0);
        // An error is as good as a word: the test has ended.
        let _ = told.recv();
        control.checkpoint()?;
        Ok(Outcome::default())
    };
    (job(title, claims, Box::new(work)), end)
}

fn write(path: &str) -> Claim {
    Claim::write(Path::new(path))
}

fn read(path: &str) -> Claim {
    Claim::read(Path::new(path))
}

#[test]
fn jobs_on_one_file_follow_each_other_and_others_run_beside() {
    let house = House::new(4);
    let (first, end_first) = held("first", &[write("/vm/a")]);
    let (second, end_second) = held("second", &[read("/vm/a"), write("/vm/b")]);
    let (other, end_other) = held("other", &[write("/vm/c")]);
    let first = house.submit(first);
    let second = house.submit(second);
    let other = house.submit(other);
    house.expect(&[Event::Started(first), Event::Started(other)]);
    assert!(matches!(house.state(second), State::Queued));
    let busy = house.manager.waits_for(second).unwrap();
    assert_eq!(busy.to_string(), "a is being changed by 'first'");
    assert_eq!(house.manager.live(), 3);

    end_first.send(()).unwrap();
    house.expect(&[Event::Finished(first), Event::Started(second)]);
    assert!(house.manager.waits_for(second).is_none());
    end_other.send(()).unwrap();
    house.expect(&[Event::Finished(other)]);
    end_second.send(()).unwrap();
    house.expect(&[Event::Finished(second), Event::Idle]);
    assert!(matches!(house.state(second), State::Done(_)));
}

#[test]
fn a_reader_does_not_overtake_a_writer_that_waits() {
    let house = House::new(4);
    let (reads, end_reads) = held("reads", &[read("/vm/a")]);
    let (writes, end_writes) = held("writes", &[write("/vm/a")]);
    let (late, end_late) = held("late", &[read("/vm/a")]);
    let [reads, writes, late] = [reads, writes, late].map(|job| house.submit(job));
    house.expect(&[Event::Started(reads)]);
    assert!(matches!(house.state(late), State::Queued));
    end_reads.send(()).unwrap();
    house.expect(&[Event::Finished(reads), Event::Started(writes)]);
    end_writes.send(()).unwrap();
    house.expect(&[Event::Finished(writes), Event::Started(late)]);
    end_late.send(()).unwrap();
    house.expect(&[Event::Finished(late), Event::Idle]);
}

#[test]
fn a_busy_file_can_be_refused_with_the_reason() {
    let house = House::new(4);
    let (commit, end) = held("Commit web.qcow2", &[write("/vm/disk.qcow2")]);
    house.submit(commit);
    let (late, _end) = held("late", &[read("/vm/disk.qcow2")]);
    let busy = house.manager.submit(late, WhenBusy::Refuse).unwrap_err();
    assert_eq!(
        busy.to_string(),
        "disk.qcow2 is being changed by 'Commit web.qcow2'"
    );
    assert!(house.manager.is_writing());
    assert!(
        house
            .manager
            .writer_of(Path::new("/vm/disk.qcow2"))
            .is_some()
    );
    assert!(house.manager.writer_of(Path::new("/vm/other")).is_none());
    end.send(()).unwrap();
    house.manager.wait_until_idle();
    assert!(!house.manager.is_writing());
}

#[test]
fn no_more_run_than_there_are_slots() {
    let house = House::new(1);
    let (first, end_first) = held("first", &[]);
    let (second, end_second) = held("second", &[]);
    let [first, second] = [first, second].map(|job| house.submit(job));
    house.expect(&[Event::Started(first)]);
    assert!(matches!(house.state(second), State::Queued));
    assert!(house.manager.waits_for(second).is_none(), "only its turn");
    end_first.send(()).unwrap();
    house.expect(&[Event::Finished(first), Event::Started(second)]);
    end_second.send(()).unwrap();
    house.expect(&[Event::Finished(second), Event::Idle]);
}

#[test]
fn cancel_ends_a_waiting_job_at_once_and_a_running_one_at_its_checkpoint() {
    let house = House::new(1);
    let (running, end) = held("running", &[]);
    let (waiting, _end) = held("waiting", &[]);
    let [running, waiting] = [running, waiting].map(|job| house.submit(job));
    house.expect(&[Event::Started(running)]);
    house.manager.cancel(waiting);
    house.expect(&[Event::Finished(waiting)]);
    assert!(matches!(house.state(waiting), State::Cancelled));

    house.manager.cancel_all();
    assert!(matches!(house.state(running), State::Cancelling));
    end.send(()).unwrap();
    house.manager.wait_until_idle();
    assert!(matches!(house.state(running), State::Cancelled));
    house.expect(&[Event::Finished(running), Event::Idle]);
}

#[test]
fn a_failure_is_kept_and_gives_the_files_back() {
    let house = House::new(2);
    let fails = house.submit(job(
        "fails",
        &[write("/vm/a")],
        Box::new(|control| {
            control.enter("writing", 10);
            Err(Error::corrupt("bad").with_path("/vm/a").into())
        }),
    ));
    let panics = house.submit(job(
        "panics",
        &[write("/vm/a")],
        Box::new(|_| panic!("part of the test")),
    ));
    house.manager.wait_until_idle();
    let State::Failed(error) = house.state(fails) else {
        panic!("did not fail");
    };
    assert_eq!(error.to_string(), "/vm/a: bad");
    let report = house.manager.report(fails).unwrap();
    assert_eq!(report.steps[0].phase, "writing");
    assert!(report.to_text().ends_with("/vm/a: bad\n"));
    assert!(
        matches!(house.state(panics), State::Failed(error) if error.kind() == ErrorKind::Unsupported)
    );
}

#[test]
fn what_was_made_is_what_is_shown() {
    let house = House::new(2);
    let id = house.submit(job(
        "makes",
        &[write("/vm/a")],
        Box::new(|_| {
            Ok(Outcome {
                made: Some("/vm/b".into()),
                ..Outcome::default()
            })
        }),
    ));
    house.manager.wait_until_idle();
    let status = house.manager.status(id).unwrap();
    assert_eq!(status.file(), Some(Path::new("/vm/b")));
    house.manager.forget(id);
    assert!(house.manager.statuses().is_empty());
}

#[test]
fn old_jobs_are_forgotten() {
    let house = House::new(2);
    for _ in 0..60 {
        house.submit(job("short", &[], Box::new(|_| Ok(().into()))));
    }
    house.manager.wait_until_idle();
    assert_eq!(house.manager.statuses().len(), 50);
}
