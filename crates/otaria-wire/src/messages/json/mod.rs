//! JSON in and out of fixed buffers.
//!
//! A message first passes a strict check of RFC 8259 syntax ([`scan`]). What is read after that are slices of it, and a text is
//! decoded while it is copied to its field: no message is held twice, and nothing recurses deeper than the messages' own types.

mod read;
mod scan;
mod values;
mod write;

use core::fmt;

pub use read::{Json, ReadJson};
pub use write::{WriteJson, Writer};

pub(super) use values::Word;
pub(crate) use values::read_text;

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
pub fn to_json<'a>(message: &dyn WriteJson, buffer: &'a mut [u8]) -> Result<&'a [u8], JsonError> {
    let mut writer = Writer::new(buffer);
    message.write(&mut writer);
    writer.finish().ok_or(JsonError::TooLong)
}

/// Reads a message.
///
/// # Errors
/// See [`JsonError`].
pub fn from_json<T: ReadJson>(bytes: &[u8]) -> Result<T, JsonError> {
    let json = Json::check(bytes)?;
    let mut message = T::blank();
    message.read(json)?;
    Ok(message)
}

/// Gives a message its keys: those of its fields, written in this order, and read in any.
///
/// `always` writes a `None` as `null`, `given` leaves it out. Either may be missing where it is read.
macro_rules! message {
    ($name:ident { $($when:ident $field:ident),+ $(,)? }) => {
        impl $crate::messages::WriteJson for $name {
            fn write(&self, json: &mut $crate::messages::Writer<'_>) {
                json.open()$(.$when(stringify!($field), &self.$field))+.close();
            }
        }

        impl $crate::messages::ReadJson for $name {
            fn blank() -> Self {
                Self { $($field: $crate::messages::ReadJson::blank()),+ }
            }

            fn read(&mut self, json: $crate::messages::Json<'_>) -> Result<(), $crate::messages::JsonError> {
                json.read_object(&mut [$((stringify!($field), Some(&mut self.$field))),+])
            }
        }
    };
}
pub(super) use message;
