//! The times in certificates (RFC 5280, 4.1.2.5).

use super::TlsError;
use super::der::{Der, GENERALIZED_TIME, UTC_TIME};

const MALFORMED: TlsError = TlsError::BadCertificate;

/// The next time, in seconds since 1970. What was before counts as 1970.
pub(super) fn next(der: &mut Der<'_>) -> Result<u64, TlsError> {
    let element = der.element()?;
    let (year, rest) = match (element.tag, element.content) {
        (UTC_TIME, text) => {
            let (year, rest) = digits::<2>(text)?;
            // 4.1.2.5.1: from 1950 to 2049.
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (GENERALIZED_TIME, text) => digits::<4>(text)?,
        _ => return Err(MALFORMED),
    };
    let (month, rest) = digits::<2>(rest)?;
    let (day, rest) = digits::<2>(rest)?;
    let (hour, rest) = digits::<2>(rest)?;
    let (minute, rest) = digits::<2>(rest)?;
    let (second, rest) = digits::<2>(rest)?;
    let fits = rest == b"Z"
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !fits {
        return Err(MALFORMED);
    }
    let seconds = u64::from(hour * 3600 + minute * 60 + second);
    Ok(days(year, month, day) * 86_400 + if year < 1970 { 0 } else { seconds })
}

/// A number of `N` digits, and what follows.
fn digits<const N: usize>(text: &[u8]) -> Result<(u32, &[u8]), TlsError> {
    let (number, rest) = text.split_first_chunk::<N>().ok_or(MALFORMED)?;
    let mut value = 0;
    for digit in number {
        if !digit.is_ascii_digit() {
            return Err(MALFORMED);
        }
        value = value * 10 + u32::from(digit - b'0');
    }
    Ok((value, rest))
}

fn days_in(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to a day of the Gregorian calendar; 0 for what was before.
fn days(year: u32, month: u32, day: u32) -> u64 {
    // The year begins in March, so that the leap day is its last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.saturating_sub(1), month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (153 * month + 2) / 5 + (day - 1);
    // 0000-03-01 to 1970-01-01.
    u64::from(days.saturating_sub(719_468))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn time(tag: u8, text: &str) -> Result<u64, TlsError> {
        let mut der: Vec<u8> = std::vec![tag, text.len() as u8];
        der.extend_from_slice(text.as_bytes());
        next(&mut Der::new(&der))
    }

    #[test]
    fn times_of_both_kinds_are_seconds_since_1970() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "000229235959Z", 951_868_799),
            (UTC_TIME, "261128031500Z", 1_795_835_700),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (UTC_TIME, "500101000000Z", 0),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (GENERALIZED_TIME, "21000301000000Z", 4_107_542_400),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
            (GENERALIZED_TIME, "00000101000000Z", 0),
        ] {
            assert_eq!(time(tag, text), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (tag, text) in [
            (UTC_TIME, "2611280315Z"),
            (UTC_TIME, "261128031500"),
            (UTC_TIME, "261128031500+0000"),
            (UTC_TIME, "261328031500Z"),
            (UTC_TIME, "261100031500Z"),
            (UTC_TIME, "261132031500Z"),
            (UTC_TIME, "260230031500Z"),
            (UTC_TIME, "270229031500Z"),
            (UTC_TIME, "260431031500Z"),
            (GENERALIZED_TIME, "21000229031500Z"),
            (UTC_TIME, "261128241500Z"),
            (UTC_TIME, "261128036000Z"),
            (UTC_TIME, "261128031560Z"),
            (UTC_TIME, "26112803150xZ"),
            (GENERALIZED_TIME, "20261128031500.5Z"),
            (0x16, "261128031500Z"),
        ] {
            assert_eq!(time(tag, text), Err(MALFORMED), "{text}");
        }
    }
}
