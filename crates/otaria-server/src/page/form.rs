//! Forms of pages: each carries its session's token, which no foreign page knows.

use axum::body::{Body, to_bytes};
use axum::extract::{Form, FromRequest as _, Multipart, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use crate::access::secret;
use crate::http::{Fault, Session};
use crate::model::Secret;

/// Longest form, in bytes: a note is the longest field.
const MAX_FORM: usize = 64 * 1024;

#[derive(Deserialize)]
struct Token {
    csrf: Secret,
}

/// What was filled in, where each box that is ticked is a field of its own.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The value of a field; empty without one.
    pub(super) fn one(&self, name: &'static str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// The values of all fields of this name.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        let of_it = self.0.iter().filter(move |(field, _)| field == name);
        of_it.map(|(_, value)| value.as_str())
    }
}

/// Lets a session's request that changes something through only with the session's token. Whoever comes without a session (a
/// token's bearer, or anybody on an open server) is no browser that could be abused, or is kept to this origin already.
pub(super) async fn checked(request: Request, next: Next) -> Response {
    let Some(session) = request.extensions().get::<Session>().cloned() else {
        return next.run(request).await;
    };
    if request.method().is_safe() || request.uri().path() == "/login" {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_FORM).await else {
        return Fault::bad_request("the form is too long").into_response();
    };
    let copy = Request::from_parts(head.clone(), Body::from(body.clone()));
    let ours = session.csrf();
    let is_ours = |csrf: Secret| secret::equal(csrf.reveal().as_bytes(), ours.as_bytes());
    if !token(copy).await.is_some_and(is_ours) {
        return Fault::new(
            StatusCode::FORBIDDEN,
            "csrf",
            "Not from here",
            "this form is not from this session's page; load the page again and repeat what you did",
        )
        .into_response();
    }
    next.run(Request::from_parts(head, Body::from(body))).await
}

/// The token in a form's field, however the form is encoded.
async fn token(form: Request) -> Option<Secret> {
    let with_files = form.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes().to_ascii_lowercase();
        kind.starts_with(b"multipart/form-data")
    });
    if !with_files {
        let Form(Token { csrf }) = Form::from_request(form, &()).await.ok()?;
        return Some(csrf);
    }
    let mut fields = Multipart::from_request(form, &()).await.ok()?;
    while let Some(field) = fields.next_field().await.ok()? {
        if field.name() == Some("csrf") {
            return field.text().await.ok().map(Secret::from);
        }
    }
    None
}

/// Sends a browser to the page that shows what a form has done.
pub(super) fn see(address: &str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, address)]).into_response()
}
