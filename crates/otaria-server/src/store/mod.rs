//! What the server knows, in SQLite. All SQL is in this module.
//!
//! One connection writes, several read; a write is one transaction that starts `IMMEDIATE`, so that it never fails half
//! way for want of a lock. WAL with `synchronous = FULL`: what a device or an operator was told is on disk. The SQL
//! keeps to what PostgreSQL understands too (`$1`, `ON CONFLICT`, `RETURNING`); what differs is in this file and in
//! `migrations/`.

mod access;
mod audit;
mod certificates;
mod devices;
mod jobs;
mod keys;
mod outbox;
mod packages;
mod registry;
mod reports;
mod retention;
mod rollouts;

pub(crate) use devices::{Filter, facts};
pub(crate) use jobs::NewJobRow;
pub(crate) use keys::KeyEpochRow;
pub(crate) use outbox::{NewMessage, OutboxRow};
pub(crate) use rollouts::Loaded;

use std::borrow::Cow;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use otaria_wire::Sha256Digest;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, SqlSafeStr as _, Sqlite, SqliteConnection, SqlitePool};

type Row = SqliteRow;
type Conn = SqliteConnection;

/// A transaction that may write. Dropped without [`Tx::commit`], it leaves nothing behind.
pub(crate) struct Tx(sqlx::Transaction<'static, Sqlite>);

impl Tx {
    /// Makes everything in it durable at once.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        Ok(self.0.commit().await?)
    }

    /// A value that belongs to the server as a whole.
    pub(crate) async fn note(&mut self, key: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT value FROM meta WHERE key = $1")
            .bind(key)
            .fetch_optional(self.conn())
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Sets or removes such a value.
    pub(crate) async fn set_note(
        &mut self,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), StoreError> {
        let Some(value) = value else {
            sqlx::query("DELETE FROM meta WHERE key = $1")
                .bind(key)
                .execute(self.conn())
                .await?;
            return Ok(());
        };
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(key)
        .bind(value)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    fn conn(&mut self) -> &mut Conn {
        &mut self.0
    }
}

/// The store failed. None of these is the user's fault.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot do it.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The database could not be brought to this version's tables.
    #[error("the database could not be prepared")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A value in the database is not what this version writes there.
    #[error("the database holds something unexpected in {0}")]
    Unexpected(&'static str),
}

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    writer: SqlitePool,
    reader: SqlitePool,
}

const MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        "first",
        include_str!("../../migrations/sqlite/0001_first.sql"),
    ),
    (
        2,
        "access",
        include_str!("../../migrations/sqlite/0002_access.sql"),
    ),
    (
        3,
        "registry",
        include_str!("../../migrations/sqlite/0003_registry.sql"),
    ),
    (
        4,
        "keys",
        include_str!("../../migrations/sqlite/0004_keys.sql"),
    ),
    (
        5,
        "recipients",
        include_str!("../../migrations/sqlite/0005_recipients.sql"),
    ),
    (
        6,
        "timing",
        include_str!("../../migrations/sqlite/0006_timing.sql"),
    ),
    (
        7,
        "rollouts",
        include_str!("../../migrations/sqlite/0007_rollouts.sql"),
    ),
    (
        8,
        "boots",
        include_str!("../../migrations/sqlite/0008_boots.sql"),
    ),
    (
        9,
        "audit",
        include_str!("../../migrations/sqlite/0009_audit.sql"),
    ),
];

impl Store {
    /// Opens or makes the database, and brings it to this version's tables.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await?;
        let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
            Migration::new(
                *version,
                Cow::Borrowed(name),
                MigrationType::Simple,
                (*sql).into_sql_str(),
                false,
            )
        });
        Migrator::with_migrations(migrations.collect())
            .run(&writer)
            .await?;
        let reader = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self { writer, reader })
    }

    /// Starts to write.
    pub(crate) async fn write(&self) -> Result<Tx, StoreError> {
        Ok(Tx(self.writer.begin_with("BEGIN IMMEDIATE").await?))
    }

    /// A view that does not change while several queries look at it.
    async fn read(&self) -> Result<sqlx::Transaction<'static, Sqlite>, StoreError> {
        Ok(self.reader.begin().await?)
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// This installation's name: made once, kept for good. It names the server's session at the broker.
    pub(crate) async fn instance(&self) -> Result<String, StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('instance', $1) ON CONFLICT (key) DO NOTHING",
        )
        .bind(crate::id::random())
        .execute(tx.conn())
        .await?;
        let row = sqlx::query("SELECT value FROM meta WHERE key = 'instance'")
            .fetch_one(tx.conn())
            .await?;
        let name = row.try_get(0)?;
        tx.commit().await?;
        Ok(name)
    }
}

/// A text column that holds something else.
fn parsed<T: FromStr>(row: &Row, column: &'static str) -> Result<T, StoreError> {
    row.try_get::<&str, _>(column)?
        .parse()
        .map_err(|_| StoreError::Unexpected(column))
}

fn digest(row: &Row, column: &'static str) -> Result<Sha256Digest, StoreError> {
    parsed(row, column)
}

fn json<T: serde::de::DeserializeOwned>(
    row: &Row,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let Some(text) = row.try_get::<Option<&str>, _>(column)? else {
        return Ok(None);
    };
    serde_json::from_str(text)
        .map(Some)
        .map_err(|_| StoreError::Unexpected(column))
}

fn number<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Result<T, StoreError> {
    T::try_from(row.try_get::<i64, _>(column)?).map_err(|_| StoreError::Unexpected(column))
}

fn to_json<T: serde::Serialize>(value: &T, column: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Unexpected(column))
}

/// Cuts a list that was read with one row too many into a page.
fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> crate::model::Page<T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if more { items.last().map(cursor) } else { None };
    crate::model::Page { items, next }
}
