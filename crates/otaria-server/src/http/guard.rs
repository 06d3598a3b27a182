//! What a browser may not be made to do here by somebody else's page.
//!
//! A request that changes something must not come from another origin, and a server that listens on this machine only is
//! not to be reached under a foreign name (DNS rebinding). Without log-in this is all that stands between an operator's
//! browser and the API; with it, [`auth`](super::auth) asks for more.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Fault;
use crate::shared::Shared;

pub(crate) async fn guard(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if shared.entry.loopback && !local_name(headers, &shared.public_url) {
        return refused(
            "this server is not known under that name; use its address, or set --public-url",
        );
    }
    if !request.method().is_safe() && !same_origin(headers) {
        return refused("requests that change something are not taken from other sites' pages");
    }
    next.run(request).await
}

fn refused(detail: &str) -> Response {
    Fault::new(
        StatusCode::FORBIDDEN,
        "foreign_origin",
        "Not from here",
        detail,
    )
    .into_response()
}

/// Programs send no `Origin`; browsers do, and do not let pages forge it.
fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, rest)| rest);
    host.is_some() && host == authority
}

fn local_name(headers: &HeaderMap, public_url: &str) -> bool {
    let Some(host) = headers.get(HOST) else {
        return true;
    };
    let Some(name) = host.to_str().ok().map(without_port) else {
        return false;
    };
    let public = public_url.split_once("://").map_or("", |(_, rest)| {
        without_port(rest.split('/').next().unwrap_or(rest))
    });
    name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case(public)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') =>
        {
            host
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_the_servers_own_page_and_programs_change_something() {
        for (origin, allowed) in [
            (None, true),
            (Some("http://h:8080"), true),
            (Some("http://h:8081"), false),
            (Some("https://evil.example"), false),
            (Some("null"), false),
        ] {
            assert_eq!(
                same_origin(&headers("h:8080", origin)),
                allowed,
                "{origin:?}"
            );
        }
    }

    #[test]
    fn a_local_server_has_no_foreign_name() {
        for (host, allowed) in [
            ("localhost:8080", true),
            ("LOCALHOST", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("ota.example:80", true),
            ("evil.example:8080", false),
            ("", false),
        ] {
            assert_eq!(
                local_name(&headers(host, None), "http://ota.example/base"),
                allowed,
                "{host}"
            );
        }
    }
}
