//! The tables, as numbered changes that are made once each. Their text is SQLite's; PostgreSQL's is made from it by
//! [`in_postgres`].

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// Number, name and text. What has been released is never changed: a database that was made with another text is refused.
pub(super) const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../../migrations/0001_first.sql")),
    (
        2,
        "access",
        include_str!("../../migrations/0002_access.sql"),
    ),
    (
        3,
        "registry",
        include_str!("../../migrations/0003_registry.sql"),
    ),
    (4, "keys", include_str!("../../migrations/0004_keys.sql")),
    (
        5,
        "recipients",
        include_str!("../../migrations/0005_recipients.sql"),
    ),
    (
        6,
        "timing",
        include_str!("../../migrations/0006_timing.sql"),
    ),
    (
        7,
        "rollouts",
        include_str!("../../migrations/0007_rollouts.sql"),
    ),
    (8, "boots", include_str!("../../migrations/0008_boots.sql")),
    (9, "audit", include_str!("../../migrations/0009_audit.sql")),
    (
        10,
        "versions",
        include_str!("../../migrations/0010_versions.sql"),
    ),
    (
        11,
        "webhooks",
        include_str!("../../migrations/0011_webhooks.sql"),
    ),
    (
        12,
        "leases",
        include_str!("../../migrations/0012_leases.sql"),
    ),
    (
        13,
        "idempotency",
        include_str!("../../migrations/0013_idempotency.sql"),
    ),
    (
        14,
        "waiting",
        include_str!("../../migrations/0014_waiting.sql"),
    ),
];

/// Words of SQLite, and PostgreSQL's for the same, in the order in which they are looked for.
///
/// Text is compared byte by byte in both, so that lists have one order and a page begins where the last one ended.
const WORDS: &[(&str, &str)] = &[
    (
        "INTEGER PRIMARY KEY AUTOINCREMENT",
        "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    ),
    (" INTEGER", " BIGINT"),
    (" BLOB", " BYTEA"),
    (" TEXT", " TEXT COLLATE \"C\""),
    ("state ->>", "state::json ->>"),
];

/// The text of a migration for PostgreSQL.
fn in_postgres(sql: &str) -> String {
    WORDS
        .iter()
        .fold(sql.to_owned(), |sql, (sqlite, postgres)| {
            sql.replace(sqlite, postgres)
        })
}

/// Makes the first so many changes to an SQLite database.
pub(super) fn sqlite(first: usize) -> Migrator {
    migrator(first, SqlSafeStr::into_sql_str)
}

/// The same for PostgreSQL; a lock sees to it that servers which start together do not do so at once.
pub(super) fn postgres(first: usize) -> Migrator {
    migrator(first, |sql| AssertSqlSafe(in_postgres(sql)).into_sql_str())
}

fn migrator(first: usize, text: impl Fn(&'static str) -> SqlStr) -> Migrator {
    let migrations = MIGRATIONS.iter().take(first).map(|(version, name, sql)| {
        Migration::new(
            *version,
            Cow::Borrowed(name),
            MigrationType::Simple,
            text(sql),
            false,
        )
    });
    Migrator::with_migrations(migrations.collect())
}
