//! Sizes as people type them.

use platter::units::ByteSize;

/// A disk is a whole number of these.
const SECTOR: u64 = 512;

/// The size that `text` means for a disk that has `old` bytes: `20G`, `+2G`, `-500M`, `150 %`,
/// rounded up to whole sectors. `None` for anything else, and for no size at all.
pub(crate) fn size(text: &str, old: u64) -> Option<u64> {
    let text = text.trim().replace(['\u{a0}', '\u{202f}'], "");
    let bytes = if let Some(percent) = text.strip_suffix('%') {
        let percent: u64 = percent.trim().parse().ok()?;
        u64::try_from(u128::from(old) * u128::from(percent) / 100).ok()?
    } else if let Some(more) = text.strip_prefix('+') {
        old.checked_add(parse(more)?)?
    } else if let Some(less) = text.strip_prefix(['-', '−']) {
        old.checked_sub(parse(less)?)?
    } else {
        parse(&text)?
    };
    let whole = bytes.checked_next_multiple_of(SECTOR)?;
    (whole > 0 && i64::try_from(whole).is_ok()).then_some(whole)
}

/// A size as people would type it, to the byte: in the largest unit that leaves no fraction.
pub(crate) fn text(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    match whole {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} B"),
    }
}

/// With a point or a comma, as the user's country writes fractions.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.trim().replace(',', ".");
    ByteSize::parse(&text).ok().map(|size| size.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for bytes in [512, 1 << 20, 1524 << 20, 3 << 30, (5 << 30) + 512] {
            assert_eq!(size(&text(bytes), 0), Some(bytes), "{}", text(bytes));
        }
        assert_eq!(text(1524 << 20), "1524 MiB");
    }

    const GIB: u64 = 1 << 30;

    #[test]
    fn sizes_are_absolute_relative_or_a_share() {
        for (text, bytes) in [
            ("20G", 20 * GIB),
            ("20 GiB", 20 * GIB),
            ("20\u{a0}GiB", 20 * GIB),
            ("1,5G", GIB + GIB / 2),
            ("+2G", 12 * GIB),
            ("-2G", 8 * GIB),
            ("50%", 5 * GIB),
            ("150 %", 15 * GIB),
            ("1000", 1024),
        ] {
            assert_eq!(size(text, 10 * GIB), Some(bytes), "{text}");
        }
        for text in ["", "big", "-10G", "-20G", "0", "+", "%", "9E"] {
            assert_eq!(size(text, 10 * GIB), None, "{text}");
        }
    }
}
