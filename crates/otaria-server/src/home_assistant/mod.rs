//! Devices in Home Assistant: one `update` entity each, found by MQTT discovery, with progress and a button to install.
//!
//! Home Assistant has a broker of its own, or shares one with the devices; either way this is a connection of its own, so that no
//! device and no rule for devices has to do with it. Nothing is kept for it: what is known is published, retained, whenever this
//! connection begins, whenever Home Assistant says that it has started, and of one device whenever something about that changes.
//!
//! | topic | from | what |
//! |---|---|---|
//! | `homeassistant/status` | Home Assistant | it has started: `online` |
//! | `homeassistant/device/otaria_ID/config` | here | the device and its entity; empty: it was forgotten |
//! | `ROOT/home-assistant/ID/state` | here | versions and progress |
//! | `ROOT/home-assistant/ID/availability` | here | whether the device is connected |
//! | `ROOT/home-assistant/availability` | here, last will | whether this server is |
//! | `ROOT/home-assistant/ID/install` | Home Assistant | bring the newest package to the device |

mod entity;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use otaria_wire::topics::DeviceId;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, LastWill, Publish};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::entity::Entity;
use crate::audit::Origin;
use crate::bus::{BrokerUrl, Connector, Happened, Link, LinkError, Way, at, told_to_stop};
use crate::model::{ActorKind, Live, NewJob, Target};
use crate::shared::Shared;
use crate::store::{NewMessage, OutboxRow, StoreError};

/// Where Home Assistant says that it has started.
const BIRTH: &str = "homeassistant/status";
/// Publishes under way at once.
const WINDOW: usize = 64;
/// Changes of a device within this time are told as one: a download reports twice a second.
const GATHER: Duration = Duration::from_millis(500);
/// Waits between connections: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The running connection.
pub(crate) struct HomeAssistant {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl HomeAssistant {
    /// Starts to keep a connection to Home Assistant's broker.
    pub(crate) fn start(
        shared: Arc<Shared>,
        broker: BrokerUrl,
        tls: Option<Connector>,
        client_id: String,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let way = Way {
            broker,
            tls: tls.map(Arc::new),
            client_id,
            will: Some(LastWill::new(
                entity::own_availability(&shared.root),
                entity::OFFLINE,
                QoS::AtLeastOnce,
                true,
                None,
            )),
        };
        let task = tokio::spawn(keep_connected(shared, way, stopped));
        Self { stop, task }
    }

    /// Says that the server goes, and disconnects.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// What ends a connection.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}")]
    Store(#[from] StoreError),
}

async fn keep_connected(shared: Arc<Shared>, way: Way, mut stopped: watch::Receiver<bool>) {
    let mut wait = BACKOFF.0;
    let mut said = String::new();
    let mut told = HashMap::new();
    while !*stopped.borrow() {
        let mut session = Session::new(&shared, &mut told);
        let ended = match Link::connect(&way) {
            Ok(link) => session.run(link, &mut stopped).await,
            Err(error) => Err(error.into()),
        };
        let Err(error) = ended else { return };
        if session.was_up {
            wait = BACKOFF.0;
            said.clear();
        }
        // Once for each reason, not once for each try.
        let why = error.to_string();
        if why != said {
            tracing::warn!(broker = %way.broker, "no connection to Home Assistant's broker: {why}; trying again");
            said = why;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = told_to_stop(&mut stopped) => {}
        }
        wait = (wait * 2).min(BACKOFF.1);
    }
}

/// One connection.
struct Session<'a> {
    shared: &'a Shared,
    was_up: bool,
    /// What every device was last announced as, as a hash: announcing one anew makes Home Assistant set it up anew.
    announced: &'a mut HashMap<String, u64>,
    /// Devices of which something is to be told, and since when the oldest of them waits.
    changed: BTreeSet<String>,
    since: Option<Instant>,
    ready: VecDeque<NewMessage>,
    under_way: usize,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, announced: &'a mut HashMap<String, u64>) -> Self {
        Self {
            shared,
            was_up: false,
            announced,
            changed: BTreeSet::new(),
            since: None,
            ready: VecDeque::new(),
            under_way: 0,
        }
    }

