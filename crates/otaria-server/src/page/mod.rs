//! The dashboard: the fleet, its rollouts, packages, keys, users, tokens and webhooks, for people.
//!
//! Pages are made on the server and are read without JavaScript (those with something live then reload themselves); what changes
//! something is a form. With it, htmx fetches a page's live part again when the event stream says that something happened.
//! Everything comes from this server, and the content policy allows nothing else.

pub(crate) mod assets;
mod device;
mod fleet;
mod form;
mod frame;
mod inventory;
mod keys;
mod login;
mod people;
mod planning;
mod rollout;
mod tokens;
mod webhooks;
mod words;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use crate::http::{Answer, Fault};
use crate::model::Problem;
use crate::shared::Shared;

const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Routes of the pages.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(fleet::show))
        .route("/devices/{id}", get(device::show))
        .route("/devices/{id}/registry", post(device::note))
        .route("/devices/{id}/publish", post(device::publish))
        .route("/devices/{id}/command", post(device::command))
        .route("/rollouts", get(rollout::list).post(planning::apply))
        .route("/rollouts/new", get(planning::blank))
        .route("/rollouts/plan", post(planning::plan))
        .route("/rollouts/{id}", get(rollout::show))
        .route("/rollouts/{id}/{action}", post(rollout::act))
        .route("/packages", get(inventory::packages))
        .route("/keys", get(keys::list).post(keys::publish))
        .route("/keys/{product}", get(keys::show))
        .route("/keys/{product}/forget", post(keys::forget))
        .route("/audit", get(people::audit))
        .route("/users", get(people::show).post(people::add))
        .route("/users/{name}/remove", post(people::remove))
        .route("/tokens", get(tokens::show).post(tokens::make))
        .route("/tokens/{id}/revoke", post(tokens::revoke))
        .route("/webhooks", get(webhooks::list).post(webhooks::add))
        .route("/webhooks/{id}", get(webhooks::show))
        .route("/webhooks/{id}/test", post(webhooks::test))
        .route("/webhooks/{id}/remove", post(webhooks::remove))
        .route("/login", get(login::show).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/assets/{hash}/{name}", get(assets::serve))
        .route_layer(from_fn(form::checked))
}

/// A page of ours.
fn page(template: &impl Template) -> Answer<Response> {
    let text = template
        .render()
        .map_err(|error| Fault::internal("the page cannot be made", &error))?;
    let fields = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((fields, text).into_response())
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    title: String,
    detail: String,
}

/// Whoever reads HTML is told in words what is wrong; the API's problem documents are for programs.
pub(crate) async fn problem_as_page(request: Request, next: Next) -> Response {
    let accept = request.headers().get(ACCEPT);
    let reads_html = !request.uri().path().starts_with("/api/")
        && accept
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"));
    let response = next.run(request).await;
    let Some(problem) = response
        .extensions()
        .get::<Problem>()
        .filter(|_| reads_html)
    else {
        return response;
    };
    let shown = ProblemPage {
        title: problem.title.clone(),
        detail: problem.detail.clone(),
    };
    match page(&shown) {
        Ok(page) => (response.status(), page).into_response(),
        Err(_) => response,
    }
}
