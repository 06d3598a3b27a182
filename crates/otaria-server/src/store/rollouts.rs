//! Rollouts, their devices, and what came of each try.

use otaria_wire::messages::FailureCode;

use super::{Conn, Row, Store, StoreError, Tx, digest, json, number, page, parsed, sql, to_json};
use crate::model::{Page, RolloutDevice, RolloutState, Stage, Status, WebhookEvent};
use crate::rollout::engine::{Course, Member, Seen};
use crate::rollout::halt::Outcome;
use otaria_wire::Sha256Digest;

/// A rollout with all that is decided from.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) id: String,
    pub(crate) package: Sha256Digest,
    pub(crate) version: String,
    pub(crate) image_sha256: Sha256Digest,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) course: Course,
    pub(crate) members: Vec<Member>,
    /// For each member.
    pub(crate) seen: Vec<Seen>,
    /// Those that count for the halt rule.
    pub(crate) outcomes: Vec<Outcome>,
}

/// How long a rollout that is done is looked at again, in seconds: a device may yet fall back.
const DONE_FOR: i64 = 30 * 24 * 3600;

/// Devices of a rollout that are read at a time.
const PART: i64 = 512;

const ROLLOUT: &str = "\
    SELECT r.*, p.version, p.image_sha256, p.size FROM rollouts r JOIN packages p ON p.digest = r.package";

