//! Who asks, and whether they may.
//!
//! | comes with | is |
//! |---|---|
//! | `Authorization: Bearer otaria_…` | the token's user, limited to its scopes |
//! | the session's cookie | its user; whatever changes something also needs the session's [`csrf`](Session::csrf) token |
//! | a device's certificate | nobody, but package files may be for such, see [`Downloads`] |
//!
//! A cookie comes with whatever a browser is made to send, a header of our own does not. Together with `SameSite=Lax` and
//! the look at `Origin` in [`guard`](super::guard), that is three locks on one door.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, LOCATION, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::problem::{Answer, Fault};
use crate::access::{Caller, Needed, SESSION_S, needed, secret};
use crate::audit::{Action, Origin};
use crate::clock::now;
use crate::config::Downloads;
use crate::model::Scope;
use crate::shared::Shared;
use crate::trust::Peer;

/// Carries the session's token.
const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

/// A browser's session, for those who end it or show its token.
#[derive(Clone, Debug)]
pub(crate) struct Session(String);

impl Session {
    /// What proves that a request comes from a page of ours.
    pub(crate) fn csrf(&self) -> String {
        secret::hash(&format!("csrf {}", self.0))
    }

    /// What the store has of it.
    pub(crate) fn hash(&self) -> String {
        secret::hash(&self.0)
    }
}

/// The address at the other end, if there is a socket.
pub(crate) fn address(extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<ConnectInfo<Peer>>();
    peer.map(|ConnectInfo(peer)| peer.address.ip())
}

/// The cookie that opens or, empty, ends a session. With TLS its name makes browsers keep it to TLS and to this host.
pub(crate) fn cookie(shared: &Shared, session: &str) -> String {
    let (name, secure) = match shared.trust {
        Some(_) => ("__Host-otaria", "; Secure"),
        None => ("otaria", ""),
    };
    let age = if session.is_empty() { 0 } else { SESSION_S };
    format!("{name}={session}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")
}

/// Lets through who may, with the [`Caller`] among the request's extensions, and keeps on whose behalf all is done that follows.
pub(crate) async fn authenticate(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let admitted = admit(&shared, &mut request).await;
    let extensions = request.extensions();
    let origin = Origin::of(extensions.get(), address(extensions));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    origin
        .scope(async {
            let response = answer(admitted, request, next).await;
            let status = response.status();
            if !method.is_safe() && (status.is_client_error() || status.is_server_error()) {
                note_refused(&shared, &method, &path, status).await;
            }
            response
        })
        .await
}

/// Notes that a user did not get what they wanted to change. What strangers try is left out: they would fill the disk.
async fn note_refused(shared: &Shared, method: &Method, path: &str, status: StatusCode) {
    // A dry run would have changed nothing.
    let harmless = needed(method, path) == Needed::Scope(Scope::Read);
    if Origin::current().user.is_none() || harmless {
        return;
    }
    let noted = async {
        let mut tx = shared.store.write().await?;
        let object = format!("{method} {path}");
        tx.audit_refused(Action::Request, &object, status.as_str())
            .await?;
        tx.commit().await
    };
    if let Err(error) = noted.await {
        tracing::error!("a refusal is missing in the audit trail: {error}");
    }
}

