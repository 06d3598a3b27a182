//! RFC 8259 syntax, passed over in one go and without recursion.

use super::{JsonError, MAX_JSON_DEPTH};

/// A place in a text that may be JSON.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// The brackets that are open.
#[derive(Default)]
struct Brackets {
    /// Bit n: the nth open bracket is an object's.
    objects: u16,
    depth: usize,
}

impl Brackets {
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
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Passes over a value, with whatever is in it.
    pub(super) fn value(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        let mut brackets = Brackets::default();
        loop {
            // A value is due here.
            match self.peek().ok_or(JsonError::Syntax)? {
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    brackets.open(open == b'{')?;
                    self.skip_space();
                    if self.skip(brackets.closing()) {
                        brackets.depth -= 1;
                    } else {
                        if brackets.in_object() {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'"' => {
                    self.string()?;
                }
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.number()?,
            }
            // A value is complete here: close what closes, then go on behind a comma.
            loop {
                if brackets.depth == 0 {
                    return Ok(self.text.get(start..self.at).unwrap_or_default());
                }
                self.skip_space();
                if self.skip(b',') {
                    self.skip_space();
                    if brackets.in_object() {
                        self.key()?;
                    }
                    break;
                }
                if !self.skip(brackets.closing()) {
                    return Err(JsonError::Syntax);
                }
                brackets.depth -= 1;
            }
        }
    }

    /// Passes over a key, its colon, and the space behind it; what stands between the key's quotes.
    pub(super) fn key(&mut self) -> Result<&'a str, JsonError> {
        let key = self.string()?;
        self.skip_space();
        if !self.skip(b':') {
            return Err(JsonError::Syntax);
        }
        self.skip_space();
        Ok(key)
    }

    pub(super) fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes over this byte, if it is the next one.
    pub(super) fn skip(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn string(&mut self) -> Result<&'a str, JsonError> {
        if !self.skip(b'"') {
            return Err(JsonError::Syntax);
        }
        let start = self.at;
        loop {
            match self.peek().ok_or(JsonError::Syntax)? {
                b'"' => {
                    let inside = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(inside);
                }
                b'\\' => {
                    let (_, len) = escaped(self.rest()).ok_or(JsonError::Syntax)?;
                    self.at += len;
                }
                0..=0x1F => return Err(JsonError::Syntax),
                _ => self.at += 1,
            }
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), JsonError> {
        if !self.rest().starts_with(word) {
            return Err(JsonError::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.skip(b'-');
        if !self.skip(b'0') {
            self.digits()?;
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _ = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            Err(JsonError::Syntax)
        } else {
            Ok(())
        }
    }
}

/// The character that an escape at the start of `text` stands for, and how long the escape is.
pub(super) fn escaped(text: &str) -> Option<(char, usize)> {
    let character = match text.as_bytes().get(1)? {
        byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return escaped_unicode(text),
        _ => return None,
    };
    Some((character, 2))
}

/// `\u20AC`, or a surrogate pair such as `\uD83D\uDE00` (as Python's `json.dumps` writes an emoji).
fn escaped_unicode(text: &str) -> Option<(char, usize)> {
    let first = code_unit(text)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 6));
    }
    let second = code_unit(text.get(6..)?)?;
    if !matches!((first, second), (0xD800..=0xDBFF, 0xDC00..=0xDFFF)) {
        return None;
    }
    let code_point = 0x1_0000 + ((first & 0x3FF) << 10 | (second & 0x3FF));
    Some((char::from_u32(code_point)?, 12))
}

fn code_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits
        .chars()
        .try_fold(0, |unit, digit| Some(unit << 4 | digit.to_digit(16)?))
}
