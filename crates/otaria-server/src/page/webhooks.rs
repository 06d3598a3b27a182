//! `/webhooks`: whom the server tells what happens, and what they took of it. For administrators.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::device::unreadable;
use super::form::{Fields, see};
use super::frame::Frame;
use super::page;
use super::words::{Mark, ago, complaint, field, name};
use crate::clock::now;
use crate::http::Answer;
use crate::model::{Delivery, DeliveryState, MadeWebhook, NewWebhook, Webhook, WebhookEvent};
use crate::shared::Shared;
use crate::webhooks::WebhookError;

/// Messages on one page; of webhooks there are never more than fit.
const MESSAGES: u32 = 100;
const WEBHOOKS: u32 = 100;

type Shares = State<Arc<Shared>>;

#[derive(Template)]
#[template(path = "webhooks.html")]
struct Webhooks {
    frame: Frame,
    rows: Vec<Row>,
    shown: Shown,
}

/// What is on the page besides the list.
#[derive(Default)]
struct Shown {
    /// What was entered.
    url: String,
    chosen: Vec<String>,
    problem: String,
    /// The one that was added just now: its secret is on this page and on no other.
    made: Option<MadeWebhook>,
}

impl Shown {
    fn chose(&self, event: &WebhookEvent) -> bool {
        self.chosen.iter().any(|chosen| chosen == event.name())
    }
}

struct Row {
    id: String,
    url: String,
    events: String,
    waiting: u64,
    given_up: u64,
    reason: String,
}

#[derive(Template)]
#[template(path = "webhook.html")]
struct WebhookPage {
    frame: Frame,
    row: Row,
    messages: Vec<Message>,
    next: Option<String>,
}

struct Message {
    id: String,
    event: WebhookEvent,
    when: String,
    state: Mark,
    tries: u32,
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Listed {
    after: Option<i64>,
}

pub(super) async fn list(State(shared): Shares, frame: Frame) -> Answer<Response> {
    all(&shared, frame, Shown::default()).await
}

async fn all(shared: &Shared, frame: Frame, shown: Shown) -> Answer<Response> {
    let webhooks = shared.store.webhooks(None, WEBHOOKS).await?;
    page(&Webhooks {
        frame: frame.of("Webhooks"),
        rows: webhooks.items.into_iter().map(row).collect(),
        shown,
    })
}

pub(super) async fn add(
    State(shared): Shares,
    frame: Frame,
    given: Result<Form<Fields>, FormRejection>,
) -> Answer<Response> {
    let Form(fields) = given.map_err(unreadable)?;
    let (status, shown) = match added(&shared, &fields).await {
        Ok(made) => {
            let made = Some(made);
            let shown = Shown {
                made,
                ..Shown::default()
            };
            (StatusCode::CREATED, shown)
        }
        Err(fault) => {
            let shown = Shown {
                url: fields.one("url").to_owned(),
                chosen: fields.all("event").map(str::to_owned).collect(),
                problem: complaint(&fault),
                made: None,
            };
            (fault.status(), shown)
        }
    };
    let page = all(&shared, frame, shown).await?;
    Ok((status, page).into_response())
}

async fn added(shared: &Shared, fields: &Fields) -> Answer<MadeWebhook> {
    let events = fields.all("event").map(|event| field("It is told", event));
    let new = NewWebhook {
        url: fields.one("url").trim().to_owned(),
        events: events
            .filter_map(Result::transpose)
            .collect::<Answer<_>>()?,
    };
    Ok(shared.add_webhook(&new, now()).await?)
}

pub(super) async fn show(
    State(shared): Shares,
    frame: Frame,
    Path(id): Path<String>,
    asked: Result<Query<Listed>, QueryRejection>,
) -> Answer<Response> {
    let Query(Listed { after }) = asked?;
    let found = shared.store.webhook(&id).await?;
    let webhook = found.ok_or_else(|| WebhookError::None(id.clone()))?;
    let messages = shared.store.deliveries(&id, after, MESSAGES).await?;
    let now = now();
    page(&WebhookPage {
        frame: frame.of("Webhooks"),
        row: row(webhook),
        messages: messages
            .items
            .into_iter()
            .map(|one| message(one, now))
            .collect(),
        next: messages.next,
    })
}

/// Sends a message that tells nothing, and shows what came of it.
pub(super) async fn test(State(shared): Shares, Path(id): Path<String>) -> Answer<Response> {
    shared.test_webhook(&id, now()).await?;
    Ok(see(&format!("/webhooks/{id}")))
}

pub(super) async fn remove(State(shared): Shares, Path(id): Path<String>) -> Answer<Response> {
    shared.remove_webhook(&id).await?;
    Ok(see("/webhooks"))
}

fn row(webhook: Webhook) -> Row {
    let events: Vec<_> = webhook.events.iter().map(|event| event.name()).collect();
    Row {
        id: webhook.id,
        url: webhook.url,
        events: events.join(", "),
        waiting: webhook.waiting,
        given_up: webhook.given_up,
        reason: webhook.reason.unwrap_or_default(),
    }
}

fn message(one: Delivery, now: i64) -> Message {
    Message {
        id: one.message,
        event: one.event,
        when: ago(Some(one.created_at), now),
        state: one.state.into(),
        tries: one.tries,
        reason: one.reason.unwrap_or_default(),
    }
}

impl From<DeliveryState> for Mark {
    fn from(state: DeliveryState) -> Self {
        let tone = match state {
            DeliveryState::Waiting => "busy",
            DeliveryState::Delivered => "good",
            DeliveryState::GivenUp => "bad",
        };
        Self {
            word: name(&state),
            tone,
        }
    }
}
