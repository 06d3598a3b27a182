//! Messages that are decided and not yet taken by the broker.

use std::collections::HashSet;

use super::{Store, StoreError, Tx, sql};

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewMessage {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retain: bool,
    /// Unix seconds.
    pub(crate) expires_at: Option<i64>,
}

/// A message in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutboxRow {
    /// Rises; messages are sent in this order.
    pub(crate) id: i64,
    pub(crate) message: NewMessage,
}

impl Tx {
    /// Adds a message. It is sent after the commit, at least once; what it says makes a repeat harmless.
    ///
    /// Of a retained topic only the newest message counts, so none that is older waits any more: sent late, after a
    /// refusal or a lost connection, it would undo the newer one.
    pub(crate) async fn send(&mut self, message: &NewMessage, now: i64) -> Result<(), StoreError> {
        if message.retain {
            sql::query("DELETE FROM outbox WHERE topic = $1 AND retain")
                .bind(&message.topic)
                .execute(self.conn())
                .await?;
        }
        sql::query(
            "INSERT INTO outbox (topic, payload, retain, expires_at, created_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&message.topic)
        .bind(&message.payload)
        .bind(message.retain)
        .bind(message.expires_at)
        .bind(now)
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Removes all messages of a topic.
    pub(crate) async fn unsend(&mut self, topic: &str) -> Result<(), StoreError> {
        sql::query("DELETE FROM outbox WHERE topic = $1")
            .bind(topic)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// The newest message that waits for a topic.
    pub(crate) async fn waiting(&mut self, topic: &str) -> Result<Option<i64>, StoreError> {
        let row = sql::query("SELECT MAX(id) AS newest FROM outbox WHERE topic = $1")
            .bind(topic)
            .fetch_one(self.conn())
            .await?;
        Ok(row.try_get("newest")?)
    }

    /// The topics for which a message waits.
    pub(crate) async fn outbox_topics(&mut self) -> Result<HashSet<String>, StoreError> {
        let rows = sql::query("SELECT DISTINCT topic FROM outbox")
            .fetch_all(self.conn())
            .await?;
        rows.iter().map(|row| Ok(row.try_get("topic")?)).collect()
    }

    /// Removes messages that the broker has taken, or that have expired.
    pub(crate) async fn sent(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        for id in ids {
            sql::query("DELETE FROM outbox WHERE id = $1")
                .bind(id)
                .execute(self.conn())
                .await?;
        }
        Ok(())
    }
}

impl Store {
    /// The oldest messages after one.
    pub(crate) async fn outbox(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let rows = sql::query(
            "SELECT id, topic, payload, retain, expires_at FROM outbox WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(OutboxRow {
                    id: row.try_get("id")?,
                    message: NewMessage {
                        topic: row.try_get("topic")?,
                        payload: row.try_get("payload")?,
                        retain: row.try_get("retain")?,
                        expires_at: row.try_get("expires_at")?,
                    },
                })
            })
            .collect()
    }

    /// How many messages wait.
    pub(crate) async fn outbox_len(&self) -> Result<u64, StoreError> {
        let row = sql::query("SELECT COUNT(*) AS count FROM outbox")
            .fetch_one(&self.reader)
            .await?;
        super::number(&row, "count")
    }
}
