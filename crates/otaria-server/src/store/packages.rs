//! What is known of packages. The files themselves are in [`crate::packages`].

use otaria_wire::Sha256Digest;

use super::{Row, Store, StoreError, Tx, digest, number, page, sql};
use crate::model::{Package, Page};

const COLUMNS: &str = "digest, size, identity, image_sha256, image_len, product, version, chip, sequence, \
                       security_version, key_id, recipients, created, uploaded_at";

impl Tx {
    /// Adds a package; one that is there already stays as it is.
    pub(crate) async fn add_package(&mut self, package: &Package) -> Result<bool, StoreError> {
        let sequence =
            i64::try_from(package.sequence).map_err(|_| StoreError::Unexpected("sequence"))?;
        let size = i64::try_from(package.size).map_err(|_| StoreError::Unexpected("size"))?;
        let done = sql::query(
            "INSERT INTO packages (digest, size, identity, image_sha256, image_len, product, version, chip, sequence, \
             security_version, key_id, recipients, created, uploaded_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT (digest) DO NOTHING",
        )
        .bind(package.digest.to_string())
        .bind(size)
        .bind(package.identity.to_string())
        .bind(package.image_sha256.to_string())
        .bind(package.image_len)
        .bind(&package.product)
        .bind(&package.version)
        .bind(&package.chip)
        .bind(sequence)
        .bind(package.security_version)
        .bind(&package.key_id)
        .bind(i64::from(package.recipients))
        .bind(package.created)
        .bind(package.uploaded_at)
        .execute(self.conn())
        .await?;
        Ok(done == 1)
    }
}

impl Store {
    /// One package. Its address is left for the caller to fill in.
    pub(crate) async fn package(&self, name: &Sha256Digest) -> Result<Option<Package>, StoreError> {
        let row = sql::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM packages WHERE digest = $1"
        )))
        .bind(name.to_string())
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref().map(from_row).transpose()
    }

    /// The package that comes last in the order of a product's releases for a chip.
    pub(crate) async fn newest_package(
        &self,
        product: &str,
        chip: &str,
    ) -> Result<Option<Package>, StoreError> {
        let row = sql::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM packages WHERE product = $1 AND chip = $2 \
             ORDER BY sequence DESC, uploaded_at DESC LIMIT 1"
        )))
        .bind(product)
        .bind(chip)
        .fetch_optional(&self.reader)
        .await?;
        row.as_ref().map(from_row).transpose()
    }

    /// Packages, newest first.
    pub(crate) async fn packages(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Package>, StoreError> {
        let rows = sql::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM packages WHERE $1 IS NULL OR (uploaded_at, digest) < \
             (SELECT uploaded_at, digest FROM packages WHERE digest = $1) \
             ORDER BY uploaded_at DESC, digest DESC LIMIT $2"
        )))
        .bind(after)
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.reader)
        .await?;
        let items = rows.iter().map(from_row).collect::<Result<_, _>>()?;
        Ok(page(items, limit, |package: &Package| {
            package.digest.to_string()
        }))
    }
}

fn from_row(row: &Row) -> Result<Package, StoreError> {
    Ok(Package {
        digest: digest(row, "digest")?,
        size: number(row, "size")?,
        identity: digest(row, "identity")?,
        image_sha256: digest(row, "image_sha256")?,
        image_len: number(row, "image_len")?,
        product: row.try_get("product")?,
        version: row.try_get("version")?,
        chip: row.try_get("chip")?,
        sequence: number(row, "sequence")?,
        security_version: number(row, "security_version")?,
        key_id: row.try_get("key_id")?,
        recipients: number(row, "recipients")?,
        created: row.try_get("created")?,
        uploaded_at: row.try_get("uploaded_at")?,
        url: String::new(),
    })
}
