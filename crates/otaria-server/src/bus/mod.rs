//! The server's side of MQTT: reports into the store, the outbox to the broker. Works the same with the embedded broker
//! and with any other that speaks MQTT 5.
//!
//! Nothing is lost when the server dies: a report is acknowledged after it is on disk, and the session at the broker
//! keeps what comes meanwhile; a message of ours stays in the outbox until the broker has acknowledged it. What comes
//! twice is recognised: events by (install, boot, n), wishes and commands by their job and id.

mod address;
mod lanes;
mod link;
mod retain;
mod tunnel;

pub use address::{BrokerUrl, BrokerUrlError};
use lanes::Lanes;
pub(crate) use link::{Happened, Link, LinkError};
pub use retain::{RetainError, retain};
pub(crate) use tunnel::Connector;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use otaria_wire::topics::{self, DeviceId, NameError, Topic};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, LastWill, PubAckReason, Publish};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::ingest::{self, What};
use crate::membership::{Lease, Membership};
use crate::model::Live;
use crate::shared::Shared;
use crate::store::{OutboxRow, StoreError};

/// Publishes under way at once. Brokers must take 65,535 unless they say otherwise; few need saying.
const WINDOW: usize = 16;
/// Reports stored in one transaction at most.
const BATCH: usize = 256;
/// Waits between connections: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Waits before a message that the broker refused is sent again: the first, and the longest.
const REFUSED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long a broker that has forgotten our session must be silent about what is declared before that counts as all:
/// MQTT has no word for "that was the last retained message".
const SETTLED: Duration = Duration::from_secs(2);

/// How often the outbox is looked at for what other servers have put there.
const LOOK: Duration = Duration::from_millis(500);

/// The running bus.
pub(crate) struct Bus {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Bus {
    /// Starts to keep a connection to the broker, which this server has to itself, by a lease if the database could be others', too.
    /// `reports` are what devices say there that is to be stored.
    pub(crate) fn start(
        shared: Arc<Shared>,
        way: Way,
        reports: &[Topic],
        lease: Option<Lease>,
    ) -> Result<Self, NameError> {
        let work = Work {
            filters: filters(&shared.root, reports)?,
            leads: true,
            lease,
        };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(keep_connected(shared, way, work, stopped));
        Ok(Self {
            stop,
            tasks: vec![task],
        })
    }

    /// Starts to keep this server's part of the connections that the servers of one database have to the broker.
    pub(crate) fn share(
        shared: Arc<Shared>,
        way: Way,
        server: Arc<Membership>,
    ) -> Result<Self, NameError> {
        let (stop, stopped) = watch::channel(false);
        let (lanes, leases) = Lanes::new(server);
        let mut tasks = vec![tokio::spawn(
            lanes.keep(Arc::clone(&shared), stopped.clone()),
        )];
        for (lane, lease) in leases.into_iter().enumerate() {
            let leads = lane == 0;
            let work = Work {
                filters: match leads {
                    true => filters(&shared.root, lanes::ORDERED)?,
                    false => shared_filters(&shared.root, lanes::UNORDERED)?,
                },
                leads,
                lease: Some(lease),
            };
            let mut way = way.clone();
            if !leads {
                way.client_id = format!("{}-{lane}", way.client_id);
            }
            let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
            tasks.push(tokio::spawn(keep_connected(shared, way, work, stopped)));
        }
        Ok(Self { stop, tasks })
    }

