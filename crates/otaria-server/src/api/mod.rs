//! The JSON API under `/api/v1`. Each handler reads its input, calls one function, answers.
//!
//! The routes are documented where they are handled; what follows from all that is `/api/v1/openapi.json`, in the repository as
//! `docs/openapi.json`. A route that is not documented does not compile into the router.
//!
//! Who may do what is in [`access`](crate::access): `Authorization: Bearer TOKEN`, unless the server runs without log-in.
//! Every list is a [`Page`](crate::model::Page): it takes `limit` (1 to 1000, else 100) and `cursor` (the `next` of the page before).
//! Errors are [`Problem`](crate::model::Problem)s.

mod access;
mod audit;
mod certificates;
mod devices;
mod jobs;
mod keys;
pub(crate) mod labels;
mod packages;
mod registry;
mod rollouts;
mod stream;
mod webhooks;

use std::sync::Arc;

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{from_fn, map_response};
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::{Answer, Fault, as_problem, tagged};
use crate::model::{Health, Page};
use crate::shared::Shared;

/// Entries of a page unless told otherwise, and at most.
const PAGE: (u32, u32) = (100, 1000);
/// Largest JSON body.
const MAX_JSON_LEN: usize = 64 * 1024;

/// Routes below `/api/v1`.
pub(crate) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(openapi))
        .routes(routes!(devices::list))
        .routes(routes!(devices::one, devices::forget))
        .routes(routes!(labels::groups, labels::set_groups))
        .routes(routes!(labels::tags, labels::change_tags))
        .routes(routes!(labels::note, labels::set_note))
        .routes(routes!(registry::updates))
        .routes(routes!(registry::samples))
        .routes(routes!(devices::events))
        .routes(routes!(devices::logs))
        .routes(routes!(devices::cancel))
        .routes(routes!(devices::command))
        .routes(routes!(
            certificates::list,
            certificates::issue,
            certificates::revoke
        ))
        .routes(routes!(access::log_in))
        .routes(routes!(audit::list))
        .routes(routes!(access::whoami))
        .routes(routes!(access::change_password))
        .routes(routes!(access::users, access::add_user))
        .routes(routes!(access::remove_user))
        .routes(routes!(access::set_password))
        .routes(routes!(access::tokens, access::make_token))
        .routes(routes!(access::revoke_token))
        .routes(routes!(registry::groups))
        .routes(routes!(
            registry::one_group,
            registry::set_group_query,
            registry::remove_group
        ))
        .routes(routes!(keys::list, keys::publish))
        .routes(routes!(keys::forget))
        .routes(routes!(jobs::list, jobs::publish))
        .routes(routes!(jobs::one))
        .routes(routes!(jobs::devices))
        .routes(routes!(packages::one))
        .routes(routes!(rollouts::list, rollouts::create))
        .routes(routes!(rollouts::plan))
        .routes(routes!(rollouts::one))
        .routes(routes!(rollouts::devices))
        .routes(routes!(rollouts::act))
        .routes(routes!(webhooks::list, webhooks::add))
        .routes(routes!(webhooks::one, webhooks::remove))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(stream::stream))
        .layer(DefaultBodyLimit::max(MAX_JSON_LEN))
        // Uploads have a limit of their own, and are never held in memory.
        .routes(routes!(packages::list, packages::upload))
        .layer(map_response(as_problem))
        .layer(from_fn(tagged))
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "server", responses((status = OK, body = Object)))]
async fn openapi() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "application/json")],
        crate::openapi::document(),
    )
}

/// Whether the server works.
#[utoipa::path(get, path = "/health", tag = "server", responses((status = OK, body = Health)))]
async fn health(State(shared): State<Arc<Shared>>) -> Answer<Json<Health>> {
    let broker_connected = *shared.broker_connected.borrow();
    Ok(Json(Health {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        broker_connected,
        outbox: shared.store.outbox_len().await?,
        public_url: shared.public_url.clone(),
    }))
}

/// The query of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Paging {
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Entries of a page, at most; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

impl Paging {
    fn limit(&self) -> Answer<u32> {
        match self.limit {
            None => Ok(PAGE.0),
            Some(limit) if (1..=PAGE.1).contains(&limit) => Ok(limit),
            Some(_) => Err(Fault::bad_request(format!(
                "limit is a number from 1 to {}",
                PAGE.1
            ))),
        }
    }

    /// Cuts a list that is short enough to be read as a whole. It is in the order of `key`, which names an entry for good: so a
    /// page begins behind the last one, whatever has come or gone meanwhile.
    fn cut<T>(&self, items: Vec<T>, key: impl Fn(&T) -> String) -> Answer<Page<T>> {
        let limit = self.limit()? as usize;
        let mut items: Vec<T> = match &self.cursor {
            Some(cursor) => {
                let after = items.into_iter().filter(|item| key(item) > *cursor);
                after.take(limit + 1).collect()
            }
            None => items,
        };
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(key) } else { None };
        Ok(Page { items, next })
    }

    /// The cursor of a list whose entries are numbered.
    fn before(&self) -> Answer<Option<i64>> {
        let parse = |cursor: &String| {
            cursor
                .parse()
                .map_err(|_| Fault::bad_request("the cursor is not from this list"))
        };
        self.cursor.as_ref().map(parse).transpose()
    }
}

/// A key by which the newest come first, and of those of one second, in the order of their names.
fn newest_first(at: i64, name: &str) -> String {
    format!("{:016x}{name}", i64::MAX.saturating_sub(at))
}
