//! `GET` and `HEAD /packages/<digest>.otaria`: packages, streamed and resumable, or the address where they are had.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH,
    IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::response::Response;
use futures_util::TryStreamExt as _;
use otaria_wire::Sha256Digest;

use super::etag::{names, text};
use super::problem::{Answer, Fault};
use super::range::{Part, part};
use crate::packages::{EXTENSION, FindError};
use crate::shared::Shared;

/// A package, for devices: all of it, or the part that `Range` names, or the address where it is had (`--downloads-by`,
/// `--packages-cdn`).
#[utoipa::path(
    get, path = "/packages/{name}", tag = "packages", operation_id = "download_package",
    responses(
        (status = OK, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = PARTIAL_CONTENT, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = TEMPORARY_REDIRECT),
        (status = NOT_MODIFIED),
        (status = BAD_GATEWAY),
    ),
)]
pub(crate) async fn package(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Answer<Response> {
    let none = || Fault::not_found(format!("there is no package '{name}' here"));
    let digest = named(&name).ok_or_else(none)?;
    let found = shared.packages.find(digest, &shared.store).await?;
    let found = found.ok_or_else(none)?;
    let len = found.len;
    let etag = format!("\"{digest}\"");

    // RFC 9110, section 13.2.2: If-Match, then If-None-Match, then Range with If-Range.
    if text(&headers, IF_MATCH).is_some_and(|wanted| !names(wanted, &etag)) {
        return respond(StatusCode::PRECONDITION_FAILED, &etag, [], Body::empty());
    }
    if text(&headers, IF_NONE_MATCH).is_some_and(|known| names(known, &etag)) {
        return respond(StatusCode::NOT_MODIFIED, &etag, [], Body::empty());
    }
    if let Some(elsewhere) = found.elsewhere(&method).await? {
        return redirect(&elsewhere);
    }
    // Range is defined for GET alone, and counts only if If-Range names this very file.
    let range = text(&headers, RANGE)
        .filter(|_| method == Method::GET)
        .filter(|_| {
            headers
                .get(IF_RANGE)
                .is_none_or(|known| known.as_bytes() == etag.as_bytes())
        });
    let (status, first, count, content_range) =
        match range.map_or(Part::Whole, |value| part(value, len)) {
            Part::Whole => (StatusCode::OK, 0, len, None),
            Part::Bytes { first, last } => (
                StatusCode::PARTIAL_CONTENT,
                first,
                last - first + 1,
                Some(format!("bytes {first}-{last}/{len}")),
            ),
            Part::Nothing => {
                let unsatisfied = [(CONTENT_RANGE, format!("bytes */{len}"))];
                return respond(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    &etag,
                    unsatisfied,
                    Body::empty(),
                );
            }
        };
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let pieces = found.read(first..first + count).await?;
        let sent = shared.metrics.download_bytes.clone();
        Body::from_stream(pieces.inspect_ok(move |piece| {
            sent.inc_by(piece.len() as u64);
        }))
    };
    let fields = [
        (CONTENT_LENGTH, count.to_string()),
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        // The name is the hash of the content, so it never changes.
        (
            CACHE_CONTROL,
            "public, max-age=31536000, immutable".to_owned(),
        ),
    ];
    respond(
        status,
        &etag,
        fields
            .into_iter()
            .chain(content_range.map(|range| (CONTENT_RANGE, range))),
        body,
    )
}

/// Sends somebody on, by an address that is for them alone: no cache keeps it.
fn redirect(to: &str) -> Answer<Response> {
    Response::builder()
        .status(StatusCode::TEMPORARY_REDIRECT)
        .header(LOCATION, to)
        .header(CACHE_CONTROL, "no-store")
        .body(Body::empty())
        .map_err(|error| Fault::internal("an answer cannot be made", &error))
}

/// The digest in a file's name. Each package has one name: hex digits in upper case are another.
fn named(name: &str) -> Option<Sha256Digest> {
    let hex = name.strip_suffix(EXTENSION)?;
    let digest: Sha256Digest = hex.parse().ok()?;
    (digest.to_hex() == hex).then_some(digest)
}

fn respond(
    status: StatusCode,
    etag: &str,
    fields: impl IntoIterator<Item = (HeaderName, String)>,
    body: Body,
) -> Answer<Response> {
    let mut response = Response::builder()
        .status(status)
        .header(ETAG, etag)
        .header(ACCEPT_RANGES, "bytes")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff");
    for (name, value) in fields {
        response = response.header(name, value);
    }
    response
        .body(body)
        .map_err(|error| Fault::internal("an answer cannot be made", &error))
}

impl From<FindError> for Fault {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Io(error) => Self::internal("a package cannot be read", &error),
            FindError::Bucket(error) => error.into(),
            FindError::Store(error) => error.into(),
        }
    }
}
