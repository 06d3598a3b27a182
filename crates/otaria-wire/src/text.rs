//! Short texts in fixed fields: printable ASCII, padded with zero bytes.

use core::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::messages::{Json, JsonError, ReadJson, WriteJson, Writer, read_text};

/// At most `N` printable ASCII characters; the rest of the field is zero.
///
/// A field that is full has no zero at its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FixedText<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

/// Why bytes or a text are not a [`FixedText`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// Longer than the field.
    TooLong,
    /// A character outside printable ASCII (0x20 to 0x7E).
    NotPrintable,
    /// Something other than zero after the first zero byte.
    NotPadded,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the text is too long for its field",
            Self::NotPrintable => "the text has a character that is not printable ASCII",
            Self::NotPadded => "the text goes on after its end",
        })
    }
}

impl core::error::Error for TextError {}

impl<const N: usize> FixedText<N> {
    /// The empty text.
    pub const EMPTY: Self = Self {
        bytes: [0; N],
        len: 0,
    };

    /// Reads a whole field.
    ///
    /// # Errors
    /// A character that is not printable, or bytes after the end.
    pub fn from_field(field: &[u8; N]) -> Result<Self, TextError> {
        let len = field.iter().position(|byte| *byte == 0).unwrap_or(N);
        let (text, padding) = field.split_at_checked(len).ok_or(TextError::TooLong)?;
        if !text.iter().all(|byte| is_printable(*byte)) {
            return Err(TextError::NotPrintable);
        }
        if !crate::bytes::all_zero(padding) {
            return Err(TextError::NotPadded);
        }
        Ok(Self {
            bytes: *field,
            len: u8::try_from(len).map_err(|_| TextError::TooLong)?,
        })
    }

    /// The field's bytes, padding included.
    #[must_use]
    pub fn as_field(&self) -> &[u8; N] {
        &self.bytes
    }

    /// The text without its padding.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }

    /// Whether there is no character in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7E)
}

/// The start of `text` that fits into `N` bytes, with control characters
/// replaced by spaces: what goes into a report is always short and printable.
#[must_use]
pub fn clip<const N: usize>(text: &str) -> heapless::String<N> {
    let mut clipped = heapless::String::new();
    for character in text.chars() {
        let shown = if character.is_control() {
            ' '
        } else {
            character
        };
        if clipped.push(shown).is_err() {
            break;
        }
    }
    clipped
}

impl<const N: usize> Default for FixedText<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> TryFrom<&str> for FixedText<N> {
    type Error = TextError;

    fn try_from(text: &str) -> Result<Self, TextError> {
        let mut field = [0; N];
        field
            .get_mut(..text.len())
            .ok_or(TextError::TooLong)?
            .copy_from_slice(text.as_bytes());
        if text.contains('\0') {
            return Err(TextError::NotPrintable);
        }
        Self::from_field(&field)
    }
}

impl<const N: usize> core::str::FromStr for FixedText<N> {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        Self::try_from(text)
    }
}

impl<const N: usize> PartialEq<str> for FixedText<N> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl<const N: usize> PartialEq<&str> for FixedText<N> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl<const N: usize> AsRef<str> for FixedText<N> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl<const N: usize> fmt::Display for FixedText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for FixedText<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> Serialize for FixedText<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, const N: usize> Deserialize<'de> for FixedText<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<const N: usize>;
        impl<const N: usize> Visitor<'_> for Text<N> {
            type Value = FixedText<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {N} printable ASCII characters")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<FixedText<N>, E> {
                FixedText::try_from(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<const N: usize> WriteJson for FixedText<N> {
    fn write(&self, json: &mut Writer<'_>) {
        json.text(self.as_str());
    }
}

impl<const N: usize> ReadJson for FixedText<N> {
    fn blank() -> Self {
        Self::EMPTY
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        *self = read_text(json)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fills_its_field_up_to_the_last_byte() {
        let text = FixedText::<4>::try_from("1.10").unwrap();
        assert_eq!(text.as_field(), b"1.10");
        assert_eq!(FixedText::<4>::from_field(b"1.10"), Ok(text));
        assert_eq!(FixedText::<4>::try_from("1.1.0"), Err(TextError::TooLong));
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        assert_eq!(
            FixedText::<4>::from_field(b"a\0b\0"),
            Err(TextError::NotPadded)
        );
        assert_eq!(
            FixedText::<4>::from_field(b"a\0\0\0").map(|text| text == "a"),
            Ok(true)
        );
    }

    #[test]
    fn only_printable_ascii_is_taken() {
        for bad in ["\n", "\u{7f}", "é", "\0", "a\0"] {
            assert_eq!(
                FixedText::<4>::try_from(bad),
                Err(TextError::NotPrintable),
                "{bad:?}"
            );
        }
        assert_eq!(
            FixedText::<4>::from_field(&[0xC3, 0xA9, 0, 0]),
            Err(TextError::NotPrintable)
        );
    }

    #[test]
    fn clip_cuts_between_characters_and_blanks_control_characters() {
        assert_eq!(clip::<4>("aé€"), "aé");
        assert_eq!(clip::<8>("a\nb\u{0}"), "a b ");
    }
}
