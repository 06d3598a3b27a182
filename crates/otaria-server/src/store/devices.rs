//! Devices, their groups and what is declared for them.

use std::collections::BTreeMap;

use otaria_wire::messages::{Desired, FailureCode, Progress};

use super::{Conn, Row, Store, StoreError, Tx, json, number, page, parsed, sql};
use crate::model::{Assignment, Device, Group, Live, Page, Target, WishInfo};
use crate::query::{Facts, Query};

/// A device with the newest job that includes it.
const SELECT: &str = "\
    SELECT d.id, d.first_seen, d.last_seen, d.online, d.state, d.progress, d.wish, d.wish_at, d.note, \
           (SELECT string_agg(g.group_name, ',') FROM device_groups g WHERE g.device_id = d.id) AS groups, \
           (SELECT string_agg(t.name || '=' || t.value, ',') FROM device_tags t WHERE t.device_id = d.id) AS tags, \
           a.job_id, a.device_id, a.status, a.event, a.code, a.text, a.retry_at, a.updated_at, a.timing, \
           p.version \
    FROM devices d \
    LEFT JOIN assignments a ON a.job_id = d.job AND a.device_id = d.id \
    LEFT JOIN jobs j ON j.id = a.job_id \
    LEFT JOIN packages p ON p.digest = j.package";

impl Tx {
    /// Makes a device known by its id alone, as an operator may before it first reports.
    pub(crate) async fn add_device(&mut self, id: &str, now: i64) -> Result<(), StoreError> {
        sql::query(
            "INSERT INTO devices (id, first_seen) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id)
        .bind(now)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Whether a device is known.
    pub(crate) async fn knows(&mut self, id: &str) -> Result<bool, StoreError> {
        let row = sql::query("SELECT 1 FROM devices WHERE id = $1")
            .bind(id)
            .fetch_optional(self.conn())
            .await?;
        Ok(row.is_some())
    }

    /// Removes a device with all that is kept of it.
    pub(crate) async fn remove_device(&mut self, id: &str) -> Result<(), StoreError> {
        sql::query("DELETE FROM devices WHERE id = $1")
            .bind(id)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Replaces the groups of a device.
    pub(crate) async fn set_groups(
        &mut self,
        id: &str,
        groups: &[String],
    ) -> Result<(), StoreError> {
        sql::query("DELETE FROM device_groups WHERE device_id = $1")
            .bind(id)
            .execute(self.conn())
            .await?;
        for group in groups {
            sql::query(
                "INSERT INTO device_groups (group_name, device_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            )
            .bind(group)
            .bind(id)
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }

    /// Sets or clears what is declared for a device.
    pub(crate) async fn set_wish(
        &mut self,
        id: &str,
        wish: Option<&str>,
        now: i64,
    ) -> Result<(), StoreError> {
        sql::query("UPDATE devices SET wish = $2, wish_at = $3, wish_is_ours = TRUE WHERE id = $1")
            .bind(id)
            .bind(wish)
            .bind(now)
            .execute(self.conn())
            .await?;
        Ok(())
    }
}

impl Tx {
    /// What this server has declared and nobody has replaced since, for each device.
    pub(crate) async fn own_wishes(&mut self) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sql::query(
            "SELECT id, wish FROM devices WHERE wish IS NOT NULL AND wish_is_ours ORDER BY id",
        )
        .fetch_all(self.conn())
        .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("id")?, row.try_get("wish")?)))
            .collect()
    }

    /// Whether this server has taken back what was declared for a device, and nobody has declared anything since.
    pub(crate) async fn is_taken_back(&mut self, device: &str) -> Result<bool, StoreError> {
        let row =
            sql::query("SELECT 1 FROM devices WHERE id = $1 AND wish IS NULL AND wish_is_ours")
                .bind(device)
                .fetch_optional(self.conn())
                .await?;
        Ok(row.is_some())
    }

    /// Takes all devices for disconnected: true when the broker that they were connected to has just started, and when
    /// it has forgotten us, since what it said about them went with it.
    pub(crate) async fn all_offline(&mut self) -> Result<Vec<Live>, StoreError> {
        let rows = sql::query("UPDATE devices SET online = FALSE WHERE online RETURNING id")
            .fetch_all(self.conn())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Live::Presence {
                    device: row.try_get("id")?,
                    online: false,
                })
            })
            .collect()
    }
}

