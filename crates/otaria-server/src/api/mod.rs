//! The JSON API under `/api/v1`. Each handler reads its input, calls one function, answers.
//!
//! | method and path | what |
//! |---|---|
//! | GET `health` | [`Health`](crate::model::Health) |
//! | GET `devices?group=&query=` | page of [`Device`](crate::model::Device); the [query language](crate::query) |
//! | GET `devices/{id}` | [`Device`](crate::model::Device) |
//! | DELETE `devices/{id}` | forgotten, with its history; one that still runs comes back by itself |
//! | PUT `devices/{id}/groups` | [`Groups`](crate::model::Groups), replaced |
//! | PATCH `devices/{id}/tags` | [`TagChanges`](crate::model::TagChanges) to [`Device`](crate::model::Device) |
//! | PUT `devices/{id}/note` | [`Note`](crate::model::Note) to [`Device`](crate::model::Device) |
//! | GET `devices/{id}/updates` | page of [`Update`](crate::model::Update) with its steps, newest first |
//! | GET `devices/{id}/samples` | heap, signal and resets over time: all [`Sample`](crate::model::Sample)s, oldest first |
//! | GET `devices/{id}/events` | page of [`ReceivedEvent`](crate::model::ReceivedEvent), newest first |
//! | GET `devices/{id}/logs` | page of [`ReceivedLine`](crate::model::ReceivedLine), newest first |
//! | POST `devices/{id}/cancel` | [`Cancelled`](crate::model::Cancelled) |
//! | POST `devices/{id}/commands` | [`NewCommand`](crate::model::NewCommand) to [`Sent`](crate::model::Sent) |
//! | GET `devices/{id}/certificates` | all [`Certificate`](crate::model::Certificate)s, newest first |
//! | POST `devices/{id}/certificates` | [`NewCertificate`](crate::model::NewCertificate) to [`IssuedCertificate`](crate::model::IssuedCertificate) |
//! | DELETE `devices/{id}/certificates` | revoked, the device cut off: [`CutOff`](crate::model::CutOff) |
//! | POST `login` | [`Credentials`](crate::model::Credentials) to [`MadeToken`](crate::model::MadeToken) |
//! | GET `audit` | [`AuditPage`](crate::model::AuditPage): who changed what, newest first |
//! | GET `whoami` | [`Whoami`](crate::model::Whoami) |
//! | PUT `password` | [`NewPassword`](crate::model::NewPassword), one's own |
//! | GET, POST `users` | all [`User`](crate::model::User)s; [`NewUser`](crate::model::NewUser) to `User` |
//! | DELETE `users/{name}`, PUT `users/{name}/password` | removed; [`NewPassword`](crate::model::NewPassword) |
//! | GET, POST `tokens` | all [`Token`](crate::model::Token)s; [`NewToken`](crate::model::NewToken) to [`MadeToken`](crate::model::MadeToken) |
//! | DELETE `tokens/{id}` | revoked |
//! | GET `groups` | all [`Group`](crate::model::Group)s |
//! | PUT, DELETE `groups/{name}` | [`GroupQuery`](crate::model::GroupQuery) to [`Group`](crate::model::Group); removed |
//! | GET `keys` | all [`KeyEpoch`](crate::model::KeyEpoch)s, the newest key record of each product |
//! | PUT `keys` | a key record, to [`PublishedKeys`](crate::model::PublishedKeys); it goes to every device of its product |
//! | DELETE `keys/{product}` | forgotten here; what devices go by stays in force |
//! | GET `packages` | page of [`Package`](crate::model::Package), newest first |
//! | POST `packages` | the file, `application/octet-stream`, to [`Package`](crate::model::Package) |
//! | GET `packages/{digest}` | [`Package`](crate::model::Package) |
//! | GET `jobs` | page of [`Job`](crate::model::Job), newest first |
//! | POST `jobs` | [`NewJob`](crate::model::NewJob) to [`Published`](crate::model::Published) |
//! | GET `jobs/{id}` | [`Job`](crate::model::Job) |
//! | GET `jobs/{id}/devices` | page of [`Assignment`](crate::model::Assignment) |
//! | GET `rollouts` | page of [`Rollout`](crate::model::Rollout), newest first |
//! | POST `rollouts` | [`RolloutSpec`](crate::model::RolloutSpec) to [`Rollout`](crate::model::Rollout); the same again changes nothing |
//! | POST `rollouts/plan` | a dry run: [`PlanRequest`](crate::model::PlanRequest) to [`Plan`](crate::model::Plan) |
//! | GET `rollouts/{id}` | [`Rollout`](crate::model::Rollout) |
//! | GET `rollouts/{id}/devices` | page of [`RolloutDevice`](crate::model::RolloutDevice) |
//! | POST `rollouts/{id}/{action}` | `pause`, `resume`, `approve`, `cancel`, `retry-failed`: [`Rollout`](crate::model::Rollout) |
//! | GET `stream?device=&job=` | server-sent events, one [`Live`](crate::model::Live) each |
//!
//! Who may do what is in [`access`](crate::access): `Authorization: Bearer TOKEN`, unless the server runs without log-in.
//! Pages take `limit` (1 to 1000, else 100) and `after` (the `next` of the page before). Errors are
//! [`Problem`](crate::model::Problem)s.

