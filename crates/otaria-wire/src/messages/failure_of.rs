//! Which failure code stands for which refusal of this crate's own formats.

use super::{FailureCode, JsonError, MessageError};
use crate::esp_image::ImageError;
use crate::keys::KeyRecordError;
use crate::package::{CoSignatureError, HeaderError, RecipientsError, SignatureError, TableError};
use crate::url::UrlError;

impl From<HeaderError> for FailureCode {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::NotAPackage(_) => Self::NotAPackage,
            HeaderError::Truncated => Self::EarlyClose,
            HeaderError::UnknownLength(_) => Self::UnsupportedVersion,
            HeaderError::UnknownFlags(_) => Self::UnsupportedFlags,
            HeaderError::UnknownCodec(_) => Self::UnsupportedCodec,
            HeaderError::UnknownCipher(_) => Self::UnsupportedCipher,
            HeaderError::UnknownSignatureAlgorithm(_) => Self::UnsupportedSignatureAlgorithm,
            HeaderError::NotZero
            | HeaderError::ChipRevisions
            | HeaderError::BlockLen(_)
            | HeaderError::EmptyImage
            | HeaderError::TableLen(_)
            | HeaderError::Base
            | HeaderError::Product
            | HeaderError::Version
            | HeaderError::Recipients => Self::HeaderMalformed,
        }
    }
}

impl From<SignatureError> for FailureCode {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::UnknownKey => Self::UnknownKey,
            SignatureError::BadSignature => Self::BadSignature,
        }
    }
}

impl From<CoSignatureError> for FailureCode {
    fn from(error: CoSignatureError) -> Self {
        match error {
            CoSignatureError::Truncated => Self::EarlyClose,
            CoSignatureError::None | CoSignatureError::DuplicateKey(_) => Self::BadSignature,
        }
    }
}

impl From<RecipientsError> for FailureCode {
    fn from(_: RecipientsError) -> Self {
        Self::RecipientsHash
    }
}

impl From<TableError> for FailureCode {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Len | TableError::StoredLen { .. } => Self::TableMalformed,
            TableError::Hash => Self::TableHash,
        }
    }
}

impl From<KeyRecordError> for FailureCode {
    fn from(_: KeyRecordError) -> Self {
        Self::KeysMalformed
    }
}

impl From<ImageError> for FailureCode {
    fn from(_: ImageError) -> Self {
        Self::ImageMalformed
    }
}

impl From<UrlError> for FailureCode {
    fn from(_: UrlError) -> Self {
        Self::UrlInvalid
    }
}

impl From<MessageError> for FailureCode {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::TooLong | MessageError::Json(JsonError::TooLong) => Self::MessageTooLarge,
            MessageError::Url(error) => error.into(),
            MessageError::NotUtf8
            | MessageError::Json(_)
            | MessageError::Job
            | MessageError::CommandId
            | MessageError::UnknownCommand => Self::MessageMalformed,
        }
    }
}
