//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a POST that may be sent again.
//!
//! A client that does not know whether its request has arrived sends it again under the same key, and gets the answer to the first
//! one. Answers are kept for a day, for each user apart. One is not kept if the server failed, so that another try can do better, and
//! none that has a secret in it: such a route takes no key.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use otaria_wire::Sha256Hasher;

use super::problem::{Answer, Fault};
use crate::access::Caller;
use crate::audit::Origin;
use crate::clock::now;
use crate::shared::Shared;
use crate::store::{Answered, Known};

/// Names a request.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const MAX_KEY: usize = 255;
/// Largest body, of a request and of an answer that is kept.
const MAX_LEN: (usize, usize) = (64 * 1024, 4 * 1024 * 1024);

/// Whether a request may have a key. Packages are named by their content, so that sending one again does nothing; the answers of
/// the others hold secrets, of which the server keeps none as it is.
pub(crate) fn takes_key(method: &Method, path: &str) -> bool {
    let of_api = path.strip_prefix("/api/v1/");
    let path = of_api.map(|path| path.trim_end_matches('/'));
    *method == Method::POST
        && path.is_some_and(|path| !matches!(path, "packages" | "login" | "tokens" | "webhooks"))
}

/// Carries a request with a key out once.
pub(crate) async fn once(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(key) = request.headers().get(IDEMPOTENCY_KEY).cloned() else {
        return next.run(request).await;
    };
    // All other methods are idempotent as they are, and pages are for people.
    if *request.method() != Method::POST || !request.uri().path().starts_with("/api/") {
        return next.run(request).await;
    }
    match with_key(&shared, &key, request, next).await {
        Ok(response) => response,
        Err(fault) => fault.into_response(),
    }
}

async fn with_key(
    shared: &Arc<Shared>,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Answer<Response> {
    let uri = request.uri().clone();
    if !takes_key(request.method(), uri.path()) {
        return Err(Fault::bad_request(
            "this takes no Idempotency-Key: packages are named by their content, and answers with secrets are not kept",
        ));
    }
    let key = key
        .to_str()
        .ok()
        .filter(|key| (1..=MAX_KEY).contains(&key.len()));
    let key = key.ok_or_else(|| {
        Fault::bad_request("an Idempotency-Key is 1 to 255 visible ASCII characters")
    })?;
    let caller = request.extensions().get::<Caller>();
    let caller = caller.and_then(|caller| caller.user.clone());
    // No user has an empty name.
    let caller = caller.unwrap_or_default();
    let (head, body) = request.into_parts();
    let body = to_bytes(body, MAX_LEN.0).await.map_err(|_| {
        Fault::refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body of a request with an Idempotency-Key is at most 64 KiB",
        )
    })?;
    let named = Named {
        caller,
        key: key.to_owned(),
        digest: digest(&uri, &body),
    };
    let request = Request::from_parts(head, Body::from(body));
    // A client that hangs up ends its request, and comes again: so this goes on without it.
    let carried_out = Origin::current().scope(named.carry_out(Arc::clone(shared), request, next));
    tokio::spawn(carried_out)
        .await
        .unwrap_or_else(|error| Err(Fault::internal("a request was not carried out", &error)))
}

/// A request with a key.
struct Named {
    caller: String,
    key: String,
    digest: String,
}

impl Named {
    async fn carry_out(
        self,
        shared: Arc<Shared>,
        request: Request,
        next: Next,
    ) -> Answer<Response> {
        let mut tx = shared.store.write().await?;
        let known = tx
            .begin_request(&self.caller, &self.key, &self.digest, now())
            .await?;
        tx.commit().await?;
        match known {
            Known::New => {
                let response = next.run(request).await;
                keep(&shared, &self.caller, &self.key, response).await
            }
            Known::Answered(answered) => replayed(answered),
            Known::Other => Err(Fault::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "The key belongs to another request",
                "this Idempotency-Key came with another request in the last 24 hours; take a new one for each request",
            )),
            Known::Open => Err(Fault::conflict(
                "idempotency_key_open",
                "The request is under way",
                "a request with this Idempotency-Key is under way, or was when the server ended; look what has become of it \
                 before you send it under another key",
            )),
        }
    }
}

/// What tells one request from another.
pub(crate) fn digest(uri: &Uri, body: &[u8]) -> String {
    let mut digest = Sha256Hasher::new();
    digest.update(uri.to_string().as_bytes());
    digest.update(b"\0");
    digest.update(body);
    digest.finish().to_string()
}

/// Keeps an answer, and gives it.
async fn keep(shared: &Shared, caller: &str, key: &str, response: Response) -> Answer<Response> {
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        shared.store.forget_request(caller, key).await?;
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let body = to_bytes(body, MAX_LEN.1)
        .await
        .map_err(|error| Fault::internal("an answer cannot be kept", &error))?;
    let kind = head.headers.get(CONTENT_TYPE);
    let answered = Answered {
        status: status.as_u16(),
        kind: kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned),
        body: body.to_vec(),
    };
    let mut tx = shared.store.write().await?;
    tx.end_request(caller, key, &answered).await?;
    tx.commit().await?;
    Ok(Response::from_parts(head, Body::from(body)))
}

fn replayed(answered: Answered) -> Answer<Response> {
    let mut response = Response::builder()
        .status(answered.status)
        .header(REPLAYED, "true");
    if let Some(kind) = answered.kind {
        response = response.header(CONTENT_TYPE, kind);
    }
    response
        .body(Body::from(answered.body))
        .map_err(|error| Fault::internal("an answer that was kept cannot be given", &error))
}
