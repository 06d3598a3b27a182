//! What the parts of the server share.

use std::sync::Arc;

use otaria_wire::topics::{DeviceId, NameError, Topic, Topics};
use tokio::sync::{Notify, broadcast, watch};

use crate::model::Live;
use crate::packages::{EXTENSION, PackageFiles};
use crate::store::{NewMessage, Store, StoreError};

/// Changes kept for a reader of the event stream that is slow.
const LIVE_BACKLOG: usize = 4096;

/// What the parts of the server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) packages: PackageFiles,
    /// First level of the topics.
    pub(crate) root: String,
    /// Where devices reach the HTTP server, without a slash at the end.
    pub(crate) public_url: String,
    /// Only reachable from this machine.
    pub(crate) loopback: bool,
    /// Tells the bus that something is in the outbox.
    pub(crate) outbox_ready: Notify,
    pub(crate) broker_connected: watch::Sender<bool>,
    /// Ends the event streams.
    pub(crate) stopping: watch::Sender<bool>,
    live: broadcast::Sender<Arc<Live>>,
}

impl Shared {
    pub(crate) fn new(
        store: Store,
        packages: PackageFiles,
        root: String,
        public_url: String,
        loopback: bool,
    ) -> Self {
        Self {
            store,
            packages,
            root,
            public_url,
            loopback,
            outbox_ready: Notify::new(),
            broker_connected: watch::Sender::new(false),
            stopping: watch::Sender::new(false),
            live: broadcast::Sender::new(LIVE_BACKLOG),
        }
    }

    /// Tells whoever watches.
    pub(crate) fn tell(&self, changes: Vec<Live>) {
        for change in changes {
            // Nobody watching is no error.
            let _ = self.live.send(Arc::new(change));
        }
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
            retain: topic == Topic::Desired,
            expires_at: None,
        })
    }

    /// Puts every declaration of ours into the outbox again: the broker has lost our session, so perhaps those as well.
    /// Devices recognise what they know.
    pub(crate) async fn redeclare(&self) -> Result<(), StoreError> {
        let now = crate::clock::now();
        let mut tx = self.store.write().await?;
        let waiting = tx.outbox_topics().await?;
        for (device, wish) in tx.own_wishes().await? {
            if let Ok(message) = self.message(&device, Topic::Desired, wish.into_bytes())
                && !waiting.contains(&message.topic)
            {
                tx.send(&message, now).await?;
            }
        }
        tx.commit().await
    }
}
