//! Rollouts: planned, made, looked at, told what to do.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::Paging;
use crate::clock::now;
use crate::http::{Answer, Fault, IfMatch};
use crate::model::{Page, Plan, PlanRequest, Rollout, RolloutAction, RolloutDevice, RolloutSpec};
use crate::rollout::runner::RolloutError;
use crate::shared::Shared;

type Shares = State<Arc<Shared>>;
type Asked<T> = Result<Query<T>, QueryRejection>;

/// Rollouts of a page at most: each is counted anew.
const MOST: u32 = 100;

/// Lists rollouts, newest first.
#[utoipa::path(
    get, path = "/rollouts", tag = "rollouts", operation_id = "list_rollouts",
    params(Paging),
    responses((status = OK, body = Page<Rollout>)),
)]
pub(super) async fn list(
    State(shared): Shares,
    query: Asked<Paging>,
) -> Answer<Json<Page<Rollout>>> {
    let Query(paging) = query?;
    let limit = paging.limit()?.min(MOST);
    let ids = shared
        .store
        .rollout_ids(paging.cursor.as_deref(), limit)
        .await?;
    let mut items = Vec::with_capacity(ids.items.len());
    for id in &ids.items {
        items.push(shared.rollout(id).await?);
    }
    Ok(Json(Page {
        items,
        next: ids.next,
    }))
}

/// A dry run: who would get what, and when.
#[utoipa::path(
    post, path = "/rollouts/plan", tag = "rollouts", operation_id = "plan_rollout",
    request_body = PlanRequest,
    responses((status = OK, body = Plan)),
)]
pub(super) async fn plan(
    State(shared): Shares,
    body: Result<Json<PlanRequest>, JsonRejection>,
) -> Answer<Json<Plan>> {
    let Json(request) = body?;
    Ok(Json(shared.plan_rollout(request, now()).await?))
}

/// Makes a rollout. The same again changes nothing.
#[utoipa::path(
    post, path = "/rollouts", tag = "rollouts", operation_id = "create_rollout",
    request_body = RolloutSpec,
    responses((status = CREATED, body = Rollout)),
)]
pub(super) async fn create(
    State(shared): Shares,
    body: Result<Json<RolloutSpec>, JsonRejection>,
) -> Answer<(StatusCode, Json<Rollout>)> {
    let Json(spec) = body?;
    let made = shared.create_rollout(spec, now()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// A rollout.
#[utoipa::path(
    get, path = "/rollouts/{id}", tag = "rollouts", operation_id = "rollout",
    responses((status = OK, body = Rollout)),
)]
pub(super) async fn one(State(shared): Shares, Path(id): Path<String>) -> Answer<Json<Rollout>> {
    Ok(Json(shared.rollout(&id).await?))
}

/// Lists the devices of a rollout, by wave.
#[utoipa::path(
    get, path = "/rollouts/{id}/devices", tag = "rollouts", operation_id = "list_rollout_devices",
    params(Paging),
    responses((status = OK, body = Page<RolloutDevice>)),
)]
pub(super) async fn devices(
    State(shared): Shares,
    Path(id): Path<String>,
    query: Asked<Paging>,
) -> Answer<Json<Page<RolloutDevice>>> {
    let Query(paging) = query?;
    let page = shared
        .store
        .rollout_devices(&id, None, paging.before()?, paging.limit()?)
        .await?;
    if page.items.is_empty() {
        // Either it has no more, or there is none.
        shared.rollout(&id).await?;
    }
    Ok(Json(page))
}

/// Tells a rollout what to do.
#[utoipa::path(
    post, path = "/rollouts/{id}/{action}", tag = "rollouts", operation_id = "tell_rollout",
    responses((status = OK, body = Rollout)),
)]
pub(super) async fn act(
    State(shared): Shares,
    Path((id, action)): Path<(String, String)>,
    condition: IfMatch,
) -> Answer<Json<Rollout>> {
    let action: RolloutAction = serde_json::from_value(action.clone().into())
        .map_err(|_| Fault::not_found(format!("a rollout cannot be told to '{action}'")))?;
    let wanted = |shown: &Rollout| condition.holds(shown);
    let told = shared.tell_rollout(&id, action, wanted, now());
    Ok(Json(told.await?))
}

impl From<RolloutError> for Fault {
    fn from(error: RolloutError) -> Self {
        let detail = error.to_string();
        let conflict = |kind, title| Self::conflict(kind, title, detail.clone());
        match error {
            RolloutError::None(_) | RolloutError::NoPackage(_) => Self::not_found(detail),
            RolloutError::Taken(_) | RolloutError::JobsTaken(_) => {
                conflict("rollout_taken", "The rollout's name is taken")
            }
            RolloutError::EmptyTarget(_) => conflict("empty_target", "The target is empty"),
            RolloutError::NoneFits(_) => conflict("none_fits", "No device can take this package"),
            RolloutError::NotNow(_) => conflict("not_now", "The rollout cannot do this now"),
            RolloutError::Spec(_) => Self::new(
                StatusCode::BAD_REQUEST,
                "rollout",
                "The rollout makes no sense",
                detail,
            ),
            RolloutError::Changed => Self::changed(),
            RolloutError::Wish(error) => error.into(),
            RolloutError::Store(error) => error.into(),
        }
    }
}
