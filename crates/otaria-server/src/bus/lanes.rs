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
use std::time::Instant;

use otaria_wire::topics::Topic;
use tokio::sync::watch;

use crate::membership::{EVERY, LAST, Lease, Membership, SERVER};
use crate::shared::Shared;
use crate::store::StoreError;

/// How many lanes there are: as many servers as can take part.
pub(super) const LANES: usize = 4;
/// What the first lane carries; the others carry [`UNORDERED`].
pub(super) const ORDERED: &[Topic] = &[Topic::Presence, Topic::State];
/// Reports that are right in any order.
pub(super) const UNORDERED: &[Topic] = &[Topic::Event, Topic::Progress, Topic::Log];

/// A lane as whoever hands them out sees it.
struct Lane {
    name: String,
    held: watch::Sender<bool>,
    renewed: Instant,
}

/// All lanes, and who this is.
pub(super) struct Lanes {
    server: Arc<Membership>,
    holder: String,
    lanes: Vec<Lane>,
}

impl Lanes {
    pub(super) fn new(server: Arc<Membership>) -> (Self, Vec<Lease>) {
        let holder = server.lease().holder;
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
        let lanes = Self {
            server,
            holder,
            lanes,
        };
        (lanes, leases)
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
        for lane in &self.lanes {
            // It runs out by itself if this fails.
            let _ = shared.store.release(&lane.name, &self.holder).await;
        }
    }

    async fn renew(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let (store, holder) = (&shared.store, self.holder.as_str());
        let last = LAST.as_secs_f64();
        let mut left = match self.server.renew().await? {
            true => LANES.div_ceil(store.held(SERVER).await?.max(1)),
            // A server with a broker of its own has all of it.
            false => 0,
        };
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
