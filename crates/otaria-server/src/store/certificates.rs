//! Certificates of devices, and which of them do not count any more.

use super::{Row, Store, StoreError, Tx, sql};
use crate::model::Certificate;

impl Tx {
    /// Notes a certificate; its device may come again.
    pub(crate) async fn add_certificate(&mut self, issued: &Certificate) -> Result<(), StoreError> {
        sql::query(
            "INSERT INTO certificates (serial, device_id, issued_at, not_after) VALUES ($1, $2, $3, $4)",
        )
        .bind(&issued.serial)
        .bind(&issued.device)
        .bind(issued.issued_at)
        .bind(issued.not_after)
        .execute(self.conn())
        .await?;
        sql::query("DELETE FROM shut_out WHERE device_id = $1")
            .bind(&issued.device)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Revokes all certificates of a device, and shuts it out. Gives the serials that were revoked by this.
    pub(crate) async fn revoke(
        &mut self,
        device: &str,
        now: i64,
    ) -> Result<Vec<String>, StoreError> {
        sql::query(
            "INSERT INTO shut_out (device_id, since) VALUES ($1, $2) ON CONFLICT (device_id) DO NOTHING",
        )
        .bind(device)
        .bind(now)
        .execute(self.conn())
        .await?;
        let rows = sql::query(
            "UPDATE certificates SET revoked_at = $2 WHERE device_id = $1 AND revoked_at IS NULL RETURNING serial",
        )
        .bind(device)
        .bind(now)
        .fetch_all(self.conn())
        .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

impl Store {
    /// A device's certificates, newest first.
    pub(crate) async fn certificates(&self, device: &str) -> Result<Vec<Certificate>, StoreError> {
        let rows = sql::query(
            "SELECT * FROM certificates WHERE device_id = $1 ORDER BY issued_at DESC, serial",
        )
        .bind(device)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(certificate).collect()
    }

    /// Serials and devices that are revoked.
    pub(crate) async fn revoked(&self) -> Result<(Vec<String>, Vec<String>), StoreError> {
        let mut lists = Vec::new();
        for sql in [
            "SELECT serial FROM certificates WHERE revoked_at IS NOT NULL",
            "SELECT device_id FROM shut_out",
        ] {
            let rows = sql::query(sql).fetch_all(&self.reader).await?;
            let list: Result<Vec<String>, sqlx::Error> =
                rows.iter().map(|row| row.try_get(0)).collect();
            lists.push(list?);
        }
        let devices = lists.pop().unwrap_or_default();
        Ok((lists.pop().unwrap_or_default(), devices))
    }
}

fn certificate(row: &Row) -> Result<Certificate, StoreError> {
    Ok(Certificate {
        device: row.try_get("device_id")?,
        serial: row.try_get("serial")?,
        issued_at: row.try_get("issued_at")?,
        not_after: row.try_get("not_after")?,
        revoked_at: row.try_get("revoked_at")?,
    })
}
