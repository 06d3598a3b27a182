//! Timers: wakers and calls in the order of their moments.

use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::BTreeMap;

use super::Handle;

/// When a timer fires, and its place among those of the same moment.
type Key = (Duration, u64);

/// What happens when a timer fires.
pub(super) enum Fire {
    Wake(Waker),
    Call(Box<dyn FnOnce()>),
}

impl Fire {
    pub(super) fn run(self) {
        match self {
            Fire::Wake(waker) => waker.wake(),
            Fire::Call(what) => what(),
        }
    }
}

/// All timers of a world. An ordered map and not a heap, because most timers are time-outs that are taken back.
#[derive(Default)]
pub(super) struct Timers {
    pending: RefCell<BTreeMap<Key, Fire>>,
    next: Cell<u64>,
}

impl Timers {
    fn insert(&self, at: Duration, fire: Fire) -> Key {
        let key = (at, self.next.get());
        self.next.set(key.1 + 1);
        self.pending.borrow_mut().insert(key, fire);
        key
    }

    pub(super) fn call(&self, at: Duration, what: Box<dyn FnOnce()>) {
        self.insert(at, Fire::Call(what));
    }

    /// The first timer, unless it is later than `end`.
    pub(super) fn pop_until(&self, end: Duration) -> Option<(Duration, Fire)> {
        let mut pending = self.pending.borrow_mut();
        let first = pending.first_entry().filter(|first| first.key().0 <= end)?;
        let ((at, _), fire) = first.remove_entry();
        Some((at, fire))
    }

    pub(super) fn clear(&self) {
        let pending = self.pending.take();
        // Dropped only now: the drop of a call may set timers.
        drop(pending);
    }
}

/// Waits for a moment. Dropping it takes the timer back.
pub struct Sleep {
    world: Handle,
    at: Duration,
    timer: Option<Key>,
}

impl Sleep {
    pub(super) fn new(world: Handle, at: Duration) -> Self {
        Sleep {
            world,
            at,
            timer: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.world.now() >= self.at {
            return Poll::Ready(());
        }
        let timers = &self.world.0.timers;
        if let Some(key) = self.timer
            && let Some(fire) = timers.pending.borrow_mut().get_mut(&key)
        {
            // Keeps its place among the timers of its moment.
            *fire = Fire::Wake(cx.waker().clone());
            return Poll::Pending;
        }
        let key = timers.insert(self.at, Fire::Wake(cx.waker().clone()));
        self.timer = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer {
            self.world.0.timers.pending.borrow_mut().remove(&key);
        }
    }
}
