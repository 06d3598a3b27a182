//! Errors as RFC 9457 has them: `application/problem+json`.

use std::error::Error;

use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::access::AccessError;
use crate::enroll::EnrollError;
use crate::keys::KeysError;
use crate::model::Problem;
use crate::packages::{BucketError, UploadError};
use crate::query::QueryError;
use crate::store::StoreError;
use crate::trust::PkiError;
use crate::wishes::WishError;

/// The type of a problem document.
const PROBLEM: &str = "application/problem+json";

/// What a handler gives.
pub(crate) type Answer<T> = Result<T, Fault>;

/// An error on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
}

impl Fault {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            title,
            detail: detail.into(),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "The request cannot be read",
            detail,
        )
    }

    /// What axum refuses, with its words.
    pub(crate) fn refused(status: StatusCode, detail: impl Into<String>) -> Self {
        let (kind, title) = match status {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("content_type", "The request cannot be read"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "The request is too large"),
            status if status.is_server_error() => ("internal", "The server failed"),
            _ => ("bad_request", "The request cannot be read"),
        };
        Self::new(status, kind, title, detail)
    }

    pub(crate) fn conflict(
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::CONFLICT, kind, title, detail)
    }

    /// `If-Match` names another state than the present one.
    pub(crate) fn changed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "changed",
            "It has changed",
            "this is no more as you have seen it; read it again, and decide anew",
        )
    }

    /// The server's own fault: the log gets the cause, the client does not.
    pub(crate) fn internal(what: &str, cause: &dyn Error) -> Self {
        tracing::error!("{what}: {}", chain(cause));
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed",
            "the server could not do this; its log says why",
        )
    }

    /// The problem document.
    pub(crate) fn problem(&self) -> Problem {
        Problem {
            kind: format!("urn:otaria:problem:{}", self.kind),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
        }
    }
}

/// Longest text of axum's that is passed on.
const MAX_DETAIL: usize = 1024;

/// What the router and its extractors refuse by themselves (an address that is no text, a body that is too large) as a problem,
/// as all else is.
pub(crate) async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let told = response.headers().get(CONTENT_TYPE);
    if !is_error || told.is_some_and(|told| told == PROBLEM) {
        return response;
    }
    let (head, body) = response.into_parts();
    let text = axum::body::to_bytes(body, MAX_DETAIL).await;
    let text = text.unwrap_or_default();
    let detail = match std::str::from_utf8(&text) {
        Ok(text) if !text.trim().is_empty() => text.trim(),
        _ => "the server does not take this request",
    };
    let mut response = Fault::refused(status, detail).into_response();
    // Such as `Allow`; what tells of the body is the new one's.
    for (name, value) in &head.headers {
        if name != CONTENT_TYPE && name != CONTENT_LENGTH {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        // Strings and a number: writing them as JSON cannot fail.
        let body = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        // For the layer that makes a page of it for people.
        response.extensions_mut().insert(self.problem());
        response
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::internal("the store failed", &error)
    }
}

impl From<WishError> for Fault {
    fn from(error: WishError) -> Self {
        let detail = error.to_string();
        match error {
            WishError::NoPackage(_) => Self::not_found(detail),
            WishError::NoDevice(_) => {
                Self::new(StatusCode::NOT_FOUND, "no_device", "No such device", detail)
            }
            WishError::EmptyTarget(_) => {
                Self::conflict("empty_target", "The target is empty", detail)
            }
            WishError::NoneFits { .. } => {
                Self::conflict("none_fits", "No device can take this package", detail)
            }
            WishError::JobTaken(_) => {
                Self::conflict("job_taken", "The job's name is taken", detail)
            }
            WishError::DeviceId(_)
            | WishError::JobName
            | WishError::Deadline
            | WishError::Expiry
            | WishError::Command => Self::bad_request(detail),
            WishError::Address(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "public_url",
                "The server's public address cannot be used",
                detail,
            ),
            WishError::Query(error) => error.into(),
            WishError::Store(error) => error.into(),
        }
    }
}

