//! The `Range` header, as far as one range of bytes goes (RFC 9110, section 14).
//!
//! What cannot be read, and a request for several ranges, is ignored: the answer then is the whole file, which every
//! client must take.

/// What to send of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: 200.
    Whole,
    /// Bytes `first` to `last`, both included: 206.
    Bytes {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// Nothing, since the range is beyond the end: 416.
    Nothing,
}

/// Reads the value of a `Range` header for a file of `len` bytes.
pub(crate) fn part(value: &str, len: u64) -> Part {
    let Some((unit, set)) = value.split_once('=') else {
        return Part::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Part::Whole;
    }
    let mut ranges = set
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty());
    let (Some(range), None) = (ranges.next(), ranges.next()) else {
        return Part::Whole;
    };
    let Some((first, last)) = range.split_once('-') else {
        return Part::Whole;
    };
    match (number(first), number(last)) {
        (Number::Is(first), Number::Is(last)) if first > last => Part::Whole,
        (Number::Is(first), Number::Is(last)) => bytes(first, last, len),
        (Number::Is(first), Number::None) => bytes(first, u64::MAX, len),
        (Number::None, Number::Is(0)) => Part::Nothing,
        (Number::None, Number::Is(last)) => bytes(len.saturating_sub(last), u64::MAX, len),
        (Number::None, Number::None) | (Number::Bad, _) | (_, Number::Bad) => Part::Whole,
    }
}

fn bytes(first: u64, last: u64, len: u64) -> Part {
    if first >= len {
        return Part::Nothing;
    }
    Part::Bytes {
        first,
        last: last.min(len - 1),
    }
}

enum Number {
    None,
    Is(u64),
    Bad,
}

fn number(text: &str) -> Number {
    if text.is_empty() {
        return Number::None;
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Number::Bad;
    }
    // A number too large for this type is beyond the end of every file.
    Number::Is(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_rfc_9110_says() {
        let some = |first, last| Part::Bytes { first, last };
        for (value, expected) in [
            ("bytes=0-", some(0, 99)),
            ("bytes=0-0", some(0, 0)),
            ("bytes=0-99", some(0, 99)),
            ("bytes=0-100", some(0, 99)),
            ("bytes=10-19", some(10, 19)),
            ("bytes=99-", some(99, 99)),
            ("bytes=99-18446744073709551616", some(99, 99)),
            ("bytes=-1", some(99, 99)),
            ("bytes=-100", some(0, 99)),
            ("bytes=-1000", some(0, 99)),
            ("Bytes= 5-6 ", some(5, 6)),
            ("bytes=5-6,", some(5, 6)),
            ("bytes=100-", Part::Nothing),
            ("bytes=100-200", Part::Nothing),
            ("bytes=18446744073709551616-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=6-5", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=1", Part::Whole),
            ("bytes 0-1", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(value, 100), expected, "{value}");
        }
    }

    #[test]
    fn an_empty_file_has_no_ranges() {
        assert_eq!(part("bytes=0-", 0), Part::Nothing);
        assert_eq!(part("bytes=-1", 0), Part::Nothing);
    }
}
