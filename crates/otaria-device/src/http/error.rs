//! Why a request failed.

use core::fmt;

use embedded_io_async::ErrorKind;
use otaria_wire::messages::FailureCode;
use otaria_wire::url::UrlError;

use crate::net::{ConnectError, LinkError};

/// Why a request failed. Each has its own [`FailureCode`], see [`code`](Self::code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpError {
    /// The URL is none.
    Url(UrlError),
    /// The settings do not allow this scheme or host.
    NotAllowed,
    /// No connection to the host.
    Connect(ConnectError),
    /// The head of the answer did not come in time.
    HeadTimeout,
    /// No byte of the body came for too long.
    Stalled,
    /// The server closed the connection before the end of head or body.
    EarlyClose,
    /// The connection broke.
    Broken(ErrorKind),
    /// The server answered with another status than 200 and 206.
    Status {
        /// The status.
        status: u16,
        /// Seconds after which the server wants to be asked again (429 and 503 may say that).
        retry_after: Option<u32>,
    },
    /// 416: the server has nothing at the position that was asked for.
    RangeNotSatisfiable {
        /// Bytes that it has, if it says so and they are less than 4 GiB.
        total: Option<u32>,
    },
    /// What answered does not speak HTTP/1.
    NotHttp,
    /// A header line, or the framing of the body, is not as it must be.
    Malformed,
    /// The head is larger than 16 KiB, or one of its lines that matter is larger than 2 KiB.
    HeadTooLarge,
    /// More than five redirects.
    TooManyRedirects,
    /// The server redirects to where this device does not go.
    RedirectRefused(RedirectError),
    /// The server sent another range than was asked for, or did not say which.
    RangeMismatch,
    /// The server announced one length and another, or sent more or less than it announced.
    LengthMismatch,
    /// The file is another one than the ETag that was asked for says.
    ContentChanged,
    /// The body is compressed, although that was ruled out.
    Encoded,
}

/// What is wrong with a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectError {
    /// No Location header.
    NoLocation,
    /// Its Location is no URL that can be used, or too long.
    Url(UrlError),
    /// The settings do not allow that scheme or host.
    NotAllowed,
    /// From https to http.
    Downgrade,
}

impl HttpError {
    /// The number under which this is reported.
    #[must_use]
    pub const fn code(&self) -> FailureCode {
        match self {
            Self::Url(_) => FailureCode::UrlInvalid,
            Self::NotAllowed => FailureCode::UrlRefused,
            Self::Connect(error) => match error {
                ConnectError::NameNotFound | ConnectError::NameTimeout => FailureCode::Dns,
                ConnectError::Refused | ConnectError::Failed(_) => FailureCode::Connect,
                ConnectError::Timeout => FailureCode::TimeoutConnect,
                ConnectError::TlsUnavailable => FailureCode::Tls,
                ConnectError::Tls(error) => error.code(),
            },
            Self::HeadTimeout => FailureCode::TimeoutHead,
            Self::Stalled => FailureCode::Stalled,
            Self::EarlyClose | Self::Broken(_) => FailureCode::EarlyClose,
            Self::Status { .. } => FailureCode::HttpStatus,
            Self::RangeNotSatisfiable { .. } | Self::RangeMismatch => FailureCode::RangeMismatch,
            Self::NotHttp | Self::Malformed | Self::Encoded => FailureCode::HttpMalformed,
            Self::HeadTooLarge => FailureCode::HeadTooLarge,
            Self::TooManyRedirects => FailureCode::TooManyRedirects,
            Self::RedirectRefused(_) => FailureCode::RedirectRefused,
            Self::LengthMismatch => FailureCode::LengthMismatch,
            Self::ContentChanged => FailureCode::ContentChanged,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Url(error) => return error.fmt(f),
            Self::RedirectRefused(RedirectError::Url(error)) => {
                return write!(f, "a redirect: {error}");
            }
            Self::Connect(error) => return error.fmt(f),
            Self::Broken(kind) => return write!(f, "the connection broke: {kind}"),
            Self::Status {
                status,
                retry_after,
            } => {
                write!(f, "the server answered with status {status}")?;
                return match retry_after {
                    Some(secs) => write!(f, " and wants to be asked again in {secs} s"),
                    None => Ok(()),
                };
            }
            Self::RangeNotSatisfiable { total: Some(total) } => {
                return write!(f, "the file on the server has only {total} bytes (416)");
            }
            Self::RangeNotSatisfiable { total: None } => {
                "the server has nothing at that position (416)"
            }
            Self::NotAllowed => "the settings do not allow this address",
            Self::HeadTimeout => "the server did not answer in time",
            Self::Stalled => "the server stopped sending",
            Self::EarlyClose => "the server closed the connection before the end",
            Self::NotHttp => "what answers there does not speak HTTP/1",
            Self::Malformed => "the server's answer breaks the rules of HTTP/1.1",
            Self::HeadTooLarge => "the head of the server's answer is too large",
            Self::TooManyRedirects => "more than five redirects",
            Self::RedirectRefused(RedirectError::NoLocation) => "a redirect to nowhere",
            Self::RedirectRefused(RedirectError::NotAllowed) => {
                "a redirect to an address that the settings do not allow"
            }
            Self::RedirectRefused(RedirectError::Downgrade) => "a redirect from https to http",
            Self::RangeMismatch => "the server sent another range than asked for",
            Self::LengthMismatch => "the server's lengths contradict each other",
            Self::ContentChanged => "the file on the server is another one now",
            Self::Encoded => "the server compresses the file: switch that off for packages",
        })
    }
}

impl core::error::Error for HttpError {}

impl From<ConnectError> for HttpError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl HttpError {
    /// The error of a link while the head of the answer is awaited.
    pub(super) const fn in_head(error: LinkError) -> Self {
        match error {
            LinkError::Timeout => Self::HeadTimeout,
            LinkError::Closed => Self::EarlyClose,
            LinkError::Broken(kind) => Self::Broken(kind),
        }
    }

    /// The error of a link while the body is read.
    pub(super) const fn in_body(error: LinkError) -> Self {
        match error {
            LinkError::Timeout => Self::Stalled,
            LinkError::Closed => Self::EarlyClose,
            LinkError::Broken(kind) => Self::Broken(kind),
        }
    }
}
