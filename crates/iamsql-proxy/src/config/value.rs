//! Go's syntax for booleans, integers and durations, as the official proxies read and print them.

use std::time::Duration;

/// Reads what Go's `strconv.ParseBool` reads.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is no truth value: want true or false")),
    }
}

/// Reads a whole number as Go does with base 0: decimal, or after `0x`, `0o`, `0b` or a plain `0`.
pub(crate) fn integer(text: &str) -> Result<u64, String> {
    let (digits, radix) = match text.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (&text[2..], 16),
        Some("0o") => (&text[2..], 8),
        Some("0b") => (&text[2..], 2),
        Some(_) if text.starts_with('0') => (&text[1..], 8),
        _ => (text, 10),
    };
    // `from_str_radix` would take a sign.
    Some(digits)
        .filter(|digits| digits.starts_with(|first: char| first.is_ascii_hexdigit()))
        .and_then(|digits| u64::from_str_radix(digits, radix).ok())
        .ok_or_else(|| format!("{text:?} is no whole number"))
}

/// Reads `1h2m3.5s`, `250ms` or `0`; another bare number is refused, because its unit would be a guess.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let refused = || {
        format!("{text:?} is no duration: want a number and its unit, as in 30s, 1m30s or 250ms")
    };
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(refused)?;
        let number: f64 = rest[..digits].parse().map_err(|_| refused())?;
        let (unit, seconds) = UNITS
            .into_iter()
            .find(|(unit, _)| rest[digits..].starts_with(unit))
            .ok_or_else(refused)?;
        total += number * seconds;
        rest = &rest[digits + unit.len()..];
    }
    match text.is_empty() || total > LONGEST.as_secs_f64() {
        true => Err(refused()),
        // To the microsecond: what floating point adds below it was not written.
        false => Ok(Duration::from_micros((total * 1e6).round() as u64)),
    }
}

/// As Go prints it: `10s`, `1m30s`, `250ms`, `1h0m0.5s`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let fraction = |unit: f64| {
        let text = format!("{:.6}", duration.as_secs_f64() / unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let seconds = duration.as_secs();
    if duration.is_zero() {
        return "0s".to_owned();
    }
    if seconds == 0 {
        return match duration.as_millis() {
            0 => format!("{}µs", duration.as_micros()),
            _ => format!("{}ms", fraction(1e-3)),
        };
    }
    let rest = Duration::new(seconds % 60, duration.subsec_nanos());
    let rest = format!("{:.6}", rest.as_secs_f64());
    let rest = rest.trim_end_matches('0').trim_end_matches('.');
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// `ms` stands before `m`, which it starts with.
const UNITS: [(&str, f64); 7] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 0.001),
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
];

/// No wait of a proxy is longer than this in earnest.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_their_unit_and_print_as_go_prints_them() {
        for (text, millis, printed) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("250ms", 250, "250ms"),
            ("1h2m3.5s", 3_723_500, "1h2m3.5s"),
            ("1.5m", 90_000, "1m30s"),
            ("1h", 3_600_000, "1h0m0s"),
            ("10s", 10_000, "10s"),
            ("+1.25s", 1_250, "1.25s"),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(go_duration(Duration::from_millis(millis)), printed);
        }
        assert_eq!(go_duration(Duration::from_micros(1_500)), "1.5ms");
        assert_eq!(go_duration(Duration::from_micros(30)), "30µs");
        for text in [
            "",
            "s",
            "10",
            "1s2",
            "-1s",
            "1d",
            "1..2s",
            "99999999999999999999s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_have_gos_prefixes_and_truth_has_gos_words() {
        for (text, number) in [
            ("0", 0),
            ("5432", 5432),
            ("0x1538", 5432),
            ("010", 8),
            ("0b11", 3),
            ("0o17", 15),
        ] {
            assert_eq!(integer(text), Ok(number), "{text}");
        }
        for text in [
            "",
            "-1",
            "+1",
            "1e6",
            "x",
            "0x",
            "08",
            "99999999999999999999",
        ] {
            assert!(integer(text).is_err(), "{text}");
        }
        assert_eq!(boolean("T"), Ok(true));
        assert_eq!(boolean("False"), Ok(false));
        assert!(boolean("yes").is_err() && boolean("").is_err());
    }
}
