//! Sizes on the command line, as `qemu-img` takes them.

/// Why a size was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SizeError {
    /// Not a size.
    Invalid,
    /// Below 0 or above 2^63-1.
    OutOfRange,
}

/// Parses bytes: decimal with an optional fraction and an optional suffix `b k m g t p e` (powers
/// of 1024, either case), or hexadecimal without either.
///
/// # Errors
/// Anything else, a fraction of bytes, and what does not fit 63 bits.
pub(crate) fn parse(text: &str) -> Result<u64, SizeError> {
    let bytes = parse_unsigned(text)?;
    if bytes <= i64::MAX as u64 {
        Ok(bytes)
    } else {
        Err(SizeError::OutOfRange)
    }
}

/// [`parse`] for what may need all 64 bits.
///
/// # Errors
/// As [`parse`], from 2^64 on.
pub(crate) fn parse_unsigned(text: &str) -> Result<u64, SizeError> {
    let text = text.trim_start();
    if let Some(magnitude) = text.strip_prefix('-') {
        let is_number = !magnitude.is_empty() && magnitude.bytes().all(|c| c.is_ascii_digit());
        return Err(if is_number {
            SizeError::OutOfRange
        } else {
            SizeError::Invalid
        });
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => parse_hexadecimal(digits),
        None => parse_decimal(text),
    }
}

/// An option's value that is a size, with the complaints of QEMU's option parser.
///
/// # Errors
/// As [`parse_unsigned`].
pub(crate) fn parse_option(name: &str, value: &str) -> Result<u64, String> {
    parse_unsigned(value).map_err(|error| match error {
        SizeError::OutOfRange => format!("Value '{value}' is out of range for parameter '{name}'"),
        SizeError::Invalid => format!(
            "Parameter '{name}' expects a non-negative number below 2^64\n\
             Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n\
             and exabytes, respectively."
        ),
    })
}

/// [`parse`], with the mistake in the words of `qemu-img`: `what` is "image size", "start offset"…
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_as(what: &str, text: &str) -> Result<u64, String> {
    parse(text).map_err(|error| match error {
        SizeError::Invalid => format!("Invalid {what} specified: '{text}'."),
        SizeError::OutOfRange => {
            format!(
                "Invalid {what} specified. Must be between 0 and {}.",
                i64::MAX
            )
        }
    })
}

fn parse_hexadecimal(digits: &str) -> Result<u64, SizeError> {
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err(SizeError::Invalid);
    }
    u64::from_str_radix(digits, 16).map_err(|_| SizeError::OutOfRange)
}

fn parse_decimal(text: &str) -> Result<u64, SizeError> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let shift = shift_of(suffix).ok_or(SizeError::Invalid)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(SizeError::Invalid);
    }
    let whole = match whole {
        "" => 0,
        digits => digits.parse::<u64>().map_err(|_| SizeError::OutOfRange)?,
    };
    let bytes = (u128::from(whole) << shift) + fraction_of(fraction, shift)?;
    u64::try_from(bytes).map_err(|_| SizeError::OutOfRange)
}

/// The bytes that the digits behind the point stand for, rounded to the nearest.
fn fraction_of(digits: &str, shift: u32) -> Result<u128, SizeError> {
    // 18 digits tell apart the bytes of any unit here.
    let digits = digits.trim_end_matches('0');
    let digits = &digits[..digits.len().min(18)];
    if digits.is_empty() {
        return Ok(0);
    }
    if shift == 0 {
        return Err(SizeError::Invalid);
    }
    let value: u64 = digits.parse().map_err(|_| SizeError::Invalid)?;
    let scale = (0..digits.len()).fold(1_u128, |scale, _| scale * 10);
    Ok(((u128::from(value) << shift) + scale / 2) / scale)
}

fn shift_of(suffix: &str) -> Option<u32> {
    Some(match suffix {
        "" | "b" | "B" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        "p" | "P" => 50,
        "e" | "E" => 60,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_other_program_takes() {
        for (text, bytes) in [
            ("512", 512),
            ("1.0", 1),
            ("1.", 1),
            (".5M", 524_288),
            (" 1M", 1 << 20),
            ("+1M", 1 << 20),
            ("1b", 1),
            ("08", 8),
            ("0x200", 512),
            ("1.5k", 1536),
            ("1.0000000001k", 1024),
            ("7.5E", 15 << 59),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in [
            "", ".", "1.5", "1.5e3", "0x1M", "1MB", "1MiB", "1e3", "0x", "0x1.8", "1.5 M", "0xfg",
            "1.5B", "-1k", "x", "1.2.3", "1M ",
        ] {
            assert_eq!(parse(text), Err(SizeError::Invalid), "{text}");
        }
        for text in ["-1", "-0", "8E", "9E", "99999999999999999999", "16E"] {
            assert_eq!(parse(text), Err(SizeError::OutOfRange), "{text}");
        }
    }
}
