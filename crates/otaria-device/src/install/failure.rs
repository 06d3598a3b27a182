//! Why something failed: a number that travels, and words that stay where they were put down.

use core::cell::{Cell, RefCell};
use core::fmt;

use otaria_engine::machine::{Failure, Text};
use otaria_engine::time::Duration;
use otaria_wire::messages::FailureCode;
use otaria_wire::package::{
    CoSignatureError, HeaderError, RecipientsError, SignatureError, TableError,
};

use crate::codec::DecodeError;
use crate::encryption::DecryptError;
use crate::http::HttpError;
use crate::storage::journal::JournalError;
use crate::storage::otadata::OtaDataError;
use crate::storage::slot::SlotError;
use crate::storage::table_store::TableStoreError;
use crate::storage::verify::VerifyError;

/// How a fetch ended without all blocks in flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The package's image runs already.
    AlreadyRunning,
    /// Anything else; [`Words`] may say more.
    Failed(FailureCode),
}

impl From<FailureCode> for FetchError {
    fn from(code: FailureCode) -> Self {
        Self::Failed(code)
    }
}

// They go from hand to hand in every `Result` of the update path; what is large is said once, in `Words`.
const _: () = assert!(size_of::<Result<(), FetchError>>() <= 4);

/// What the code of the last failure does not say, in words for people.
///
/// Whoever makes a failure puts its words down here, over those of an earlier one, and hands on the code. Whoever reports the
/// failure takes them.
#[derive(Debug, Default)]
pub struct Words {
    text: RefCell<Text>,
    /// When the other side wants to be asked again, if it has said so.
    retry_after: Cell<Option<Duration>>,
}

impl Words {
    /// Nothing has failed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            text: RefCell::new(Text::new()),
            retry_after: Cell::new(None),
        }
    }

    /// Puts down why `code` failed, as far as it fits.
    pub(crate) fn failure(&self, code: FailureCode, text: fmt::Arguments<'_>) -> FailureCode {
        use fmt::Write;
        let mut words = self.text.borrow_mut();
        words.clear();
        let _ = Clipped(&mut words).write_fmt(text);
        self.retry_after.set(None);
        code
    }

    /// Puts down that `code` passes by itself, in so many seconds.
    pub(crate) fn wait(&self, code: FailureCode, seconds: u32) -> FailureCode {
        self.failure(code, format_args!("for another {seconds} s"));
        let wait = Duration::from_secs(u64::from(seconds));
        self.retry_after.set(Some(wait));
        code
    }

    /// The same, of an error that has both.
    // One copy of it: it is called wherever something can fail.
    #[inline(never)]
    pub(crate) fn failed(&self, error: &dyn Reason) -> FailureCode {
        let code = self.failure(error.code(), format_args!("{error}"));
        self.retry_after.set(error.retry_after());
        code
    }

    /// All that was said, for a report. Nothing of it is left for the next failure.
    pub fn take(&self) -> Said {
        Said {
            text: core::mem::take(&mut self.text.borrow_mut()),
            retry_after: self.retry_after.take(),
        }
    }
}

/// What was said of a failure.
#[derive(Debug, Default)]
pub struct Said {
    /// In words; may be empty.
    pub text: Text,
    /// When the other side wants to be asked again, if it has said so.
    pub retry_after: Option<Duration>,
}

impl Said {
    /// The failure as the engine is told.
    pub(crate) fn of(&self, code: FailureCode) -> Failure<'_> {
        Failure {
            code,
            text: &self.text,
            retry_after: self.retry_after,
        }
    }
}

/// Leaves out what does not fit, and what would break a line.
struct Clipped<'a>(&'a mut Text);

