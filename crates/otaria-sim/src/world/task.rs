//! Tasks, their wakers, and the handle that waits for one.

use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::{Inner, Ready, TaskId};

/// A future that can be polled, with what wakes it.
pub(super) struct Running<F> {
    future: F,
    flag: Arc<Flag>,
    waker: Waker,
}

/// Whether a task is in the queue of those to poll, and how it gets there.
struct Flag {
    id: TaskId,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.id);
        }
    }
}

impl<T, F: Future<Output = T> + ?Sized, P: core::ops::DerefMut<Target = F>> Running<Pin<P>> {
    /// Takes a future and puts it into the queue.
    pub(super) fn start(id: TaskId, ready: &Arc<Ready>, future: Pin<P>) -> Self {
        let flag = Arc::new(Flag {
            id,
            queued: AtomicBool::new(false),
            ready: ready.clone(),
        });
        flag.wake_by_ref();
        let waker = Waker::from(flag.clone());
        Running {
            future,
            flag,
            waker,
        }
    }

    /// Polls the future, which its queue entry has led to.
    pub(super) fn poll(&mut self) -> Poll<T> {
        self.flag.queued.store(false, Ordering::Relaxed);
        self.future
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker))
    }
}

/// A spawned future.
pub(super) struct Task {
    /// For messages.
    pub(super) name: String,
    /// `None` while it is being polled.
    pub(super) running: Option<Running<Pin<Box<dyn Future<Output = ()>>>>>,
}

/// Where a task leaves its output, and who waits for it.
pub(super) struct Outcome<T> {
    value: RefCell<Option<T>>,
    done: Cell<bool>,
    waiting: Cell<Option<Waker>>,
}

impl<T> Default for Outcome<T> {
    fn default() -> Self {
        Outcome {
            value: RefCell::new(None),
            done: Cell::new(false),
            waiting: Cell::new(None),
        }
    }
}

impl<T> Outcome<T> {
    pub(super) fn set(&self, value: T) {
        self.value.replace(Some(value));
        self.done.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

/// Waits for a task's output. Dropping it lets the task run on.
pub struct JoinHandle<T> {
    world: Weak<Inner>,
    id: TaskId,
    outcome: Rc<Outcome<T>>,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(world: Weak<Inner>, id: TaskId, outcome: Rc<Outcome<T>>) -> Self {
        JoinHandle { world, id, outcome }
    }

    /// Whether the task has ended by itself.
    pub fn is_finished(&self) -> bool {
        self.outcome.done.get()
    }

    /// Drops the task's future wherever it is. A task that aborts itself ends when its present poll returns.
    pub fn abort(&self) {
        let Some(world) = self.world.upgrade() else {
            return;
        };
        let task = world.tasks.borrow_mut().remove(&self.id);
        // Dropped only now: the drop of a future may look at the world.
        drop(task);
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.outcome.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.outcome.waiting.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}
