//! The values that messages are made of.

use core::str::FromStr;

use heapless::{String, Vec};

use super::{Json, JsonError, ReadJson, WriteJson, Writer};

/// One of a list of names that later versions may add to.
pub(in crate::messages) trait Word: Copy + 'static {
    /// The names that this version knows.
    const KNOWN: &'static [Self];
    /// What stands for all others.
    const OTHER: Self;

    fn word(self) -> &'static str;
}

impl<T: Word> WriteJson for T {
    fn write(&self, json: &mut Writer<'_>) {
        json.text(self.word());
    }
}

impl<T: Word> ReadJson for T {
    fn blank() -> Self {
        T::OTHER
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        let text = json.text()?;
        let known = T::KNOWN
            .iter()
            .find(|known| text.clone().eq(known.word().chars()));
        *self = known.copied().unwrap_or(T::OTHER);
        Ok(())
    }
}

impl<T: WriteJson> WriteJson for Option<T> {
    fn write(&self, json: &mut Writer<'_>) {
        match self {
            Some(value) => value.write(json),
            None => json.raw(b"null"),
        }
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

impl<T: ReadJson> ReadJson for Option<T> {
    fn blank() -> Self {
        None
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        if json.as_str() == "null" {
            return Ok(());
        }
        self.insert(T::blank()).read(json)
    }

    fn may_be_missing(&self) -> bool {
        true
    }
}

impl WriteJson for bool {
    fn write(&self, json: &mut Writer<'_>) {
        json.raw(if *self { b"true" } else { b"false" });
    }
}

impl ReadJson for bool {
    fn blank() -> Self {
        false
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        *self = match json.as_str() {
            "true" => true,
            "false" => false,
            _ => return Err(JsonError::Shape),
        };
        Ok(())
    }
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl WriteJson for $number {
            fn write(&self, json: &mut Writer<'_>) {
                json.number((*self).into());
            }
        }

        impl ReadJson for $number {
            fn blank() -> Self {
                0
            }

            fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
                let number = json.as_str().parse::<u64>().map_err(|_| JsonError::Shape)?;
                *self = number.try_into().map_err(|_| JsonError::Shape)?;
                Ok(())
            }
        }
    )+};
}
numbers!(u8, u16, u32, u64);

impl WriteJson for i8 {
    fn write(&self, json: &mut Writer<'_>) {
        if *self < 0 {
            json.raw(b"-");
        }
        json.number(self.unsigned_abs().into());
    }
}

impl ReadJson for i8 {
    fn blank() -> Self {
        0
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        *self = json.as_str().parse().map_err(|_| JsonError::Shape)?;
        Ok(())
    }
}

impl<const N: usize> WriteJson for String<N> {
    fn write(&self, json: &mut Writer<'_>) {
        json.text(self);
    }
}

impl<const N: usize> ReadJson for String<N> {
    fn blank() -> Self {
        Self::new()
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        for character in json.text()? {
            self.push(character).map_err(|_| JsonError::Shape)?;
        }
        Ok(())
    }
}

impl<T: WriteJson, const N: usize> WriteJson for Vec<T, N> {
    fn write(&self, json: &mut Writer<'_>) {
        json.raw(b"[");
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                json.raw(b",");
            }
            value.write(json);
        }
        json.raw(b"]");
    }
}

impl<T: ReadJson, const N: usize> ReadJson for Vec<T, N> {
    fn blank() -> Self {
        Self::new()
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        for element in json.elements().ok_or(JsonError::Shape)? {
            let mut value = T::blank();
            value.read(element)?;
            self.push(value).map_err(|_| JsonError::Shape)?;
        }
        Ok(())
    }
}

/// A text that has a form of its own.
pub(crate) fn read_text<T: FromStr>(json: Json<'_>) -> Result<T, JsonError> {
    // No such text is longer.
    let mut text = String::<64>::new();
    text.read(json)?;
    text.parse().map_err(|_| JsonError::Shape)
}
