//! `-p`: how far the work is, as `qemu-img` shows it.

use std::io::{self, Write as _};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use platter::Control;

/// Prints how far `work` is, until it is done; that it is at its beginning was printed before.
pub(crate) fn with_progress<T>(control: &Control, work: impl FnOnce() -> T) -> io::Result<T> {
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        let printer = scope.spawn(move || -> io::Result<()> {
            let mut shown = 0.0;
            while is_done.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout)
            {
                let percent = percent_done(control);
                if percent > shown {
                    shown = percent;
                    print_progress(percent)?;
                }
            }
            let percent = percent_done(control);
            if percent > shown {
                print_progress(percent)?;
            }
            Ok(())
        });
        let result = work();
        drop(done);
        match printer.join() {
            Ok(printed) => printed.map(|()| result),
            Err(_) => Ok(result),
        }
    })
}

/// Does `work`; if `shown`, with the progress of it, up to the end.
pub(crate) fn watched<T, E>(
    shown: bool,
    control: &Control,
    work: impl FnOnce() -> Result<T, E>,
) -> io::Result<Result<T, E>> {
    if !shown {
        return Ok(work());
    }
    let ended = with_progress(control, work)?;
    if ended.is_ok() {
        print_progress(100.0)?;
    }
    Ok(ended)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a percentage with two digits behind the point"
)]
fn percent_done(control: &Control) -> f64 {
    let progress = control.progress();
    match progress.total {
        0 => 0.0,
        total => (progress.done as f64 * 100.0 / total as f64).min(100.0),
    }
}

/// Shows `percent` as done.
pub(crate) fn print_progress(percent: f64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "    ({percent:.2}/100%)\r")?;
    out.flush()
}
