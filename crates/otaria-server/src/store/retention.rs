//! How long history is kept.

use super::{Store, StoreError};

/// Events kept for each device.
const EVENTS: i64 = 1_000;
/// Log lines kept for each device.
const LINES: i64 = 5_000;

impl Store {
    /// Removes history beyond what is kept. What devices run and should run is never touched.
    pub(crate) async fn prune(&self) -> Result<(), StoreError> {
        for (sql, keep) in [
            (
                "DELETE FROM events WHERE id IN (SELECT id FROM (SELECT id, \
                 row_number() OVER (PARTITION BY device_id ORDER BY id DESC) AS age FROM events) AS aged \
                 WHERE age > $1)",
                EVENTS,
            ),
            (
                "DELETE FROM logs WHERE id IN (SELECT id FROM (SELECT id, \
                 row_number() OVER (PARTITION BY device_id ORDER BY id DESC) AS age FROM logs) AS aged \
                 WHERE age > $1)",
                LINES,
            ),
        ] {
            let mut tx = self.write().await?;
            sqlx::query(sql).bind(keep).execute(tx.conn()).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
