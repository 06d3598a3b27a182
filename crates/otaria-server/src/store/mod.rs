//! What the server knows, in SQLite or PostgreSQL. All SQL is in this module, and one text serves both databases: see
//! [`sql`] for how, and [`schema`] for the tables.
//!
//! **One transaction writes at a time**, and sees all that was written before. SQLite has one connection that writes and
//! several that read; a write starts `IMMEDIATE`, so that it never fails half way for want of a lock. In PostgreSQL a write
//! begins with an advisory lock, which the servers of one database share. So what is read in a transaction may be decided
//! upon, whichever database it is, and no transaction has to be tried again.
//!
//! What grows with the fleet is an exception in PostgreSQL: events, progress and logs ([`Store::write_reports`]). Transactions
//! that store nothing else hold the lock together. They change rows of the devices that report, and add rows that nobody else
//! changes. [`Tx::apply`] begins with the row of the device, which it locks so, and devices come in the order of their names:
//! of one device one transaction writes at a time, and no two wait for each other.
//!
//! WAL with `synchronous = FULL`, and PostgreSQL's own defaults: what a device or an operator was told is on disk.

mod access;
mod audit;
mod backup;
mod certificates;
mod devices;
mod idempotency;
mod jobs;
mod keys;
mod leases;
mod outbox;
mod packages;
mod registry;
mod reports;
mod retention;
mod rollouts;
mod schema;
mod sql;
mod tally;
mod transfer;
mod webhooks;

pub(crate) use backup::{check, snapshot};
pub(crate) use devices::{Filter, facts};
pub(crate) use idempotency::{Answered, Known};
pub(crate) use jobs::NewJobRow;
pub(crate) use keys::{KeyEpochRow, KeyFollower};
pub(crate) use leases::LONGEST_NOTICE;
pub(crate) use outbox::{NewMessage, OutboxRow};
pub(crate) use rollouts::Loaded;
pub(crate) use tally::Tally;
pub(crate) use transfer::TransferError;
pub(crate) use webhooks::{Due, Tried};

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use otaria_wire::Sha256Digest;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection, PgPool, SqlitePool};

use crate::config::Database;
use sql::{Conn, Reader, Row};

/// A transaction that may write. Dropped without [`Tx::commit`], it leaves nothing behind.
pub(crate) struct Tx(Conn);

impl Tx {
    /// Makes everything in it durable at once.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        Ok(self.0.commit().await?)
    }

    /// A value that belongs to the server as a whole.
    pub(crate) async fn note(&mut self, key: &str) -> Result<Option<String>, StoreError> {
        let row = sql::query("SELECT value FROM meta WHERE key = $1")
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
            sql::query("DELETE FROM meta WHERE key = $1")
                .bind(key)
                .execute(self.conn())
                .await?;
            return Ok(());
        };
        sql::query(
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
    /// The database is reached with TLS, which does not come about.
    #[error(
        "the database cannot be reached with TLS. Turn TLS on there (ssl = on), or, if nobody can listen in between, end its \
         address with ?sslmode=disable"
    )]
    NoTls(#[source] sqlx::Error),
    /// The database could not be brought to this version's tables.
    #[error("the database could not be prepared")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A value in the database is not what this version writes there.
    #[error("the database holds something unexpected in {0}")]
    Unexpected(&'static str),
}

/// The lock that a transaction holds while it writes to PostgreSQL: a number that means nothing, and no other program takes.
const WRITE_LOCK: i64 = 0x6f74_6172_6961_7772;
/// Connections to PostgreSQL that write, and those that read.
const PG_WRITERS: u32 = 4;
const PG_READERS: u32 = 8;

/// How long PostgreSQL may take to answer at the start.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the SQLite file.
pub(crate) const FILE: &str = "otaria.db";

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    writer: Writer,
    reader: Reader,
}

/// Connections that write.
#[derive(Debug)]
enum Writer {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Store {
    /// Opens the database, and brings it to this version's tables. An SQLite file in `data` is made if it is not there.
    pub(crate) async fn open(database: &Database, data: &Path) -> Result<Self, StoreError> {
        Self::open_at(database, data, schema::MIGRATIONS.len()).await
    }

