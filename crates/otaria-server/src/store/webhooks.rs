//! Webhooks, and the messages that they have not taken yet.
//!
//! A message is written in the transaction of what it tells, and leaves when its receiver has taken it. A server that is
//! killed in between sends it again, under the same id.

use serde::Serialize;

use super::{Row, Store, StoreError, Tx, json, number, page, parsed, sql, to_json};
use crate::model::{Delivery, DeliveryState, Page, Webhook, WebhookEvent};

/// How long messages that have ended are kept, in seconds.
const KEEP_S: i64 = 7 * 24 * 60 * 60;

/// A message that is due, with all that is needed to send it.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) id: i64,
    pub(crate) webhook: String,
    pub(crate) url: String,
    pub(crate) secret: String,
    pub(crate) message: String,
    pub(crate) body: String,
    pub(crate) created_at: i64,
    pub(crate) tries: u32,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    pub(crate) state: DeliveryState,
    pub(crate) next_at: Option<i64>,
    pub(crate) reason: Option<String>,
}

/// What every message has.
#[derive(Serialize)]
struct Body<'a, T> {
    r#type: WebhookEvent,
    /// ISO 8601, as Standard Webhooks has it.
    timestamp: String,
    data: &'a T,
}

const COUNTED: &str = "\
    SELECT w.*, (SELECT COUNT(*) FROM webhook_deliveries d WHERE d.webhook = w.id AND d.state = 'waiting') AS waiting, \
    (SELECT COUNT(*) FROM webhook_deliveries d WHERE d.webhook = w.id AND d.state = 'given_up') AS given_up, \
    (SELECT d.reason FROM webhook_deliveries d WHERE d.webhook = w.id AND d.tries > 0 ORDER BY d.id DESC LIMIT 1) AS reason \
    FROM webhooks w";