impl Store {
    /// One device.
    pub(crate) async fn device(&self, id: &str, now: i64) -> Result<Option<Device>, StoreError> {
        let mut view = self.read().await?;
        let queries = group_queries(&mut view).await?;
        let row = sql::query(sqlx::AssertSqlSafe(format!("{SELECT} WHERE d.id = $1")))
            .bind(id)
            .fetch_optional(&mut view)
            .await?;
        let mut found = row.as_ref().map(device).transpose()?;
        if let Some(device) = &mut found {
            match_groups(device, &queries, now);
        }
        Ok(found)
    }

    /// The ids of all devices.
    pub(crate) async fn device_ids(&self) -> Result<Vec<String>, StoreError> {
        let rows = sql::query("SELECT id FROM devices ORDER BY id")
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// Devices in the order of their ids.
    pub(crate) async fn devices(
        &self,
        filter: &Filter,
        after: Option<&str>,
        limit: u32,
        now: i64,
    ) -> Result<Page<Device>, StoreError> {
        let mut view = self.read().await?;
        let enough = limit as usize + 1;
        let items = matching(&mut view, after, enough, now, |device| {
            filter.takes(device, now)
        })
        .await?;
        Ok(page(items, limit, |device: &Device| device.id.clone()))
    }

    /// All devices that a target names; see [`Tx::choose`].
    pub(crate) async fn chosen(
        &self,
        target: &Target,
        now: i64,
    ) -> Result<Vec<Device>, StoreError> {
        let mut view = self.read().await?;
        chosen(&mut view, target, now).await
    }

    /// How many devices are known, and how many of them are connected.
    pub(crate) async fn device_counts(&self) -> Result<(u64, u64), StoreError> {
        let row = sql::query(
            "SELECT COUNT(*) AS known, COUNT(CASE WHEN online THEN 1 END) AS online FROM devices",
        )
        .fetch_one(&self.reader)
        .await?;
        Ok((number(&row, "known")?, number(&row, "online")?))
    }

    /// How many devices run which version of which product, the most common first.
    pub(crate) async fn version_counts(
        &self,
        limit: u32,
    ) -> Result<Vec<(String, String, u64)>, StoreError> {
        let rows = sql::query(
            "SELECT product, version, COUNT(*) AS devices FROM devices \
             WHERE state IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                let devices = number(row, "devices")?;
                Ok((row.try_get("product")?, row.try_get("version")?, devices))
            })
            .collect()
    }

    /// All groups that have a device, or a query.
    pub(crate) async fn groups(&self, now: i64) -> Result<Vec<Group>, StoreError> {
        let mut view = self.read().await?;
        let queries = group_queries(&mut view).await?;
        if queries.is_empty() {
            let rows = sql::query(
                "SELECT group_name, COUNT(*) AS devices FROM device_groups GROUP BY group_name ORDER BY group_name",
            )
            .fetch_all(&mut view)
            .await?;
            return rows
                .iter()
                .map(|row| {
                    Ok(Group {
                        name: row.try_get("group_name")?,
                        devices: number(row, "devices")?,
                        query: None,
                    })
                })
                .collect();
        }
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let group = |name: &str, query: Option<&Query>| Group {
            name: name.to_owned(),
            devices: 0,
            query: query.map(Query::to_string),
        };
        for (name, query) in &queries {
            groups.insert(name.clone(), group(name, Some(query)));
        }
        for device in matching(&mut view, None, usize::MAX, now, |_| true).await? {
            for name in device.all_groups() {
                let entry = groups.entry(name.clone());
                entry.or_insert_with(|| group(&name, None)).devices += 1;
            }
        }
        Ok(groups.into_values().collect())
    }

