//! What the parts of the server share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use otaria_wire::topics::{DeviceId, NameError, Topic, Topics};
use tokio::sync::{Notify, broadcast, watch};

use crate::access::{Limiter, Passwords};
use crate::config::{Access, Downloads};
use crate::ingest::{Report, What};
use crate::metrics::Metrics;
use crate::model::Live;
use crate::neighbours::{Notice, Teller};
use crate::packages::{EXTENSION, Packages};
use crate::store::{NewMessage, Store, StoreError, Tx};
use crate::trust::Trust;
use crate::webhooks::{Sender, Targets};

/// Changes kept for a reader of the event stream that is slow.
const LIVE_BACKLOG: usize = 4096;
/// A note in the store: what is declared at the broker has to be compared with what should be.
pub(crate) const REDECLARE: &str = "redeclare";

/// What the parts of the server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) packages: Packages,
    /// First level of the topics.
    pub(crate) root: String,
    /// Where devices reach the HTTP server, without a slash at the end.
    pub(crate) public_url: String,
    /// Where devices reach the embedded broker, once it listens; nothing with a broker of the operator's.
    pub(crate) broker_url: OnceLock<String>,
    /// Who may come in, and how.
    pub(crate) entry: Entry,
    /// TLS, if there is any.
    pub(crate) trust: Option<Arc<Trust>>,
    pub(crate) passwords: Passwords,
    pub(crate) limiter: Limiter,
    pub(crate) metrics: Metrics,
    /// Sends messages to webhooks: to the Internet alone, unless told otherwise.
    pub(crate) webhooks: Sender,
    /// Tells the bus that something is in the outbox.
    pub(crate) outbox_ready: Notify,
    /// Tells the rollouts that something was reported or decided.
    pub(crate) rollouts_ready: Notify,
    /// Tells Home Assistant's side that there is another package, or a device less.
    pub(crate) offer_changed: Notify,
    pub(crate) broker_connected: watch::Sender<bool>,
    /// Ends the event streams.
    pub(crate) stopping: watch::Sender<bool>,
    /// Whether rollouts go on by this server: one of those that share a database.
    pub(crate) leads: watch::Sender<bool>,
    live: broadcast::Sender<Arc<Live>>,
    /// Other servers on the same database.
    pub(crate) neighbours: Teller,
}

/// Who may come in, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Only reachable from this machine.
    pub(crate) loopback: bool,
    pub(crate) access: Access,
    pub(crate) downloads: Downloads,
}

impl Shared {
    pub(crate) fn new(
        store: Store,
        packages: Packages,
        root: String,
        public_url: String,
        entry: Entry,
        trust: Option<Arc<Trust>>,
    ) -> Self {
        Self {
            store,
            packages,
            root,
            public_url,
            broker_url: OnceLock::new(),
            entry,
            trust,
            passwords: Passwords::default(),
            limiter: Limiter::default(),
            metrics: Metrics::default(),
            webhooks: Sender::new(Targets { private: false }, &[]),
            outbox_ready: Notify::new(),
            rollouts_ready: Notify::new(),
            offer_changed: Notify::new(),
            broker_connected: watch::Sender::new(false),
            stopping: watch::Sender::new(false),
            leads: watch::Sender::new(true),
            live: broadcast::Sender::new(LIVE_BACKLOG),
            neighbours: Teller::alone(),
        }
    }

    /// Whether nobody has to log in.
    pub(crate) fn is_open(&self) -> bool {
        self.entry.access == Access::Open
    }

    /// Reports have been stored: rollouts may go on, and whoever watches is told.
    pub(crate) fn stored(&self, changes: Vec<Live>) {
        if !changes.is_empty() {
            self.rollouts_ready.notify_one();
        }
        self.tell(changes);
    }

    /// Tells whoever watches.
    pub(crate) fn tell(&self, changes: Vec<Live>) {
        for change in changes {
            if self.neighbours.has_neighbours() {
                self.neighbours.tell(Notice::Live(change.clone()));
            }
            self.show(change);
        }
    }

    /// Shows a change to whoever watches at this server.
    pub(crate) fn show(&self, change: Live) {
        // Nobody watching is no error.
        let _ = self.live.send(Arc::new(change));
    }

    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<Live>> {
        self.live.subscribe()
    }

