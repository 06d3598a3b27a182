//! JSON in and out of fixed buffers.
//!
//! serde-json-core reads leniently and recurses into ignored values, so each
//! message first passes a strict check of RFC 8259 syntax that does not
//! recurse. What serde-json-core cannot read then is only an escaped surrogate
//! pair (as Python's `json.dumps` writes an emoji); it is replaced before.

use core::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message that is read.
pub const MAX_MESSAGE_LEN: usize = 2048;
/// Deepest nesting of objects and arrays that is read.
pub const MAX_JSON_DEPTH: usize = 8;

/// Why bytes are not the JSON that they should be, or do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Longer than [`MAX_MESSAGE_LEN`], or than the buffer to write to.
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// Not JSON.
    Syntax,
    /// Nested more than [`MAX_JSON_DEPTH`] deep.
    TooDeep,
    /// Something follows the value.
    TrailingBytes,
    /// JSON, but a key is missing or twice there, or a value is not what it should be.
    Shape,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the JSON is too long",
            Self::NotUtf8 => "the JSON is not UTF-8",
            Self::Syntax => "this is not JSON",
            Self::TooDeep => "the JSON is nested too deep",
            Self::TrailingBytes => "something follows the JSON",
            Self::Shape => "a key is missing or twice there, or its value is of the wrong kind",
        })
    }
}

impl core::error::Error for JsonError {}

/// Writes a message.
///
/// # Errors
/// [`JsonError::TooLong`] if it does not fit.
pub fn to_json<'a, T: Serialize>(message: &T, buffer: &'a mut [u8]) -> Result<&'a [u8], JsonError> {
    let len = serde_json_core::to_slice(message, buffer).map_err(|_| JsonError::TooLong)?;
    buffer.get(..len).ok_or(JsonError::TooLong)
}

/// Reads a message.
///
/// # Errors
/// See [`JsonError`].
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    if bytes.len() > MAX_MESSAGE_LEN {
        return Err(JsonError::TooLong);
    }
    let text = core::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?;
    let found = Checker::new(text).check()?;
    if found.surrogates {
        read_without_surrogates(text)
    } else {
        read(bytes)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    // A string is never longer without its escapes than with them.
    let mut unescaped = [0; MAX_MESSAGE_LEN];
    let (value, _) =
        serde_json_core::from_slice_escaped(bytes, &mut unescaped).map_err(|_| JsonError::Shape)?;
    Ok(value)
}

/// Apart, so that the second buffer is on the stack only when it is needed.
#[inline(never)]
fn read_without_surrogates<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    let mut plain = heapless::String::<MAX_MESSAGE_LEN>::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at_checked(at).ok_or(JsonError::Syntax)?;
        plain.push_str(before).map_err(|_| JsonError::TooLong)?;
        let (len, character) = match surrogate_pair(escape) {
            Some(character) => (SURROGATE_PAIR_LEN, Some(character)),
            // Both bytes of any other escape are passed over, so that the
            // second backslash of "\\\\" starts none.
            None => (2, None),
        };
        let (this, behind) = escape.split_at_checked(len).ok_or(JsonError::Syntax)?;
        match character {
            Some(character) => plain.push(character),
            None => plain.push_str(this),
        }
        .map_err(|_| JsonError::TooLong)?;
        rest = behind;
    }
    plain.push_str(rest).map_err(|_| JsonError::TooLong)?;
    read(plain.as_bytes())
}

/// Length of `\uD83D\uDE00`.
const SURROGATE_PAIR_LEN: usize = 12;

/// The character that an escaped surrogate pair at the start of `text` stands for.
fn surrogate_pair(text: &str) -> Option<char> {
    let high = escaped_unit(text)?;
    let low = escaped_unit(text.get(6..)?)?;
    char::decode_utf16([high, low])
        .next()?
        .ok()
        .filter(|character| character.len_utf16() == 2)
}

/// The code unit of a `\uXXXX` at the start of `text`.
fn escaped_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

/// What a check came across.
struct Found {
    /// An escaped surrogate pair.
    surrogates: bool,
}

/// Checks RFC 8259 syntax in one pass, without recursion.
struct Checker<'a> {
    text: &'a str,
    at: usize,
    /// Bit n: the nth open bracket is an object's.
    objects: u16,
    depth: usize,
    surrogates: bool,
}

impl<'a> Checker<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            objects: 0,
            depth: 0,
            surrogates: false,
        }
    }

    fn check(mut self) -> Result<Found, JsonError> {
        self.skip_space();
        loop {
            // A value is due here.
            match self.peek().ok_or(JsonError::Syntax)? {
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    self.open(open == b'{')?;
                    self.skip_space();
                    if self.peek() == Some(self.closing()) {
                        self.at += 1;
                        self.depth -= 1;
                    } else {
                        if self.in_object() {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.number()?,
            }
            // A value is complete here: close what closes, then go on behind a comma.
            loop {
                self.skip_space();
                if self.depth == 0 {
                    let at_end = self.at == self.text.len();
                    return if at_end {
                        Ok(Found {
                            surrogates: self.surrogates,
                        })
                    } else {
                        Err(JsonError::TrailingBytes)
                    };
                }
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.skip_space();
                        if self.in_object() {
                            self.key()?;
                        }
                        break;
                    }
                    Some(byte) if byte == self.closing() => {
                        self.at += 1;
                        self.depth -= 1;
                    }
                    _ => return Err(JsonError::Syntax),
                }
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn open(&mut self, object: bool) -> Result<(), JsonError> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.depth += 1;
        let bit = 1 << self.depth;
        self.objects = if object {
            self.objects | bit
        } else {
            self.objects & !bit
        };
        Ok(())
    }

    fn in_object(&self) -> bool {
        self.objects & (1 << self.depth) != 0
    }

    fn closing(&self) -> u8 {
        if self.in_object() { b'}' } else { b']' }
    }

    /// A key, its colon, and the space behind it.
    fn key(&mut self) -> Result<(), JsonError> {
        self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(JsonError::Syntax);
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(JsonError::Syntax);
        }
        self.at += 1;
        loop {
            match self.peek().ok_or(JsonError::Syntax)? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                0..=0x1F => return Err(JsonError::Syntax),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let escape = self.text.get(self.at..).ok_or(JsonError::Syntax)?;
        match escape.as_bytes().get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let unit = escaped_unit(escape).ok_or(JsonError::Syntax)?;
                if char::from_u32(u32::from(unit)).is_some() {
                    self.at += 6;
                } else {
                    surrogate_pair(escape).ok_or(JsonError::Syntax)?;
                    self.surrogates = true;
                    self.at += SURROGATE_PAIR_LEN;
                }
            }
            _ => return Err(JsonError::Syntax),
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(JsonError::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.skip_one(|byte| byte == b'-');
        if !self.skip_one(|byte| byte == b'0') {
            self.digits()?;
        }
        if self.skip_one(|byte| byte == b'.') {
            self.digits()?;
        }
        if self.skip_one(|byte| matches!(byte, b'e' | b'E')) {
            self.skip_one(|byte| matches!(byte, b'+' | b'-'));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if !self.skip_one(|byte| byte.is_ascii_digit()) {
            return Err(JsonError::Syntax);
        }
        while self.skip_one(|byte| byte.is_ascii_digit()) {}
        Ok(())
    }

    fn skip_one(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let here = self.peek().is_some_and(wanted);
        self.at += usize::from(here);
        here
    }
}
