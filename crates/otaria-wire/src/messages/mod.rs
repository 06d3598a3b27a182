//! JSON messages over MQTT, and the numbers of failures.
//!
//! UTF-8 JSON objects. A reader ignores unknown keys, and takes values of later
//! versions for `unknown` where a list of names is open. Times are unix seconds
//! unless a name says otherwise, sizes bytes, digests lower-case hex.
//!
//! [`from_json`] and [`to_json`] need neither heap nor much code: a device's way to read and write them, and a server's to read
//! strictly what devices send. Hosts have serde's traits too; both give the same.

mod command;
mod desired;
mod failure;
mod failure_of;
mod json;
mod report;
#[cfg(test)]
mod tests;
mod words;

pub use command::{Command, CommandKind};
pub use desired::{Desired, Wish};
pub use failure::{FailureCode, FailureGroup};
pub(crate) use json::read_text;
pub use json::{
    Json, JsonError, MAX_JSON_DEPTH, MAX_MESSAGE_LEN, ReadJson, WriteJson, Writer, from_json,
    to_json,
};
pub use report::{
    Event, InstallId, Level, LogLine, Presence, Progress, State, Timing, Trial, TrustedKeys,
};
pub use words::{EventKind, Phase, ResetReason};

use core::fmt;

use crate::url::UrlError;

/// Longest job name in bytes.
pub const MAX_JOB_LEN: usize = 64;
/// Longest command id in bytes.
pub const MAX_COMMAND_ID_LEN: usize = 64;
/// Longest explaining text of an event in bytes.
pub const MAX_TEXT_LEN: usize = 160;
/// Longest text of a log line in bytes.
pub const MAX_LOG_TEXT_LEN: usize = crate::flash_log::MAX_TEXT_LEN;
/// A buffer of this length holds any report whose texts are free of control characters.
pub const MAX_REPORT_LEN: usize = 1024;

/// A job: what a server or an operator calls one wish.
pub type Job = heapless::String<MAX_JOB_LEN>;

/// Why a message to a device is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Longer than [`MAX_MESSAGE_LEN`], or a URL longer than 512 bytes.
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// Not the JSON that it should be.
    Json(JsonError),
    /// The URL cannot be used.
    Url(UrlError),
    /// An empty job, or one with control characters.
    Job,
    /// An empty command id, or one with control characters.
    CommandId,
    /// A command of a later version.
    UnknownCommand,
}

impl MessageError {
    /// The failure to report.
    #[must_use]
    pub fn code(&self) -> FailureCode {
        (*self).into()
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the message is too long"),
            Self::NotUtf8 => f.write_str("the message is not UTF-8"),
            Self::Json(error) => error.fmt(f),
            Self::Url(error) => error.fmt(f),
            Self::Job => f.write_str("the job is empty or has control characters"),
            Self::CommandId => f.write_str("the command's id is empty or has control characters"),
            Self::UnknownCommand => f.write_str("the command is unknown"),
        }
    }
}

impl core::error::Error for MessageError {}

impl From<JsonError> for MessageError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// A name that people give: not empty, and fit for a log line.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(char::is_control)
}
