//! Users, sessions and tokens.

use super::{Row, Store, StoreError, Tx, json, parsed, sql, to_json};
use crate::model::{Role, Token, User};

/// A token's use is noted when the last note is older than this.
const NOTE_USE_EVERY: i64 = 60 * 60;

/// What a token or a session gives access to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) user: String,
    pub(crate) role: Role,
}

impl Tx {
    /// Adds a user; `false` if the name is taken.
    pub(crate) async fn add_user(
        &mut self,
        name: &str,
        role: Role,
        password: &str,
        now: i64,
    ) -> Result<bool, StoreError> {
        let done = sql::query(
            "INSERT INTO users (name, role, password, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(role.name())
        .bind(password)
        .bind(now)
        .execute(self.conn())
        .await?;
        Ok(done == 1)
    }

    /// Another password: what was opened with the old one ends.
    pub(crate) async fn set_password(
        &mut self,
        name: &str,
        password: &str,
    ) -> Result<bool, StoreError> {
        let done = sql::query("UPDATE users SET password = $2 WHERE name = $1")
            .bind(name)
            .bind(password)
            .execute(self.conn())
            .await?;
        for sql in [
            "DELETE FROM sessions WHERE user_name = $1",
            "DELETE FROM tokens WHERE user_name = $1 AND by_login",
        ] {
            sql::query(sql).bind(name).execute(self.conn()).await?;
        }
        Ok(done == 1)
    }

    /// Another role.
    pub(crate) async fn set_role(&mut self, name: &str, role: Role) -> Result<bool, StoreError> {
        let done = sql::query("UPDATE users SET role = $2 WHERE name = $1")
            .bind(name)
            .bind(role.name())
            .execute(self.conn())
            .await?;
        Ok(done == 1)
    }

    /// Removes a user, with their sessions and tokens.
    pub(crate) async fn remove_user(&mut self, name: &str) -> Result<bool, StoreError> {
        let done = sql::query("DELETE FROM users WHERE name = $1")
            .bind(name)
            .execute(self.conn())
            .await?;
        Ok(done == 1)
    }

    /// How many administrators there are.
    pub(crate) async fn admins(&mut self) -> Result<i64, StoreError> {
        let row = sql::query("SELECT count(*) FROM users WHERE role = $1")
            .bind(Role::Admin.name())
            .fetch_one(self.conn())
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Notes a token.
    pub(crate) async fn add_token(
        &mut self,
        token: &Token,
        hash: &str,
        by_login: bool,
    ) -> Result<(), StoreError> {
        sql::query(
            "INSERT INTO tokens (id, user_name, name, hash, scopes, by_login, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&token.id)
        .bind(&token.user)
        .bind(&token.name)
        .bind(hash)
        .bind(to_json(&token.scopes, "scopes")?)
        .bind(by_login)
        .bind(token.created_at)
        .bind(token.expires_at)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Removes a token; of this user, if one is named.
    pub(crate) async fn remove_token(
        &mut self,
        id: &str,
        user: Option<&str>,
    ) -> Result<bool, StoreError> {
        let done =
            sql::query("DELETE FROM tokens WHERE id = $1 AND ($2 IS NULL OR user_name = $2)")
                .bind(id)
                .bind(user)
                .execute(self.conn())
                .await?;
        Ok(done == 1)
    }

    pub(crate) async fn add_session(
        &mut self,
        hash: &str,
        user: &str,
        expires_at: i64,
    ) -> Result<(), StoreError> {
        sql::query("INSERT INTO sessions (hash, user_name, expires_at) VALUES ($1, $2, $3)")
            .bind(hash)
            .bind(user)
            .bind(expires_at)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    pub(crate) async fn remove_session(&mut self, hash: &str) -> Result<(), StoreError> {
        sql::query("DELETE FROM sessions WHERE hash = $1")
            .bind(hash)
            .execute(self.conn())
            .await?;
        Ok(())
    }
}

impl Store {
    /// All users, by name.
    pub(crate) async fn users(&self) -> Result<Vec<User>, StoreError> {
        let rows = sql::query("SELECT name, role, created_at FROM users ORDER BY name")
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(user).collect()
    }

    /// A user with the hash of their password.
    pub(crate) async fn user(&self, name: &str) -> Result<Option<(User, String)>, StoreError> {
        let row = sql::query("SELECT name, role, created_at, password FROM users WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref()
            .map(|row| Ok((user(row)?, row.try_get("password")?)))
            .transpose()
    }

    /// Whose session this is.
    pub(crate) async fn session(&self, hash: &str, now: i64) -> Result<Option<Holder>, StoreError> {
        let row = sql::query(
            "SELECT name, role FROM sessions JOIN users ON name = user_name WHERE hash = $1 AND expires_at > $2",
        )
        .bind(hash)
        .bind(now)
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref().map(holder).transpose()
    }

    /// A token that still counts, with the hash of its secret.
    pub(crate) async fn token(
        &self,
        id: &str,
        now: i64,
    ) -> Result<Option<(Token, Role, String)>, StoreError> {
        let row = sql::query(
            "SELECT tokens.*, role FROM tokens JOIN users ON users.name = user_name WHERE id = $1 AND expires_at > $2",
        )
        .bind(id)
        .bind(now)
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref()
            .map(|row| Ok((token(row)?, parsed(row, "role")?, row.try_get("hash")?)))
            .transpose()
    }

    /// Tokens, newest first; of one user, if one is named.
    pub(crate) async fn tokens(&self, user: Option<&str>) -> Result<Vec<Token>, StoreError> {
        let rows = sql::query(
            "SELECT * FROM tokens WHERE $1 IS NULL OR user_name = $1 ORDER BY created_at DESC, id",
        )
        .bind(user)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(token).collect()
    }

    /// Notes that a token was used, to the hour.
    pub(crate) async fn note_use(&self, used: &Token, now: i64) -> Result<(), StoreError> {
        if used
            .last_used_at
            .is_some_and(|last| now - last < NOTE_USE_EVERY)
        {
            return Ok(());
        }
        let mut tx = self.write().await?;
        sql::query("UPDATE tokens SET last_used_at = $2 WHERE id = $1")
            .bind(&used.id)
            .bind(now)
            .execute(tx.conn())
            .await?;
        tx.commit().await
    }

    /// Removes what has run out.
    pub(crate) async fn prune_access(&self, now: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for sql in [
            "DELETE FROM sessions WHERE expires_at <= $1",
            "DELETE FROM tokens WHERE expires_at <= $1",
        ] {
            sql::query(sql).bind(now).execute(tx.conn()).await?;
        }
        tx.commit().await
    }
}

fn user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        name: row.try_get("name")?,
        role: parsed(row, "role")?,
        created_at: row.try_get("created_at")?,
    })
}

fn holder(row: &Row) -> Result<Holder, StoreError> {
    Ok(Holder {
        user: row.try_get("name")?,
        role: parsed(row, "role")?,
    })
}

fn token(row: &Row) -> Result<Token, StoreError> {
    Ok(Token {
        id: row.try_get("id")?,
        user: row.try_get("user_name")?,
        name: row.try_get("name")?,
        scopes: json(row, "scopes")?.ok_or(StoreError::Unexpected("scopes"))?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        last_used_at: row.try_get("last_used_at")?,
    })
}
