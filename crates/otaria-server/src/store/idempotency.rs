//! What was answered to requests that may come again.

use super::{Store, StoreError, Tx, number, sql};

/// How long an answer is kept, in seconds.
const KEEP_S: i64 = 24 * 60 * 60;

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) kind: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing until now; the request is noted, and the caller's to carry out.
    New,
    /// It came with another request.
    Other,
    /// The request was not answered.
    Open,
    /// The request was answered.
    Answered(Answered),
}

impl Tx {
    /// Looks a key up, and notes the request if it is new.
    pub(crate) async fn begin_request(
        &mut self,
        caller: &str,
        key: &str,
        request: &str,
        now: i64,
    ) -> Result<Known, StoreError> {
        sql::query("DELETE FROM idempotency WHERE created_at <= $1")
            .bind(now - KEEP_S)
            .execute(self.conn())
            .await?;
        let row = sql::query("SELECT * FROM idempotency WHERE caller = $1 AND key = $2")
            .bind(caller)
            .bind(key)
            .fetch_optional(self.conn())
            .await?;
        let Some(row) = row else {
            sql::query(
                "INSERT INTO idempotency (caller, key, request, created_at) VALUES ($1, $2, $3, $4)",
            )
            .bind(caller)
            .bind(key)
            .bind(request)
            .bind(now)
            .execute(self.conn())
            .await?;
            return Ok(Known::New);
        };
        if row.try_get::<&str, _>("request")? != request {
            return Ok(Known::Other);
        }
        if row.try_get::<Option<i64>, _>("status")?.is_none() {
            return Ok(Known::Open);
        }
        Ok(Known::Answered(Answered {
            status: number(&row, "status")?,
            kind: row.try_get("kind")?,
            body: row
                .try_get::<Option<Vec<u8>>, _>("body")?
                .unwrap_or_default(),
        }))
    }

    /// Keeps the answer to a request.
    pub(crate) async fn end_request(
        &mut self,
        caller: &str,
        key: &str,
        answered: &Answered,
    ) -> Result<(), StoreError> {
        sql::query(
            "UPDATE idempotency SET status = $3, kind = $4, body = $5 WHERE caller = $1 AND key = $2",
        )
        .bind(caller)
        .bind(key)
        .bind(answered.status)
        .bind(&answered.kind)
        .bind(&answered.body)
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

impl Store {
    /// A request came to nothing, and may come again as if it never had.
    pub(crate) async fn forget_request(&self, caller: &str, key: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sql::query("DELETE FROM idempotency WHERE caller = $1 AND key = $2")
            .bind(caller)
            .bind(key)
            .execute(tx.conn())
            .await?;
        tx.commit().await
    }
}
