//! That servers of one database fit together: either several at one broker outside, or one that has a broker of its own, to
//! which all devices connect. Each holds a lease that says which of the two it is. A server that dies gives nothing up; its lease
//! runs out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::shared::Shared;
use crate::store::{StoreError, Tx};

/// How often leases are renewed, and how long they last without.
pub(crate) const EVERY: Duration = Duration::from_secs(2);
pub(crate) const LAST: Duration = Duration::from_secs(10);
/// How often a server looks whether the one in its way is gone.
const LOOK: Duration = Duration::from_millis(500);
/// How the leases of servers at a broker outside begin.
pub(crate) const SERVER: &str = "server/";
/// The lease of the one server with a broker of its own.
pub(crate) const ALONE: &str = "alone";

/// What a server is among those that may use its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has a broker of its own, so it has to be the only one.
    Alone,
    /// One at a broker outside, where others may be, too.
    OneOfMany,
}

/// Why a server may not use a database, or may no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Taken {
    /// By a server with a broker of its own.
    #[error(
        "a server with a broker of its own uses this database. Devices connect to one broker: stop that server, or start it and \
         this one with one broker that both reach, with --mqtt"
    )]
    ByOneAlone,
    /// By others, while this one would have a broker of its own.
    #[error(
        "other servers use this database, and this one would have a broker of its own. Devices connect to one broker: start this \
         one with theirs, with --mqtt, or stop them"
    )]
    ByOthers,
}

/// A lease, as whoever works under it sees it.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) name: String,
    pub(crate) holder: String,
    pub(crate) held: watch::Receiver<bool>,
}

impl Lease {
    /// Waits until it is ours.
    pub(crate) async fn held(&mut self) {
        // An error means that the server ends, and then nothing is to be done.
        if self.held.wait_for(|held| *held).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until it is not.
    pub(crate) async fn lost(&mut self) {
        let _ = self.held.wait_for(|held| !*held).await;
    }

    /// Whether it is ours, for as long as the transaction lasts.
    pub(crate) async fn check(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        tx.holds(&self.name, &self.holder).await
    }
}

/// A server's lease as one of the servers of its database.
pub(crate) struct Membership {
    shared: Arc<Shared>,
    kind: Kind,
    name: String,
    holder: String,
    held: watch::Sender<bool>,
}

impl Membership {
    /// Takes a lease of this kind. If servers of the other kind seem to be there, waits until it is seen whether they live: a
    /// living one renews its lease, a dead one's runs out.
    pub(crate) async fn begin(
        shared: Arc<Shared>,
        kind: Kind,
        holder: String,
    ) -> Result<Result<Arc<Self>, Taken>, StoreError> {
        let membership = Self {
            shared,
            kind,
            name: match kind {
                Kind::Alone => ALONE.to_owned(),
                Kind::OneOfMany => format!("{SERVER}{holder}"),
            },
            holder,
            held: watch::Sender::new(true),
        };
        let began = Instant::now();
        let mut first_seen = None;
        while let Some(until) = membership.enter().await? {
            let renewed = until > *first_seen.get_or_insert(until);
            if renewed || began.elapsed() > LAST + EVERY {
                return Ok(Err(membership.in_the_way()));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(Ok(Arc::new(membership)))
    }

    /// Goes on with the lease; whether it is still this server's. If not, it is for good.
    pub(crate) async fn renew(&self) -> Result<bool, StoreError> {
        let (store, last) = (&self.shared.store, LAST.as_secs_f64());
        // Without waiting for whoever writes. Even a lease that ran out is there until somebody enters.
        let held = *self.held.borrow()
            && (store.prolong(&self.name, &self.holder, last).await?
                || self.enter().await?.is_none());
        self.held
            .send_if_modified(|was| std::mem::replace(was, held) != held);
        Ok(held)
    }

    /// Renews the lease until the keeper is dropped.
    pub(crate) fn keep(self: &Arc<Self>) -> Keeper {
        Keeper(tokio::spawn(Arc::clone(self).renew_often()))
    }

    async fn renew_often(self: Arc<Self>) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            match self.renew().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(
                        "this server's lease of the database cannot be renewed: {error}"
                    );
                }
            }
        }
    }

    /// The lease, for work that only its holder may do.
    pub(crate) fn lease(&self) -> Lease {
        Lease {
            name: self.name.clone(),
            holder: self.holder.clone(),
            held: self.held.subscribe(),
        }
    }

    /// Waits until servers of the other kind have taken the place of this one, which slept for longer than its lease lasted.
    pub(crate) async fn lost(&self) -> Taken {
        self.lease().lost().await;
        self.in_the_way()
    }

    /// Gives the lease up, so that nobody has to wait for its end.
    pub(crate) async fn leave(&self) {
        // It runs out by itself if this fails.
        let _ = self.shared.store.release(&self.name, &self.holder).await;
    }

    const fn in_the_way(&self) -> Taken {
        match self.kind {
            Kind::Alone => Taken::ByOthers,
            Kind::OneOfMany => Taken::ByOneAlone,
        }
    }

    /// Takes the lease unless other servers are in the way; until when theirs last, then.
    async fn enter(&self) -> Result<Option<f64>, StoreError> {
        let mut tx = self.shared.store.write().await?;
        let others = match self.kind {
            Kind::Alone => None,
            Kind::OneOfMany => Some(ALONE),
        };
        let until = tx.held_by_others(&self.holder, others).await?;
        if until.is_none() {
            tx.hold(&self.name, &self.holder, LAST.as_secs_f64())
                .await?;
        }
        tx.commit().await?;
        Ok(until)
    }
}

/// Keeps a lease for as long as it is there.
pub(crate) struct Keeper(JoinHandle<()>);

impl Keeper {
    /// Ends; nothing is renewed when this returns.
    pub(crate) async fn end(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
