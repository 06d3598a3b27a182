//! What devices report, applied in one transaction.
//!
//! Messages come at least once, retained ones again at every connection, and over a shared subscription in any order.
//! Events therefore carry (install, boot, n): one that is not newer than the last applied of its installation goes
//! into the history, if it is not there yet, and changes nothing else. State, progress and presence have one sender
//! and say what *is*: the last one to come holds.

use otaria_wire::messages::{Event, LogLine, Presence, Progress, State};

use super::{Row, Store, StoreError, Tx, json, number, page, sql, to_json};
use crate::ingest::{Report, What, Wished};
use crate::model::{Live, Page, ReceivedEvent, ReceivedLine, Status, WebhookEvent};
use crate::status::{Running, after_event, after_progress, after_state};

/// What applying a report changed.
type Applied = Vec<Live>;

impl Tx {
    /// Applies one report.
    pub(crate) async fn apply(&mut self, report: &Report, now: i64) -> Result<Applied, StoreError> {
        let device = report.device.as_str();
        if report.what == What::Wish(None) && !self.knows(device).await? {
            // Somebody tidies up after a device that is not known here.
            return Ok(Vec::new());
        }
        let by_device = !matches!(
            &report.what,
            What::Wish(_) | What::Presence(Presence { online: false })
        );
        self.touch(device, by_device && !report.retained, now)
            .await?;
        let mut changes = Vec::new();
        match &report.what {
            What::Presence(presence) => self.presence(device, *presence, &mut changes).await?,
            What::State(state) if report.retained => {
                if !self.is_outdated(device, state).await? {
                    self.state(device, state, now, &mut changes).await?;
                }
            }
            What::State(state) => {
                self.state(device, state, now, &mut changes).await?;
                self.add_sample(device, state, now).await?;
            }
            What::Progress(progress) => self.progress(device, progress, now, &mut changes).await?,
            What::Event(event) => self.event(device, event, now, &mut changes).await?,
            What::Log(lines) => {
                for line in lines {
                    self.log_line(device, line, now, &mut changes).await?;
                }
            }
            What::Wish(wish) => {
                self.foreign_wish(device, wish.as_ref(), now, &mut changes)
                    .await?;
            }
        }
        Ok(changes)
    }

    async fn touch(&mut self, device: &str, alive: bool, now: i64) -> Result<(), StoreError> {
        let seen = alive.then_some(now);
        let known = sql::query(
            "UPDATE devices SET last_seen = coalesce($2, last_seen) \
             WHERE id = $1 AND (last_seen IS NOT NULL OR $2 IS NULL)",
        )
        .bind(device)
        .bind(seen)
        .execute(self.conn())
        .await?;
        if known > 0 {
            return Ok(());
        }
        // Another transaction may have been first since.
        let appeared = sql::query(
            "INSERT INTO devices (id, first_seen, last_seen) VALUES ($1, $2, $3) \
             ON CONFLICT (id) DO UPDATE SET last_seen = $3 WHERE devices.last_seen IS NULL",
        )
        .bind(device)
        .bind(now)
        .bind(seen)
        .execute(self.conn())
        .await?;
        if alive && appeared > 0 {
            let data = serde_json::json!({ "device": device });
            self.announce(WebhookEvent::DeviceAppeared, &data, now)
                .await?;
        }
        Ok(())
    }

    async fn presence(
        &mut self,
        device: &str,
        presence: Presence,
        changes: &mut Applied,
    ) -> Result<(), StoreError> {
        let done = sql::query("UPDATE devices SET online = $2 WHERE id = $1 AND online <> $2")
            .bind(device)
            .bind(presence.online)
            .execute(self.conn())
            .await?;
        if done > 0 {
            changes.push(Live::Presence {
                device: device.to_owned(),
                online: presence.online,
            });
        }
        Ok(())
    }