impl From<KeysError> for Fault {
    fn from(error: KeysError) -> Self {
        let detail = error.to_string();
        match error {
            KeysError::Malformed(_) => Self::bad_request(detail),
            KeysError::Epoch { .. } => {
                Self::conflict("keys_epoch", "The key record is not newer", detail)
            }
            KeysError::NoProduct(_) => Self::not_found(detail),
            KeysError::Store(error) => error.into(),
        }
    }
}

impl From<AccessError> for Fault {
    fn from(error: AccessError) -> Self {
        let detail = error.to_string();
        let new = |status, kind, title| Self::new(status, kind, title, detail.clone());
        match error {
            AccessError::Wrong => new(StatusCode::UNAUTHORIZED, "wrong_password", "Not logged in"),
            AccessError::TooOften(_) => new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_often",
                "Too many wrong passwords",
            ),
            AccessError::NoUser(_) | AccessError::NoToken(_) => Self::not_found(detail),
            AccessError::Taken(_) => Self::conflict("user_taken", "The name is taken", detail),
            AccessError::LastAdmin(_) => {
                Self::conflict("last_admin", "Somebody has to be administrator", detail)
            }
            AccessError::Open => Self::conflict("open", "There is no log-in", detail),
            AccessError::NotWhole | AccessError::Scope(_) => {
                new(StatusCode::FORBIDDEN, "forbidden", "Not allowed")
            }
            AccessError::Name
            | AccessError::Password
            | AccessError::Days
            | AccessError::TokenName
            | AccessError::NoScope => Self::bad_request(detail),
            AccessError::Store(error) => error.into(),
        }
    }
}

impl From<EnrollError> for Fault {
    fn from(error: EnrollError) -> Self {
        let detail = error.to_string();
        match error {
            EnrollError::Device(..)
            | EnrollError::Reserved
            | EnrollError::Pki(PkiError::Request(_)) => Self::bad_request(detail),
            EnrollError::NoTls | EnrollError::Elsewhere => {
                Self::conflict("no_authority", "No certificates from here", detail)
            }
            EnrollError::Pki(error) => Self::internal("a certificate cannot be made", &error),
            EnrollError::Store(error) => error.into(),
        }
    }
}

impl From<UploadError> for Fault {
    fn from(error: UploadError) -> Self {
        let detail = chain(&error);
        match error {
            UploadError::TooLarge { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "The package is too large",
                detail,
            ),
            UploadError::Broken(_) => Self::bad_request(detail),
            UploadError::Refused(error) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                error.code().name(),
                "The package is refused",
                detail,
            ),
            UploadError::SequenceAhead { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "sequence_ahead",
                "The package is from the future",
                detail,
            ),
            UploadError::Io(error) => Self::internal("a package could not be stored", &error),
            UploadError::Bucket(error) => error.into(),
        }
    }
}

/// What is wrong with the bucket is for the log: its name and its answers are the operator's.
impl From<BucketError> for Fault {
    fn from(error: BucketError) -> Self {
        tracing::error!("{error}");
        let detail = match error.is_missing() {
            true => "the package is known, but its file is gone from the bucket: upload it again",
            false => {
                "the bucket does not answer as it should; the server's log says why, and what to check"
            }
        };
        Self::new(
            StatusCode::BAD_GATEWAY,
            "bucket",
            "The bucket failed",
            detail,
        )
    }
}

impl From<JsonRejection> for Fault {
    fn from(error: JsonRejection) -> Self {
        Self::refused(error.status(), error.body_text())
    }
}

impl From<QueryError> for Fault {
    fn from(error: QueryError) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "query",
            "The query cannot be read",
            error.to_string(),
        )
    }
}

impl From<QueryRejection> for Fault {
    fn from(error: QueryRejection) -> Self {
        Self::bad_request(error.body_text())
    }
}
