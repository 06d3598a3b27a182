//! One text for each query, whichever database it goes to.
//!
//! sqlx's own `Any` driver is no way to that: its SQLite side refuses rows with a `BOOLEAN` column. So a query here is its
//! text and its values until it is executed, and a row is the driver's own.

use std::fmt;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{ColumnIndex, Decode, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, Type};

/// A query with its values. Parameters are `$1`, `$2`, …, which both databases take.
pub(super) struct Query {
    sql: SqlStr,
    values: Vec<Value>,
}

/// Starts a query.
pub(super) fn query(sql: impl SqlSafeStr) -> Query {
    Query {
        sql: sql.into_sql_str(),
        values: Vec::new(),
    }
}

/// A value of a query. What is null still has a type: PostgreSQL wants to know it.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Bool(Option<bool>),
    Int(Option<i64>),
    Float(Option<f64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// What can be a value.
pub(super) trait ToValue {
    const NULL: Value;
    fn to_value(self) -> Value;
}

/// An open transaction.
pub(super) enum Conn {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// Connections that only read.
#[derive(Debug)]
pub(super) enum Reader {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
}

/// Where a query is executed.
pub(super) enum On<'a> {
    Conn(&'a mut Conn),
    Reader(&'a Reader),
}

/// A row of the answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What can be read from a column.
pub(super) trait Column<'r>:
    Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{
}

impl<'r, T> Column<'r> for T where
    T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{
}

impl Row {
    /// The value of a column.
    pub(super) fn try_get<'r, T, I>(&'r self, column: I) -> Result<T, sqlx::Error>
    where
        T: Column<'r>,
        I: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}

impl Query {
    /// The next value.
    pub(super) fn bind(mut self, value: impl ToValue) -> Self {
        self.values.push(value.to_value());
        self
    }

    /// Executes it, and gives how many rows it has changed.
    pub(super) async fn execute(self, conn: &mut Conn) -> Result<u64, sqlx::Error> {
        Ok(match conn {
            Conn::Sqlite(tx) => self.sqlite().execute(&mut **tx).await?.rows_affected(),
            Conn::Postgres(tx) => self.postgres().execute(&mut **tx).await?.rows_affected(),
        })
    }

    /// All rows.
    pub(super) async fn fetch_all(self, on: impl Into<On<'_>>) -> Result<Vec<Row>, sqlx::Error> {
        let sqlite = |rows: Vec<SqliteRow>| rows.into_iter().map(Row::Sqlite).collect();
        let postgres = |rows: Vec<PgRow>| rows.into_iter().map(Row::Postgres).collect();
        Ok(match on.into() {
            On::Conn(Conn::Sqlite(tx)) => sqlite(self.sqlite().fetch_all(&mut **tx).await?),
            On::Conn(Conn::Postgres(tx)) => postgres(self.postgres().fetch_all(&mut **tx).await?),
            On::Reader(Reader::Sqlite(pool)) => sqlite(self.sqlite().fetch_all(pool).await?),
            On::Reader(Reader::Postgres(pool)) => postgres(self.postgres().fetch_all(pool).await?),
        })
    }

    /// The first row, if there is one.
    pub(super) async fn fetch_optional(
        self,
        on: impl Into<On<'_>>,
    ) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.fetch_all(on).await?.into_iter().next())
    }

    /// The first row, which there is.
    pub(super) async fn fetch_one(self, on: impl Into<On<'_>>) -> Result<Row, sqlx::Error> {
        self.fetch_optional(on)
            .await?
            .ok_or(sqlx::Error::RowNotFound)
    }

    fn sqlite(self) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
        let query = sqlx::query(self.sql);
        self.values
            .into_iter()
            .fold(query, |query, value| match value {
                Value::Bool(value) => query.bind(value),
                Value::Int(value) => query.bind(value),
                Value::Float(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
            })
    }

    fn postgres(self) -> sqlx::query::Query<'static, Postgres, PgArguments> {
        let query = sqlx::query(self.sql);
        self.values
            .into_iter()
            .fold(query, |query, value| match value {
                Value::Bool(value) => query.bind(value),
                Value::Int(value) => query.bind(value),
                Value::Float(value) => query.bind(value),
                Value::Text(value) => query.bind(value.map(without_nul)),
                Value::Bytes(value) => query.bind(value),
            })
    }
}

/// PostgreSQL has no text with a NUL in it. A device that sends one must not keep what others send from being stored.
pub(super) fn without_nul(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}")
    } else {
        text
    }
}

impl<'a> From<&'a mut Conn> for On<'a> {
    fn from(conn: &'a mut Conn) -> Self {
        Self::Conn(conn)
    }
}

impl<'a> From<&'a Reader> for On<'a> {
    fn from(reader: &'a Reader) -> Self {
        Self::Reader(reader)
    }
}

impl Conn {
    /// Makes what was written durable.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite",
            Self::Postgres(_) => "Postgres",
        })
    }
}

impl<T: ToValue> ToValue for Option<T> {
    const NULL: Value = T::NULL;
    fn to_value(self) -> Value {
        self.map_or(T::NULL, T::to_value)
    }
}

impl<T: ToValue + Clone> ToValue for &T {
    const NULL: Value = T::NULL;
    fn to_value(self) -> Value {
        self.clone().to_value()
    }
}

impl ToValue for Value {
    const NULL: Value = Value::Text(None);
    fn to_value(self) -> Value {
        self
    }
}

macro_rules! values {
    ($($kind:ident: $($from:ty)*;)*) => {$($(
        impl ToValue for $from {
            const NULL: Value = Value::$kind(None);
            fn to_value(self) -> Value {
                Value::$kind(Some(self.into()))
            }
        }
    )*)*};
}

values! {
    Bool: bool;
    Int: i8 u16 u32 i64;
    Float: f64;
    Text: &str String;
    Bytes: &[u8] Vec<u8>;
}
