//! Values of a message that was checked.

use super::scan::{Scanner, escaped};
use super::{JsonError, MAX_MESSAGE_LEN};

/// Something that JSON can be read into.
pub trait ReadJson {
    /// It, before anything was read.
    #[must_use]
    fn blank() -> Self
    where
        Self: Sized;

    /// Reads a value.
    ///
    /// # Errors
    /// [`JsonError::Shape`] if it is of another kind. What this then is, is of no use.
    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError>;

    /// Whether a message may do without it: then it stays blank.
    fn may_be_missing(&self) -> bool {
        false
    }
}

/// The text of one value, whose syntax was checked.
#[derive(Clone, Copy, Debug)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Checks the syntax of a whole message.
    pub(super) fn check(bytes: &'a [u8]) -> Result<Self, JsonError> {
        if bytes.len() > MAX_MESSAGE_LEN {
            return Err(JsonError::TooLong);
        }
        let text = core::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?;
        let mut scanner = Scanner::new(text);
        scanner.skip_space();
        let value = scanner.value()?;
        scanner.skip_space();
        if scanner.is_at_end() {
            Ok(Self(value))
        } else {
            Err(JsonError::TrailingBytes)
        }
    }

    /// The value as it stands in the message.
    #[must_use]
    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    /// A string's characters.
    ///
    /// # Errors
    /// [`JsonError::Shape`] if this is no string.
    pub(crate) fn text(self) -> Result<Text<'a>, JsonError> {
        let inside = self
            .0
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        inside.map(Text).ok_or(JsonError::Shape)
    }

    /// Reads an object into its fields, whose names are given; other keys are ignored.
    ///
    /// # Errors
    /// [`JsonError::Shape`] if this is no object, a key is there twice or missing, or a value is of another kind.
    pub(crate) fn read_object(self, fields: &mut [Field<'_>]) -> Result<(), JsonError> {
        for (key, value) in self.members().ok_or(JsonError::Shape)? {
            let Some((_, field)) = fields.iter_mut().find(|(name, _)| key.clone().is(name)) else {
                continue;
            };
            field.take().ok_or(JsonError::Shape)?.read(value)?;
        }
        let is_missing = |field: &dyn ReadJson| !field.may_be_missing();
        if fields
            .iter()
            .any(|(_, field)| field.as_deref().is_some_and(is_missing))
        {
            return Err(JsonError::Shape);
        }
        Ok(())
    }

    fn members(self) -> Option<impl Iterator<Item = (Text<'a>, Json<'a>)>> {
        let mut scanner = Scanner::new(self.0);
        let mut first = true;
        scanner.skip(b'{').then_some(core::iter::from_fn(move || {
            scanner.skip_space();
            if !first && scanner.skip(b',') {
                scanner.skip_space();
            }
            first = false;
            // At the object's end there is no key.
            let key = scanner.key().ok()?;
            Some((Text(key), Json(scanner.value().ok()?)))
        }))
    }

    /// The elements of an array; `None` if this is none.
    pub(crate) fn elements(self) -> Option<impl Iterator<Item = Json<'a>>> {
        let mut scanner = Scanner::new(self.0);
        scanner.skip(b'[').then_some(core::iter::from_fn(move || {
            scanner.skip_space();
            if scanner.skip(b',') {
                scanner.skip_space();
            }
            // At the array's end there is no value.
            Some(Json(scanner.value().ok()?))
        }))
    }
}

/// A key, and the field that takes its value until it has one.
pub(crate) type Field<'a> = (&'static str, Option<&'a mut dyn ReadJson>);

/// The characters of a string, escapes decoded.
#[derive(Clone, Debug)]
pub(crate) struct Text<'a>(&'a str);

impl Text<'_> {
    fn is(self, text: &str) -> bool {
        self.eq(text.chars())
    }
}

impl Iterator for Text<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let (character, len) = match self.0.chars().next()? {
            '\\' => escaped(self.0)?,
            plain => (plain, plain.len_utf8()),
        };
        self.0 = self.0.get(len..)?;
        Some(character)
    }
}
