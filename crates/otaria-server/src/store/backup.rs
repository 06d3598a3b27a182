//! Copies of an SQLite database.

use std::path::Path;

use otaria_wire::Sha256Digest;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Row as _, SqliteConnection};

use super::StoreError;

/// Copies a database as it is at one moment, whoever writes to it meanwhile, and gives the packages that the copy names, with
/// their lengths.
pub(crate) async fn snapshot(
    from: &Path,
    to: &Path,
) -> Result<Vec<(Sha256Digest, u64)>, StoreError> {
    let mut database = SqliteConnection::connect_with(&existing(from)).await?;
    sqlx::query("VACUUM INTO $1")
        .bind(to.to_string_lossy().into_owned())
        .execute(&mut database)
        .await?;
    database.close().await?;
    let mut copy = SqliteConnection::connect_with(&existing(to).read_only(true)).await?;
    let rows = sqlx::query("SELECT digest, size FROM packages ORDER BY digest")
        .fetch_all(&mut copy)
        .await?;
    copy.close().await?;
    rows.iter()
        .map(|row| {
            let digest = row.try_get::<&str, _>("digest")?;
            let digest = digest.parse();
            let size = row.try_get::<i64, _>("size")?.try_into();
            Ok((
                digest.map_err(|_| StoreError::Unexpected("digest"))?,
                size.map_err(|_| StoreError::Unexpected("size"))?,
            ))
        })
        .collect()
}

/// Whether a database is whole.
pub(crate) async fn check(file: &Path) -> Result<(), StoreError> {
    let mut database = SqliteConnection::connect_with(&existing(file)).await?;
    let row = sqlx::query("PRAGMA integrity_check")
        .fetch_one(&mut database)
        .await?;
    database.close().await?;
    match row.try_get::<&str, _>(0)? {
        "ok" => Ok(()),
        _ => Err(StoreError::Unexpected("the file of the database")),
    }
}

fn existing(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
}
