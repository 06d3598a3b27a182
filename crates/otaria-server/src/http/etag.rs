//! Entity tags (RFC 9110, section 8.8): what a client has is the newest, or it is not.
//!
//! Whatever the API shows as JSON has a strong tag, the start of its SHA-256. `If-None-Match` saves sending what is known;
//! `If-Match` keeps two people from undoing each other's changes, and is looked at inside the transaction that makes the change.

use std::convert::Infallible;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use otaria_wire::Sha256Digest;
use serde::Serialize;

use super::problem::{Answer, Fault};

/// Most of an answer that is held to be tagged: a page of the largest entries is well below.
const MAX_LEN: usize = 64 * 1024 * 1024;
/// Hexadecimal digits of a tag: 128 bits.
const LEN: usize = 32;

fn tag(body: &[u8]) -> String {
    let digest = Sha256Digest::of(body).to_string();
    format!("\"{}\"", digest.get(..LEN).unwrap_or(&digest))
}

/// Whether a list of tags, or `*`, names this one.
pub(super) fn names(list: &str, etag: &str) -> bool {
    list.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The text of a header field.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The field `If-Match`: the state in which alone a change is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct IfMatch(Option<String>);

impl IfMatch {
    /// Whether there is a condition.
    pub(crate) fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// Fails unless this is what the client has seen. Called where nobody else can change it until the change is made.
    pub(crate) fn check(&self, shown: Option<&impl Serialize>) -> Answer<()> {
        let holds = match shown {
            Some(shown) => self.holds(shown),
            None => !self.is_given(),
        };
        if holds {
            return Ok(());
        }
        Err(Fault::changed())
    }

    /// Whether this is what the client has seen.
    pub(crate) fn holds(&self, shown: &impl Serialize) -> bool {
        let Some(wanted) = &self.0 else {
            return true;
        };
        let body = serde_json::to_vec(shown);
        // RFC 9110, section 13.1.1: by the strong comparison, so a weak tag names nothing.
        body.is_ok_and(|body| {
            let etag = tag(&body);
            wanted
                .split(',')
                .map(str::trim)
                .any(|one| one == "*" || one == etag)
        })
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // A value that is no text names nothing.
        let given = parts.headers.get(IF_MATCH);
        Ok(Self(given.map(|value| {
            value.to_str().unwrap_or_default().to_owned()
        })))
    }
}

/// Gives answers in JSON their tags, and leaves out what the client has.
pub(crate) async fn tagged(request: Request, next: Next) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let known = text(request.headers(), IF_NONE_MATCH).map(str::to_owned);
    let response = next.run(request).await;
    let json = response.headers().get(CONTENT_TYPE);
    let json = json.is_some_and(|kind| kind == "application/json");
    if !safe || !json || response.status() != StatusCode::OK {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let body = match to_bytes(body, MAX_LEN).await {
        Ok(body) => body,
        Err(error) => {
            return Fault::internal("an answer is too large", &error).into_response();
        }
    };
    let etag = tag(&body);
    // Quoted hexadecimal digits are a value.
    if let Ok(value) = HeaderValue::from_str(&etag) {
        head.headers.insert(ETAG, value);
    }
    if known.is_some_and(|known| names(&known, &etag)) {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(CONTENT_TYPE);
        return Response::from_parts(head, Body::empty());
    }
    Response::from_parts(head, Body::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_wanted_in_the_state_that_was_seen_alone() {
        let etag = tag(b"{\"note\":\"a\"}");
        let seen = serde_json::json!({"note": "a"});
        let other = serde_json::json!({"note": "b"});
        let wants = |value: &str| IfMatch(Some(value.to_owned()));
        assert!(IfMatch::default().holds(&seen) && !IfMatch::default().is_given());
        assert!(wants("*").holds(&seen) && wants("*").holds(&other));
        assert!(wants(&etag).holds(&seen) && !wants(&etag).holds(&other));
        assert!(wants(&format!("\"x\", {etag}")).holds(&seen));
        assert!(
            !wants(&format!("W/{etag}")).holds(&seen),
            "weak tags do not count"
        );
        assert!(!wants("").holds(&seen));
    }
}
