//! Self-measurement for tests: time to the first frame, longest stall of the main loop. Off unless
//! `PLATTER_METRICS` is set; then lines `METRIC key=value…` go to standard output, and the action
//! `app.metrics` prints the stalls since the last time.
//!
//! Beside the time on the clock stands that which the main thread really computed, and that which it
//! was busy: the time on the clock without the waiting for a processor, so computing and blocking
//! calls. Both are the same on a busy machine, so that tests can set limits.

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use relm4::gtk::{gio, glib, prelude::*};
use relm4::{adw, gtk};

const HEARTBEAT_MICROSECONDS: u32 = 5_000;
const STALL_MICROSECONDS: i64 = 50_000;

/// Prints the time since the process was started.
pub(crate) fn mark(what: &str) {
    if enabled() {
        let elapsed = glib::monotonic_time() - start_time();
        say(&format!(
            "METRIC mark what={what} ms={} cpu_ms={}",
            milliseconds(elapsed),
            milliseconds(account().computed)
        ));
    }
}

/// Watches the main loop from now on, and the window's first frame.
pub(crate) fn install(app: &adw::Application, window: &impl IsA<gtk::Window>) {
    if !enabled() {
        return;
    }
    mark_first_frame(window.upcast_ref());
    let stalls = Rc::new(Stalls::default());
    stalls.last_beat.set(glib::monotonic_time());
    stalls.last_account.set(account());
    let beating = Rc::clone(&stalls);
    let beat = Duration::from_micros(HEARTBEAT_MICROSECONDS.into());
    glib::timeout_add_local_full(beat, glib::Priority::HIGH, move || {
        beating.beat();
        glib::ControlFlow::Continue
    });
    let action = gio::SimpleAction::new("metrics", None);
    action.connect_activate(move |_, _| stalls.report());
    app.add_action(&action);
}

#[derive(Default)]
struct Stalls {
    last_beat: Cell<i64>,
    longest: Cell<i64>,
    last_account: Cell<Account>,
    longest_computed: Cell<i64>,
    longest_busy: Cell<i64>,
    over_limit: Cell<u32>,
}

impl Stalls {
    fn beat(&self) {
        let now = glib::monotonic_time();
        let late = now - self.last_beat.replace(now) - i64::from(HEARTBEAT_MICROSECONDS);
        self.longest.set(self.longest.get().max(late));
        let account = account();
        let before = self.last_account.replace(account);
        let computed = account.computed - before.computed;
        self.longest_computed
            .set(self.longest_computed.get().max(computed));
        let busy = late - (account.waited - before.waited);
        self.longest_busy.set(self.longest_busy.get().max(busy));
        if late > STALL_MICROSECONDS {
            self.over_limit.set(self.over_limit.get() + 1);
        }
    }

    fn report(&self) {
        say(&format!(
            "METRIC stalls longest_ms={} longest_cpu_ms={} longest_busy_ms={} over50={}",
            milliseconds(self.longest.replace(0)),
            milliseconds(self.longest_computed.replace(0)),
            milliseconds(self.longest_busy.replace(0)),
            self.over_limit.replace(0)
        ));
    }
}

fn mark_first_frame(window: &gtk::Window) {
    window.connect_realize(|window| {
        let Some(clock) = window.frame_clock() else {
            return;
        };
        let seen = Cell::new(false);
        clock.connect_after_paint(move |_| {
            if !seen.replace(true) {
                mark("first-frame");
            }
        });
    });
}

fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| std::env::var_os("PLATTER_METRICS").is_some())
}

/// Microseconds of the monotonic clock when the process was started. The value of the variable is
/// that time if the one who starts us knows it; otherwise the first call counts.
fn start_time() -> i64 {
    static START: OnceLock<i64> = OnceLock::new();
    *START.get_or_init(|| {
        ["PLATTER_METRICS", "UIDRIVE_T0"]
            .iter()
            .filter_map(|name| std::env::var(name).ok()?.parse::<i64>().ok())
            .find(|start| *start > 1)
            .unwrap_or_else(glib::monotonic_time)
    })
}

/// Microseconds of this thread's life, by the kernel's account; 0 where it keeps none.
#[derive(Clone, Copy, Default)]
struct Account {
    /// It computed.
    computed: i64,
    /// It was ready to, and others had the processors.
    waited: i64,
}

fn account() -> Account {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut fields = text
        .split_whitespace()
        .map(|field| field.parse::<i64>().unwrap_or(0) / 1000);
    Account {
        computed: fields.next().unwrap_or(0),
        waited: fields.next().unwrap_or(0),
    }
}

fn milliseconds(microseconds: i64) -> String {
    format!("{}.{}", microseconds / 1000, microseconds % 1000 / 100)
}

/// Standard output is a pipe under a test driver: flushed line by line.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
