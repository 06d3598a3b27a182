//! Jobs, and how far each device is with them.

use otaria_wire::Sha256Digest;

use super::devices::{assignment, chosen};
use super::{Conn, Row, Store, StoreError, Tx, digest, json, number, page, parsed, sql, to_json};
use crate::model::{Assignment, Count, Device, Job, Page, Status, Target};

/// A job to add.
#[derive(Clone, Debug)]
pub(crate) struct NewJobRow<'a> {
    pub(crate) id: &'a str,
    pub(crate) package: &'a Sha256Digest,
    pub(crate) url: &'a str,
    pub(crate) target: &'a Target,
    pub(crate) not_before: Option<i64>,
    pub(crate) deadline: Option<i64>,
}

const JOB: &str = "\
    SELECT j.id, j.package, j.url, j.target, j.not_before, j.deadline, j.created_at, p.product, p.version, \
           p.image_sha256 FROM jobs j JOIN packages p ON p.digest = j.package";

const ASSIGNMENT: &str = "\
    SELECT a.job_id, a.device_id, a.status, a.event, a.code, a.text, a.retry_at, a.updated_at, a.timing, p.version, \
           d.progress \
    FROM assignments a JOIN devices d ON d.id = a.device_id JOIN jobs j ON j.id = a.job_id \
    JOIN packages p ON p.digest = j.package";

impl Tx {
    /// The devices of a target.
    pub(crate) async fn choose(
        &mut self,
        target: &Target,
        now: i64,
    ) -> Result<Vec<Device>, StoreError> {
        chosen(self.conn(), target, now).await
    }

