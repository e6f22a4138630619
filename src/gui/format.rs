//! How numbers and names are shown: sizes with binary prefixes, exact bytes for tooltips, folders
//! with `~`.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use relm4::gtk::glib;

use crate::i18n::{fill, gettext, ngettext};

/// Between groups of digits: narrow, and no line break. Not a comma or a point, which mean
/// different things in different countries.
const GROUP_SEPARATOR: char = '\u{202f}';

/// Between number and unit.
const UNIT_SEPARATOR: char = '\u{a0}';

/// "14.2 GiB": one digit after the point below 100, none when it would be 0.
pub(crate) fn size(bytes: u64) -> String {
    let unit = unit_of(bytes);
    format!(
        "{}{UNIT_SEPARATOR}{}",
        in_unit(bytes, unit),
        unit_name(unit)
    )
}

/// "14.2 of 40 GiB": the unit is said once where it is the same for both.
pub(crate) fn size_of_total(part: u64, total: u64) -> String {
    let (part_unit, total_unit) = (unit_of(part), unit_of(total));
    let part = if part_unit == total_unit || part == 0 {
        in_unit(part, total_unit)
    } else {
        size(part)
    };
    fill(
        // Translators: a part of a size and the whole, as in "14.2 of 40 GiB".
        &gettext("{part} of {total}"),
        &[("part", &part), ("total", &size(total))],
    )
}

/// "42 949 672 960 bytes": for tooltips beside every rounded size.
pub(crate) fn exact_bytes(bytes: u64) -> String {
    let for_plural = u32::try_from(bytes).unwrap_or(u32::MAX);
    fill(
        &ngettext("{n} byte", "{n} bytes", for_plural),
        &[("n", &number(bytes))],
    )
}

/// Digits in groups of three.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(GROUP_SEPARATOR);
        }
        text.push(digit);
    }
    text
}

/// "31 %" of a whole; nothing is 0 % and everything 100 % only when that is exact.
pub(crate) fn percent(part: u64, total: u64) -> String {
    let value = if total == 0 {
        0
    } else {
        u128::from(part) * 100 / u128::from(total)
    };
    let text = if value == 0 && part > 0 {
        "< 1".to_owned()
    } else {
        value.to_string()
    };
    // Translators: a percentage, with the space that your language puts there.
    fill(&gettext("{n} %"), &[("n", &text)])
}

/// A moment since 1970-01-01 UTC, in the user's time zone and order.
pub(crate) fn date(since_epoch: Duration) -> String {
    i64::try_from(since_epoch.as_secs())
        .ok()
        .and_then(|seconds| glib::DateTime::from_unix_local(seconds).ok())
        .and_then(|date| date.format("%x %H:%M").ok())
        .map_or_else(|| gettext("unknown date"), Into::into)
}

/// The file's name, as text.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// The folder that holds `path`, with the home folder as `~`.
pub(crate) fn folder(path: &Path) -> String {
    with_tilde(path.parent().unwrap_or(Path::new("/")), &glib::home_dir())
}

/// The whole path, with the home folder as `~`.
pub(crate) fn short_path(path: &Path) -> String {
    with_tilde(path, &glib::home_dir())
}

fn with_tilde(path: &Path, home: &Path) -> String {
    match path.strip_prefix(home) {
        Ok(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Ok(rest) => format!("~/{}", rest.display()),
        Err(_) if path.as_os_str().is_empty() => ".".to_owned(),
        Err(_) => path.display().to_string(),
    }
}

/// Power of 1024 in which `bytes` is shown: what would be rounded to 1024 of one is 1 of the next.
fn unit_of(bytes: u64) -> u32 {
    (0..6)
        .find(|unit| rounded(bytes, *unit) < 1024)
        .unwrap_or(6)
}

fn rounded(bytes: u64, unit: u32) -> u128 {
    let divisor = 1_u128 << (10 * unit);
    (u128::from(bytes) + divisor / 2) / divisor
}

fn in_unit(bytes: u64, unit: u32) -> String {
    let divisor = 1_u128 << (10 * unit);
    let tenths = (u128::from(bytes) * 10 + divisor / 2) / divisor;
    if unit == 0 || tenths >= 1000 || tenths.is_multiple_of(10) {
        return number(u64::try_from(rounded(bytes, unit)).unwrap_or(u64::MAX));
    }
    format!("{}{}{}", tenths / 10, decimal_point(), tenths % 10)
}

fn unit_name(unit: u32) -> String {
    match unit {
        0 => gettext("B"),
        1 => gettext("KiB"),
        2 => gettext("MiB"),
        3 => gettext("GiB"),
        4 => gettext("TiB"),
        5 => gettext("PiB"),
        _ => gettext("EiB"),
    }
}

/// The locale's decimal point, as GLib writes it.
fn decimal_point() -> &'static str {
    static POINT: OnceLock<String> = OnceLock::new();
    POINT.get_or_init(|| {
        let sample = glib::format_size(1_500_000);
        sample
            .split_once('1')
            .and_then(|(_, rest)| Some(rest.split_once('5')?.0.to_owned()))
            .filter(|point| !point.is_empty())
            .unwrap_or_else(|| ".".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn plain(text: &str) -> String {
        text.replace(UNIT_SEPARATOR, " ")
            .replace(GROUP_SEPARATOR, ",")
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1,023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (14 * GIB + GIB / 5, "14.2 GiB"),
            (40 * GIB, "40 GiB"),
            (966 << 20, "966 MiB"),
            (GIB - 1, "1 GiB"),
            (64 << 40, "64 TiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(plain(&size(bytes)), text, "{bytes}");
        }
    }

    #[test]
    fn one_unit_is_said_once() {
        assert_eq!(plain(&size_of_total(14 * GIB, 40 * GIB)), "14 of 40 GiB");
        assert_eq!(plain(&size_of_total(0, 40 * GIB)), "0 of 40 GiB");
        assert_eq!(plain(&size_of_total(1 << 20, 40 * GIB)), "1 MiB of 40 GiB");
    }

    #[test]
    fn exact_and_percent() {
        assert_eq!(plain(&exact_bytes(40 * GIB)), "42,949,672,960 bytes");
        assert_eq!(plain(&exact_bytes(1)), "1 byte");
        assert_eq!(percent(1, 1000), "< 1 %");
        assert_eq!(percent(999, 1000), "99 %");
        assert_eq!(percent(0, 0), "0 %");
    }

    #[test]
    fn home_is_a_tilde() {
        let home = Path::new("/home/me");
        assert_eq!(with_tilde(Path::new("/home/me/VMs"), home), "~/VMs");
        assert_eq!(with_tilde(Path::new("/home/me"), home), "~");
        assert_eq!(with_tilde(Path::new("/home/meyer"), home), "/home/meyer");
        assert_eq!(with_tilde(Path::new(""), home), ".");
    }
}