    /// What is declared for each device, by whomever.
    pub(crate) async fn wishes(&self) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sql::query("SELECT id, wish FROM devices WHERE wish IS NOT NULL")
            .fetch_all(&self.reader)
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("id")?, row.try_get("wish")?)))
            .collect()
    }

    /// Whether a payload of `desired` is one that this server once declared for the device.
    pub(crate) async fn is_own_wish(
        &self,
        device: &str,
        payload: &[u8],
    ) -> Result<bool, StoreError> {
        let Ok(Some(Desired { job: Some(job), .. })) = Desired::parse(payload) else {
            return Ok(false);
        };
        let row = sql::query("SELECT 1 FROM assignments WHERE job_id = $1 AND device_id = $2")
            .bind(job.as_str())
            .bind(device)
            .fetch_optional(&self.reader)
            .await?;
        Ok(row.is_some())
    }
}

/// Which devices of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) group: Option<String>,
    pub(crate) query: Option<Query>,
}

impl Filter {
    fn takes(&self, device: &Device, now: i64) -> bool {
        let within = |group| device.all_groups().contains(group);
        self.group.as_ref().is_none_or(within)
            && self
                .query
                .as_ref()
                .is_none_or(|query| query.matches(&facts(device, &device.all_groups(), now)))
    }
}

/// Devices read at once, at least and at most.
const BATCH: (usize, usize) = (100, 1000);

/// Up to `enough` devices that a test takes, in the order of their ids, with the groups that follow from queries.
async fn matching(
    conn: &mut Conn,
    after: Option<&str>,
    enough: usize,
    now: i64,
    takes: impl Fn(&Device) -> bool,
) -> Result<Vec<Device>, StoreError> {
    let queries = group_queries(conn).await?;
    let mut after = after.map(str::to_owned);
    let mut found = Vec::new();
    let batch = enough.clamp(BATCH.0, BATCH.1) as i64;
    loop {
        let rows = sql::query(sqlx::AssertSqlSafe(format!(
            "{SELECT} WHERE ($1 IS NULL OR d.id > $1) ORDER BY d.id LIMIT $2"
        )))
        .bind(&after)
        .bind(batch)
        .fetch_all(&mut *conn)
        .await?;
        for row in &rows {
            let mut device = device(row)?;
            match_groups(&mut device, &queries, now);
            after = Some(device.id.clone());
            if takes(&device) {
                found.push(device);
            }
            if found.len() == enough {
                return Ok(found);
            }
        }
        if rows.is_empty() {
            return Ok(found);
        }
    }
}

/// The devices of a target. All of them, and those of a query, are of those that ever reported: an id that somebody has
/// mistyped would be waited for for ever.
pub(super) async fn chosen(
    conn: &mut Conn,
    target: &Target,
    now: i64,
) -> Result<Vec<Device>, StoreError> {
    let query = match target {
        Target::Device(id) => {
            let row = sql::query(sqlx::AssertSqlSafe(format!("{SELECT} WHERE d.id = $1")))
                .bind(id)
                .fetch_optional(conn)
                .await?;
            return row.iter().map(device).collect();
        }
        Target::Query(text) => Some(
            text.parse::<Query>()
                .map_err(|_| StoreError::Unexpected("target"))?,
        ),
        Target::Group(_) | Target::All => None,
    };
    let filter = Filter {
        group: match target {
            Target::Group(name) => Some(name.clone()),
            Target::Device(_) | Target::Query(_) | Target::All => None,
        },
        query,
    };
    matching(conn, None, usize::MAX, now, |device| {
        let known = device.last_seen.is_some() || device.state.is_some();
        (known || filter.group.is_some()) && filter.takes(device, now)
    })
    .await
}