    async fn state(
        &mut self,
        device: &str,
        state: &State,
        now: i64,
        changes: &mut Applied,
    ) -> Result<(), StoreError> {
        sql::query(
            "UPDATE devices SET state = $2, product = $3, chip = $4, image_sha256 = $5, on_trial = $6, \
             keys_epoch = $7, boot = $8, version = $9 WHERE id = $1",
        )
        .bind(device)
        .bind(to_json(state, "state")?)
        .bind(state.product.as_str())
        .bind(state.chip.as_str())
        .bind(state.image_sha256.to_string())
        .bind(state.trial.is_some())
        .bind(state.keys.as_ref().map(|keys| keys.epoch))
        .bind(state.boot)
        .bind(state.version.as_str())
        .execute(self.conn())
        .await?;
        changes.push(Live::State {
            device: device.to_owned(),
            state: Box::new(state.clone()),
        });
        let Some(job) = self.newest_job(device).await? else {
            return Ok(());
        };
        let Some(expected) = self.expected_image(&job).await? else {
            return Ok(());
        };
        self.advance(&job, device, now, changes, |status| {
            after_state(status, &job, state, &expected)
        })
        .await?;
        if Running::from(state).has_confirmed(&expected) {
            self.set_confirmed_boot(&job, device, state.boot).await?;
        }
        Ok(())
    }