mod access;
mod audit;
mod certificates;
mod devices;
mod jobs;
mod keys;
mod packages;
pub(crate) mod registry;
mod rollouts;
mod stream;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::map_response;
use axum::routing::{delete, get, patch, post, put};
use axum::{Json, Router};
use serde::Deserialize;

use crate::http::{Answer, Fault, as_problem};
use crate::model::Health;
use crate::shared::Shared;

/// Entries of a page unless told otherwise, and at most.
const PAGE: (u32, u32) = (100, 1000);
/// Largest JSON body.
const MAX_JSON_LEN: usize = 64 * 1024;

/// Routes below `/api/v1`.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/health", get(health))
        .route("/devices", get(devices::list))
        .route("/devices/{id}", get(devices::one).delete(devices::forget))
        .route("/devices/{id}/groups", put(registry::set_groups))
        .route("/devices/{id}/tags", patch(registry::change_tags))
        .route("/devices/{id}/note", put(registry::set_note))
        .route("/devices/{id}/updates", get(registry::updates))
        .route("/devices/{id}/samples", get(registry::samples))
        .route("/devices/{id}/events", get(devices::events))
        .route("/devices/{id}/logs", get(devices::logs))
        .route("/devices/{id}/cancel", post(devices::cancel))
        .route("/devices/{id}/commands", post(devices::command))
        .route(
            "/devices/{id}/certificates",
            get(certificates::list)
                .post(certificates::issue)
                .delete(certificates::revoke),
        )
        .route("/login", post(access::log_in))
        .route("/audit", get(audit::list))
        .route("/whoami", get(access::whoami))
        .route("/password", put(access::change_password))
        .route("/users", get(access::users).post(access::add_user))
        .route("/users/{name}", delete(access::remove_user))
        .route("/users/{name}/password", put(access::set_password))
        .route("/tokens", get(access::tokens).post(access::make_token))
        .route("/tokens/{id}", delete(access::revoke_token))
        .route("/groups", get(registry::groups))
        .route(
            "/groups/{name}",
            put(registry::set_group_query).delete(registry::remove_group),
        )
        .route("/keys", get(keys::list).put(keys::publish))
        .route("/keys/{product}", delete(keys::forget))
        .route("/jobs", get(jobs::list).post(jobs::publish))
        .route("/jobs/{id}", get(jobs::one))
        .route("/jobs/{id}/devices", get(jobs::devices))
        .route("/packages/{digest}", get(packages::one))
        .route("/rollouts", get(rollouts::list).post(rollouts::create))
        .route("/rollouts/plan", post(rollouts::plan))
        .route("/rollouts/{id}", get(rollouts::one))
        .route("/rollouts/{id}/devices", get(rollouts::devices))
        .route("/rollouts/{id}/{action}", post(rollouts::act))
        .route("/stream", get(stream::stream))
        .layer(DefaultBodyLimit::max(MAX_JSON_LEN))
        // Uploads have a limit of their own, and are never held in memory.
        .route("/packages", get(packages::list).post(packages::upload))
        .layer(map_response(as_problem))
}

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
#[derive(Debug, Default, Deserialize)]
struct Paging {
    after: Option<String>,
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

    /// The cursor of a list whose entries are numbered.
    fn before(&self) -> Answer<Option<i64>> {
        let parse = |after: &String| {
            after
                .parse()
                .map_err(|_| Fault::bad_request("'after' is not from this list"))
        };
        self.after.as_ref().map(parse).transpose()
    }
}
