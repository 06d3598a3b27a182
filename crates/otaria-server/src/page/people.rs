//! `/users` and `/audit`: users, and who has done what, for administrators.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::device::unreadable;
use super::form::see;
use super::frame::Frame;
use super::page;
use super::words::{Mark, ago, moment, name};
use crate::clock::now;
use crate::http::Answer;
use crate::model::{AuditEntry, NewUser, Outcome, Role};
use crate::shared::Shared;

/// Entries of the audit trail on one page.
const ENTRIES: u32 = 100;

type Shares = State<Arc<Shared>>;

#[derive(Template)]
#[template(path = "people.html")]
struct People {
    frame: Frame,
    users: Vec<User>,
}

struct User {
    name: String,
    role: Role,
    since: String,
}

pub(super) async fn show(State(shared): Shares, frame: Frame) -> Answer<Response> {
    let now = now();
    let users = shared.store.users().await?.into_iter();
    page(&People {
        frame: frame.of("Users"),
        users: users
            .map(|user| User {
                name: user.name,
                role: user.role,
                since: ago(Some(user.created_at), now),
            })
            .collect(),
    })
}

pub(super) async fn add(
    State(shared): Shares,
    given: Result<Form<NewUser>, FormRejection>,
) -> Answer<Response> {
    let Form(new) = given.map_err(unreadable)?;
    shared.add_user(&new, now()).await?;
    Ok(see("/users"))
}

pub(super) async fn remove(State(shared): Shares, Path(name): Path<String>) -> Answer<Response> {
    shared.remove_user(&name).await?;
    Ok(see("/users"))
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditTrail {
    frame: Frame,
    rows: Vec<Entry>,
    /// Hash of the newest entry.
    head: String,
    next: Option<String>,
}

struct Entry {
    n: u64,
    at: String,
    who: String,
    action: String,
    object: String,
    outcome: Mark,
    detail: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Listed {
    after: Option<i64>,
}

pub(super) async fn audit(
    State(shared): Shares,
    frame: Frame,
    asked: Result<Query<Listed>, QueryRejection>,
) -> Answer<Response> {
    let Query(Listed { after }) = asked?;
    let trail = shared.store.audit(after, ENTRIES).await?;
    page(&AuditTrail {
        frame: frame.of("Audit"),
        rows: trail.items.into_iter().map(entry).collect(),
        head: trail.head.hash.to_string(),
        next: trail.next,
    })
}

fn entry(entry: AuditEntry) -> Entry {
    let mut who = vec![entry.user.unwrap_or_else(|| name(&entry.by))];
    who.extend(entry.token.map(|token| format!("token {token}")));
    who.extend(entry.from.map(|from| format!("from {from}")));
    Entry {
        n: entry.n,
        at: moment(entry.at),
        who: who.join(", "),
        action: entry.action,
        object: entry.object,
        outcome: entry.outcome.into(),
        detail: entry.detail,
    }
}

impl From<Outcome> for Mark {
    fn from(outcome: Outcome) -> Self {
        let tone = match outcome {
            Outcome::Done => "good",
            Outcome::Refused => "bad",
        };
        Self {
            word: name(&outcome),
            tone,
        }
    }
}
