//! `/login` and `/logout`, for browsers.

use std::sync::Arc;

use askama::Template as _;
use axum::Extension;
use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, Form, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::html;
use crate::access::{AccessError, secret};
use crate::audit::Action;
use crate::clock::now;
use crate::http::{Answer, Fault, Session, cookie};
use crate::model::{Credentials, Secret};
use crate::shared::Shared;
use crate::trust::Peer;

#[derive(askama::Template)]
#[template(path = "login.html")]
struct LogIn {
    problem: String,
}

#[derive(Deserialize)]
pub(super) struct Given {
    user: String,
    password: Secret,
}

#[derive(Deserialize)]
pub(super) struct Leaving {
    csrf: Secret,
}

fn form(status: StatusCode, problem: String) -> Answer<Response> {
    let text = LogIn { problem }
        .render()
        .map_err(|error| Fault::internal("the page cannot be made", &error))?;
    Ok((status, html(text)).into_response())
}

fn to(address: &'static str, fields: [(HeaderName, String); 1]) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, address)], fields).into_response()
}

pub(super) async fn show() -> Answer<Response> {
    form(StatusCode::OK, String::new())
}

pub(super) async fn log_in(
    State(shared): State<Arc<Shared>>,
    peer: Option<Extension<ConnectInfo<Peer>>>,
    given: Result<Form<Given>, FormRejection>,
) -> Answer<Response> {
    let Ok(Form(given)) = given else {
        return Err(Fault::bad_request("the form cannot be read"));
    };
    let from = peer.map(|Extension(ConnectInfo(peer))| peer.address.ip());
    let given = Credentials {
        user: given.user,
        password: given.password,
    };
    match shared.open_session(&given, from, now()).await {
        Ok(session) => Ok(to("/", [(SET_COOKIE, cookie(&shared, &session))])),
        Err(error @ AccessError::Wrong) => form(StatusCode::UNAUTHORIZED, error.to_string()),
        Err(error @ AccessError::TooOften(_)) => {
            form(StatusCode::TOO_MANY_REQUESTS, error.to_string())
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn log_out(
    State(shared): State<Arc<Shared>>,
    session: Option<Extension<Session>>,
    given: Result<Form<Leaving>, FormRejection>,
) -> Answer<Response> {
    let (Some(Extension(session)), Ok(Form(given))) = (session, given) else {
        return Err(Fault::bad_request("there is no session to end"));
    };
    if !secret::equal(given.csrf.reveal().as_bytes(), session.csrf().as_bytes()) {
        let detail = "this form is not from this session's page";
        return Err(Fault::new(
            StatusCode::FORBIDDEN,
            "csrf",
            "Not from here",
            detail,
        ));
    }
    let mut tx = shared.store.write().await?;
    tx.remove_session(&session.hash()).await?;
    tx.audit(Action::LogOut, "", "").await?;
    tx.commit().await?;
    Ok(to("/login", [(SET_COOKIE, cookie(&shared, ""))]))
}