    /// Keeps in which boot a device was last seen to have confirmed a job's image.
    async fn set_confirmed_boot(
        &mut self,
        job: &str,
        device: &str,
        boot: u32,
    ) -> Result<(), StoreError> {
        sql::query(
            "UPDATE assignments SET confirmed_boot = $3 WHERE job_id = $1 AND device_id = $2 AND status = $4",
        )
        .bind(job)
        .bind(device)
        .bind(boot)
        .bind(Status::Succeeded.name())
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Whether a retained state is older than the one that is known. A broker that was killed may have kept an older one
    /// than it delivered; taken for news, it would read as if the device had gone back to its old image.
    async fn is_outdated(&mut self, device: &str, state: &State) -> Result<bool, StoreError> {
        let row = sql::query("SELECT state FROM devices WHERE id = $1")
            .bind(device)
            .fetch_one(self.conn())
            .await?;
        let known: Option<State> = json(&row, "state")?;
        let age = |state: &State| (state.boot, state.uptime_s);
        Ok(known.is_some_and(|known| age(state) < age(&known)))
    }

    async fn progress(
        &mut self,
        device: &str,
        progress: &Progress,
        now: i64,
        changes: &mut Applied,
    ) -> Result<(), StoreError> {
        sql::query("UPDATE devices SET progress = $2 WHERE id = $1")
            .bind(device)
            .bind(to_json(progress, "progress")?)
            .execute(self.conn())
            .await?;
        changes.push(Live::Progress {
            device: device.to_owned(),
            progress: progress.clone(),
        });
        let Some(job) = &progress.job else {
            return Ok(());
        };
        self.advance(job, device, now, changes, |status| {
            after_progress(status, progress.phase)
        })
        .await
    }

    async fn event(
        &mut self,
        device: &str,
        event: &Event,
        now: i64,
        changes: &mut Applied,
    ) -> Result<(), StoreError> {
        let install = event.install.to_string();
        let added = sql::query(
            "INSERT INTO events (device_id, install, boot, n, received_at, event) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (device_id, install, boot, n) DO NOTHING RETURNING id",
        )
        .bind(device)
        .bind(&install)
        .bind(event.boot)
        .bind(event.n)
        .bind(now)
        .bind(to_json(event, "event")?)
        .fetch_optional(self.conn())
        .await?;
        let Some(added) = added else {
            return Ok(());
        };
        changes.push(Live::Event(Box::new(ReceivedEvent {
            id: added.try_get("id")?,
            device: device.to_owned(),
            received_at: now,
            event: event.clone(),
        })));
        if !self.is_newest(device, &install, event, now).await? {
            return Ok(());
        }
        let Some(job) = &event.job else {
            return Ok(());
        };
        let Some(expected) = self.expected_image(job).await? else {
            return Ok(());
        };
        let running = self.running(device).await?;
        let Some(before) = self.assignment(job, device).await? else {
            return Ok(());
        };
        let status = after_event(before.status, event, running, &expected);
        let timing = event.timing.map(|timing| to_json(&timing, "timing"));
        let timing = timing.transpose()?;
        sql::query(
            "UPDATE assignments SET status = $3, event = $4, code = $5, text = $6, retry_at = $7, updated_at = $8, \
             timing = coalesce($9, timing) WHERE job_id = $1 AND device_id = $2",
        )
        .bind(job.as_str())
        .bind(device)
        .bind(status.name())
        .bind(event.event.name())
        .bind(event.code)
        .bind(event.text.as_ref().map(heapless::String::as_str))
        .bind(event.retry_in_s.map(|seconds| now + i64::from(seconds)))
        .bind(now)
        .bind(timing)
        .execute(self.conn())
        .await?;
        if status == Status::Succeeded {
            self.set_confirmed_boot(job, device, event.boot).await?;
        }
        self.add_step(job, device, status, Some(event), now).await?;
        self.tell(job, device, before.status, now, changes).await
    }

    /// Whether an event is newer than all of its installation, and this the installation that reports now. An
    /// installation that was never seen is the newest: settings are made once, and never go back.
    async fn is_newest(
        &mut self,
        device: &str,
        install: &str,
        event: &Event,
        now: i64,
    ) -> Result<bool, StoreError> {
        let first = sql::query(
            "INSERT INTO installs (device_id, install, boot, n, first_seen) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (device_id, install) DO NOTHING",
        )
        .bind(device)
        .bind(install)
        .bind(event.boot)
        .bind(event.n)
        .bind(now)
        .execute(self.conn())
        .await?;
        if first > 0 {
            sql::query("UPDATE devices SET install = $2 WHERE id = $1")
                .bind(device)
                .bind(install)
                .execute(self.conn())
                .await?;
            return Ok(true);
        }
        let newer = sql::query(
            "UPDATE installs SET boot = $3, n = $4 WHERE device_id = $1 AND install = $2 AND (boot, n) < ($3, $4)",
        )
        .bind(device)
        .bind(install)
        .bind(event.boot)
        .bind(event.n)
        .execute(self.conn())
        .await?;
        Ok(newer > 0 && self.install(device).await?.as_deref() == Some(install))
    }

    async fn install(&mut self, device: &str) -> Result<Option<String>, StoreError> {
        let row = sql::query("SELECT install FROM devices WHERE id = $1")
            .bind(device)
            .fetch_one(self.conn())
            .await?;
        Ok(row.try_get("install")?)
    }

    async fn log_line(
        &mut self,
        device: &str,
        line: &LogLine,
        now: i64,
        changes: &mut Applied,
    ) -> Result<(), StoreError> {
        // Lines do not name the installation; boot numbers start again in a new one.
        let install = self.install(device).await?.unwrap_or_default();
        // A line that is here already is told again, since the device has said it again: whoever asked for it waits.
        let row = sql::query(
            "INSERT INTO logs (device_id, install, boot, n, received_at, line) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (device_id, install, boot, n) DO UPDATE SET line = excluded.line RETURNING id, received_at",
        )
        .bind(device)
        .bind(install)
        .bind(line.boot)
        .bind(line.n)
        .bind(now)
        .bind(to_json(line, "line")?)
        .fetch_one(self.conn())
        .await?;
        changes.push(Live::Log(Box::new(ReceivedLine {
            id: row.try_get("id")?,
            device: device.to_owned(),
            received_at: row.try_get("received_at")?,
            line: line.clone(),
        })));
        Ok(())
    }

    /// Somebody else has declared something, with `mosquitto_pub` for instance: it is what the device now follows.
    /// The broker sends our own declarations back when we connect; those, known by their job, may be out of date.
    async fn foreign_wish(
        &mut self,
        device: &str,
        wish: Option<&Wished>,
        now: i64,
        changes: &mut Applied,
    ) -> Result<(), StoreError> {
        if let Some(job) = wish.and_then(|wish| wish.job.as_deref())
            && self.assignment(job, device).await?.is_some()
        {
            return Ok(());
        }
        sql::query(
            "UPDATE devices SET wish = $2, wish_at = $3, wish_is_ours = FALSE \
             WHERE id = $1 AND wish IS DISTINCT FROM $2",
        )
        .bind(device)
        .bind(wish.map(|wish| wish.payload.as_str()))
        .bind(now)
        .execute(self.conn())
        .await?;
        // A device that has begun says itself how that ends. One that has not hears of ours no more.
        let status = match wish {
            Some(_) => Status::Superseded,
            None => Status::Cancelled,
        };
        for open in self.open_assignments(device).await? {
            if open.status == Status::Pending {
                self.set_status(&open.job, device, status, now).await?;
                self.tell(&open.job, device, open.status, now, changes)
                    .await?;
            }
        }
        Ok(())
    }

    async fn newest_job(&mut self, device: &str) -> Result<Option<String>, StoreError> {
        let row = sql::query("SELECT job FROM devices WHERE id = $1")
            .bind(device)
            .fetch_one(self.conn())
            .await?;
        Ok(row.try_get("job")?)
    }

    async fn running(&mut self, device: &str) -> Result<Option<Running>, StoreError> {
        let row = sql::query("SELECT state FROM devices WHERE id = $1")
            .bind(device)
            .fetch_one(self.conn())
            .await?;
        Ok(json::<State>(&row, "state")?.as_ref().map(Running::from))
    }

    /// Moves a job on a device as a report says, and tells it if something changed.
    async fn advance(
        &mut self,
        job: &str,
        device: &str,
        now: i64,
        changes: &mut Applied,
        step: impl FnOnce(Status) -> Status,
    ) -> Result<(), StoreError> {
        let Some(before) = self.assignment(job, device).await? else {
            return Ok(());
        };
        let status = step(before.status);
        if status != before.status {
            self.set_status(job, device, status, now).await?;
            self.tell(job, device, before.status, now, changes).await?;
        }
        Ok(())
    }

    async fn tell(
        &mut self,
        job: &str,
        device: &str,
        before: Status,
        now: i64,
        changes: &mut Applied,
    ) -> Result<(), StoreError> {
        let assignment = self.assignment(job, device).await?;
        if let Some(assignment) = &assignment
            && assignment.status != before
            && let Some(event) = told_of(assignment.status)
        {
            self.announce(event, assignment, now).await?;
        }
        changes.extend(assignment.map(|assignment| Live::Assignment(Box::new(assignment))));
        Ok(())
    }
}

/// What webhooks are told when a job comes to a status on a device.
fn told_of(status: Status) -> Option<WebhookEvent> {
    match status {
        Status::Succeeded => Some(WebhookEvent::UpdateConfirmed),
        Status::Failed | Status::RolledBack | Status::Refused => Some(WebhookEvent::UpdateFailed),
        Status::Pending
        | Status::Running
        | Status::Retrying
        | Status::Trial
        | Status::Cancelling
        | Status::Cancelled
        | Status::Superseded => None,
    }
}

impl Store {
    /// A device's events, newest first.
    pub(crate) async fn events(
        &self,
        device: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page<ReceivedEvent>, StoreError> {
        let rows = sql::query(
            "SELECT id, device_id, received_at, event FROM events WHERE device_id = $1 AND ($2 IS NULL OR id < $2) \
             ORDER BY id DESC LIMIT $3",
        )
        .bind(device)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.reader)
        .await?;
        let items = rows
            .iter()
            .map(|row| {
                let (id, device, received_at) = received(row)?;
                let event = json(row, "event")?.ok_or(StoreError::Unexpected("event"))?;
                Ok(ReceivedEvent {
                    id,
                    device,
                    received_at,
                    event,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(page(items, limit, |event: &ReceivedEvent| {
            event.id.to_string()
        }))
    }

    /// A device's log lines in the order in which it wrote them, newest first.
    pub(crate) async fn log_lines(
        &self,
        device: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page<ReceivedLine>, StoreError> {
        let rows = sql::query(
            "SELECT l.id, l.device_id, l.received_at, l.line FROM logs l \
             LEFT JOIN installs i ON i.device_id = l.device_id AND i.install = l.install \
             WHERE l.device_id = $1 AND ($2 IS NULL OR (coalesce(i.first_seen, 0), l.boot, l.n) < \
               (SELECT coalesce(j.first_seen, 0), m.boot, m.n FROM logs m LEFT JOIN installs j \
                ON j.device_id = m.device_id AND j.install = m.install WHERE m.id = $2)) \
             ORDER BY coalesce(i.first_seen, 0) DESC, l.boot DESC, l.n DESC LIMIT $3",
        )
        .bind(device)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.reader)
        .await?;
        let items = rows
            .iter()
            .map(|row| {
                let (id, device, received_at) = received(row)?;
                let line = json(row, "line")?.ok_or(StoreError::Unexpected("line"))?;
                Ok(ReceivedLine {
                    id,
                    device,
                    received_at,
                    line,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(page(items, limit, |line: &ReceivedLine| {
            line.id.to_string()
        }))
    }
}

fn received(row: &Row) -> Result<(i64, String, i64), StoreError> {
    Ok((
        number(row, "id")?,
        row.try_get("device_id")?,
        row.try_get("received_at")?,
    ))
}
