//! Key records, and which device was told which.

use super::{Store, StoreError, Tx, number, page, sql};
use crate::model::Page;

/// The newest record of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyEpochRow {
    pub(crate) product: String,
    pub(crate) epoch: u32,
    pub(crate) record: Vec<u8>,
    pub(crate) uploaded_at: i64,
    /// Devices of the product.
    pub(crate) devices: u64,
    /// Those of them that report this epoch.
    pub(crate) in_force: u64,
}

/// How far a device is with the newest record of its product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyFollower {
    pub(crate) device: String,
    pub(crate) online: bool,
    pub(crate) last_seen: Option<i64>,
    /// The epoch of the record that it says it goes by; 0 is none.
    pub(crate) epoch: u32,
    /// Whether it was sent the newest.
    pub(crate) told: bool,
}

/// What a device has been told, so that it is told once.
fn told(product: &str, epoch: u32) -> String {
    format!("{epoch} {product}")
}

impl Tx {
    /// The newest record of a product: its epoch and its bytes.
    pub(crate) async fn key_epoch(
        &mut self,
        product: &str,
    ) -> Result<Option<(u32, Vec<u8>)>, StoreError> {
        let row = sql::query("SELECT epoch, record FROM key_epochs WHERE product = $1")
            .bind(product)
            .fetch_optional(self.conn())
            .await?;
        row.map(|row| Ok((number(&row, "epoch")?, row.try_get("record")?)))
            .transpose()
    }

    /// Keeps a record in place of the product's earlier one.
    pub(crate) async fn set_key_epoch(
        &mut self,
        product: &str,
        epoch: u32,
        record: &[u8],
        now: i64,
    ) -> Result<(), StoreError> {
        sql::query(
            "INSERT INTO key_epochs (product, epoch, record, uploaded_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (product) DO UPDATE SET epoch = excluded.epoch, record = excluded.record, \
             uploaded_at = excluded.uploaded_at",
        )
        .bind(product)
        .bind(epoch)
        .bind(record)
        .bind(now)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Forgets the record of a product; whether there was one.
    pub(crate) async fn remove_key_epoch(&mut self, product: &str) -> Result<bool, StoreError> {
        let done = sql::query("DELETE FROM key_epochs WHERE product = $1")
            .bind(product)
            .execute(self.conn())
            .await?;
        Ok(done > 0)
    }

    /// The devices of a product.
    pub(crate) async fn devices_of(&mut self, product: &str) -> Result<Vec<String>, StoreError> {
        let rows = sql::query("SELECT id FROM devices WHERE product = $1 ORDER BY id")
            .bind(product)
            .fetch_all(self.conn())
            .await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// Notes that a device was sent this record; false if it was before.
    pub(crate) async fn tell_keys(
        &mut self,
        device: &str,
        product: &str,
        epoch: u32,
    ) -> Result<bool, StoreError> {
        let done = sql::query(
            "UPDATE devices SET keys_told = $2 WHERE id = $1 AND (keys_told IS NULL OR keys_told <> $2)",
        )
        .bind(device)
        .bind(told(product, epoch))
        .execute(self.conn())
        .await?;
        Ok(done > 0)
    }

    /// Whether a device was ever sent a record.
    pub(crate) async fn was_told_keys(&mut self, device: &str) -> Result<bool, StoreError> {
        let row = sql::query("SELECT 1 FROM devices WHERE id = $1 AND keys_told IS NOT NULL")
            .bind(device)
            .fetch_optional(self.conn())
            .await?;
        Ok(row.is_some())
    }

    /// Each device that has been sent a record, with its product: what the broker has to hold.
    pub(crate) async fn devices_with_keys(&mut self) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sql::query(
            "SELECT d.id, d.product FROM devices d JOIN key_epochs k ON k.product = d.product \
             WHERE d.keys_told IS NOT NULL ORDER BY d.id",
        )
        .fetch_all(self.conn())
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("id")?, row.try_get("product")?)))
            .collect()
    }
}

impl Store {
    /// The newest record of each product.
    pub(crate) async fn key_epochs(&self) -> Result<Vec<KeyEpochRow>, StoreError> {
        let rows = sql::query(
            "SELECT k.product, k.epoch, k.record, k.uploaded_at, \
             (SELECT COUNT(*) FROM devices d WHERE d.product = k.product) AS devices, \
             (SELECT COUNT(*) FROM devices d WHERE d.product = k.product AND d.keys_epoch = k.epoch) AS in_force \
             FROM key_epochs k ORDER BY k.product",
        )
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(KeyEpochRow {
                    product: row.try_get("product")?,
                    epoch: number(row, "epoch")?,
                    record: row.try_get("record")?,
                    uploaded_at: row.try_get("uploaded_at")?,
                    devices: number(row, "devices")?,
                    in_force: number(row, "in_force")?,
                })
            })
            .collect()
    }

    /// The devices of a product by their ids, with how far they are with its newest record; only those that do not go by it, if
    /// `behind`.
    pub(crate) async fn key_followers(
        &self,
        (product, newest): (&str, u32),
        behind: bool,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<KeyFollower>, StoreError> {
        let rows = sql::query(
            "SELECT id, online, last_seen, COALESCE(keys_epoch, 0) AS epoch, COALESCE(keys_told, '') = $2 AS told \
             FROM devices WHERE product = $1 AND id > $3 AND (NOT $4 OR COALESCE(keys_epoch, 0) <> $5) \
             ORDER BY id LIMIT $6",
        )
        .bind(product)
        .bind(told(product, newest))
        .bind(after.unwrap_or_default())
        .bind(behind)
        .bind(newest)
        .bind(limit + 1)
        .fetch_all(&self.reader)
        .await?;
        let followers = rows.iter().map(|row| {
            Ok(KeyFollower {
                device: row.try_get("id")?,
                online: row.try_get("online")?,
                last_seen: row.try_get("last_seen")?,
                epoch: number(row, "epoch")?,
                told: row.try_get("told")?,
            })
        });
        let followers = followers.collect::<Result<_, StoreError>>()?;
        Ok(page(followers, limit, |one: &KeyFollower| {
            one.device.clone()
        }))
    }
}
