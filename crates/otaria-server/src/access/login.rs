//! Users, and what they log in with.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::password::{LONGEST, SHORTEST};
use super::{Caller, secret};
use crate::audit::Action;
use crate::clock::now_ms;
use crate::model::{
    Credentials, MadeToken, NewPassword, NewToken, NewUser, Role, Scope, Secret, Token, User,
};
use crate::shared::Shared;
use crate::store::StoreError;

/// How long a browser stays logged in.
pub(crate) const SESSION_S: i64 = 12 * 60 * 60;
/// How long the command line does.
const LOGIN_DAYS: u32 = 30;
/// The longest life of a token.
const MAX_DAYS: u32 = 3650;
const DAY: i64 = 24 * 60 * 60;
/// The user that is made at the first start.
const ADMIN: &str = "admin";
/// What tokens begin with, so that scanners for leaked secrets know them.
const TOKEN_PREFIX: &str = "otaria_";

/// Why somebody does not get what they ask for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("user name and password do not fit together")]
    Wrong,
    #[error("too many wrong passwords from this address; try again in {0} s")]
    TooOften(i64),
    #[error("a user's name is 1 to 40 letters, digits, '.', '_', '-' or '@'")]
    Name,
    #[error(
        "a password has {SHORTEST} to {LONGEST} characters; four unrelated words are a good one"
    )]
    Password,
    #[error("there is a user '{0}' already; `otaria user passwd` sets another password")]
    Taken(String),
    #[error("there is no user '{0}'; `otaria user list` shows all")]
    NoUser(String),
    #[error("'{0}' is the only administrator; make another one first")]
    LastAdmin(String),
    #[error("there is no token '{0}' of yours; `otaria token list` shows them")]
    NoToken(String),
    #[error("a token counts for 1 to {MAX_DAYS} days")]
    Days,
    #[error("a token needs a name of at most 80 characters that says what it is for")]
    TokenName,
    #[error("a token needs at least one scope: read, publish, operate, enroll, admin")]
    NoScope,
    #[error("a token may not do more than you: '{0}' is not yours to give")]
    Scope(Scope),
    #[error(
        "tokens are made with a log-in, not with a token that may only do a part; `otaria login` first"
    )]
    NotWhole,
    #[error("this server runs without log-in (--open), so there is nobody to log in")]
    Open,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The first administrator's secrets. They are not to be had again.
#[derive(Debug)]
pub struct FirstAdmin {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// A token, so that whoever has started the server need not log in.
    pub token: MadeToken,
}

/// Makes an administrator if there is nobody, or gives the first one a new password.
pub(crate) async fn admin_at_start(
    shared: &Shared,
    reset: bool,
    now: i64,
) -> Result<Option<FirstAdmin>, StoreError> {
    if !reset && !shared.store.users().await?.is_empty() {
        return Ok(None);
    }
    let password = secret::password();
    let hash = shared.passwords.hash(&password).await;
    let mut tx = shared.store.write().await?;
    if !tx.add_user(ADMIN, Role::Admin, &hash, now).await? {
        tx.set_password(ADMIN, &hash).await?;
        tx.set_role(ADMIN, Role::Admin).await?;
        tx.audit(Action::UserPassword, ADMIN, "reset at the server's start")
            .await?;
    } else {
        tx.audit(Action::UserAdd, ADMIN, "the first, at the server's start")
            .await?;
    }
    tx.commit().await?;
    let asked = NewToken {
        name: "made at the server's start".to_owned(),
        scopes: Scope::ALL.to_vec(),
        days: LOGIN_DAYS,
    };
    Ok(Some(FirstAdmin {
        user: ADMIN.to_owned(),
        password: Secret::from((*password).clone()),
        token: shared
            .new_token(ADMIN, asked, Action::TokenCreate, true, now)
            .await?,
    }))
}

