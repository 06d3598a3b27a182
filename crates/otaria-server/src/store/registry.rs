//! Tags, notes, groups by query, and what is kept of a device's past.

use otaria_wire::messages::{Event, FailureCode, State};

use super::{Row, Store, StoreError, Tx, number, page, parsed, sql};
use crate::model::{Page, Sample, Status, Step, TagChanges, Update};

/// Samples kept for each device: a day, at one in five minutes.
pub(super) const SAMPLES: i64 = 288;
/// Least time between two samples of one boot, in seconds.
const SAMPLE_EVERY: i64 = 300;

impl Tx {
    /// Changes a device's tags.
    pub(crate) async fn change_tags(
        &mut self,
        id: &str,
        changes: &TagChanges,
    ) -> Result<(), StoreError> {
        for name in &changes.remove {
            sql::query("DELETE FROM device_tags WHERE device_id = $1 AND name = $2")
                .bind(id)
                .bind(name)
                .execute(self.conn())
                .await?;
        }
        for (name, value) in &changes.set {
            sql::query(
                "INSERT INTO device_tags (device_id, name, value) VALUES ($1, $2, $3) \
                 ON CONFLICT (device_id, name) DO UPDATE SET value = excluded.value",
            )
            .bind(id)
            .bind(name)
            .bind(value)
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }

    /// How many tags a device has.
    pub(crate) async fn tag_count(&mut self, id: &str) -> Result<usize, StoreError> {
        let row = sql::query("SELECT COUNT(*) AS tags FROM device_tags WHERE device_id = $1")
            .bind(id)
            .fetch_one(self.conn())
            .await?;
        let count: u64 = number(&row, "tags")?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Replaces what is noted of a device.
    pub(crate) async fn set_device_note(&mut self, id: &str, note: &str) -> Result<(), StoreError> {
        sql::query("UPDATE devices SET note = $2 WHERE id = $1")
            .bind(id)
            .bind(note)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Gives a group a query, or another one.
    pub(crate) async fn set_group_query(
        &mut self,
        name: &str,
        query: &str,
    ) -> Result<(), StoreError> {
        sql::query(
            "INSERT INTO group_queries (name, query) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET query = excluded.query",
        )
        .bind(name)
        .bind(query)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Removes a group: its query, and whoever was put into it. Whether there was one.
    pub(crate) async fn remove_group(&mut self, name: &str) -> Result<bool, StoreError> {
        let mut gone = 0;
        for sql in [
            "DELETE FROM group_queries WHERE name = $1",
            "DELETE FROM device_groups WHERE group_name = $1",
        ] {
            let done = sql::query(sql).bind(name).execute(self.conn()).await?;
            gone += done;
        }
        Ok(gone > 0)
    }

    /// Adds to the history of a job on a device.
    pub(super) async fn add_step(
        &mut self,
        job: &str,
        device: &str,
        status: Status,
        event: Option<&Event>,
        now: i64,
    ) -> Result<(), StoreError> {
        sql::query(
            "INSERT INTO update_steps (job_id, device_id, n, at, status, event, code, text) \
             SELECT $1, $2, coalesce(MAX(n), 0) + 1, $3, $4, $5, $6, $7 FROM update_steps \
             WHERE job_id = $1 AND device_id = $2",
        )
        .bind(job)
        .bind(device)
        .bind(now)
        .bind(status.name())
        .bind(event.map(|event| event.event.name()))
        .bind(event.and_then(|event| event.code))
        .bind(event.and_then(|event| event.text.as_ref().map(heapless::String::as_str)))
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Keeps what a device reports of itself, if it is a new boot or the last such report is a while ago.
    pub(super) async fn add_sample(
        &mut self,
        device: &str,
        state: &State,
        now: i64,
    ) -> Result<(), StoreError> {
        let last = sql::query(
            "SELECT at, boot FROM device_samples WHERE device_id = $1 ORDER BY at DESC LIMIT 1",
        )
        .bind(device)
        .fetch_optional(self.conn())
        .await?;
        if let Some(last) = last {
            let (at, boot): (i64, i64) = (last.try_get("at")?, last.try_get("boot")?);
            if boot == i64::from(state.boot) && now - at < SAMPLE_EVERY {
                return Ok(());
            }
        }
        sql::query(
            "INSERT INTO device_samples (device_id, at, boot, reset, version, heap_free, heap_min, rssi) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (device_id, at) DO NOTHING",
        )
        .bind(device)
        .bind(now)
        .bind(state.boot)
        .bind(state.reset.name())
        .bind(state.version.as_str())
        .bind(state.heap_free)
        .bind(state.heap_min)
        .bind(state.rssi)
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

impl Store {
    /// What a device reported of itself, oldest first.
    pub(crate) async fn samples(&self, device: &str) -> Result<Vec<Sample>, StoreError> {
        let rows = sql::query("SELECT * FROM device_samples WHERE device_id = $1 ORDER BY at")
            .bind(device)
            .fetch_all(&self.reader)
            .await?;
        rows.iter()
            .map(|row| {
                let rssi: Option<i64> = row.try_get("rssi")?;
                Ok(Sample {
                    at: row.try_get("at")?,
                    boot: number(row, "boot")?,
                    reset: row.try_get("reset")?,
                    version: row.try_get("version")?,
                    heap_free: number(row, "heap_free")?,
                    heap_min: number(row, "heap_min")?,
                    rssi: rssi.and_then(|rssi| i8::try_from(rssi).ok()),
                })
            })
            .collect()
    }

    /// A device's updates with what happened in each, newest first.
    pub(crate) async fn updates(
        &self,
        device: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Update>, StoreError> {
        let mut view = self.read().await?;
        let rows = sql::query(
            "SELECT a.job_id, a.status, a.code, a.updated_at, p.version, j.created_at FROM assignments a \
             JOIN jobs j ON j.id = a.job_id JOIN packages p ON p.digest = j.package \
             WHERE a.device_id = $1 AND ($2 IS NULL OR (j.created_at, j.id) < \
               (SELECT created_at, id FROM jobs WHERE id = $2)) \
             ORDER BY j.created_at DESC, j.id DESC LIMIT $3",
        )
        .bind(device)
        .bind(after)
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut view)
        .await?;
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            let job: String = row.try_get("job_id")?;
            let steps = sql::query(
                "SELECT at, status, event, code, text FROM update_steps WHERE job_id = $1 AND device_id = $2 ORDER BY n",
            )
            .bind(&job)
            .bind(device)
            .fetch_all(&mut view)
            .await?;
            let steps: Vec<Step> = steps.iter().map(step).collect::<Result<_, _>>()?;
            items.push(Update {
                version: row.try_get("version")?,
                status: parsed(row, "status")?,
                started_at: match steps.first() {
                    Some(step) => step.at,
                    None => row.try_get("created_at")?,
                },
                updated_at: row.try_get("updated_at")?,
                reason: reason(row)?,
                steps,
                job,
            });
        }
        Ok(page(items, limit, |update: &Update| update.job.clone()))
    }
}

fn step(row: &Row) -> Result<Step, StoreError> {
    Ok(Step {
        at: row.try_get("at")?,
        status: parsed(row, "status")?,
        event: row.try_get("event")?,
        reason: reason(row)?,
        text: row.try_get("text")?,
    })
}

/// The name of the failure in the column `code`.
fn reason(row: &Row) -> Result<Option<String>, StoreError> {
    let code: Option<i64> = row.try_get("code")?;
    let code = code.and_then(|code| u16::try_from(code).ok());
    Ok(code
        .and_then(FailureCode::from_number)
        .map(|code| code.name().to_owned()))
}
