//! An SQLite database into an empty PostgreSQL one.
//!
//! Both have the same tables, in the order in which migrations made them, so that what a row refers to is there before it. What is
//! copied is read from SQLite's own list of tables: one that a later migration adds is not forgotten.

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _};

use super::sql::{self, Conn, Row, ToValue as _, Value};
use super::{Store, StoreError, number};
use crate::config::PostgresUrl;

/// Rows that are copied at once at most, and their values: PostgreSQL takes 65,535 of these in one statement.
const ROWS: usize = 1000;
const VALUES: usize = 60_000;

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    /// The first table with something in it.
    #[error("there are rows in its table '{0}'")]
    Occupied(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for TransferError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A table, as SQLite describes it.
struct Table {
    name: String,
    columns: Vec<(String, Kind)>,
}

/// What is in a column.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    Int,
    Float,
    Text,
    Bytes,
}

impl Kind {
    /// Of a declared type, by the words that migrations use.
    fn of(declared: &str) -> Result<Self, StoreError> {
        match declared {
            "BOOLEAN" => Ok(Self::Bool),
            "BIGINT" | "INTEGER" => Ok(Self::Int),
            "DOUBLE PRECISION" => Ok(Self::Float),
            "TEXT" => Ok(Self::Text),
            "BLOB" => Ok(Self::Bytes),
            _ => Err(StoreError::Unexpected("the type of a column")),
        }
    }

    fn read(self, row: &Row, column: &str) -> Result<Value, sqlx::Error> {
        Ok(match self {
            Self::Bool => row.try_get::<Option<bool>, _>(column)?.to_value(),
            Self::Int => row.try_get::<Option<i64>, _>(column)?.to_value(),
            Self::Float => row.try_get::<Option<f64>, _>(column)?.to_value(),
            Self::Text => row.try_get::<Option<String>, _>(column)?.to_value(),
            Self::Bytes => row.try_get::<Option<Vec<u8>>, _>(column)?.to_value(),
        })
    }
}

impl Store {
    /// Whether nothing is in a PostgreSQL database, whosever tables it has. None are made.
    pub(crate) async fn is_free(database: &PostgresUrl) -> Result<(), TransferError> {
        let options = (*database.0).clone();
        Self::reach(&options).await?.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await?;
        let found = free(&mut Conn::Postgres(pool.begin().await?)).await;
        pool.close().await;
        found
    }

    /// Copies all of an SQLite database into this one, in PostgreSQL, in one transaction. Both have this version's tables.
    ///
    /// # Errors
    /// Nothing is copied unless this database is empty, and unless all that was copied is found there again.
    pub(crate) async fn copy_from(&self, from: &Self) -> Result<(), TransferError> {
        let mut view = from.read().await?;
        // Nobody else writes meanwhile.
        let mut tx = self.write().await?;
        free(tx.conn()).await?;
        for table in tables(&mut view).await? {
            copy(&table, &mut view, tx.conn()).await?;
            if count(&table.name, &mut view).await? != count(&table.name, tx.conn()).await? {
                return Err(StoreError::Unexpected("a table that was copied").into());
            }
        }
        go_on_counting(&mut view, tx.conn()).await?;
        if super::audit::trail(&mut view).await? != super::audit::trail(tx.conn()).await? {
            return Err(StoreError::Unexpected("the audit trail that was copied").into());
        }
        Ok(tx.commit().await?)
    }
}

async fn free(conn: &mut Conn) -> Result<(), TransferError> {
    let rows = sql::query(
        "SELECT CAST(table_name AS TEXT) AS name FROM information_schema.tables \
         WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND table_name <> '_sqlx_migrations' ORDER BY 1",
    )
    .fetch_all(&mut *conn)
    .await?;
    for row in &rows {
        let name: String = row.try_get("name")?;
        let text = format!("SELECT 1 FROM {} LIMIT 1", quoted(&name));
        let found = sql::query(AssertSqlSafe(text)).fetch_optional(&mut *conn);
        if found.await?.is_some() {
            return Err(TransferError::Occupied(name));
        }
    }
    Ok(())
}

/// The tables of an SQLite database, in the order in which they were made.
async fn tables(view: &mut Conn) -> Result<Vec<Table>, StoreError> {
    let names = sql::query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND name <> '_sqlx_migrations' ORDER BY rowid",
    )
    .fetch_all(&mut *view)
    .await?;
    let mut tables = Vec::new();
    for row in &names {
        let name: String = row.try_get("name")?;
        let columns = sql::query("SELECT name, type FROM pragma_table_info($1) ORDER BY cid")
            .bind(&name)
            .fetch_all(&mut *view)
            .await?;
        let column = |row: &Row| Ok((row.try_get("name")?, Kind::of(row.try_get("type")?)?));
        tables.push(Table {
            name,
            columns: columns
                .iter()
                .map(column)
                .collect::<Result<_, StoreError>>()?,
        });
    }
    Ok(tables)
}

async fn copy(table: &Table, from: &mut Conn, to: &mut Conn) -> Result<(), StoreError> {
    let names: Vec<String> = table.columns.iter().map(|(name, _)| quoted(name)).collect();
    let (name, names) = (quoted(&table.name), names.join(", "));
    let width = table.columns.len().max(1);
    let piece = ROWS.min(VALUES / width);
    let mut after = i64::MIN;
    loop {
        let rows = sql::query(AssertSqlSafe(format!(
            "SELECT rowid AS copied_row, {names} FROM {name} WHERE rowid > $1 ORDER BY rowid LIMIT $2"
        )))
        .bind(after)
        .bind(i64::try_from(piece).unwrap_or(i64::MAX))
        .fetch_all(&mut *from)
        .await?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = last.try_get("copied_row")?;
        let places: Vec<String> = (0..rows.len())
            .map(|row| {
                let places: Vec<String> = (1..=width)
                    .map(|column| format!("${}", row * width + column))
                    .collect();
                format!("({})", places.join(", "))
            })
            .collect();
        let mut insert = sql::query(AssertSqlSafe(format!(
            "INSERT INTO {name} ({names}) OVERRIDING SYSTEM VALUE VALUES {}",
            places.join(", ")
        )));
        for row in &rows {
            for (column, kind) in &table.columns {
                insert = insert.bind(kind.read(row, column)?);
            }
        }
        insert.execute(&mut *to).await?;
    }
}

async fn count(table: &str, conn: &mut Conn) -> Result<u64, StoreError> {
    let text = format!("SELECT COUNT(*) AS count FROM {}", quoted(table));
    let row = sql::query(AssertSqlSafe(text)).fetch_one(conn).await?;
    number(&row, "count")
}

/// What is numbered goes on where it was, not after the highest number that is still there: numbers are remembered elsewhere.
async fn go_on_counting(from: &mut Conn, to: &mut Conn) -> Result<(), StoreError> {
    let rows = sql::query("SELECT name, seq FROM sqlite_sequence WHERE seq > 0")
        .fetch_all(from)
        .await?;
    for row in &rows {
        sql::query("SELECT setval(pg_get_serial_sequence($1, 'id'), $2)")
            .bind(quoted(row.try_get("name")?))
            .bind(row.try_get::<i64, _>("seq")?)
            .fetch_all(&mut *to)
            .await?;
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
