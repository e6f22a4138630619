//! How long something will take, in words.

use std::time::Duration;

use platter::op::sample::Estimate;

use crate::i18n::{counted, fill, gettext};

/// Below this, nobody waits.
const MOMENT: Duration = Duration::from_secs(2);

/// A range that is no wider than by this factor is one time.
const NARROW: f64 = 1.3;

/// "About 2 to 4 minutes, judging by a sample".
pub(crate) fn estimate(estimate: Estimate) -> String {
    if estimate.most < MOMENT {
        return gettext("A moment, judging by a sample");
    }
    let is_narrow = estimate.most <= estimate.least.mul_f64(NARROW);
    let (least, most) = (time(estimate.least), time(estimate.most));
    if is_narrow || least == most {
        fill(
            &gettext("About {time}, judging by a sample"),
            &[("time", &most)],
        )
    } else {
        fill(
            // Translators: between two times, as in "30 seconds to 2 minutes".
            &gettext("About {least} to {most}, judging by a sample"),
            &[("least", &least), ("most", &most)],
        )
    }
}

/// Rounded up, the more the longer it is.
fn time(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match seconds {
        0..=10 => counted("{n} second", "{n} seconds", seconds.max(1), &[]),
        11..=60 => {
            let seconds = seconds.next_multiple_of(10);
            counted("{n} second", "{n} seconds", seconds, &[])
        }
        61..=5400 => counted("{n} minute", "{n} minutes", seconds.div_ceil(60), &[]),
        _ => counted("{n} hour", "{n} hours", (seconds + 1800) / 3600, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_said_only_where_there_is_one() {
        let said = |least, most| {
            let said = estimate(Estimate {
                least: Duration::from_millis(least),
                most: Duration::from_millis(most),
            });
            said.replace('\u{a0}', " ")
        };
        assert_eq!(said(10, 900), "A moment, judging by a sample");
        assert_eq!(
            said(41_000, 49_000),
            "About 50 seconds, judging by a sample"
        );
        assert_eq!(said(6_000, 7_000), "About 7 seconds, judging by a sample");
        assert_eq!(
            said(30_000, 200_000),
            "About 30 seconds to 4 minutes, judging by a sample"
        );
        assert_eq!(
            said(3_500_000, 8_000_000),
            "About 59 minutes to 2 hours, judging by a sample"
        );
    }
}
