//! How servers that share a database share the work at the broker.
//!
//! ```text
//! lane 0      state, presence, desired, and the outbox       what has an order stays in one hand
//! lanes 1-3   event, progress, log, as shared subscriptions  numbered, so they may come in any order
//! ```
//! Each lane is a session at the broker with a name of its own, and each is served by one server: whoever holds its lease. The
//! sessions stay when a server dies. Whoever gets its lanes connects under their names, by which the broker ends what is left of the
//! dead one's connections, and gets what was not acknowledged. Nothing is lost with a server, therefore, and no message overtakes a
//! newer one: an outbox that two servers sent could put an older wish in place of a newer one.
//!
//! A server that was only slow finds out before it stores anything: see [`Lease::check`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use otaria_wire::topics::Topic;
use tokio::sync::watch;

use crate::shared::Shared;
use crate::store::{StoreError, Tx};

/// How many lanes there are: as many servers as can take part.
pub(super) const LANES: usize = 4;
/// What the first lane carries; the others carry [`UNORDERED`].
pub(super) const ORDERED: &[Topic] = &[Topic::Presence, Topic::State];
/// Reports that are right in any order.
pub(super) const UNORDERED: &[Topic] = &[Topic::Event, Topic::Progress, Topic::Log];

/// How often leases are renewed, and how long they last without.
const EVERY: Duration = Duration::from_secs(2);
const LAST: Duration = Duration::from_secs(10);
/// A server's own lease, by which the others count it.
const SERVER: &str = "server/";

/// A lane's lease, as the session that works under it sees it.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    name: String,
    holder: String,
    held: watch::Receiver<bool>,
}

impl Lease {
    /// Waits until it is ours.
    pub(super) async fn held(&mut self) {
        // An error means that the server ends, and then nothing is to be done.
        if self.held.wait_for(|held| *held).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until it is not.
    pub(super) async fn lost(&mut self) {
        let _ = self.held.wait_for(|held| !*held).await;
    }

    /// Whether it is ours, for as long as the transaction lasts.
    pub(super) async fn check(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        tx.holds(&self.name, &self.holder).await
    }
}

/// A lane as whoever hands them out sees it.
struct Lane {
    name: String,
    held: watch::Sender<bool>,
    renewed: Instant,
}

/// All lanes, and who this is.
pub(super) struct Lanes {
    holder: String,
    lanes: Vec<Lane>,
}

impl Lanes {
    pub(super) fn new(holder: String) -> (Self, Vec<Lease>) {
        let lanes: Vec<Lane> = (0..LANES)
            .map(|lane| Lane {
                name: format!("lane/{lane}"),
                held: watch::Sender::new(false),
                renewed: Instant::now(),
            })
            .collect();
        let leases = lanes
            .iter()
            .map(|lane| Lease {
                name: lane.name.clone(),
                holder: holder.clone(),
                held: lane.held.subscribe(),
            })
            .collect();
        (Self { holder, lanes }, leases)
    }

    /// Keeps this server's part of the lanes until told to stop, then gives them up.
    pub(super) async fn keep(mut self, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = super::told_to_stop(&mut stopped) => break,
            }
            if let Err(error) = self.renew(&shared).await {
                tracing::error!("this server's part of the work cannot be renewed: {error}");
            }
            // A database that does not answer may have given them to others.
            for lane in &self.lanes {
                if lane.renewed.elapsed() > LAST - EVERY {
                    lane.held.send_if_modified(std::mem::take);
                }
            }
            let leads = self.lanes.first().is_some_and(|lane| *lane.held.borrow());
            shared.leads.send_replace(leads);
        }
        let own = format!("{SERVER}{}", self.holder);
        for name in self.lanes.iter().map(|lane| &lane.name).chain([&own]) {
            // It runs out by itself if this fails.
            let _ = shared.store.release(name, &self.holder).await;
        }
    }

    async fn renew(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let (store, holder) = (&shared.store, self.holder.as_str());
        let last = LAST.as_secs_f64();
        store
            .hold(&format!("{SERVER}{holder}"), holder, last)
            .await?;
        let servers = store.held(SERVER).await?.max(1);
        let mut left = LANES.div_ceil(servers);
        let (ours, others): (Vec<&mut Lane>, Vec<&mut Lane>) =
            self.lanes.iter_mut().partition(|lane| *lane.held.borrow());
        for lane in ours {
            let begun = Instant::now();
            if left > 0 && store.hold(&lane.name, holder, last).await? {
                left -= 1;
                lane.renewed = begun;
                continue;
            }
            // Given up the next time, when nothing works under it any more.
            lane.held.send_replace(false);
        }
        for lane in others {
            let begun = Instant::now();
            if left > 0 && store.hold(&lane.name, holder, last).await? {
                left -= 1;
                lane.renewed = begun;
                lane.held.send_replace(true);
                tracing::info!("this server serves {}", lane.name);
            } else {
                store.release(&lane.name, holder).await?;
            }
        }
        if !self.lanes.iter().any(|lane| *lane.held.borrow()) {
            // There are more servers than lanes; nothing of what is to be done at the broker is this one's.
            shared.broker_connected.send_replace(true);
        }
        Ok(())
    }
}