impl Tx {
    /// Adds a webhook.
    pub(crate) async fn add_webhook(
        &mut self,
        webhook: &Webhook,
        secret: &str,
    ) -> Result<(), StoreError> {
        sql::query(
            "INSERT INTO webhooks (id, url, events, secret, created_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&webhook.id)
        .bind(&webhook.url)
        .bind(to_json(&webhook.events, "events")?)
        .bind(secret)
        .bind(webhook.created_at)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Removes a webhook, with what it has not taken; whether there was one.
    pub(crate) async fn remove_webhook(&mut self, id: &str) -> Result<bool, StoreError> {
        let removed = sql::query("DELETE FROM webhooks WHERE id = $1")
            .bind(id)
            .execute(self.conn())
            .await?;
        Ok(removed > 0)
    }

    /// How many webhooks there are.
    pub(crate) async fn webhook_count(&mut self) -> Result<u64, StoreError> {
        let row = sql::query("SELECT COUNT(*) AS count FROM webhooks")
            .fetch_one(self.conn())
            .await?;
        number(&row, "count")
    }

    /// Tells whoever wants to know what this transaction does.
    pub(crate) async fn announce(
        &mut self,
        event: WebhookEvent,
        data: &impl Serialize,
        now: i64,
    ) -> Result<(), StoreError> {
        let rows = sql::query("SELECT id, events FROM webhooks ORDER BY id")
            .fetch_all(self.conn())
            .await?;
        for row in &rows {
            let wanted: Vec<WebhookEvent> = json(row, "events")?.unwrap_or_default();
            if wanted.contains(&event) {
                let webhook: String = row.try_get("id")?;
                self.add_delivery(&webhook, event, data, Some(now), now)
                    .await?;
            }
        }
        Ok(())
    }

    /// Adds a message; without `next_at`, it is not sent by itself. Gives its number.
    pub(crate) async fn add_delivery(
        &mut self,
        webhook: &str,
        event: WebhookEvent,
        data: &impl Serialize,
        next_at: Option<i64>,
        now: i64,
    ) -> Result<i64, StoreError> {
        let timestamp = jiff::Timestamp::from_second(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let body = Body {
            r#type: event,
            timestamp: timestamp.to_string(),
            data,
        };
        let row = sql::query(
            "INSERT INTO webhook_deliveries (webhook, message, event, body, created_at, tries, state, next_at) \
             VALUES ($1, $2, $3, $4, $5, 0, $6, $7) RETURNING id",
        )
        .bind(webhook)
        .bind(format!("msg_{}{}", crate::id::random(), crate::id::random()))
        .bind(event.name())
        .bind(to_json(&body, "body")?)
        .bind(now)
        .bind(DeliveryState::Waiting.name())
        .bind(next_at)
        .fetch_one(self.conn())
        .await?;
        Ok(row.try_get("id")?)
    }

    /// Gives up all but the newest so many messages that wait for a webhook; how many that were.
    pub(crate) async fn give_up_beyond(
        &mut self,
        webhook: &str,
        newest: u32,
    ) -> Result<u64, StoreError> {
        let given_up = sql::query(
            "UPDATE webhook_deliveries SET state = $3, next_at = NULL, reason = $4 \
             WHERE webhook = $1 AND state = 'waiting' AND id <= (SELECT id FROM webhook_deliveries \
             WHERE webhook = $1 AND state = 'waiting' ORDER BY id DESC LIMIT 1 OFFSET $2)",
        )
        .bind(webhook)
        .bind(newest)
        .bind(DeliveryState::GivenUp.name())
        .bind(format!("more than {newest} newer messages wait"))
        .execute(self.conn())
        .await?;
        Ok(given_up)
    }

    /// Takes the oldest messages of a webhook that are due; until `lease`, nobody else does.
    pub(crate) async fn claim_deliveries(
        &mut self,
        webhook: &str,
        limit: u32,
        lease: i64,
        now: i64,
    ) -> Result<Vec<Due>, StoreError> {
        let rows = sql::query(
            "SELECT d.*, w.url, w.secret FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook \
             WHERE d.webhook = $1 AND d.state = 'waiting' AND d.next_at <= $2 ORDER BY d.id LIMIT $3",
        )
        .bind(webhook)
        .bind(now)
        .bind(limit)
        .fetch_all(self.conn())
        .await?;
        let due = rows.iter().map(due).collect::<Result<Vec<_>, _>>()?;
        for one in &due {
            sql::query("UPDATE webhook_deliveries SET next_at = $2 WHERE id = $1")
                .bind(one.id)
                .bind(lease)
                .execute(self.conn())
                .await?;
        }
        Ok(due)
    }

    /// One message, whether it is due or not.
    pub(crate) async fn delivery(&mut self, id: i64) -> Result<Option<Due>, StoreError> {
        let row = sql::query(
            "SELECT d.*, w.url, w.secret FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook WHERE d.id = $1",
        )
        .bind(id)
        .fetch_optional(self.conn())
        .await?;
        row.as_ref().map(due).transpose()
    }

    /// Notes what came of a try.
    pub(crate) async fn tried(&mut self, id: i64, tried: &Tried) -> Result<(), StoreError> {
        sql::query(
            "UPDATE webhook_deliveries SET tries = tries + 1, state = $2, next_at = $3, reason = $4 WHERE id = $1",
        )
        .bind(id)
        .bind(tried.state.name())
        .bind(tried.next_at)
        .bind(&tried.reason)
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

impl Store {
    /// Webhooks, by id.
    pub(crate) async fn webhooks(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Webhook>, StoreError> {
        let rows = sql::query(sqlx::AssertSqlSafe(format!(
            "{COUNTED} WHERE w.id > $1 ORDER BY w.id LIMIT $2"
        )))
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.reader)
        .await?;
        let items = rows.iter().map(webhook).collect::<Result<_, _>>()?;
        Ok(page(items, limit, |webhook: &Webhook| webhook.id.clone()))
    }

    /// A webhook.
    pub(crate) async fn webhook(&self, id: &str) -> Result<Option<Webhook>, StoreError> {
        let row = sql::query(sqlx::AssertSqlSafe(format!("{COUNTED} WHERE w.id = $1")))
            .bind(id)
            .fetch_optional(&self.reader)
            .await?;
        row.as_ref().map(webhook).transpose()
    }

    /// Webhooks for which a message is due.
    pub(crate) async fn due_webhooks(&self, now: i64) -> Result<Vec<String>, StoreError> {
        let rows = sql::query(
            "SELECT DISTINCT webhook FROM webhook_deliveries WHERE state = 'waiting' AND next_at <= $1",
        )
        .bind(now)
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(|row| Ok(row.try_get("webhook")?)).collect()
    }

    /// The messages of a webhook, newest first.
    pub(crate) async fn deliveries(
        &self,
        webhook: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page<Delivery>, StoreError> {
        let rows = sql::query(
            "SELECT * FROM webhook_deliveries WHERE webhook = $1 AND ($2 IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
        )
        .bind(webhook)
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.reader)
        .await?;
        let items: Vec<(i64, Delivery)> = rows
            .iter()
            .map(|row| Ok((row.try_get("id")?, delivery(row)?)))
            .collect::<Result<_, StoreError>>()?;
        let numbered = page(items, limit, |(id, _)| id.to_string());
        Ok(Page {
            items: numbered.items.into_iter().map(|(_, one)| one).collect(),
            next: numbered.next,
        })
    }

    /// Removes messages that ended a while ago.
    pub(crate) async fn prune_deliveries(&self, now: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sql::query("DELETE FROM webhook_deliveries WHERE state <> 'waiting' AND created_at < $1")
            .bind(now - KEEP_S)
            .execute(tx.conn())
            .await?;
        tx.commit().await
    }
}

fn webhook(row: &Row) -> Result<Webhook, StoreError> {
    Ok(Webhook {
        id: row.try_get("id")?,
        url: row.try_get("url")?,
        events: json(row, "events")?.unwrap_or_default(),
        created_at: row.try_get("created_at")?,
        waiting: number(row, "waiting")?,
        given_up: number(row, "given_up")?,
        reason: row.try_get("reason")?,
    })
}

fn delivery(row: &Row) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        message: row.try_get("message")?,
        event: parsed(row, "event")?,
        created_at: row.try_get("created_at")?,
        state: parsed(row, "state")?,
        tries: number(row, "tries")?,
        next_at: row.try_get("next_at")?,
        reason: row.try_get("reason")?,
    })
}

fn due(row: &Row) -> Result<Due, StoreError> {
    Ok(Due {
        id: row.try_get("id")?,
        webhook: row.try_get("webhook")?,
        url: row.try_get("url")?,
        secret: row.try_get("secret")?,
        message: row.try_get("message")?,
        body: row.try_get("body")?,
        created_at: row.try_get("created_at")?,
        tries: number(row, "tries")?,
    })
}