impl Shared {
    /// Whether it is this user's password. `from` is the address that is held back when it often is not.
    async fn check(&self, given: &Credentials, from: Option<IpAddr>) -> Result<User, AccessError> {
        if let Some(from) = from {
            let now = i64::try_from(now_ms()).unwrap_or(i64::MAX);
            self.limiter
                .take(from, now)
                .map_err(AccessError::TooOften)?;
        }
        let (user, hash) = match self.store.user(&given.user).await? {
            Some((user, hash)) => (Some(user), Some(hash)),
            None => (None, None),
        };
        let matches = self.passwords.matches(given.password.reveal(), hash).await;
        match user {
            Some(user) if matches => {
                if let Some(from) = from {
                    self.limiter.give_back(from);
                }
                Ok(user)
            }
            _ => {
                // The name is a stranger's text.
                let name: String = given.user.chars().take(40).collect();
                tracing::warn!(user = ?name, ?from, "a wrong password");
                // The limiter keeps anybody from filling the trail with these.
                let mut tx = self.store.write().await?;
                tx.audit_refused(Action::LogIn, &name, "wrong password")
                    .await?;
                tx.commit().await?;
                Err(AccessError::Wrong)
            }
        }
    }

    /// A token for the command line.
    pub(crate) async fn log_in(
        &self,
        given: &Credentials,
        from: Option<IpAddr>,
        now: i64,
    ) -> Result<MadeToken, AccessError> {
        if self.is_open() {
            return Err(AccessError::Open);
        }
        let user = self.check(given, from).await?;
        let asked = NewToken {
            name: "otaria login".to_owned(),
            scopes: user.role.scopes().to_vec(),
            days: LOGIN_DAYS,
        };
        Ok(self
            .new_token(&user.name, asked, Action::LogIn, true, now)
            .await?)
    }

    /// A session for a browser.
    pub(crate) async fn open_session(
        &self,
        given: &Credentials,
        from: Option<IpAddr>,
        now: i64,
    ) -> Result<Zeroizing<String>, AccessError> {
        if self.is_open() {
            return Err(AccessError::Open);
        }
        let user = self.check(given, from).await?;
        let session = secret::random();
        let mut tx = self.store.write().await?;
        tx.add_session(&secret::hash(&session), &user.name, now + SESSION_S)
            .await?;
        tx.audit(Action::LogIn, &user.name, "a session").await?;
        tx.commit().await?;
        Ok(session)
    }

    /// Who comes with this token.
    pub(crate) async fn by_token(
        &self,
        token: &str,
        now: i64,
    ) -> Result<Option<Caller>, StoreError> {
        let id = token
            .strip_prefix(TOKEN_PREFIX)
            .and_then(|rest| rest.split('_').next());
        let Some(id) = id else { return Ok(None) };
        let Some((known, role, hash)) = self.store.token(id, now).await? else {
            return Ok(None);
        };
        if !secret::equal(hash.as_bytes(), secret::hash(token).as_bytes()) {
            return Ok(None);
        }
        self.store.note_use(&known, now).await?;
        Ok(Some(Caller::with_token(
            known.id,
            known.user,
            role,
            known.scopes,
        )))
    }

    /// Who comes with this session.
    pub(crate) async fn by_session(
        &self,
        session: &str,
        now: i64,
    ) -> Result<Option<Caller>, StoreError> {
        let holder = self.store.session(&secret::hash(session), now).await?;
        Ok(holder.map(|holder| Caller::logged_in(holder.user, holder.role)))
    }