    /// Adds a job without devices.
    pub(crate) async fn add_job(
        &mut self,
        job: &NewJobRow<'_>,
        now: i64,
    ) -> Result<(), StoreError> {
        sql::query(
            "INSERT INTO jobs (id, package, url, target, not_before, deadline, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(job.id)
        .bind(job.package.to_string())
        .bind(job.url)
        .bind(to_json(job.target, "target")?)
        .bind(job.not_before)
        .bind(job.deadline)
        .bind(now)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Gives a device to a job, as its newest; what it had open is superseded.
    pub(crate) async fn assign(
        &mut self,
        job: &str,
        device: &str,
        now: i64,
    ) -> Result<(), StoreError> {
        for other in self.open_assignments(device).await? {
            self.set_status(&other.job, device, Status::Superseded, now)
                .await?;
        }
        sql::query("INSERT INTO assignments (job_id, device_id, status, updated_at) VALUES ($1, $2, $3, $4)")
            .bind(job)
            .bind(device)
            .bind(Status::Pending.name())
            .bind(now)
            .execute(self.conn())
            .await?;
        sql::query("UPDATE devices SET job = $2 WHERE id = $1")
            .bind(device)
            .bind(job)
            .execute(self.conn())
            .await?;
        self.add_step(job, device, Status::Pending, None, now).await
    }

    /// What a device has not ended yet.
    pub(crate) async fn open_assignments(
        &mut self,
        device: &str,
    ) -> Result<Vec<Assignment>, StoreError> {
        let rows = sql::query(sqlx::AssertSqlSafe(format!(
            "{ASSIGNMENT} WHERE a.device_id = $1"
        )))
        .bind(device)
        .fetch_all(self.conn())
        .await?;
        let all: Vec<Assignment> = rows.iter().map(from_row).collect::<Result<_, _>>()?;
        Ok(all
            .into_iter()
            .filter(|assignment| !assignment.status.is_final())
            .collect())
    }

    /// One job on one device.
    pub(crate) async fn assignment(
        &mut self,
        job: &str,
        device: &str,
    ) -> Result<Option<Assignment>, StoreError> {
        one(self.conn(), job, device).await
    }

    /// Moves a job on a device.
    pub(crate) async fn set_status(
        &mut self,
        job: &str,
        device: &str,
        status: Status,
        now: i64,
    ) -> Result<(), StoreError> {
        sql::query("UPDATE assignments SET status = $3, updated_at = $4 WHERE job_id = $1 AND device_id = $2")
            .bind(job)
            .bind(device)
            .bind(status.name())
            .bind(now)
            .execute(self.conn())
            .await?;
        self.add_step(job, device, status, None, now).await
    }

    /// The package of a job.
    pub(crate) async fn package_of(
        &mut self,
        job: &str,
    ) -> Result<Option<Sha256Digest>, StoreError> {
        let row = sql::query("SELECT package FROM jobs WHERE id = $1")
            .bind(job)
            .fetch_optional(self.conn())
            .await?;
        row.as_ref().map(|row| digest(row, "package")).transpose()
    }

    /// Sets where devices get the package of a job.
    pub(crate) async fn set_job_url(&mut self, job: &str, url: &str) -> Result<(), StoreError> {
        sql::query("UPDATE jobs SET url = $2 WHERE id = $1")
            .bind(job)
            .bind(url)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// The image that must run in the end.
    pub(crate) async fn expected_image(
        &mut self,
        job: &str,
    ) -> Result<Option<Sha256Digest>, StoreError> {
        let row = sql::query(
            "SELECT p.image_sha256 FROM jobs j JOIN packages p ON p.digest = j.package WHERE j.id = $1",
        )
        .bind(job)
        .fetch_optional(self.conn())
        .await?;
        row.as_ref()
            .map(|row| digest(row, "image_sha256"))
            .transpose()
    }
}

impl Store {
    /// One job.
    pub(crate) async fn job(&self, id: &str) -> Result<Option<Job>, StoreError> {
        let mut view = self.read().await?;
        let row = sql::query(sqlx::AssertSqlSafe(format!("{JOB} WHERE j.id = $1")))
            .bind(id)
            .fetch_optional(&mut view)
            .await?;
        match row {
            Some(row) => Ok(Some(with_counts(&mut view, &row).await?)),
            None => Ok(None),
        }
    }

    /// Jobs, newest first.
    pub(crate) async fn jobs(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Job>, StoreError> {
        let mut view = self.read().await?;
        let rows = sql::query(sqlx::AssertSqlSafe(format!(
            "{JOB} WHERE $1 IS NULL OR (j.created_at, j.id) < (SELECT created_at, id FROM jobs WHERE id = $1) \
             ORDER BY j.created_at DESC, j.id DESC LIMIT $2"
        )))
        .bind(after)
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut view)
        .await?;
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            items.push(with_counts(&mut view, row).await?);
        }
        Ok(page(items, limit, |job: &Job| job.id.clone()))
    }

    /// The devices of a job, in the order of their ids.
    pub(crate) async fn assignments(
        &self,
        job: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Assignment>, StoreError> {
        let rows = sql::query(sqlx::AssertSqlSafe(format!(
            "{ASSIGNMENT} WHERE a.job_id = $1 AND ($2 IS NULL OR a.device_id > $2) ORDER BY a.device_id LIMIT $3"
        )))
        .bind(job)
        .bind(after)
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.reader)
        .await?;
        let items = rows.iter().map(from_row).collect::<Result<_, _>>()?;
        Ok(page(items, limit, |assignment: &Assignment| {
            assignment.device.clone()
        }))
    }
}

async fn one(conn: &mut Conn, job: &str, device: &str) -> Result<Option<Assignment>, StoreError> {
    let row = sql::query(sqlx::AssertSqlSafe(format!(
        "{ASSIGNMENT} WHERE a.job_id = $1 AND a.device_id = $2"
    )))
    .bind(job)
    .bind(device)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(from_row).transpose()
}

fn from_row(row: &Row) -> Result<Assignment, StoreError> {
    assignment(row, json(row, "progress")?)
}

async fn with_counts(conn: &mut Conn, row: &Row) -> Result<Job, StoreError> {
    let id: String = row.try_get("id")?;
    let counts = sql::query(
        "SELECT status, COUNT(*) AS devices FROM assignments WHERE job_id = $1 GROUP BY status",
    )
    .bind(&id)
    .fetch_all(conn)
    .await?;
    let mut counts: Vec<Count> = counts
        .iter()
        .map(|row| {
            Ok(Count {
                status: parsed(row, "status")?,
                devices: number(row, "devices")?,
            })
        })
        .collect::<Result<_, StoreError>>()?;
    counts.sort_unstable_by_key(|count| count.status);
    Ok(Job {
        package: digest(row, "package")?,
        product: row.try_get("product")?,
        version: row.try_get("version")?,
        image_sha256: digest(row, "image_sha256")?,
        url: row.try_get("url")?,
        target: json(row, "target")?.ok_or(StoreError::Unexpected("target"))?,
        not_before: row.try_get("not_before")?,
        deadline: row.try_get("deadline")?,
        created_at: row.try_get("created_at")?,
        counts,
        id,
    })
}
