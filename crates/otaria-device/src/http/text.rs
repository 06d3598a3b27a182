//! Reading numbers and lists out of what a server sends.

/// What stands before and behind the first `byte`.
pub(super) fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let mut parts = text.splitn(2, |other| *other == byte);
    Some((parts.next()?, parts.next()?))
}

/// Digits only, of a `radix` of at most 16: no sign, no list, no overflow.
pub(super) fn number(text: &[u8], radix: u32) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        if digit >= radix {
            return None;
        }
        number.checked_mul(radix.into())?.checked_add(digit.into())
    })
}
