//! Logging in, users, tokens.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest as _, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::{Extension, Json};

use super::{Paging, newest_first};
use crate::access::Caller;
use crate::clock::now;
use crate::http::{Answer, Fault, address};
use crate::model::{
    Credentials, MadeToken, NewPassword, NewToken, NewUser, Page, Token, User, Whoami,
};
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

/// Makes a token for whoever knows the password.
#[utoipa::path(
    post, path = "/login", tag = "access",
    request_body = Credentials,
    responses((status = CREATED, body = MadeToken)),
)]
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

/// Whom the server takes the asker for.
#[utoipa::path(get, path = "/whoami", tag = "access", responses((status = OK, body = Whoami)))]
pub(super) async fn whoami(Extension(caller): Extension<Caller>) -> Json<Whoami> {
    Json(Whoami {
        scopes: caller.scopes(),
        user: caller.user,
    })
}

/// Changes one's own password.
#[utoipa::path(put, path = "/password", tag = "access", request_body = NewPassword, responses((status = NO_CONTENT)))]
pub(super) async fn change_password(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer<StatusCode> {
    let (change, from) = with_address::<NewPassword>(request).await?;
    shared.change_password(&caller, &change, from).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists users, by name.
#[utoipa::path(
    get, path = "/users", tag = "access", operation_id = "list_users",
    params(Paging), responses((status = OK, body = Page<User>)),
)]
pub(super) async fn users(
    State(shared): Shares,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<User>>> {
    let Query(paging) = query?;
    let users = shared.store.users().await?;
    Ok(Json(paging.cut(users, |user| user.name.clone())?))
}

/// Adds a user, or changes the role of one.
#[utoipa::path(
    post, path = "/users", tag = "access",
    request_body = NewUser,
    responses((status = CREATED, body = User)),
)]
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

/// Sets the password of a user.
#[utoipa::path(
    put, path = "/users/{name}/password", tag = "access",
    request_body = NewPassword,
    responses((status = NO_CONTENT)),
)]
pub(super) async fn set_password(
    State(shared): Shares,
    Path(name): Path<String>,
    body: Result<Json<NewPassword>, JsonRejection>,
) -> Answer<StatusCode> {
    let Json(change) = body?;
    shared.set_password(&name, &change.new).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a user, with their tokens.
#[utoipa::path(delete, path = "/users/{name}", tag = "access", responses((status = NO_CONTENT)))]
pub(super) async fn remove_user(
    State(shared): Shares,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    shared.remove_user(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists one's own tokens, and for an administrator everybody's.
#[utoipa::path(
    get, path = "/tokens", tag = "access", operation_id = "list_tokens",
    params(Paging), responses((status = OK, body = Page<Token>)),
)]
pub(super) async fn tokens(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<Token>>> {
    let Query(paging) = query?;
    let tokens = shared.tokens_of(&caller).await?;
    let key = |token: &Token| newest_first(token.created_at, &token.id);
    Ok(Json(paging.cut(tokens, key)?))
}

/// Makes a token. Its secret is told now and never again.
#[utoipa::path(
    post, path = "/tokens", tag = "access",
    request_body = NewToken,
    responses((status = CREATED, body = MadeToken)),
)]
pub(super) async fn make_token(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    body: Result<Json<NewToken>, JsonRejection>,
) -> Answer<(StatusCode, Json<MadeToken>)> {
    let Json(asked) = body?;
    let made = shared.make_token(&caller, asked, now()).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revokes a token.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "access", responses((status = NO_CONTENT)))]
pub(super) async fn revoke_token(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    shared.revoke_token(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