impl fmt::Write for Clipped<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for character in s.chars() {
            let shown = if character.is_control() {
                ' '
            } else {
                character
            };
            // Nothing of what follows, either: a shorter piece would stand there as if it came next.
            if self.0.push(shown).is_err() {
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

/// An error that has a number and words.
pub(crate) trait Reason: fmt::Display {
    /// The number.
    fn code(&self) -> FailureCode;

    /// When the other side wants to be asked again, if it has said so.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// Whose number is settled in otaria-wire.
macro_rules! numbered_by_wire {
    ($($error:ty)+) => {
        $(impl Reason for $error {
            fn code(&self) -> FailureCode {
                (*self).into()
            }
        })+
    };
}

numbered_by_wire!(HeaderError SignatureError TableError RecipientsError CoSignatureError);

impl Reason for HttpError {
    fn code(&self) -> FailureCode {
        HttpError::code(self)
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => {
                retry_after.map(|secs| Duration::from_secs(u64::from(secs)))
            }
            _ => None,
        }
    }
}

impl Reason for DecodeError {
    fn code(&self) -> FailureCode {
        DecodeError::code(self)
    }
}

impl Reason for DecryptError {
    fn code(&self) -> FailureCode {
        DecryptError::code(self)
    }
}

impl Reason for JournalError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Full | Self::TooLong | Self::Exhausted => FailureCode::JournalFull,
            Self::WrongSize | Self::Flash(_) | Self::NotWritten => FailureCode::FlashWrite,
            Self::Undecodable { .. } | Self::Stale => FailureCode::FlashRead,
        }
    }
}

impl Reason for TableStoreError {
    fn code(&self) -> FailureCode {
        match self {
            Self::WrongSize | Self::Flash(_) => FailureCode::FlashWrite,
            Self::NotStored | Self::NoSuchBlock => FailureCode::FlashRead,
        }
    }
}

impl Reason for OtaDataError {
    fn code(&self) -> FailureCode {
        FailureCode::OtadataWrite
    }
}

impl Reason for SlotError {
    fn code(&self) -> FailureCode {
        match self {
            Self::TrialOpen => FailureCode::TrialOpen,
            Self::TooLarge => FailureCode::ImageTooLarge,
            Self::Flash(_) => FailureCode::FlashWrite,
            Self::Journal(error) => error.code(),
            Self::Running
            | Self::OtherTable
            | Self::NotStarted
            | Self::NotErased
            | Self::OutOfOrder => FailureCode::LogicBug,
        }
    }
}

impl Reason for VerifyError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Flash(_) => FailureCode::FlashRead,
            Self::Hash => FailureCode::ImageHash,
            Self::Image(_) => FailureCode::ImageMalformed,
            Self::Description => FailureCode::DescriptorMismatch,
            Self::NoGuard => FailureCode::GuardMissing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use otaria_engine::machine::FAILURE_TEXT_LEN;
    use std::string::String;

    #[test]
    fn the_last_words_are_told_once_on_one_line_as_far_as_they_fit() {
        let words = Words::new();
        words.failed(&JournalError::Full);
        let code = words.failure(FailureCode::Dns, format_args!("no \"{}\"", "a\nb"));
        assert_eq!(code, FailureCode::Dns);
        assert_eq!(words.take().text, "no \"a b\"");
        assert_eq!(words.take().text, "");

        let long = String::from("\u{e4}").repeat(FAILURE_TEXT_LEN);
        words.failure(FailureCode::Dns, format_args!("{long}{long}"));
        assert_eq!(words.take().text, long[..FAILURE_TEXT_LEN]);

        let almost = "x".repeat(FAILURE_TEXT_LEN - 1);
        words.failure(
            FailureCode::Dns,
            format_args!("{almost}{}{}", '\u{e4}', 'b'),
        );
        assert_eq!(words.take().text, almost.as_str());
    }

    #[test]
    fn what_a_server_asked_for_is_not_left_for_the_next_failure() {
        let words = Words::new();
        words.failed(&HttpError::Status {
            status: 503,
            retry_after: Some(60),
        });
        assert_eq!(
            words.take().of(FailureCode::HttpStatus).retry_after,
            Some(Duration::from_secs(60))
        );
        assert_eq!(words.take().of(FailureCode::NoNetwork).retry_after, None);
    }
}