    /// Disconnects in good order; what was received is stored.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// What is done on a connection.
struct Work {
    filters: Vec<Filter>,
    /// Whether the outbox is sent on it, and what is declared is compared with what should be.
    leads: bool,
    /// Under which it is done, if there may be other servers.
    lease: Option<Lease>,
}

/// How the server reaches a broker.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) broker: BrokerUrl,
    pub(crate) tls: Option<Arc<Connector>>,
    pub(crate) client_id: String,
    /// What the broker publishes when the connection breaks.
    pub(crate) will: Option<LastWill>,
}

fn filters(root: &str, reports: &[Topic]) -> Result<Vec<Filter>, NameError> {
    reports
        .iter()
        .copied()
        // What others declare for devices; our own is not sent back to us.
        .chain([Topic::Desired])
        .map(|topic| {
            let qos = if topic == Topic::Progress {
                QoS::AtMostOnce
            } else {
                QoS::AtLeastOnce
            };
            let mut filter = Filter::new(topics::filter(root, topic)?.as_str(), qos);
            filter.preserve_retain = false;
            filter.nolocal = topic == Topic::Desired;
            Ok(filter)
        })
        .collect()
}

/// The filters of a group of sessions, each message for one of which.
fn shared_filters(root: &str, reports: &[Topic]) -> Result<Vec<Filter>, NameError> {
    let mut filters = filters(root, reports)?;
    filters.retain(|filter| !filter.nolocal);
    for filter in &mut filters {
        filter.path = format!("$share/otaria/{}", filter.path);
    }
    Ok(filters)
}

async fn keep_connected(
    shared: Arc<Shared>,
    way: Way,
    mut work: Work,
    mut stopped: watch::Receiver<bool>,
) {
    let mut wait = BACKOFF.0;
    let mut said = String::new();
    let mut refused = Refused::new();
    while !*stopped.borrow() {
        if let Some(lease) = &mut work.lease {
            tokio::select! {
                () = lease.held() => {}
                () = told_to_stop(&mut stopped) => return,
            }
        }
        refused.connected();
        let mut session = Session::new(&shared, &mut refused, work.lease.clone());
        let ended = match Link::connect(&way) {
            Ok(link) => session.run(link, &work, &mut stopped).await,
            Err(error) => Err(error.into()),
        };
        let error = match ended {
            Err(SessionError::Lease) => {
                // The store has said so; whoever keeps the lease hears of it in a moment.
                tokio::time::sleep(BACKOFF.0).await;
                continue;
            }
            Err(error) => error,
            Ok(()) => {
                shared.broker_connected.send_replace(false);
                return;
            }
        };
        shared.broker_connected.send_replace(false);
        if session.was_up {
            wait = BACKOFF.0;
            said.clear();
        }
        // Once for each reason, not once for each try.
        let why = error.to_string();
        if why != said {
            tracing::warn!(broker = %way.broker, "no connection to the broker: {why}; trying again");
            said = why;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = told_to_stop(&mut stopped) => {}
        }
        wait = (wait * 2).min(BACKOFF.1);
    }
}

/// Waits until the server is told to stop.
pub(crate) async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is a way of telling it too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Waits until a lease is lost; for ever if there is none.
async fn lost(lease: &mut Option<Lease>) {
    match lease {
        Some(lease) => lease.lost().await,
        None => std::future::pending().await,
    }
}

/// Waits until a time; for ever if there is none.
pub(crate) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What ends a session with the broker.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("{0}")]
    Link(#[from] LinkError),
    #[error("{0}: {cause}", cause = source_of(.0))]
    Store(#[from] StoreError),
    /// Another server goes on with it.
    #[error("another server has taken over")]
    Lease,
}

fn source_of(error: &StoreError) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Messages that the broker has refused. They stay in the outbox, and are sent again now and then, since somebody may put
/// its access rights right. Kept over connections: Mosquitto ends one on which it has refused something.
struct Refused {
    ids: BTreeSet<i64>,
    /// Those that are to be sent again now.
    again: VecDeque<i64>,
    /// When all of them are, and how long the wait for that is.
    retry: Option<Instant>,
    wait: Duration,
}

impl Refused {
    fn new() -> Self {
        Self {
            ids: BTreeSet::new(),
            again: VecDeque::new(),
            retry: None,
            wait: REFUSED.0,
        }
    }

    /// Whether it is the first time.
    fn add(&mut self, id: i64) -> bool {
        self.retry.get_or_insert_with(|| Instant::now() + self.wait);
        self.ids.insert(id)
    }

    fn try_again(&mut self) {
        self.retry = None;
        self.wait = (self.wait * 2).min(REFUSED.1);
        self.again = self.ids.iter().copied().collect();
    }

    /// A connection begins; what was under way on the last one was not answered.
    fn connected(&mut self) {
        self.again.clear();
        if !self.ids.is_empty() {
            self.retry.get_or_insert_with(|| Instant::now() + self.wait);
        }
    }
}

/// What is under way on one connection.
struct Session<'a> {
    shared: &'a Shared,
    lease: Option<Lease>,
    was_up: bool,
    /// The newest message handed to the connection; none may be skipped.
    cursor: i64,
    /// Handed over, in order, without a packet id yet.
    handed: VecDeque<i64>,
    /// Sent, waiting for the broker.
    sent: HashMap<u16, i64>,
    refused: &'a mut Refused,
    /// Taken by the broker, or expired: to be removed from the outbox.
    done: Vec<i64>,
    /// Received, to be stored and acknowledged.
    received: Vec<Publish>,
    /// Topics of devices to which something was sent on this connection.
    told: HashSet<String>,
    /// What the broker has in store of `desired`, while it is asked because it has lost a session of ours.
    found: Option<HashMap<DeviceId, Vec<u8>>>,
    /// When that is all.
    settled: Option<Instant>,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, refused: &'a mut Refused, lease: Option<Lease>) -> Self {
        Self {
            shared,
            lease,
            was_up: false,
            cursor: 0,
            handed: VecDeque::new(),
            sent: HashMap::new(),
            refused,
            done: Vec::new(),
            received: Vec::new(),
            told: HashSet::new(),
            found: None,
            settled: None,
        }
    }

    /// Runs until told to stop (`Ok`) or until something fails.
    async fn run(
        &mut self,
        mut link: Link,
        work: &Work,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<(), SessionError> {
        let mut lease = self.lease.clone();
        loop {
            let sends = self.was_up && work.leads;
            tokio::select! {
                happened = link.next() => self.took(happened?, &link, work).await?,
                () = self.shared.outbox_ready.notified(), if sends => {}
                () = tokio::time::sleep(LOOK), if sends && lease.is_some() => {}
                () = lost(&mut lease) => return Err(SessionError::Lease),
                () = at(self.settled) => {
                    self.settled = None;
                    if let Some(found) = self.found.take() {
                        self.shared.redeclare(&found, &self.told).await?;
                    }
                }
                () = at(self.refused.retry) => self.refused.try_again(),
                () = told_to_stop(stopped) => {
                    link.disconnect().await;
                    return Ok(());
                }
            }
            while self.received.len() < BATCH
                && let Some(happened) = link.next_now()
            {
                self.took(happened?, &link, work).await?;
            }
            self.store(&link).await?;
            if self.was_up && work.leads {
                self.send(&link).await?;
            }
        }
    }

    async fn took(
        &mut self,
        happened: Happened,
        link: &Link,
        work: &Work,
    ) -> Result<(), SessionError> {
        match happened {
            Happened::Up { session_present } => {
                tracing::info!(session_present, "connected to the broker");
                if work.leads {
                    if !session_present {
                        self.shared.session_lost().await?;
                    }
                    self.found = self.shared.must_redeclare().await?.then(HashMap::new);
                }
                link.subscribe(work.filters.clone())?;
                self.was_up = true;
            }
            Happened::Subscribed(refused) => {
                if self.found.is_some() {
                    self.settled = Some(Instant::now() + SETTLED);
                }
                if refused.is_empty() {
                    self.shared.broker_connected.send_replace(true);
                } else {
                    tracing::error!(
                        ?refused,
                        "the broker refuses subscriptions that the server needs"
                    );
                }
            }
            Happened::Message(publish) => {
                // Whoever declares something after the broker has taken ours has the last word: so ours is noted first.
                if !self.done.is_empty() && publish.topic.ends_with(b"/desired") {
                    self.store(link).await?;
                }
                self.received.push(publish);
            }
            Happened::Sent(packet) => {
                if let Some(id) = self.handed.pop_front() {
                    self.sent.insert(packet, id);
                }
            }
            Happened::Acknowledged { packet, reason } => {
                let Some(id) = self.sent.remove(&packet) else {
                    return Ok(());
                };
                match reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                        self.shared.metrics.sent.inc();
                        self.refused.ids.remove(&id);
                        self.done.push(id);
                    }
                    refused => {
                        // Once for each message, not once for each try.
                        if self.refused.add(id) {
                            tracing::error!(
                                ?refused,
                                "the broker refuses a message; it is tried again; check what the server's user may publish"
                            );
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Stores what was received, then acknowledges it, then tells who watches.
    async fn store(&mut self, link: &Link) -> Result<(), SessionError> {
        if self.received.is_empty() && self.done.is_empty() {
            return Ok(());
        }
        let now = crate::clock::now();
        let mut changes: Vec<Live> = Vec::new();
        let mut reports: Vec<(&Publish, ingest::Report)> = Vec::new();
        for message in &self.received {
            reports.extend(self.read(message).map(|report| (message, report)));
        }
        let store = &self.shared.store;
        let unordered = reports.iter().all(|(_, report)| report.is_unordered());
        let mut tx = if unordered && self.done.is_empty() {
            // Those of one device stay in their order.
            reports.sort_by(|(_, a), (_, b)| a.device.cmp(&b.device));
            store.write_reports().await?
        } else {
            store.write().await?
        };
        if let Some(lease) = &self.lease
            && !lease.check(&mut tx).await?
        {
            return Err(SessionError::Lease);
        }
        for (message, report) in reports {
            if let What::Wish(_) = report.what
                && report.retained
            {
                if let Some(found) = &mut self.found {
                    found.insert(report.device.clone(), message.payload.to_vec());
                    self.settled = Some(Instant::now() + SETTLED);
                }
                // The broker had it before it took what we have sent since.
                if self
                    .told
                    .contains(&*String::from_utf8_lossy(&message.topic))
                {
                    continue;
                }
            }
            let given_up = |id| self.refused.ids.contains(&id);
            changes.extend(self.shared.apply(&mut tx, &report, given_up, now).await?);
        }
        tx.sent(&self.done).await?;
        tx.commit().await?;
        self.done.clear();
        for message in self.received.drain(..) {
            link.acknowledge(&message)?;
        }
        self.shared.stored(changes);
        Ok(())
    }

    /// A message that cannot be read is dropped for good: it will not get better by being sent again.
    fn read(&self, message: &Publish) -> Option<ingest::Report> {
        let topic = String::from_utf8_lossy(&message.topic);
        match ingest::parse(&self.shared.root, &topic, &message.payload, message.retain) {
            Ok(report) => {
                let report = report?;
                self.shared.metrics.received.inc();
                Some(report)
            }
            Err(error) => {
                tracing::warn!(%topic, "message dropped: {error}");
                None
            }
        }
    }

    /// Hands messages of the outbox to the connection, as many as may be under way.
    async fn send(&mut self, link: &Link) -> Result<(), SessionError> {
        loop {
            let room = WINDOW.saturating_sub(self.handed.len() + self.sent.len());
            if room == 0 {
                return Ok(());
            }
            let now = crate::clock::now();
            if let Some(id) = self.refused.again.pop_front() {
                // It may have been replaced by a newer one meanwhile.
                let row = self.shared.store.outbox(id - 1, 1).await?.pop();
                match row.filter(|row| row.id == id) {
                    Some(row) => self.hand(&row, link, now)?,
                    None => drop(self.refused.ids.remove(&id)),
                }
            } else {
                let room = u32::try_from(room).unwrap_or(1);
                let rows = self.shared.store.outbox(self.cursor, room).await?;
                if rows.is_empty() {
                    return Ok(());
                }
                for row in rows {
                    self.cursor = row.id;
                    if !self.refused.ids.contains(&row.id) {
                        self.hand(&row, link, now)?;
                    }
                }
            }
            if !self.done.is_empty() {
                self.store(link).await?;
            }
        }
    }

    fn hand(&mut self, row: &OutboxRow, link: &Link, now: i64) -> Result<(), SessionError> {
        let left = row.message.expires_at.map(|at| at - now);
        if left.is_some_and(|left| left <= 0) {
            self.done.push(row.id);
            return Ok(());
        }
        link.publish(
            row,
            left.map(|left| u32::try_from(left).unwrap_or(u32::MAX)),
        )?;
        self.handed.push_back(row.id);
        self.told.insert(row.message.topic.clone());
        Ok(())
    }
}