    async fn new_token(
        &self,
        user: &str,
        asked: NewToken,
        why: Action,
        by_login: bool,
        now: i64,
    ) -> Result<MadeToken, StoreError> {
        let id = crate::id::random();
        let text = format!("{TOKEN_PREFIX}{id}_{}", *secret::random());
        let token = Token {
            id,
            user: user.to_owned(),
            name: asked.name,
            scopes: asked.scopes,
            created_at: now,
            expires_at: now + i64::from(asked.days) * DAY,
            last_used_at: None,
        };
        let mut tx = self.store.write().await?;
        tx.add_token(&token, &secret::hash(&text), by_login).await?;
        let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.name()).collect();
        let (id, days, scopes) = (&token.id, asked.days, scopes.join(","));
        let detail = format!("token {id} for {days} days: {scopes}");
        tx.audit(why, user, &detail).await?;
        tx.commit().await?;
        Ok(MadeToken {
            secret: Secret::from(text),
            token,
        })
    }

    /// A token that somebody asks for.
    pub(crate) async fn make_token(
        &self,
        caller: &Caller,
        asked: NewToken,
        now: i64,
    ) -> Result<MadeToken, AccessError> {
        let user = whole(caller)?;
        if !(1..=MAX_DAYS).contains(&asked.days) {
            return Err(AccessError::Days);
        }
        let name = asked.name.trim();
        if name.is_empty() || name.chars().count() > 80 || name.contains(char::is_control) {
            return Err(AccessError::TokenName);
        }
        if asked.scopes.is_empty() {
            return Err(AccessError::NoScope);
        }
        if let Some(scope) = asked.scopes.iter().find(|scope| !caller.may(**scope)) {
            return Err(AccessError::Scope(*scope));
        }
        Ok(self
            .new_token(user, asked, Action::TokenCreate, false, now)
            .await?)
    }

    /// Somebody's own tokens; an administrator's are all.
    pub(crate) async fn tokens_of(&self, caller: &Caller) -> Result<Vec<Token>, AccessError> {
        let user = whole(caller)?;
        let of = (!caller.may(Scope::Admin)).then_some(user);
        Ok(self.store.tokens(of).await?)
    }

    /// Takes a token back.
    pub(crate) async fn revoke_token(&self, caller: &Caller, id: &str) -> Result<(), AccessError> {
        let user = whole(caller)?;
        let of = (!caller.may(Scope::Admin)).then_some(user);
        let mut tx = self.store.write().await?;
        if !tx.remove_token(id, of).await? {
            return Err(AccessError::NoToken(id.to_owned()));
        }
        tx.audit(Action::TokenRevoke, id, "").await?;
        Ok(tx.commit().await?)
    }

    /// Adds a user.
    pub(crate) async fn add_user(&self, new: &NewUser, now: i64) -> Result<User, AccessError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_@".contains(c);
        if !(1..=40).contains(&new.name.len()) || !new.name.chars().all(allowed) {
            return Err(AccessError::Name);
        }
        let hash = self.acceptable(&new.password).await?;
        let mut tx = self.store.write().await?;
        if !tx.add_user(&new.name, new.role, &hash, now).await? {
            return Err(AccessError::Taken(new.name.clone()));
        }
        tx.audit(Action::UserAdd, &new.name, new.role.name())
            .await?;
        tx.commit().await?;
        Ok(User {
            name: new.name.clone(),
            role: new.role,
            created_at: now,
        })
    }

    /// Another password for somebody else.
    pub(crate) async fn set_password(&self, name: &str, new: &Secret) -> Result<(), AccessError> {
        let hash = self.acceptable(new).await?;
        let mut tx = self.store.write().await?;
        if !tx.set_password(name, &hash).await? {
            return Err(AccessError::NoUser(name.to_owned()));
        }
        tx.audit(Action::UserPassword, name, "").await?;
        Ok(tx.commit().await?)
    }

    /// Another password for oneself, who knows the old one.
    pub(crate) async fn change_password(
        &self,
        caller: &Caller,
        change: &NewPassword,
        from: Option<IpAddr>,
    ) -> Result<(), AccessError> {
        let user = caller.user.clone().ok_or(AccessError::Open)?;
        let given = Credentials {
            user,
            password: change.old.clone().unwrap_or_default(),
        };
        self.check(&given, from).await?;
        self.set_password(&given.user, &change.new).await
    }

    /// Removes a user, but never the last administrator.
    pub(crate) async fn remove_user(&self, name: &str) -> Result<(), AccessError> {
        let mut tx = self.store.write().await?;
        if !tx.remove_user(name).await? {
            return Err(AccessError::NoUser(name.to_owned()));
        }
        if tx.admins().await? == 0 {
            return Err(AccessError::LastAdmin(name.to_owned()));
        }
        tx.audit(Action::UserRemove, name, "").await?;
        Ok(tx.commit().await?)
    }

    async fn acceptable(&self, password: &Secret) -> Result<String, AccessError> {
        let text = password.reveal();
        if text.chars().count() < SHORTEST || text.len() > LONGEST {
            return Err(AccessError::Password);
        }
        Ok(self.passwords.hash(text).await)
    }
}

/// The user, if this access may all that they may.
fn whole(caller: &Caller) -> Result<&str, AccessError> {
    let user = caller.user.as_deref().ok_or(AccessError::Open)?;
    caller
        .is_whole()
        .then_some(user)
        .ok_or(AccessError::NotWhole)
}
