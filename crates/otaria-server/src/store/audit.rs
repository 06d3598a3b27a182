//! The audit trail; what it is, and how entries are chained, is in [`audit`](crate::audit).

use super::{Conn, Row, Store, StoreError, Tx, digest, number, page, parsed, sql};
use crate::audit::{Action, Broken, Origin, hash, verify};
use crate::model::{AuditEnd, AuditEntry, AuditPage, Outcome};

/// How long entries are kept: 400 days, so that a year can be looked back on. By age and not by count, so that nobody can
/// push an entry out by making others.
const KEEP_S: i64 = 400 * 24 * 60 * 60;
/// Longest object and detail, in characters: a part of both is what a client sent.
const LONGEST: usize = 300;

const HEAD: &str = "head";
const CHECKPOINT: &str = "checkpoint";

impl Tx {
    /// Notes that something is done by what else this transaction does.
    pub(crate) async fn audit(
        &mut self,
        action: Action,
        object: &str,
        detail: &str,
    ) -> Result<(), StoreError> {
        self.add_audit(action, object, Outcome::Done, detail).await
    }

    /// Notes that something was refused.
    pub(crate) async fn audit_refused(
        &mut self,
        action: Action,
        object: &str,
        detail: &str,
    ) -> Result<(), StoreError> {
        self.add_audit(action, object, Outcome::Refused, detail)
            .await
    }

    async fn add_audit(
        &mut self,
        action: Action,
        object: &str,
        outcome: Outcome,
        detail: &str,
    ) -> Result<(), StoreError> {
        let Origin {
            by,
            user,
            token,
            from,
        } = Origin::current();
        let before = end(self.conn(), HEAD).await?;
        // What is hashed has to be what is stored, in either database.
        let short = |text: &str| sql::without_nul(text.chars().take(LONGEST).collect());
        let mut entry = AuditEntry {
            n: before.n + 1,
            // The clock's word, whatever the caller takes for now.
            at: crate::clock::now(),
            by,
            user,
            token,
            from: from.map(|from| from.to_string()),
            action: action.name().to_owned(),
            object: short(object),
            outcome,
            detail: short(detail),
            hash: before.hash,
        };
        entry.hash = hash(&before.hash, &entry);
        sql::query(
            "INSERT INTO audit (n, at, by_kind, by_user, by_token, from_address, action, object, outcome, detail, hash) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(signed(entry.n))
        .bind(entry.at)
        .bind(entry.by.name())
        .bind(&entry.user)
        .bind(&entry.token)
        .bind(&entry.from)
        .bind(&entry.action)
        .bind(&entry.object)
        .bind(entry.outcome.name())
        .bind(&entry.detail)
        .bind(entry.hash.to_string())
        .execute(self.conn())
        .await?;
        let (n, hash) = (entry.n, entry.hash);
        self.set_audit_end(HEAD, AuditEnd { n, hash }).await
    }

    async fn set_audit_end(&mut self, name: &str, end: AuditEnd) -> Result<(), StoreError> {
        sql::query(
            "INSERT INTO audit_ends (name, n, hash) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET n = excluded.n, hash = excluded.hash",
        )
        .bind(name)
        .bind(signed(end.n))
        .bind(end.hash.to_string())
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

impl Store {
    /// Entries before the one numbered `after`, newest first, with both ends of the chain as they are at this moment.
    pub(crate) async fn audit(
        &self,
        after: Option<i64>,
        limit: u32,
    ) -> Result<AuditPage, StoreError> {
        let mut view = self.read().await?;
        let rows =
            sql::query("SELECT * FROM audit WHERE $1 IS NULL OR n < $1 ORDER BY n DESC LIMIT $2")
                .bind(after)
                .bind(i64::from(limit) + 1)
                .fetch_all(&mut view)
                .await?;
        let items = rows.iter().map(entry).collect::<Result<_, _>>()?;
        let page = page(items, limit, |entry: &AuditEntry| entry.n.to_string());
        Ok(AuditPage {
            items: page.items,
            next: page.next,
            head: end(&mut view, HEAD).await?,
            checkpoint: end(&mut view, CHECKPOINT).await?,
        })
    }

    /// Removes entries beyond their age. The last of them stays as the checkpoint that the next one is chained to, and a new
    /// entry tells of it.
    pub(crate) async fn prune_audit(&self, now: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        // The newest old one with all before it: a clock that was put back leaves no hole.
        let last = sql::query("SELECT n, hash FROM audit WHERE at < $1 ORDER BY n DESC LIMIT 1")
            .bind(now - KEEP_S)
            .fetch_optional(tx.conn())
            .await?;
        let Some(last) = last else {
            return Ok(());
        };
        let last = AuditEnd {
            n: number(&last, "n")?,
            hash: digest(&last, "hash")?,
        };
        sql::query("DELETE FROM audit WHERE n <= $1")
            .bind(signed(last.n))
            .execute(tx.conn())
            .await?;
        tx.set_audit_end(CHECKPOINT, last).await?;
        let object = format!("entries to {}", last.n);
        tx.audit(Action::AuditPrune, &object, &last.hash.to_string())
            .await?;
        tx.commit().await
    }
}

/// Follows the chain from one end to the other: its head, or where it breaks.
pub(super) async fn trail(conn: &mut Conn) -> Result<Result<AuditEnd, Broken>, StoreError> {
    let rows = sql::query("SELECT * FROM audit ORDER BY n")
        .fetch_all(&mut *conn)
        .await?;
    let entries: Vec<AuditEntry> = rows.iter().map(entry).collect::<Result<_, _>>()?;
    let head = end(conn, HEAD).await?;
    let checkpoint = end(conn, CHECKPOINT).await?;
    Ok(verify(checkpoint, &entries, head).map(|()| head))
}

async fn end(conn: &mut Conn, name: &str) -> Result<AuditEnd, StoreError> {
    let row = sql::query("SELECT n, hash FROM audit_ends WHERE name = $1")
        .bind(name)
        .fetch_optional(conn)
        .await?;
    match row {
        None => Ok(AuditEnd::default()),
        Some(row) => Ok(AuditEnd {
            n: number(&row, "n")?,
            hash: digest(&row, "hash")?,
        }),
    }
}

/// SQL has no unsigned numbers; nobody comes near the limit by counting.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn entry(row: &Row) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        n: number(row, "n")?,
        at: row.try_get("at")?,
        by: parsed(row, "by_kind")?,
        user: row.try_get("by_user")?,
        token: row.try_get("by_token")?,
        from: row.try_get("from_address")?,
        action: row.try_get("action")?,
        object: row.try_get("object")?,
        outcome: parsed(row, "outcome")?,
        detail: row.try_get("detail")?,
        hash: digest(row, "hash")?,
    })
}
