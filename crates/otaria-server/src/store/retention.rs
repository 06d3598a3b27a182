//! How long history is kept.

use super::registry::SAMPLES;
use super::{Store, StoreError, sql};

/// Events kept for each device.
const EVENTS: i64 = 1_000;
/// Steps kept of each update: an update that is tried every hour has more.
const STEPS: i64 = 200;
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
            (
                "DELETE FROM device_samples WHERE (device_id, at) IN (SELECT device_id, at FROM (SELECT device_id, at, \
                 row_number() OVER (PARTITION BY device_id ORDER BY at DESC) AS age FROM device_samples) AS aged \
                 WHERE age > $1)",
                SAMPLES,
            ),
            (
                "DELETE FROM update_steps WHERE (job_id, device_id, n) IN (SELECT job_id, device_id, n FROM \
                 (SELECT job_id, device_id, n, row_number() OVER (PARTITION BY job_id, device_id ORDER BY n DESC) AS age \
                 FROM update_steps) AS aged WHERE age > $1)",
                STEPS,
            ),
        ] {
            let mut tx = self.write().await?;
            sql::query(sql).bind(keep).execute(tx.conn()).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
