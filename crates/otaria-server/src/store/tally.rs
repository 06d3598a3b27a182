//! How many there are of everything, for [`metrics`](crate::metrics).

use std::str::FromStr;

use super::{Store, StoreError, number, parsed, sql};
use crate::model::{RolloutState, Status};

/// How many there are of everything.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) online: u64,
    pub(crate) offline: u64,
    /// Of each status.
    pub(crate) updates: Vec<(Status, u64)>,
    /// Of each state.
    pub(crate) rollouts: Vec<(RolloutState, u64)>,
    pub(crate) outbox: u64,
    /// When the oldest message came into the outbox.
    pub(crate) outbox_since: Option<i64>,
}

impl Store {
    /// Counts all that there is.
    pub(crate) async fn tally(&self) -> Result<Tally, StoreError> {
        let mut view = self.read().await?;
        let devices = sql::query(
            "SELECT COUNT(*) AS count, COUNT(CASE WHEN online THEN 1 END) AS online FROM devices",
        )
        .fetch_one(&mut view)
        .await?;
        let (all, online): (u64, u64) = (number(&devices, "count")?, number(&devices, "online")?);
        let outbox = sql::query("SELECT COUNT(*) AS count, MIN(created_at) AS since FROM outbox")
            .fetch_one(&mut view)
            .await?;
        let updates =
            sql::query("SELECT status AS name, COUNT(*) AS count FROM assignments GROUP BY status")
                .fetch_all(&mut view)
                .await?;
        let rollouts =
            sql::query("SELECT state AS name, COUNT(*) AS count FROM rollouts GROUP BY state")
                .fetch_all(&mut view)
                .await?;
        Ok(Tally {
            online,
            offline: all.saturating_sub(online),
            updates: counts(&updates, &Status::ALL)?,
            rollouts: counts(&rollouts, &RolloutState::ALL)?,
            outbox: number(&outbox, "count")?,
            outbox_since: outbox.try_get("since")?,
        })
    }
}

/// A count for each that there could be, so that one that falls to none does not vanish.
fn counts<T: FromStr + PartialEq + Copy>(
    rows: &[sql::Row],
    all: &[T],
) -> Result<Vec<(T, u64)>, StoreError> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        found.push((parsed::<T>(row, "name")?, number::<u64>(row, "count")?));
    }
    let of = |one: &T| found.iter().find(|(name, _)| name == one);
    let all = all.iter();
    Ok(all
        .map(|one| (*one, of(one).map_or(0, |(_, count)| *count)))
        .collect())
}
