//! `/`: devices and their progress, for people.
//!
//! Made on the server, so it can be read without JavaScript (it then reloads itself every few seconds); with it, the
//! event stream keeps it up to date. Everything comes from this server, and the content policy allows nothing else.

mod login;
mod view;

use std::sync::Arc;

use askama::Template as _;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;

use self::view::{Leave, Overview, Row};
use crate::access::Caller;
use crate::http::{Answer, Fault, Session};
use crate::shared::Shared;
use crate::store::Filter;

/// Devices on one page.
const ROWS: u32 = 200;
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Routes of the page.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(overview))
        .route("/login", get(login::show).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route(
            "/page.css",
            get(|| {
                asset(
                    "text/css; charset=utf-8",
                    include_str!("../../assets/page.css"),
                )
            }),
        )
        .route(
            "/page.js",
            get(|| {
                asset(
                    "text/javascript; charset=utf-8",
                    include_str!("../../assets/page.js"),
                )
            }),
        )
        .route(
            "/favicon.svg",
            get(|| asset("image/svg+xml", include_str!("../../assets/favicon.svg"))),
        )
}

#[derive(Debug, Default, Deserialize)]
struct Asked {
    after: Option<String>,
    group: Option<String>,
}

async fn overview(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    session: Option<Extension<Session>>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Answer<Response> {
    let Query(Asked { after, group }) = query?;
    let group = group.filter(|group| !group.is_empty());
    let now = crate::clock::now();
    let broker_connected = *shared.broker_connected.borrow();
    let (known, online) = shared.store.device_counts().await?;
    let devices = shared
        .store
        .devices(
            &Filter {
                group: group.clone(),
                query: None,
            },
            after.as_deref(),
            ROWS,
            now,
        )
        .await?;
    let page = Overview {
        known,
        online,
        broker_connected,
        groups: shared.store.groups(now).await?,
        group: group.unwrap_or_default(),
        rows: devices
            .items
            .iter()
            .map(|device| Row::new(device, now))
            .collect(),
        next: devices.next,
        further: after.is_some(),
        open: shared.is_open(),
        leave: session.map(|Extension(session)| Leave {
            user: caller.user.unwrap_or_default(),
            csrf: session.csrf(),
        }),
    };
    let text = page
        .render()
        .map_err(|error| Fault::internal("the page cannot be made", &error))?;
    Ok(html(text).into_response())
}

/// A page of ours.
fn html(text: String) -> impl IntoResponse {
    (
        [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CACHE_CONTROL, "no-store"),
        ],
        text,
    )
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    (
        [
            (CONTENT_TYPE, kind),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CACHE_CONTROL, "no-cache"),
        ],
        text,
    )
}
