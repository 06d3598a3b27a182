//! Webhooks: whom the server tells what happens, and how.
//!
//! Messages are written to the store with what they tell ([`store`](crate::store)), and sent from there: at least once, to each
//! receiver a few at a time, again after longer and longer waits, for a day. Receivers recognise a repeat by its id.

mod message;
mod target;

pub(crate) use target::{TargetError, Targets};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::task::JoinSet;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;

use crate::audit::Action;
use crate::clock::now;
use crate::model::{
    Delivery, DeliveryState, MadeWebhook, NewWebhook, Secret, Webhook, WebhookEvent,
};
use crate::shared::Shared;
use crate::store::{Due, StoreError, Tried};

/// Webhooks that there can be.
const MAX_WEBHOOKS: u64 = 32;
/// Messages that wait for one receiver at most: several for each device of a large fleet. Beyond that the oldest are given up, so that
/// a receiver that is away does not fill the database within the day for which messages are tried.
const MAX_WAITING: u32 = 50_000;
/// Messages under way to one receiver, so that a slow one keeps nobody else waiting.
const IN_FLIGHT: u32 = 2;
/// How long a try may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a message that is under way is left alone, in seconds: a server that is killed tries it again after that.
const LEASE_S: i64 = 60;
/// How often the store is asked what is due.
const EVERY: Duration = Duration::from_secs(1);
/// How often messages that wait are counted: that walks over all of them.
const LIMIT_EVERY: Duration = Duration::from_secs(60);
/// Waits between tries, in seconds: the first, and the longest. Each is twice the one before, a random part less.
const BACKOFF_S: (u32, u32) = (5, 3600);
/// How long a message is tried, in seconds.
const GIVE_UP_S: i64 = 24 * 60 * 60;
/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 300;

/// What cannot be done about webhooks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("there can be {MAX_WEBHOOKS} webhooks; remove one first")]
    TooMany,
    #[error("there is no webhook '{0}'")]
    None(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A try came to nothing.
#[derive(Clone, Debug)]
struct Failed {
    reason: String,
    /// There is no sense in another try.
    hopeless: bool,
}

/// Sends messages.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    targets: Targets,
    agent: ureq::Agent,
}

