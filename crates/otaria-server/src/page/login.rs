//! `/login` and `/logout`, for browsers.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, Form, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::page;
use crate::access::AccessError;
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

fn form(status: StatusCode, problem: String) -> Answer<Response> {
    Ok((status, page(&LogIn { problem })?).into_response())
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
) -> Answer<Response> {
    let Some(Extension(session)) = session else {
        return Err(Fault::bad_request("there is no session to end"));
    };
    let mut tx = shared.store.write().await?;
    tx.remove_session(&session.hash()).await?;
    tx.audit(Action::LogOut, "", "").await?;
    tx.commit().await?;
    Ok(to("/login", [(SET_COOKIE, cookie(&shared, ""))]))
}