/// Each group that has a query, with it.
pub(super) async fn group_queries(conn: &mut Conn) -> Result<Vec<(String, Query)>, StoreError> {
    let rows = sql::query("SELECT name, query FROM group_queries ORDER BY name")
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("name")?, parsed(row, "query")?)))
        .collect()
}

fn match_groups(device: &mut Device, queries: &[(String, Query)], now: i64) {
    let matched: Vec<String> = queries
        .iter()
        .filter(|(_, query)| query.matches(&facts(device, &[], now)))
        .map(|(name, _)| name.clone())
        .collect();
    device.matched_groups = matched;
}

/// What a query may ask of a device.
pub(crate) fn facts<'a>(device: &'a Device, groups: &'a [String], now: i64) -> Facts<'a> {
    Facts {
        id: &device.id,
        online: device.online,
        last_seen: device.last_seen,
        state: device.state.as_ref(),
        tags: &device.tags,
        groups,
        status: device
            .assignment
            .as_ref()
            .map(|assignment| assignment.status),
        now,
    }
}

fn device(row: &Row) -> Result<Device, StoreError> {
    let groups: Option<&str> = row.try_get("groups")?;
    let mut groups: Vec<String> = groups
        .map(|names| names.split(',').map(String::from).collect())
        .unwrap_or_default();
    groups.sort_unstable();
    let tags: Option<&str> = row.try_get("tags")?;
    let tags = tags
        .map(|tags| {
            let pairs = tags.split(',').filter_map(|tag| tag.split_once('='));
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        })
        .unwrap_or_default();
    let progress: Option<Progress> = json(row, "progress")?;
    let assigned: Option<&str> = row.try_get("job_id")?;
    Ok(Device {
        id: row.try_get("id")?,
        online: row.try_get("online")?,
        first_seen: row.try_get("first_seen")?,
        last_seen: row.try_get("last_seen")?,
        groups,
        matched_groups: Vec::new(),
        tags,
        note: row.try_get("note")?,
        state: json(row, "state")?,
        wish: wish(row)?,
        assignment: assigned
            .map(|_| assignment(row, progress.clone()))
            .transpose()?,
        progress,
    })
}

fn wish(row: &Row) -> Result<Option<WishInfo>, StoreError> {
    let Some(payload) = row.try_get::<Option<&str>, _>("wish")? else {
        return Ok(None);
    };
    let Ok(Some(wish)) = Desired::parse(payload.as_bytes()) else {
        return Err(StoreError::Unexpected("wish"));
    };
    Ok(Some(WishInfo {
        job: wish.job.map(|job| job.as_str().to_owned()),
        url: wish.url.as_str().to_owned(),
        version: wish.version.map(|version| version.as_str().to_owned()),
        image_sha256: wish.image_sha256,
        since: row.try_get::<Option<i64>, _>("wish_at")?.unwrap_or(0),
    }))
}

/// Reads an assignment from the columns of `assignments`, and `version` of its package.
pub(super) fn assignment(row: &Row, progress: Option<Progress>) -> Result<Assignment, StoreError> {
    let job: String = row.try_get("job_id")?;
    let code: Option<u16> = match row.try_get::<Option<i64>, _>("code")? {
        Some(code) => Some(u16::try_from(code).map_err(|_| StoreError::Unexpected("code"))?),
        None => None,
    };
    Ok(Assignment {
        device: row.try_get("device_id")?,
        version: row.try_get("version")?,
        status: parsed(row, "status")?,
        event: row.try_get("event")?,
        code,
        reason: code
            .and_then(FailureCode::from_number)
            .map(|code| code.name().to_owned()),
        text: row.try_get("text")?,
        retry_at: row.try_get("retry_at")?,
        updated_at: row.try_get("updated_at")?,
        timing: json(row, "timing")?,
        progress: progress
            .filter(|progress| progress.job.as_ref().is_some_and(|named| *named == *job)),
        job,
    })
}
