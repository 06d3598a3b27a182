//! What servers that share a database have each for itself, and how they reach each other. Only with PostgreSQL: an SQLite file has
//! one server.

use sqlx::postgres::PgListener;

use super::sql::{self, Reader};
use super::{Store, StoreError, Tx, number};

/// The channel by which servers hear of each other.
const CHANNEL: &str = "otaria";
/// Longest text that PostgreSQL carries in one notification, in bytes, less some room.
pub(crate) const LONGEST_NOTICE: usize = 7_900;
/// The database's clock, in unix seconds.
const NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)";

impl Store {
    /// Whether other servers may use this database, too.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.reader, Reader::Postgres(_))
    }

    /// Takes a lease that nobody has, or goes on with it, for so many seconds; whether it is the holder's now.
    ///
    /// Does not wait for a transaction that writes: a server must be able to go on with what it has while others are busy.
    pub(crate) async fn hold(
        &self,
        name: &str,
        holder: &str,
        seconds: f64,
    ) -> Result<bool, StoreError> {
        let held = take(name, holder, seconds).fetch_optional(&self.reader);
        Ok(held.await?.is_some())
    }

    /// Goes on with a lease that nobody else has taken or forgotten meanwhile; whether it is the holder's.
    pub(crate) async fn prolong(
        &self,
        name: &str,
        holder: &str,
        seconds: f64,
    ) -> Result<bool, StoreError> {
        let held = sql::query(sqlx::AssertSqlSafe(format!(
            "UPDATE leases SET until = {NOW} + $3 WHERE name = $1 AND holder = $2 RETURNING holder"
        )))
        .bind(name)
        .bind(holder)
        .bind(seconds)
        .fetch_optional(&self.reader)
        .await?;
        Ok(held.is_some())
    }

    /// Gives a lease up.
    pub(crate) async fn release(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        sql::query("DELETE FROM leases WHERE name = $1 AND holder = $2")
            .bind(name)
            .bind(holder)
            .fetch_all(&self.reader)
            .await?;
        Ok(())
    }

    /// How many leases are held whose names begin so. Those that ran out are forgotten.
    pub(crate) async fn held(&self, prefix: &str) -> Result<usize, StoreError> {
        sql::query(sqlx::AssertSqlSafe(format!(
            "DELETE FROM leases WHERE starts_with(name, $1) AND until < {NOW}"
        )))
        .bind(prefix)
        .fetch_all(&self.reader)
        .await?;
        let row = sql::query("SELECT COUNT(*) AS held FROM leases WHERE starts_with(name, $1)")
            .bind(prefix)
            .fetch_one(&self.reader)
            .await?;
        number(&row, "held").map(|held: u64| usize::try_from(held).unwrap_or(usize::MAX))
    }

    /// Tells the other servers something, if there can be others.
    pub(crate) async fn notify(&self, text: &str) -> Result<(), StoreError> {
        sql::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(text)
            .fetch_all(&self.reader)
            .await?;
        Ok(())
    }

    /// What the other servers tell; nothing if there can be none.
    pub(crate) async fn notices(&self) -> Result<Option<PgListener>, StoreError> {
        let Reader::Postgres(pool) = &self.reader else {
            return Ok(None);
        };
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(listener))
    }
}

/// Gives a lease to a holder, for so many seconds, unless another one has it.
fn take(name: &str, holder: &str, seconds: f64) -> sql::Query {
    sql::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO leases (name, holder, until) VALUES ($1, $2, {NOW} + $3) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until \
         WHERE leases.holder = excluded.holder OR leases.until < {NOW} RETURNING holder"
    )))
    .bind(name)
    .bind(holder)
    .bind(seconds)
}

impl Tx {
    /// Until when a lease of another holder lasts, of this name or of any; nothing if there is none. Those that ran out are
    /// forgotten, so that their holders find out.
    pub(crate) async fn held_by_others(
        &mut self,
        holder: &str,
        name: Option<&str>,
    ) -> Result<Option<f64>, StoreError> {
        sql::query(sqlx::AssertSqlSafe(format!(
            "DELETE FROM leases WHERE until < {NOW}"
        )))
        .execute(self.conn())
        .await?;
        let row = sql::query(
            "SELECT MAX(until) AS until FROM leases WHERE holder <> $1 AND ($2 IS NULL OR name = $2)",
        )
        .bind(holder)
        .bind(name)
        .fetch_one(self.conn())
        .await?;
        Ok(row.try_get("until")?)
    }

    /// Takes a lease of which it was seen in this transaction that nobody else has it.
    pub(crate) async fn hold(
        &mut self,
        name: &str,
        holder: &str,
        seconds: f64,
    ) -> Result<(), StoreError> {
        take(name, holder, seconds).execute(self.conn()).await?;
        Ok(())
    }

    /// Whether a lease is still this holder's. If so, nobody else gets it before this transaction has ended.
    pub(crate) async fn holds(&mut self, name: &str, holder: &str) -> Result<bool, StoreError> {
        let row = sql::query("SELECT 1 FROM leases WHERE name = $1 AND holder = $2 FOR SHARE")
            .bind(name)
            .bind(holder)
            .fetch_optional(self.conn())
            .await?;
        Ok(row.is_some())
    }
}
