//! Webhooks: added, listed, tested, removed.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::Paging;
use crate::clock::now;
use crate::http::{Answer, Fault};
use crate::model::{Delivery, MadeWebhook, NewWebhook, Page, Webhook};
use crate::shared::Shared;
use crate::webhooks::WebhookError;

type Shares = State<Arc<Shared>>;

/// Lists webhooks, by id.
#[utoipa::path(
    get, path = "/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    params(Paging),
    responses((status = OK, body = Page<Webhook>)),
)]
pub(super) async fn list(
    State(shared): Shares,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<Webhook>>> {
    let Query(paging) = query?;
    let page = shared
        .store
        .webhooks(paging.cursor.as_deref(), paging.limit()?);
    Ok(Json(page.await?))
}

/// Adds a webhook. Its secret is told now and never again.
#[utoipa::path(
    post, path = "/webhooks", tag = "webhooks", operation_id = "add_webhook",
    request_body = NewWebhook,
    responses((status = CREATED, body = MadeWebhook)),
)]
pub(super) async fn add(
    State(shared): Shares,
    body: Result<Json<NewWebhook>, JsonRejection>,
) -> Answer<(StatusCode, Json<MadeWebhook>)> {
    let Json(new) = body?;
    let made = shared.add_webhook(&new, now()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// A webhook.
#[utoipa::path(
    get, path = "/webhooks/{id}", tag = "webhooks", operation_id = "webhook",
    responses((status = OK, body = Webhook)),
)]
pub(super) async fn one(State(shared): Shares, Path(id): Path<String>) -> Answer<Json<Webhook>> {
    let found = shared.store.webhook(&id).await?;
    Ok(Json(found.ok_or(WebhookError::None(id))?))
}

/// Removes a webhook, and the messages that it has not taken.
#[utoipa::path(
    delete, path = "/webhooks/{id}", tag = "webhooks", operation_id = "remove_webhook",
    responses((status = NO_CONTENT)),
)]
pub(super) async fn remove(State(shared): Shares, Path(id): Path<String>) -> Answer<StatusCode> {
    shared.remove_webhook(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a message that tells nothing, once, and says what came of it.
#[utoipa::path(
    post, path = "/webhooks/{id}/test", tag = "webhooks", operation_id = "test_webhook",
    responses((status = OK, body = Delivery)),
)]
pub(super) async fn test(State(shared): Shares, Path(id): Path<String>) -> Answer<Json<Delivery>> {
    Ok(Json(shared.test_webhook(&id, now()).await?))
}

/// Lists the messages of a webhook, newest first; those that have ended for a week.
#[utoipa::path(
    get, path = "/webhooks/{id}/deliveries", tag = "webhooks", operation_id = "list_deliveries",
    params(Paging),
    responses((status = OK, body = Page<Delivery>)),
)]
pub(super) async fn deliveries(
    State(shared): Shares,
    Path(id): Path<String>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<Delivery>>> {
    let Query(paging) = query?;
    if shared.store.webhook(&id).await?.is_none() {
        return Err(WebhookError::None(id).into());
    }
    let page = shared
        .store
        .deliveries(&id, paging.before()?, paging.limit()?);
    Ok(Json(page.await?))
}

impl From<WebhookError> for Fault {
    fn from(error: WebhookError) -> Self {
        let detail = error.to_string();
        match error {
            WebhookError::Target(_) => Self::new(
                StatusCode::BAD_REQUEST,
                "webhook_target",
                "Messages cannot go there",
                detail,
            ),
            WebhookError::TooMany => {
                Self::conflict("too_many_webhooks", "There are too many webhooks", detail)
            }
            WebhookError::None(_) => Self::not_found(detail),
            WebhookError::Store(error) => error.into(),
        }
    }
}