    /// Where devices get a package.
    pub(crate) fn package_url(&self, digest: &otaria_wire::Sha256Digest) -> String {
        format!("{}/packages/{digest}{EXTENSION}", self.public_url)
    }

    /// A message to a device.
    pub(crate) fn message(
        &self,
        device: &str,
        topic: Topic,
        payload: Vec<u8>,
    ) -> Result<NewMessage, NameError> {
        let device = DeviceId::new(device)?;
        let topics = Topics::new(&self.root, &device)?;
        Ok(NewMessage {
            topic: topics.name(topic).as_str().to_owned(),
            payload,
            retain: matches!(
                topic,
                Topic::Desired | Topic::Keys | Topic::Presence | Topic::State
            ),
            expires_at: None,
        })
    }

    /// The broker has no session of ours: what it was told is perhaps lost, and nobody is known to be connected. Noted
    /// on disk until [`redeclare`](Self::redeclare), since the session that begins now may not last until then.
    pub(crate) async fn session_lost(&self) -> Result<(), StoreError> {
        let mut tx = self.store.write().await?;
        let gone = tx.all_offline().await?;
        tx.set_note(REDECLARE, Some("")).await?;
        tx.commit().await?;
        self.tell(gone);
        Ok(())
    }

    /// Whether declarations have to be put right: the broker lost a session of ours, or devices reach us elsewhere.
    pub(crate) async fn must_redeclare(&self) -> Result<bool, StoreError> {
        let mut tx = self.store.write().await?;
        Ok(tx.note(REDECLARE).await?.is_some())
    }

    /// Puts declarations of ours into the outbox again where the broker has none, or one of ours that is out of date.
    /// `found` is what it has; `sent` are the topics to which we have published since. What somebody else has declared
    /// was stored when it was found, so it is not ours any more.
    pub(crate) async fn redeclare(
        &self,
        found: &HashMap<DeviceId, Vec<u8>>,
        sent: &HashSet<String>,
    ) -> Result<(), StoreError> {
        let now = crate::clock::now();
        let mut tx = self.store.write().await?;
        self.follow_address(&mut tx, now).await?;
        let waiting = tx.outbox_topics().await?;
        let mut right = Vec::new();
        for (device, wish) in tx.own_wishes().await? {
            let Ok(id) = DeviceId::new(&device) else {
                continue;
            };
            if found.get(&id).is_none_or(|found| *found != wish.as_bytes()) {
                right.push((device, wish.into_bytes()));
            }
        }
        for device in found.keys() {
            if tx.is_taken_back(device.as_str()).await? {
                right.push((device.as_str().to_owned(), Vec::new()));
            }
        }
        for (device, payload) in right {
            if let Ok(message) = self.message(&device, Topic::Desired, payload)
                && !waiting.contains(&message.topic)
                && !sent.contains(&message.topic)
            {
                tx.send(&message, now).await?;
            }
        }
        self.send_keys_again(&mut tx, now).await?;
        tx.set_note(REDECLARE, None).await?;
        tx.commit().await
    }

    /// Applies a report, unless it is a declaration that one of ours replaces in a moment: the broker had it, or took
    /// it, before ours, which still waits. `given_up` says which messages do not count as waiting: the broker refuses
    /// them, and what others have declared since stands.
    pub(crate) async fn apply(
        &self,
        tx: &mut Tx,
        report: &Report,
        given_up: impl Fn(i64) -> bool,
        now: i64,
    ) -> Result<Vec<Live>, StoreError> {
        if let What::Wish(_) = report.what
            && let Ok(message) = self.message(report.device.as_str(), Topic::Desired, Vec::new())
            && let Some(waiting) = tx.waiting(&message.topic).await?
        {
            if report.retained || !given_up(waiting) {
                return Ok(Vec::new());
            }
            tx.sent(&[waiting]).await?;
        }
        let changes = tx.apply(report, now).await?;
        if let What::State(state) = &report.what {
            let device = report.device.as_str();
            if self
                .send_keys(tx, device, state.product.as_str(), now)
                .await?
            {
                self.outbox_ready.notify_one();
            }
        }
        Ok(changes)
    }
}
