//! Forms of pages: each carries its session's token, which no foreign page knows.

use axum::body::{Body, to_bytes};
use axum::extract::{Form, FromRequest as _, Request};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
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
    let token = Form::<Token>::from_request(copy, &()).await;
    let ours = session.csrf();
    if !token
        .is_ok_and(|Form(Token { csrf })| secret::equal(csrf.reveal().as_bytes(), ours.as_bytes()))
    {
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

/// Sends a browser to the page that shows what a form has done.
pub(super) fn see(address: &str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, address)]).into_response()
}