    /// Runs until told to stop (`Ok`) or until something fails.
    async fn run(
        &mut self,
        mut link: Link,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<(), Ended> {
        let mut live = self.shared.watch();
        loop {
            let gathered = self.since.map(|since| since + GATHER);
            tokio::select! {
                happened = link.next() => self.took(happened?, &link).await?,
                change = live.recv() => self.noticed(change).await?,
                () = self.shared.offer_changed.notified() => self.all_anew(false).await?,
                () = at(gathered), if self.was_up && self.ready.is_empty() => self.gather().await?,
                () = told_to_stop(stopped) => {
                    link.publish(&row(self.available(false)), None)?;
                    link.disconnect().await;
                    return Ok(());
                }
            }
            while self.was_up
                && self.under_way < WINDOW
                && let Some(message) = self.ready.pop_front()
            {
                link.publish(&row(message), None)?;
                self.under_way += 1;
            }
        }
    }

    async fn took(&mut self, happened: Happened, link: &Link) -> Result<(), Ended> {
        match happened {
            Happened::Up { .. } => {
                self.was_up = true;
                let install = entity::install_filter(&self.shared.root);
                let filter = |topic: &str| Filter::new(topic, QoS::AtLeastOnce);
                link.subscribe(vec![filter(BIRTH), filter(&install)])?;
                self.ready.push_back(self.available(true));
                self.all_anew(true).await?;
            }
            Happened::Subscribed(refused) if !refused.is_empty() => {
                tracing::error!(?refused, "Home Assistant's broker refuses subscriptions");
            }
            Happened::Message(message) => {
                self.heard(&message).await?;
                link.acknowledge(&message)?;
            }
            Happened::Acknowledged { .. } => self.under_way = self.under_way.saturating_sub(1),
            Happened::Subscribed(_) | Happened::Sent(_) => {}
        }
        Ok(())
    }

    async fn heard(&mut self, message: &Publish) -> Result<(), Ended> {
        if message.topic == BIRTH.as_bytes() {
            if &*message.payload == b"online" {
                self.all_anew(true).await?;
            }
            return Ok(());
        }
        let topic = String::from_utf8_lossy(&message.topic);
        // A button is pressed, not held: an old press that the broker has kept counts for nothing.
        if let Some(device) = entity::to_install(&self.shared.root, &topic)
            && &*message.payload == entity::INSTALL.as_bytes()
            && !message.retain
        {
            let device = device.to_owned();
            if let Err(why) = self.install(&device).await {
                tracing::warn!(%device, "Home Assistant asks for an update: {why}");
            }
            self.note(device);
        }
        Ok(())
    }

    /// Declares the newest package that the device lacks.
    async fn install(&self, device: &str) -> Result<(), String> {
        let now = crate::clock::now();
        let fail = |error: StoreError| error.to_string();
        let entity = self.entity(device, now).await.map_err(fail)?;
        let entity = entity.ok_or("the device is not known here")?;
        if entity.is_updating() {
            return Err("the device is at it already".to_owned());
        }
        let package = entity.newer().ok_or("there is no newer package for it")?;
        let request = NewJob {
            package: package.digest,
            target: Target::Device(device.to_owned()),
            job: None,
            not_before: None,
            deadline: None,
            unseen: false,
        };
        let origin = Origin::unnamed(ActorKind::HomeAssistant);
        let published = origin.scope(self.shared.publish(&request, now)).await;
        published.map(drop).map_err(|error| error.to_string())
    }

    async fn noticed(&mut self, change: Result<Arc<Live>, RecvError>) -> Result<(), Ended> {
        match change.as_deref() {
            Ok(
                Live::Presence { device, .. }
                | Live::State { device, .. }
                | Live::Progress { device, .. },
            ) => self.note(device.clone()),
            Ok(Live::Assignment(assignment)) => self.note(assignment.device.clone()),
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => self.all_anew(false).await?,
            // The server ends; it says so on another way as well.
            Err(RecvError::Closed) => std::future::pending().await,
        }
        Ok(())
    }

    fn note(&mut self, device: String) {
        self.since.get_or_insert_with(Instant::now);
        self.changed.insert(device);
    }

    /// Tells of all devices, and of those that are gone; `announce`: as if nothing had been told before.
    async fn all_anew(&mut self, announce: bool) -> Result<(), Ended> {
        let mut gone: BTreeSet<String> = self.announced.keys().cloned().collect();
        if announce {
            self.announced.clear();
        }
        for device in self.shared.store.device_ids().await? {
            gone.remove(&device);
            self.note(device);
        }
        gone.into_iter().for_each(|device| self.note(device));
        Ok(())
    }

    /// Makes the messages about what has changed.
    async fn gather(&mut self) -> Result<(), Ended> {
        let now = crate::clock::now();
        // As many as can be under way: the rest is looked at when these are, and is newer then.
        for _ in 0..WINDOW {
            let Some(device) = self.changed.pop_first() else {
                self.since = None;
                break;
            };
            let Some(entity) = self.entity(&device, now).await? else {
                self.announced.remove(&device);
                self.ready.extend(entity::gone(&self.shared.root, &device));
                continue;
            };
            let announcement = entity.announcement();
            let hash = hash_of(&announcement.payload);
            if self.announced.insert(device, hash) != Some(hash) {
                self.ready.push_back(announcement);
            }
            self.ready.extend(entity.news());
        }
        Ok(())
    }

    async fn entity(&self, device: &str, now: i64) -> Result<Option<Entity>, StoreError> {
        if DeviceId::new(device).is_err() {
            return Ok(None);
        }
        let store = &self.shared.store;
        let Some(device) = store.device(device, now).await? else {
            return Ok(None);
        };
        let newest = match &device.state {
            Some(state) => {
                let (product, chip) = (state.product.as_str(), state.chip.as_str());
                store.newest_package(product, chip).await?
            }
            None => None,
        };
        Ok(Some(Entity::new(self.shared, device, newest)))
    }

    fn available(&self, yes: bool) -> NewMessage {
        entity::retained(
            entity::own_availability(&self.shared.root),
            entity::availability(yes).to_owned(),
        )
    }
}

fn hash_of(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

/// The connection takes rows of the outbox. These are in none: whatever is lost is told again.
fn row(message: NewMessage) -> OutboxRow {
    OutboxRow { id: 0, message }
}
