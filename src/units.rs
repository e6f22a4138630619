//! Sizes and addresses: checked arithmetic, parsing, formatting.
//!
//! A guest offset and a host offset are different types, because mixing them up is the classic
//! mistake of an image engine. Ranges are half-open everywhere.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// 2^10 bytes.
pub const KIB: u64 = 1 << 10;
/// 2^20 bytes.
pub const MIB: u64 = 1 << 20;
/// 2^30 bytes.
pub const GIB: u64 = 1 << 30;
/// 2^40 bytes.
pub const TIB: u64 = 1 << 40;

macro_rules! offset_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub u64);

        impl $name {
            /// The offset `bytes` further on; `None` past 2^64.
            #[must_use]
            pub fn checked_add(self, bytes: u64) -> Option<Self> {
                self.0.checked_add(bytes).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

offset_type! {
    /// A byte address on the disk that the guest sees.
    GuestOffset
}
offset_type! {
    /// A byte address in a file on the host.
    HostOffset
}

/// A number of bytes. Displays with a binary prefix and three significant digits ("1.5 GiB"), as
/// the field's tools do.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Parses a size as the field's tools take it: digits with an optional fraction and an optional
    /// suffix `b k M G T P E` (powers of 1024; `KiB`, `MiB`… too) or `s` (512-byte sectors).
    /// Without a suffix the number is bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for anything else, for a fraction of bytes, and above 2^63-1.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::new(ErrorKind::InvalidInput, format!("invalid size '{text}'"));
        let text_trimmed = text.trim();
        let split = text_trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text_trimmed.len());
        let (number, suffix) = text_trimmed.split_at(split);
        let unit = unit_of(suffix.trim()).ok_or_else(invalid)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || (number.contains('.') && (fraction.is_empty() || unit == 1)) {
            return Err(invalid());
        }
        let whole: u64 = whole.parse().map_err(|_| invalid())?;
        let mut bytes = u128::from(whole) * u128::from(unit);
        if !fraction.is_empty() {
            let digits = fraction.get(..fraction.len().min(18)).unwrap_or(fraction);
            let value: u64 = digits.parse().map_err(|_| invalid())?;
            let scale = 10_u128.pow(u32::try_from(digits.len()).map_err(|_| invalid())?);
            bytes += u128::from(value) * u128::from(unit) / scale;
        }
        match u64::try_from(bytes) {
            Ok(bytes) if bytes <= i64::MAX as u64 => Ok(Self(bytes)),
            _ => Err(invalid()),
        }
    }
}

fn unit_of(suffix: &str) -> Option<u64> {
    let lower = suffix.to_ascii_lowercase();
    Some(match lower.as_str() {
        "" | "b" => 1,
        "s" => 512,
        "k" | "kib" => KIB,
        "m" | "mib" => MIB,
        "g" | "gib" => GIB,
        "t" | "tib" => TIB,
        "p" | "pib" => 1 << 50,
        "e" | "eib" => 1 << 60,
        _ => return None,
    })
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        // The unit is chosen so that three digits are enough: from 1000 of one on, the next is used.
        let mut unit = 0;
        let mut divisor = 1_u64;
        while unit + 1 < NAMES.len() && self.0 / divisor >= 1000 {
            unit += 1;
            divisor *= 1024;
        }
        #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
        let value = self.0 as f64 / divisor as f64;
        let digits = match value {
            value if value < 1.0 => 3,
            value if value < 10.0 => 2,
            value => usize::from(value < 100.0),
        };
        let mut text = format!("{value:.digits$}");
        if text.contains('.') {
            text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
        }
        write!(f, "{text} {}", NAMES[unit])
    }
}

/// `value` rounded down to a multiple of `alignment` (not 0).
#[must_use]
pub fn align_down(value: u64, alignment: u64) -> u64 {
    value - value % alignment
}

/// `value` rounded up to a multiple of `alignment` (not 0); `None` past 2^64.
#[must_use]
pub fn align_up(value: u64, alignment: u64) -> Option<u64> {
    value.checked_next_multiple_of(alignment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_like_the_tools() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (196_616, "192 KiB"),
            (1000, "0.977 KiB"),
            (GIB, "1 GiB"),
            (GIB + GIB / 2, "1.5 GiB"),
            (20 * GIB, "20 GiB"),
            (1023 * MIB, "0.999 GiB"),
            (64 * TIB, "64 TiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text, "{bytes}");
        }
    }

    #[test]
    fn parses_suffixes_fractions_and_sectors() {
        for (text, bytes) in [
            ("512", 512),
            ("10G", 10 * GIB),
            ("1.5k", 1536),
            ("4s", 2048),
            ("1 MiB", MIB),
        ] {
            assert_eq!(ByteSize::parse(text).unwrap().0, bytes, "{text}");
        }
        for text in [
            "",
            "G",
            "1.5",
            "-1",
            "1x",
            "9E",
            "99999999999999999999",
            "1.",
            "0x10",
        ] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
    }
}