impl Tx {
    /// Adds a rollout with its devices.
    pub(crate) async fn add_rollout(
        &mut self,
        id: &str,
        package: &Sha256Digest,
        course: &Course,
        members: &[Member],
        now: i64,
    ) -> Result<(), StoreError> {
        sql::query(
            "INSERT INTO rollouts (id, package, spec, state, wave, waves, approved, waived, paced_until_ms, baseline, \
             counted_from, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, FALSE, FALSE, 0, $7, 0, $8, $8)",
        )
        .bind(id)
        .bind(package.to_string())
        .bind(to_json(&course.spec, "spec")?)
        .bind(course.state.name())
        .bind(index(course.wave))
        .bind(index(course.waves))
        .bind(course.baseline)
        .bind(now)
        .execute(self.conn())
        .await?;
        for (n, member) in members.iter().enumerate() {
            sql::query(
                "INSERT INTO rollout_devices (rollout_id, device_id, n, wave, stratum, stage, since, offers, failures, \
                 not_before) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(id)
            .bind(&member.device)
            .bind(index(n))
            .bind(index(member.wave))
            .bind(&member.stratum)
            .bind(member.stage.name())
            .bind(member.since)
            .bind(member.offers)
            .bind(member.failures)
            .bind(member.not_before)
            .execute(self.conn())
            .await?;
        }
        self.announce_rollout(id, course, now).await
    }

    /// Tells what state a rollout has come to.
    async fn announce_rollout(
        &mut self,
        id: &str,
        course: &Course,
        now: i64,
    ) -> Result<(), StoreError> {
        let data = serde_json::json!({
            "rollout": id, "package": course.spec.package, "state": course.state, "reason": course.reason
        });
        self.announce(WebhookEvent::RolloutState, &data, now).await
    }

    /// A rollout as this transaction sees it.
    pub(crate) async fn load_rollout(&mut self, id: &str) -> Result<Option<Loaded>, StoreError> {
        load(self.conn(), id).await
    }

    /// Stores what has changed of a rollout.
    pub(crate) async fn save_rollout(
        &mut self,
        before: &Loaded,
        course: &Course,
        members: &[Member],
        now: i64,
    ) -> Result<(), StoreError> {
        sql::query(
            "UPDATE rollouts SET state = $2, reason = $3, wave = $4, gate_since = $5, approved = $6, waived = $7, \
             paced_until_ms = $8, updated_at = $9 WHERE id = $1",
        )
        .bind(&before.id)
        .bind(course.state.name())
        .bind(&course.reason)
        .bind(index(course.wave))
        .bind(course.gate_since)
        .bind(course.approved)
        .bind(course.waived)
        .bind(course.paced_until_ms)
        .bind(now)
        .execute(self.conn())
        .await?;
        for (member, before_it) in members.iter().zip(&before.members) {
            if member == before_it {
                continue;
            }
            sql::query(
                "UPDATE rollout_devices SET stage = $3, since = $4, awake_since = $5, offers = $6, failures = $7, \
                 not_before = $8, why = $9 WHERE rollout_id = $1 AND device_id = $2",
            )
            .bind(&before.id)
            .bind(&member.device)
            .bind(member.stage.name())
            .bind(member.since)
            .bind(member.awake_since)
            .bind(member.offers)
            .bind(member.failures)
            .bind(member.not_before)
            .bind(&member.why)
            .execute(self.conn())
            .await?;
        }
        if course.state != before.course.state {
            self.announce_rollout(&before.id, course, now).await?;
        }
        Ok(())
    }

    /// Notes what came of a try.
    pub(crate) async fn add_outcome(
        &mut self,
        rollout: &str,
        device: &str,
        outcome: &Outcome,
        now: i64,
    ) -> Result<(), StoreError> {
        sql::query(
            "INSERT INTO rollout_outcomes (rollout_id, device_id, at, stratum, failed) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(rollout)
        .bind(device)
        .bind(now)
        .bind(&outcome.stratum)
        .bind(&outcome.failed)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Outcomes so far are no reason to halt any more.
    pub(crate) async fn count_anew(&mut self, rollout: &str) -> Result<(), StoreError> {
        sql::query(
            "UPDATE rollouts SET counted_from = coalesce((SELECT MAX(id) FROM rollout_outcomes WHERE rollout_id = $1), \
             counted_from) WHERE id = $1",
        )
        .bind(rollout)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Whether a job's name is one that a rollout may use.
    pub(crate) async fn is_job_of_rollout(&mut self, job: &str) -> Result<bool, StoreError> {
        let row = sql::query(
            "SELECT 1 FROM rollouts WHERE substr($1, 1, length(id) + 1) = id || '.' LIMIT 1",
        )
        .bind(job)
        .fetch_optional(self.conn())
        .await?;
        Ok(row.is_some())
    }
}

impl Store {
    /// A rollout as it is now.
    pub(crate) async fn rollout(&self, id: &str) -> Result<Option<Loaded>, StoreError> {
        let mut view = self.read().await?;
        load(&mut view, id).await
    }

    /// The names of rollouts, newest first.
    pub(crate) async fn rollout_ids(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<String>, StoreError> {
        let rows = sql::query(
            "SELECT id FROM rollouts WHERE $1 IS NULL OR (created_at, id) < \
             (SELECT created_at, id FROM rollouts WHERE id = $1) ORDER BY created_at DESC, id DESC LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.reader)
        .await?;
        let ids = rows
            .iter()
            .map(|row| Ok(row.try_get("id")?))
            .collect::<Result<_, StoreError>>()?;
        Ok(page(ids, limit, String::clone))
    }

    /// Rollouts in which something may have to be done, with those that are done lately if asked for.
    pub(crate) async fn live_rollouts(
        &self,
        done_too: bool,
        now: i64,
    ) -> Result<Vec<String>, StoreError> {
        let rows = sql::query(
            "SELECT id FROM rollouts WHERE state IN ('running', 'paused', 'halted') \
             OR ($1 AND state = 'done' AND updated_at > $2) ORDER BY created_at, id",
        )
        .bind(done_too)
        .bind(now - DONE_FOR)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// The devices of a rollout, or those at one stage, in the order in which they are offered the package.
    pub(crate) async fn rollout_devices(
        &self,
        rollout: &str,
        stage: Option<Stage>,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Page<RolloutDevice>, StoreError> {
        let rows = sql::query(
            "SELECT * FROM rollout_devices WHERE rollout_id = $1 AND ($2 IS NULL OR n > $2) \
             AND ($4 IS NULL OR stage = $4) ORDER BY n LIMIT $3",
        )
        .bind(rollout)
        .bind(after)
        .bind(i64::from(limit) + 1)
        .bind(stage.map(Stage::name))
        .fetch_all(&self.reader)
        .await?;
        let items = rows
            .iter()
            .map(|row| {
                let device = RolloutDevice {
                    device: row.try_get("device_id")?,
                    wave: number(row, "wave")?,
                    stage: parsed(row, "stage")?,
                    since: row.try_get("since")?,
                    offers: number(row, "offers")?,
                    failures: number(row, "failures")?,
                    why: row.try_get("why")?,
                };
                Ok((row.try_get("n")?, device))
            })
            .collect::<Result<_, StoreError>>()?;
        let numbered = page(items, limit, |(n, _): &(i64, RolloutDevice)| n.to_string());
        Ok(Page {
            items: numbered
                .items
                .into_iter()
                .map(|(_, device)| device)
                .collect(),
            next: numbered.next,
        })
    }

    /// Tries and failures of all rollouts that came to their end.
    pub(crate) async fn past_tries(&self) -> Result<(u64, u64), StoreError> {
        let row = sql::query(
            "SELECT COUNT(*) AS tries, COUNT(o.failed) AS failures FROM rollout_outcomes o \
             JOIN rollouts r ON r.id = o.rollout_id WHERE r.state = 'done'",
        )
        .fetch_one(&self.reader)
        .await?;
        Ok((number(&row, "tries")?, number(&row, "failures")?))
    }
}

async fn load(conn: &mut Conn, id: &str) -> Result<Option<Loaded>, StoreError> {
    let row = sql::query(sqlx::AssertSqlSafe(format!("{ROLLOUT} WHERE r.id = $1")))
        .bind(id)
        .fetch_optional(&mut *conn)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let image_sha256 = digest(&row, "image_sha256")?;
    let (members, seen) = members(conn, id, &image_sha256).await?;
    let counted_from: i64 = row.try_get("counted_from")?;
    let rows = sql::query(
        "SELECT stratum, failed FROM rollout_outcomes WHERE rollout_id = $1 AND id > $2 ORDER BY id",
    )
    .bind(id)
    .bind(counted_from)
    .fetch_all(&mut *conn)
    .await?;
    let outcomes = rows
        .iter()
        .map(|row| {
            Ok(Outcome {
                stratum: row.try_get("stratum")?,
                failed: row.try_get("failed")?,
            })
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(Some(Loaded {
        id: row.try_get("id")?,
        package: digest(&row, "package")?,
        version: row.try_get("version")?,
        image_sha256,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        course: course(&row)?,
        members,
        seen,
        outcomes,
    }))
}

/// The devices of a rollout, and what is known of each. A part at a time: rows take several times the room of what is made of them.
async fn members(
    conn: &mut Conn,
    id: &str,
    image_sha256: &Sha256Digest,
) -> Result<(Vec<Member>, Vec<Seen>), StoreError> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let rows = sql::query(
            "SELECT m.*, d.online, d.image_sha256, d.on_trial, d.boot, d.job, a.job_id, a.status, a.event, a.code, \
               a.confirmed_boot, t.value AS tz \
             FROM rollout_devices m JOIN devices d ON d.id = m.device_id \
             LEFT JOIN assignments a ON a.device_id = m.device_id \
               AND a.job_id = m.rollout_id || '.' || CAST(m.offers AS TEXT) \
             LEFT JOIN device_tags t ON t.device_id = m.device_id AND t.name = 'tz' \
             WHERE m.rollout_id = $1 AND m.device_id > $2 ORDER BY m.device_id LIMIT $3",
        )
        .bind(id)
        .bind(&after)
        .bind(PART)
        .fetch_all(&mut *conn)
        .await?;
        let Some(last) = rows.last() else {
            break;
        };
        after = last.try_get("device_id")?;
        for row in &rows {
            let n: i64 = row.try_get("n")?;
            all.push((n, member(row)?, seen_of(row, image_sha256)?));
        }
    }
    all.sort_by_key(|(n, ..)| *n);
    Ok(all
        .into_iter()
        .map(|(_, member, seen)| (member, seen))
        .unzip())
}

fn course(row: &Row) -> Result<Course, StoreError> {
    let state: RolloutState = parsed(row, "state")?;
    Ok(Course {
        spec: json(row, "spec")?.ok_or(StoreError::Unexpected("spec"))?,
        size: number(row, "size")?,
        state,
        reason: row.try_get("reason")?,
        wave: number(row, "wave")?,
        waves: number(row, "waves")?,
        gate_since: row.try_get("gate_since")?,
        approved: row.try_get("approved")?,
        waived: row.try_get("waived")?,
        paced_until_ms: row.try_get("paced_until_ms")?,
        baseline: row.try_get("baseline")?,
    })
}

fn member(row: &Row) -> Result<Member, StoreError> {
    Ok(Member {
        device: row.try_get("device_id")?,
        wave: number(row, "wave")?,
        stratum: row.try_get("stratum")?,
        stage: parsed(row, "stage")?,
        since: row.try_get("since")?,
        awake_since: row.try_get("awake_since")?,
        offers: number(row, "offers")?,
        failures: number(row, "failures")?,
        not_before: row.try_get("not_before")?,
        why: row.try_get("why")?,
    })
}

fn seen_of(row: &Row, expected: &Sha256Digest) -> Result<Seen, StoreError> {
    let status: Option<&str> = row.try_get("status")?;
    let status: Option<Status> = match status {
        Some(_) => Some(parsed(row, "status")?),
        None => None,
    };
    let event: Option<&str> = row.try_get("event")?;
    let code: Option<i64> = row.try_get("code")?;
    let image: Option<Sha256Digest> = match row.try_get::<Option<&str>, _>("image_sha256")? {
        Some(_) => Some(digest(row, "image_sha256")?),
        None => None,
    };
    let on_trial: bool = row.try_get("on_trial")?;
    // Sent before it confirmed, and delivered late: by a broker that was killed in between, for instance.
    let boot: (Option<i64>, Option<i64>) = (row.try_get("boot")?, row.try_get("confirmed_boot")?);
    let outdated = matches!(boot, (Some(seen), Some(confirmed)) if seen <= confirmed);
    let (newest, own): (Option<&str>, Option<&str>) = (row.try_get("job")?, row.try_get("job_id")?);
    Ok(Seen {
        online: row.try_get("online")?,
        tz: row.try_get("tz")?,
        status,
        activated: event == Some("activated"),
        code: code
            .and_then(|code| u16::try_from(code).ok())
            .and_then(FailureCode::from_number)
            .map(|code| code.name().to_owned()),
        // All zero: the device does not know it yet.
        runs_expected: match image
            .filter(|image| !image.is_zero())
            .map(|image| image == *expected)
        {
            // It has confirmed perhaps, and the state message that says so is on its way.
            Some(true) if on_trial => None,
            Some(false) if outdated => None,
            runs => runs,
        },
        is_newest: own.is_some() && newest == own,
    })
}

fn index(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
