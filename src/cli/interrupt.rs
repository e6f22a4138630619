//! Ctrl-C, SIGTERM and SIGHUP: work that changes images stops at its next safe point, where nothing
//! is half done, and then the program ends as the signal would have ended it. A second signal ends
//! it at once.

use std::fs;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use platter::Control;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// What a shell adds to the number of the signal that ended a program.
const ENDED_BY_SIGNAL: usize = 128;

#[derive(Debug, Default)]
struct Signals {
    /// One has come.
    came: Arc<AtomicBool>,
    /// The last that came.
    which: Arc<AtomicUsize>,
}

static SIGNALS: OnceLock<Signals> = OnceLock::new();

/// A control that a signal cancels. From now on signals do not end the program by themselves.
pub(crate) fn control() -> Control {
    let signals = SIGNALS.get_or_init(watch);
    Control::cancelled_by(Arc::clone(&signals.came))
}

fn watch() -> Signals {
    let signals = Signals::default();
    let ignored = ignored();
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // `nohup` and shells have those ignored that are not meant for this program.
        if ignored & (1 << (signal - 1)) != 0 {
            continue;
        }
        let number = usize::try_from(signal).unwrap_or(0);
        // The first sees that none has come yet. Where this cannot be had, signals do what they
        // always do.
        let _ = flag::register_conditional_default(signal, Arc::clone(&signals.came))
            .and_then(|_| flag::register_usize(signal, Arc::clone(&signals.which), number))
            .and_then(|_| flag::register(signal, Arc::clone(&signals.came)));
    }
    signals
}

/// The signals that are ignored, bit by bit; the kernel says it in hexadecimal digits.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .unwrap_or(0)
}

/// Whether a signal has come.
pub(crate) fn came() -> bool {
    SIGNALS
        .get()
        .is_some_and(|signals| signals.came.load(Ordering::Relaxed))
}

/// Ends the program as the signal that came would have, for those who wait for it.
pub(crate) fn end() -> ExitCode {
    let which = SIGNALS
        .get()
        .map_or(0, |signals| signals.which.load(Ordering::Relaxed));
    if let Ok(signal) = i32::try_from(which) {
        let _ = low_level::emulate_default_handler(signal);
    }
    ExitCode::from(u8::try_from(ENDED_BY_SIGNAL + which).unwrap_or(u8::MAX))
}
