//! The wanted firmware: topic `desired`, retained.

use heapless::String;
use serde::{Deserialize, Serialize};

use super::json::message;
use super::{Job, MessageError, from_json, is_plain_name};
use crate::Sha256Digest;
use crate::url::{MAX_URL_LEN, Url};

/// The wanted firmware. It is a declaration: a device that already runs it does
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// What to call this wish in reports; without one, the package's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// Where the package is.
    pub url: String<MAX_URL_LEN>,
    /// The version that the package must declare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String<32>>,
    /// The image that the package must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_sha256: Option<Sha256Digest>,
    /// Not to be started before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// Not to be started or retried after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
}

message! {
    Desired {
        given job, always url, given version, given image_sha256, given not_before,
        given deadline,
    }
}

/// Another word for [`Desired`], from the device's side.
pub type Wish = Desired;

impl Desired {
    /// Reads the payload of `desired`: nothing (no wish), a JSON object, or a
    /// bare URL.
    ///
    /// # Errors
    /// See [`MessageError`]; the URL is checked too.
    pub fn parse(payload: &[u8]) -> Result<Option<Self>, MessageError> {
        let trimmed = payload.trim_ascii();
        let desired = match trimmed {
            [] => return Ok(None),
            [b'{', ..] => from_json(trimmed)?,
            _ => Self::from_bare_url(trimmed)?,
        };
        Url::parse(&desired.url).map_err(MessageError::Url)?;
        if desired.job.as_ref().is_some_and(|job| !is_plain_name(job)) {
            return Err(MessageError::Job);
        }
        Ok(Some(desired))
    }

    fn from_bare_url(bytes: &[u8]) -> Result<Self, MessageError> {
        let text = core::str::from_utf8(bytes).map_err(|_| MessageError::NotUtf8)?;
        let url = String::try_from(text).map_err(|_| MessageError::TooLong)?;
        Ok(Self {
            url,
            ..Self::default()
        })
    }
}
