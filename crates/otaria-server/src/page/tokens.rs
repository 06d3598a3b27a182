//! `/tokens`: access for programs. Everybody makes and revokes their own; administrators see everybody's.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::device::unreadable;
use super::form::{Fields, see};
use super::frame::Frame;
use super::page;
use super::words::{ago, complaint, field, moment};
use crate::access::Caller;
use crate::clock::now;
use crate::http::Answer;
use crate::model::{MadeToken, NewToken, Scope};
use crate::shared::Shared;

type Shares = State<Arc<Shared>>;
type Asker = Extension<Caller>;

#[derive(Template)]
#[template(path = "tokens.html")]
struct Tokens {
    frame: Frame,
    rows: Vec<Token>,
    form: Asked,
    problem: String,
    /// Scopes that this reader may give, and what each is for.
    scopes: Vec<(Scope, &'static str)>,
    /// The one that was made just now: its secret is on this page and on no other.
    made: Option<MadeToken>,
}

struct Token {
    id: String,
    name: String,
    user: String,
    scopes: String,
    used: String,
    until: String,
}

/// The form's fields, as texts.
struct Asked {
    name: String,
    days: String,
    scopes: Vec<String>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            name: String::new(),
            days: "90".to_owned(),
            scopes: Vec::new(),
        }
    }
}

impl Asked {
    fn of(fields: &Fields) -> Self {
        Self {
            name: fields.one("name").to_owned(),
            days: fields.one("days").to_owned(),
            scopes: fields.all("scope").map(str::to_owned).collect(),
        }
    }

    fn chose(&self, scope: &Scope) -> bool {
        self.scopes.iter().any(|chosen| chosen == scope.name())
    }

    fn token(&self) -> Answer<NewToken> {
        let scopes = self.scopes.iter().map(|scope| field("May", scope));
        Ok(NewToken {
            name: self.name.trim().to_owned(),
            scopes: scopes
                .filter_map(Result::transpose)
                .collect::<Answer<_>>()?,
            // Nothing is as little as 0 days, which the server refuses in its own words.
            days: field("Days", &self.days)?.unwrap_or(0),
        })
    }
}

/// What a scope lets a program do.
fn means(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "look at everything but users, webhooks and the audit trail",
        Scope::Publish => "upload packages, publish them, begin rollouts",
        Scope::Operate => "stop updates and rollouts, command devices, hand out key records",
        Scope::Enroll => "get certificates for devices",
        Scope::Admin => "users, webhooks, the audit trail, forgetting key records",
    }
}

pub(super) async fn show(
    State(shared): Shares,
    Extension(caller): Asker,
    frame: Frame,
) -> Answer<Response> {
    list(&shared, &caller, frame, Shown::default()).await
}

pub(super) async fn make(
    State(shared): Shares,
    Extension(caller): Asker,
    frame: Frame,
    given: Result<Form<Fields>, FormRejection>,
) -> Answer<Response> {
    let Form(fields) = given.map_err(unreadable)?;
    let form = Asked::of(&fields);
    let made = async { Ok(shared.make_token(&caller, form.token()?, now()).await?) };
    let (status, shown) = match made.await {
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
                form,
                problem: complaint(&fault),
                made: None,
            };
            (fault.status(), shown)
        }
    };
    let page = list(&shared, &caller, frame, shown).await?;
    Ok((status, page).into_response())
}

pub(super) async fn revoke(
    State(shared): Shares,
    Extension(caller): Asker,
    Path(id): Path<String>,
) -> Answer<Response> {
    shared.revoke_token(&caller, &id).await?;
    Ok(see("/tokens"))
}

/// What is on the page besides the list.
#[derive(Default)]
struct Shown {
    form: Asked,
    problem: String,
    made: Option<MadeToken>,
}

async fn list(shared: &Shared, caller: &Caller, frame: Frame, shown: Shown) -> Answer<Response> {
    let now = now();
    let tokens = shared.tokens_of(caller).await?;
    let scopes = caller.scopes().into_iter();
    page(&Tokens {
        frame: frame.of("Tokens"),
        rows: tokens.into_iter().map(|token| row(token, now)).collect(),
        form: shown.form,
        problem: shown.problem,
        scopes: scopes.map(|scope| (scope, means(scope))).collect(),
        made: shown.made,
    })
}

fn row(token: crate::model::Token, now: i64) -> Token {
    let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.name()).collect();
    Token {
        id: token.id,
        name: token.name,
        user: token.user,
        scopes: scopes.join(", "),
        used: ago(token.last_used_at, now),
        until: moment(token.expires_at),
    }
}