impl Sender {
    /// Receivers show certificates of these authorities, or, without any, of those that the web trusts.
    pub(crate) fn new(targets: Targets, authorities: &[CertificateDer<'static>]) -> Self {
        let mut tls = TlsConfig::builder();
        if !authorities.is_empty() {
            let roots = authorities
                .iter()
                .map(|root| Certificate::from_der(root).to_owned());
            tls = tls.root_certs(RootCerts::from(roots));
        }
        let config = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .https_only(!targets.private)
            // A proxy would resolve names itself, past the check; a redirect would lead past it, too.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .max_idle_connections(0)
            .user_agent(concat!("otaria/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            targets,
            agent: ureq::Agent::with_parts(config, DefaultConnector::default(), targets),
        }
    }

    /// Sends a message once.
    fn send(&self, due: &Due, now: i64) -> Result<(), Failed> {
        let again = |reason: String| Failed {
            reason,
            hopeless: false,
        };
        let signature = message::signature(&due.secret, &due.message, now, &due.body)
            .ok_or_else(|| again("the secret in the database is damaged".to_owned()))?;
        let answer = self
            .agent
            .post(&due.url)
            .header("content-type", "application/json")
            .header("webhook-id", &due.message)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", signature)
            .send(&due.body)
            .map_err(|error| again(reason(&error)))?;
        let status = answer.status();
        match status.as_u16() {
            200..300 => Ok(()),
            300..400 => Err(again(format!("{status}: redirects are not followed"))),
            // As the specification has it: the receiver wants no more.
            410 => Err(Failed {
                reason: format!("{status}: the receiver wants no more"),
                hopeless: true,
            }),
            _ => Err(again(status.to_string())),
        }
    }
}

/// An error without the address, in which there may be a secret.
fn reason(error: &ureq::Error) -> String {
    let text = match error {
        ureq::Error::BadUri(_) => "the address cannot be used".to_owned(),
        ureq::Error::Other(error) => error.to_string(),
        error => error.to_string(),
    };
    text.chars().take(MAX_REASON).collect()
}

impl Shared {
    /// Adds a webhook.
    pub(crate) async fn add_webhook(
        &self,
        new: &NewWebhook,
        now: i64,
    ) -> Result<MadeWebhook, WebhookError> {
        self.webhooks.targets.check(&new.url)?;
        let mut events = match new.events.as_slice() {
            [] => WebhookEvent::ALL.to_vec(),
            some => some.to_vec(),
        };
        events.sort_unstable();
        events.dedup();
        let webhook = Webhook {
            id: crate::id::random(),
            url: new.url.clone(),
            events,
            created_at: now,
            waiting: 0,
            given_up: 0,
            reason: None,
        };
        let secret = message::secret();
        let mut tx = self.store.write().await?;
        if tx.webhook_count().await? >= MAX_WEBHOOKS {
            return Err(WebhookError::TooMany);
        }
        tx.add_webhook(&webhook, &secret).await?;
        let names: Vec<_> = webhook.events.iter().map(|event| event.name()).collect();
        let detail = format!("{} at {}", names.join(", "), host(&webhook.url));
        tx.audit(Action::WebhookAdd, &webhook.id, &detail).await?;
        tx.commit().await?;
        Ok(MadeWebhook {
            secret: Secret::from(message::shown(&secret)),
            webhook,
        })
    }

    /// Removes a webhook, and what it has not taken.
    pub(crate) async fn remove_webhook(&self, id: &str) -> Result<(), WebhookError> {
        let mut tx = self.store.write().await?;
        if !tx.remove_webhook(id).await? {
            return Err(WebhookError::None(id.to_owned()));
        }
        tx.audit(Action::WebhookRemove, id, "").await?;
        Ok(tx.commit().await?)
    }

    /// Sends a message that tells nothing, once, and says what came of it.
    pub(crate) async fn test_webhook(&self, id: &str, now: i64) -> Result<Delivery, WebhookError> {
        let none = || WebhookError::None(id.to_owned());
        self.store.webhook(id).await?.ok_or_else(none)?;
        let mut tx = self.store.write().await?;
        let data = serde_json::json!({ "webhook": id });
        let added = tx
            .add_delivery(id, WebhookEvent::Test, &data, None, now)
            .await?;
        let due = tx.delivery(added).await?.ok_or_else(none)?;
        tx.audit(Action::WebhookTest, id, "").await?;
        tx.commit().await?;
        let came = attempt(&self.webhooks, &due).await;
        let (state, reason) = match came {
            Ok(()) => (DeliveryState::Delivered, None),
            Err(failed) => (DeliveryState::GivenUp, Some(failed.reason)),
        };
        let tried = Tried {
            state,
            next_at: None,
            reason,
        };
        let mut tx = self.store.write().await?;
        tx.tried(due.id, &tried).await?;
        tx.commit().await?;
        Ok(Delivery {
            message: due.message,
            event: WebhookEvent::Test,
            created_at: due.created_at,
            state,
            tries: 1,
            next_at: None,
            reason: tried.reason,
        })
    }
}

/// The host of an address, for those who may not see all of it.
fn host(url: &str) -> String {
    let uri: Result<axum::http::Uri, _> = url.parse();
    let host = uri.as_ref().ok().and_then(axum::http::Uri::host);
    host.unwrap_or("?").to_owned()
}

async fn attempt(sender: &Sender, due: &Due) -> Result<(), Failed> {
    let (sender, due) = (sender.clone(), due.clone());
    let sent = tokio::task::spawn_blocking(move || sender.send(&due, now())).await;
    // A panic in there is a failed try, not the end of all.
    sent.unwrap_or_else(|error| {
        Err(Failed {
            reason: error.to_string(),
            hopeless: false,
        })
    })
}

/// What a failed try means: the wait for the next, or the end. `part` is random, from 0 to 1.
fn after_failure(due: &Due, failed: Failed, part: f64, now: i64) -> Tried {
    let Failed { reason, hopeless } = failed;
    let (first, longest) = BACKOFF_S;
    let wait = first.saturating_mul(1 << due.tries.min(16)).min(longest);
    let wait = f64::from(wait) * (1.0 - part / 2.0);
    let next = now + (wait.ceil() as i64).max(1);
    if hopeless || next - due.created_at > GIVE_UP_S {
        return Tried {
            state: DeliveryState::GivenUp,
            next_at: None,
            reason: Some(reason),
        };
    }
    Tried {
        state: DeliveryState::Waiting,
        next_at: Some(next),
        reason: Some(reason),
    }
}

/// Sends what is due, until the task is ended. What is under way then is sent again after the next start.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut under_way: JoinSet<(Due, Result<(), Failed>)> = JoinSet::new();
    let mut busy: HashMap<String, u32> = HashMap::new();
    let mut every = tokio::time::interval(EVERY);
    let mut limit = tokio::time::interval(LIMIT_EVERY);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            _ = limit.tick() => {
                if let Err(error) = limit_waiting(&shared).await {
                    tracing::warn!("webhooks' messages could not be counted: {error}");
                }
            }
            Some(ended) = under_way.join_next(), if !under_way.is_empty() => {
                let Ok((due, came)) = ended else { continue };
                if let Some(count) = busy.get_mut(&due.webhook) {
                    *count = count.saturating_sub(1);
                }
                if let Err(error) = note(&shared, &due, came).await {
                    // It is sent once more when its lease ends.
                    tracing::warn!("what came of a webhook's message could not be stored: {error}");
                }
            }
        }
        match claim(&shared, &busy).await {
            Ok(claimed) => {
                for due in claimed {
                    *busy.entry(due.webhook.clone()).or_default() += 1;
                    let shared = Arc::clone(&shared);
                    under_way.spawn(async move {
                        let came = attempt(&shared.webhooks, &due).await;
                        (due, came)
                    });
                }
            }
            Err(error) => tracing::warn!("webhooks' messages could not be read: {error}"),
        }
    }
}