async fn answer(admitted: Answer<()>, request: Request, next: Next) -> Response {
    match admitted {
        Ok(()) => next.run(request).await,
        Err(fault) => {
            let unknown = fault.status() == StatusCode::UNAUTHORIZED;
            let path = request.uri().path();
            let page = !path.starts_with("/api/") && !path.starts_with("/packages/");
            if unknown && page && request.method().is_safe() {
                return (StatusCode::SEE_OTHER, [(LOCATION, "/login")]).into_response();
            }
            let mut response = fault.into_response();
            if unknown {
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}

async fn admit(shared: &Shared, request: &mut Request) -> Answer<()> {
    let needed = needed(request.method(), request.uri().path());
    if shared.is_open() {
        request.extensions_mut().insert(Caller::anybody());
        return Ok(());
    }
    let headers = request.headers();
    let caller = match (bearer(headers), session(shared, headers)) {
        (Some(token), _) => match shared.by_token(token, now()).await? {
            Some(caller) => Some(caller),
            // Said even where nothing is needed: whoever sends a token relies on it.
            None => {
                return Err(unauthorized(
                    "this token is unknown, was revoked, or has run out; `otaria login` gets another one",
                ));
            }
        },
        (None, Some(session)) => {
            let caller = shared.by_session(&session.0, now()).await?;
            // A page's forms carry the token in a field of theirs, which the page's own layer looks at.
            let form = !request.uri().path().starts_with("/api/");
            if caller.is_some()
                && needed != Needed::Nothing
                && !request.method().is_safe()
                && !form
                && !has_csrf(headers, &session)
            {
                return Err(Fault::new(
                    StatusCode::FORBIDDEN,
                    "csrf",
                    "Not from here",
                    "what a browser's session changes needs the session's token in X-CSRF-Token; programs use an API token",
                ));
            }
            if caller.is_some() {
                request.extensions_mut().insert(session);
            }
            caller
        }
        (None, None) => None,
    };
    let extensions = request.extensions_mut();
    if let Some(caller) = &caller {
        // Also of who may not: the audit trail names them.
        extensions.insert(caller.clone());
    }
    let allowed = match needed {
        Needed::Nothing => true,
        Needed::LogIn => caller.is_some(),
        Needed::Scope(scope) => may(caller.as_ref(), scope)?,
        Needed::Package => {
            shared.entry.downloads == Downloads::Anybody
                || is_device(extensions)
                || may(caller.as_ref(), Scope::Read)?
        }
    };
    if !allowed {
        return Err(unauthorized(match needed {
            Needed::Package => {
                "packages are for devices with a certificate, and for who may read (--downloads)"
            }
            _ => "log in with `otaria login`, or send a token (OTARIA_TOKEN)",
        }));
    }
    Ok(())
}

/// Whether somebody may; an error if they are known and may not.
fn may(caller: Option<&Caller>, scope: Scope) -> Answer<bool> {
    match caller {
        None => Ok(false),
        Some(caller) if caller.may(scope) => Ok(true),
        Some(caller) => {
            let user = caller.user.as_deref().unwrap_or("-");
            let has: Vec<_> = caller.scopes().into_iter().map(Scope::name).collect();
            Err(Fault::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "Not allowed",
                format!(
                    "this needs the scope '{scope}'; {user} has {} here",
                    if has.is_empty() {
                        "none".to_owned()
                    } else {
                        has.join(", ")
                    }
                ),
            ))
        }
    }
}

fn unauthorized(detail: &str) -> Fault {
    let status = StatusCode::UNAUTHORIZED;
    Fault::new(status, "unauthorized", "Log in first", detail)
}

fn is_device(extensions: &Extensions) -> bool {
    extensions
        .get::<ConnectInfo<Peer>>()
        .is_some_and(|ConnectInfo(peer)| peer.identity.is_some())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

fn session(shared: &Shared, headers: &HeaderMap) -> Option<Session> {
    let ours = cookie(shared, "");
    let name = ours.split('=').next()?;
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| Session(value.to_owned()))
}

fn has_csrf(headers: &HeaderMap, session: &Session) -> bool {
    headers
        .get(CSRF)
        .is_some_and(|given| secret::equal(given.as_bytes(), session.csrf().as_bytes()))
}

/// What browsers are told about every answer, unless a handler says more.
pub(crate) async fn headers(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let fields = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        fields
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    set(REFERRER_POLICY, "same-origin");
    set(
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    if api {
        set(CACHE_CONTROL, "no-store");
    }
    if shared.trust.is_some() {
        set(STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}
