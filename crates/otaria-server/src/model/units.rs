//! Times, days and sizes as people write them in a rollout.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::ToSchema;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are days")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Minutes since midnight, as `HH:MM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, pattern = "^[0-2][0-9]:[0-5][0-9]$", example = "01:30")]
pub struct TimeOfDay(pub u16);

/// Seconds, as `90s`, `15m`, `6h`, `2d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9]+[smhd]$", example = "15m")]
pub struct Seconds(pub u32);

/// Bytes, as a number, or with `kB`, `MB`, `KiB`, `MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9]+ *(kB|MB|KiB|MiB)?$", example = "500kB")]
pub struct Bytes(pub u64);

/// A text is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotThat(pub(super) &'static str);

impl FromStr for TimeOfDay {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<Self, NotThat> {
        let error = NotThat("a time of day is written 01:30");
        let (hours, minutes) = text.split_once(':').ok_or(error)?;
        let number = |text: &str, below: u16| {
            let number = text.parse().ok().filter(|_| text.len() == 2);
            number.filter(|number: &u16| *number < below).ok_or(error)
        };
        Ok(Self(number(hours, 24)? * 60 + number(minutes, 60)?))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for Seconds {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<Self, NotThat> {
        crate::query::seconds(text)
            .and_then(|seconds| u32::try_from(seconds).ok())
            .map(Self)
            .ok_or(NotThat("a time is written 90s, 15m, 6h or 2d"))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
        let fits = |(len, _): &(u32, char)| self.0 >= *len && self.0.is_multiple_of(*len);
        match units.into_iter().find(fits) {
            Some((len, unit)) => write!(f, "{}{unit}", self.0 / len),
            None => write!(f, "{}s", self.0),
        }
    }
}

impl FromStr for Bytes {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<Self, NotThat> {
        let units = [
            ("kB", 1000),
            ("MB", 1_000_000),
            ("KiB", 1024),
            ("MiB", 1024 * 1024),
            ("", 1),
        ];
        let parsed = units.into_iter().find_map(|(unit, factor)| {
            let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            number.checked_mul(factor)
        });
        parsed
            .map(Self)
            .ok_or(NotThat("bytes are written 500kB, 2MB or 64KiB"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes.is_multiple_of(1_000_000) => {
                write!(f, "{}MB", bytes / 1_000_000)
            }
            bytes if bytes > 0 && bytes.is_multiple_of(1000) => write!(f, "{}kB", bytes / 1000),
            bytes => write!(f, "{bytes}"),
        }
    }
}

macro_rules! as_text {
    ($($kind:ty),+) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

as_text!(TimeOfDay, Seconds, Bytes);