/// Gives up the oldest messages of receivers that have been away for too many.
async fn limit_waiting(shared: &Shared) -> Result<(), StoreError> {
    for webhook in shared.store.due_webhooks(now()).await? {
        let mut tx = shared.store.write().await?;
        let given_up = tx.give_up_beyond(&webhook, MAX_WAITING).await?;
        tx.commit().await?;
        if given_up > 0 {
            tracing::warn!(
                webhook,
                "{given_up} messages are given up: more than {MAX_WAITING} wait"
            );
        }
    }
    Ok(())
}

/// Takes what is due, as much as may be under way.
async fn claim(shared: &Shared, busy: &HashMap<String, u32>) -> Result<Vec<Due>, StoreError> {
    let now = now();
    let mut claimed = Vec::new();
    for webhook in shared.store.due_webhooks(now).await? {
        let room = IN_FLIGHT.saturating_sub(busy.get(&webhook).copied().unwrap_or(0));
        if room > 0 {
            let mut tx = shared.store.write().await?;
            claimed.extend(
                tx.claim_deliveries(&webhook, room, now + LEASE_S, now)
                    .await?,
            );
            tx.commit().await?;
        }
    }
    Ok(claimed)
}

async fn note(shared: &Shared, due: &Due, came: Result<(), Failed>) -> Result<(), StoreError> {
    let tried = match came {
        Ok(()) => Tried {
            state: DeliveryState::Delivered,
            next_at: None,
            reason: None,
        },
        Err(failed) => {
            let random = getrandom::u32().unwrap_or(0);
            let part = f64::from(random) / f64::from(u32::MAX);
            after_failure(due, failed, part, now())
        }
    };
    if tried.state == DeliveryState::GivenUp {
        let reason = tried.reason.as_deref().unwrap_or_default();
        tracing::warn!(webhook = %due.webhook, message = %due.message, "a message is given up: {reason}");
    }
    let mut tx = shared.store.write().await?;
    tx.tried(due.id, &tried).await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(tries: u32) -> Due {
        Due {
            id: 1,
            webhook: "w".to_owned(),
            url: "https://hooks.example/".to_owned(),
            secret: String::new(),
            message: "msg".to_owned(),
            body: String::new(),
            created_at: 1000,
            tries,
        }
    }

    fn failed(reason: &str, hopeless: bool) -> Failed {
        Failed {
            reason: reason.to_owned(),
            hopeless,
        }
    }

    #[test]
    fn waits_grow_to_an_hour_and_no_two_receivers_of_a_failure_are_tried_in_step() {
        let wait = |tries, part| {
            let tried = after_failure(&due(tries), failed("down", false), part, 1000);
            assert_eq!(tried.state, DeliveryState::Waiting);
            tried.next_at.unwrap() - 1000
        };
        assert_eq!([0, 1, 2, 3].map(|tries| wait(tries, 0.0)), [5, 10, 20, 40]);
        assert_eq!(wait(0, 1.0), 3);
        assert_eq!(wait(30, 0.0), 3600);
        assert_eq!(wait(u32::MAX, 1.0), 1800);
    }

    #[test]
    fn a_message_is_given_up_after_a_day_or_when_the_receiver_wants_no_more() {
        let late = after_failure(&due(9), failed("down", false), 0.0, 1000 + GIVE_UP_S);
        assert_eq!(
            late,
            Tried {
                state: DeliveryState::GivenUp,
                next_at: None,
                reason: Some("down".to_owned())
            }
        );
        let gone = after_failure(&due(0), failed("410", true), 0.0, 1000);
        assert_eq!(gone.state, DeliveryState::GivenUp);
    }
}