    /// The same with the tables of the first so many migrations, as an earlier version made them.
    async fn open_at(
        database: &Database,
        data: &Path,
        migrations: usize,
    ) -> Result<Self, StoreError> {
        match database {
            Database::File => Self::sqlite(&data.join(FILE), migrations).await,
            Database::Postgres(url) => Self::postgres((*url.0).clone(), migrations).await,
        }
    }

    async fn sqlite(path: &Path, migrations: usize) -> Result<Self, StoreError> {
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
        schema::sqlite(migrations).run(&writer).await?;
        let reader = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self {
            writer: Writer::Sqlite(writer),
            reader: Reader::Sqlite(reader),
        })
    }

    async fn postgres(options: PgConnectOptions, migrations: usize) -> Result<Self, StoreError> {
        // A server that is cut off must not keep the others from writing.
        let writing = options.clone().options([
            ("idle_in_transaction_session_timeout", "30s"),
            ("lock_timeout", "30s"),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
        ]);
        let mut first = Self::reach(&writing).await?;
        schema::postgres(migrations).run(&mut first).await?;
        first.close().await?;
        let writer = PgPoolOptions::new()
            .max_connections(PG_WRITERS)
            .connect_with(writing)
            .await?;
        let reader = PgPoolOptions::new()
            .max_connections(PG_READERS)
            .connect_with(options)
            .await?;
        Ok(Self {
            writer: Writer::Postgres(writer),
            reader: Reader::Postgres(reader),
        })
    }

    /// A first connection to PostgreSQL. Not by a pool: that tries for long, and says in the end only that it has no connection.
    async fn reach(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
        tokio::time::timeout(PATIENCE, PgConnection::connect_with(options))
            .await
            .map_err(|_| sqlx::Error::Io(io::ErrorKind::TimedOut.into()))?
            .map_err(|error| match error {
                sqlx::Error::Tls(_) => StoreError::NoTls(error),
                error => error.into(),
            })
    }

    /// Starts to write.
    pub(crate) async fn write(&self) -> Result<Tx, StoreError> {
        self.begin("SELECT pg_advisory_xact_lock($1)").await
    }

    /// Starts to store events, progress and logs, and nothing else: others may do the same meanwhile. Reports are to be applied in
    /// the order of their devices' names.
    pub(crate) async fn write_reports(&self) -> Result<Tx, StoreError> {
        self.begin("SELECT pg_advisory_xact_lock_shared($1)").await
    }

    async fn begin(&self, lock: &'static str) -> Result<Tx, StoreError> {
        match &self.writer {
            Writer::Sqlite(pool) => Ok(Tx(Conn::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?))),
            Writer::Postgres(pool) => {
                let mut tx = Tx(Conn::Postgres(pool.begin().await?));
                sql::query(lock).bind(WRITE_LOCK).execute(tx.conn()).await?;
                Ok(tx)
            }
        }
    }

    /// A view that does not change while several queries look at it.
    async fn read(&self) -> Result<Conn, StoreError> {
        Ok(match &self.reader {
            Reader::Sqlite(pool) => Conn::Sqlite(pool.begin().await?),
            Reader::Postgres(pool) => Conn::Postgres(
                pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    .await?,
            ),
        })
    }

    /// Executes a text as it is, as somebody with a tool for databases does, and gives how many rows it has changed.
    #[cfg(test)]
    pub(crate) async fn tamper(&self, text: &'static str) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let changed = sql::query(text).execute(tx.conn()).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        match &self.reader {
            Reader::Sqlite(pool) => pool.close().await,
            Reader::Postgres(pool) => pool.close().await,
        }
        match &self.writer {
            Writer::Sqlite(pool) => pool.close().await,
            Writer::Postgres(pool) => pool.close().await,
        }
    }

    /// This installation's name: made once, kept for good. It names the server's session at the broker.
    pub(crate) async fn instance(&self) -> Result<String, StoreError> {
        let mut tx = self.write().await?;
        sql::query(
            "INSERT INTO meta (key, value) VALUES ('instance', $1) ON CONFLICT (key) DO NOTHING",
        )
        .bind(crate::id::random())
        .execute(tx.conn())
        .await?;
        let row = sql::query("SELECT value FROM meta WHERE key = 'instance'")
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
