//! Points in time for people.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time since 1970 as "2026-11-22 09:55:59", by the clock of this place. Beyond the year 9999
/// the number of seconds.
pub(crate) fn local(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(
        || seconds.to_string(),
        |time| {
            time.to_zoned(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        },
    )
}
