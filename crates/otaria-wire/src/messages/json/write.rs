//! Values into a message.

/// Something that has a form in JSON.
pub trait WriteJson {
    /// Writes it.
    fn write(&self, json: &mut Writer<'_>);

    /// Whether it is what `null` stands for.
    fn is_null(&self) -> bool {
        false
    }
}

/// A message that is being written. What does not fit is noticed at the end.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
    is_full: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            len: 0,
            is_full: false,
        }
    }

    /// The message; `None` if it did not fit.
    pub(super) fn finish(self) -> Option<&'a [u8]> {
        let written = self.buffer.get(..self.len);
        written.filter(|_| !self.is_full)
    }

    /// Adds what is JSON already.
    pub(crate) fn raw(&mut self, json: &[u8]) {
        let room = self.buffer.get_mut(self.len..).unwrap_or_default();
        match room.get_mut(..json.len()) {
            Some(room) => {
                room.copy_from_slice(json);
                self.len += json.len();
            }
            None => self.is_full = true,
        }
    }

    /// Adds a string.
    pub(crate) fn text(&mut self, text: &str) {
        self.raw(b"\"");
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => self.raw(&[b'\\', byte]),
                0x08 => self.raw(b"\\b"),
                b'\t' => self.raw(b"\\t"),
                b'\n' => self.raw(b"\\n"),
                0x0C => self.raw(b"\\f"),
                b'\r' => self.raw(b"\\r"),
                0..=0x1F => {
                    let digit = match byte & 15 {
                        digit @ 0..=9 => b'0' + digit,
                        digit => b'A' - 10 + digit,
                    };
                    self.raw(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), digit]);
                }
                _ => self.raw(&[byte]),
            }
        }
        self.raw(b"\"");
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, number: u64) {
        // 20 digits are the most that there are.
        let mut digits = [b'0'; 20];
        let mut rest = number;
        let mut count = 0;
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        let start = digits.len() - count;
        self.raw(digits.get(start..).unwrap_or_default());
    }

    /// Begins an object.
    pub(crate) fn open(&mut self) -> &mut Self {
        self.raw(b"{");
        self
    }

    /// Adds a key and its value to the object that is open.
    pub(crate) fn always(&mut self, key: &str, value: &dyn WriteJson) -> &mut Self {
        let so_far = self.buffer.get(..self.len).unwrap_or_default();
        if !so_far.ends_with(b"{") {
            self.raw(b",");
        }
        self.text(key);
        self.raw(b":");
        value.write(self);
        self
    }

    /// Adds a key and its value, unless that is `null`.
    pub(crate) fn given(&mut self, key: &str, value: &dyn WriteJson) -> &mut Self {
        if !value.is_null() {
            self.always(key, value);
        }
        self
    }

    /// Ends the object that is open.
    pub(crate) fn close(&mut self) {
        self.raw(b"}");
    }
}
