//! Logging in, users, tokens.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest as _, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::{Extension, Json};

use crate::access::Caller;
use crate::clock::now;
use crate::http::{Answer, Fault, address};
use crate::model::{Credentials, MadeToken, NewPassword, NewToken, NewUser, Token, User, Whoami};
use crate::shared::Shared;

type Shares = State<Arc<Shared>>;

/// A body with a password, and where it comes from.
async fn with_address<T: serde::de::DeserializeOwned>(
    request: Request,
) -> Answer<(T, Option<std::net::IpAddr>)> {
    let from = address(request.extensions());
    let body = Bytes::from_request(request, &())
        .await
        .map_err(|error| Fault::refused(error.status(), error.body_text()))?;
    // The parser's own words could repeat a part of what it was given.
    let given = serde_json::from_slice(&body)
        .map_err(|_| Fault::bad_request("the body is not the JSON that is wanted here"))?;
    Ok((given, from))
}

pub(super) async fn log_in(
    State(shared): Shares,
    request: Request,
) -> Answer<(StatusCode, Json<MadeToken>)> {
    let kind = request.headers().get(CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")) {
        // No form of a foreign page can send this type.
        return Err(Fault::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            "The request cannot be read",
            "this takes application/json",
        ));
    }
    let (given, from) = with_address::<Credentials>(request).await?;
    let made = shared.log_in(&given, from, now()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub(super) async fn whoami(Extension(caller): Extension<Caller>) -> Json<Whoami> {
    Json(Whoami {
        scopes: caller.scopes(),
        user: caller.user,
    })
}

pub(super) async fn change_password(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer<StatusCode> {
    let (change, from) = with_address::<NewPassword>(request).await?;
    shared.change_password(&caller, &change, from).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn users(State(shared): Shares) -> Answer<Json<Vec<User>>> {
    Ok(Json(shared.store.users().await?))
}

pub(super) async fn add_user(
    State(shared): Shares,
    body: Result<Json<NewUser>, JsonRejection>,
) -> Answer<(StatusCode, Json<User>)> {
    let Json(new) = body?;
    Ok((
        StatusCode::CREATED,
        Json(shared.add_user(&new, now()).await?),
    ))
}

pub(super) async fn set_password(
    State(shared): Shares,
    Path(name): Path<String>,
    body: Result<Json<NewPassword>, JsonRejection>,
) -> Answer<StatusCode> {
    let Json(change) = body?;
    shared.set_password(&name, &change.new).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove_user(
    State(shared): Shares,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    shared.remove_user(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn tokens(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
) -> Answer<Json<Vec<Token>>> {
    Ok(Json(shared.tokens_of(&caller).await?))
}

pub(super) async fn make_token(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    body: Result<Json<NewToken>, JsonRejection>,
) -> Answer<(StatusCode, Json<MadeToken>)> {
    let Json(asked) = body?;
    let made = shared.make_token(&caller, asked, now()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub(super) async fn revoke_token(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    shared.revoke_token(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
