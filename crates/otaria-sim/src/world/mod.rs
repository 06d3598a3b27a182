//! Virtual time: a single-threaded executor whose clock jumps to the next timer as soon as nothing is left to do.
//!
//! The same seed and the same program give the same run, to the nanosecond: tasks are polled in the order in which they were
//! woken, timers of the same moment fire in the order in which they were set, and all randomness comes from the world's seed.
//! Nothing is global, so many worlds can run in one process, each in the thread that made it.
//!
//! ```
//! use core::time::Duration;
//! use otaria_sim::world::World;
//!
//! let world = World::new(1);
//! let handle = world.handle();
//! let waited = world.block_on(async {
//!     handle.sleep(Duration::from_secs(1_800)).await;
//!     handle.now()
//! });
//! assert_eq!(waited, Duration::from_secs(1_800)); // and no time has passed outside
//! ```

mod clock;
mod pace;
mod task;
#[cfg(test)]
mod tests;
mod timer;

use core::cell::{Cell, RefCell};
use core::future::Future;
use core::ops::Deref;
use core::pin::{Pin, pin};
use core::task::Poll;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;

pub use clock::SimClock;
pub use pace::paced;
pub use task::JoinHandle;
pub use timer::Sleep;

use task::{Outcome, Running, Task};
use timer::Timers;

/// The number of polls at one moment of virtual time after which a world is thought to go round in circles.
const POLLS_AT_ONE_MOMENT: u64 = 50_000_000;

/// A task's number. Never used again, so a late wake-up of a finished task finds nobody.
type TaskId = u64;

/// The future that [`World::block_on`] was given has this number in the queue.
const ROOT: TaskId = 0;

/// Tasks that were woken, in the order of their waking. Shared with wakers, which have to be `Send`.
#[derive(Default)]
struct Ready(Mutex<VecDeque<TaskId>>);

impl Ready {
    fn push(&self, id: TaskId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(id);
    }

    fn pop(&self) -> Option<TaskId> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

struct Inner {
    now: Cell<Duration>,
    timers: Timers,
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    next_task: Cell<TaskId>,
    ready: Arc<Ready>,
    rng: RefCell<Rng>,
    polls: Cell<u64>,
    polls_before_now: Cell<u64>,
}

/// A world: its time, its tasks, its chance. Dropping it drops its tasks.
pub struct World {
    handle: Handle,
}

/// What tasks hold of their world: they can ask for the time, sleep, and start more tasks.
#[derive(Clone)]
pub struct Handle(Rc<Inner>);

impl Deref for World {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Tasks hold handles, which hold the tasks: without this, neither would ever be freed. A task's drop may start tasks or
        // set timers, so go on until nothing is left.
        loop {
            let tasks = core::mem::take(&mut *self.handle.0.tasks.borrow_mut());
            self.handle.0.timers.clear();
            if tasks.is_empty() {
                break;
            }
        }
    }
}

/// What one step of a world did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Polled a task or fired a timer.
    Ran,
    /// There is nothing to do before the limit.
    Idle,
}

impl World {
    /// A world at time 0. `seed` decides everything that is random in it.
    pub fn new(seed: u64) -> Self {
        World {
            handle: Handle(Rc::new(Inner {
                now: Cell::new(Duration::ZERO),
                timers: Timers::default(),
                tasks: RefCell::default(),
                next_task: Cell::new(ROOT + 1),
                ready: Arc::default(),
                rng: RefCell::new(Rng::with_seed(seed)),
                polls: Cell::new(0),
                polls_before_now: Cell::new(0),
            })),
        }
    }

    /// A handle for tasks and for what they use.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until virtual time reaches `end`. The clock stands at `end` afterwards, even if nothing happened then.
    pub fn run_until(&self, end: Duration) {
        while self.step(end, None) == Step::Ran {}
        if self.now() < end {
            self.handle.0.advance(end);
        }
    }

    /// Runs for `time` of virtual time.
    pub fn run_for(&self, time: Duration) {
        self.run_until(self.now().saturating_add(time));
    }

    /// Runs as long as `go_on` says so, which is asked after every step; `true` if it was `go_on` that ended the run, `false` if
    /// nothing is left that could ever run.
    pub fn run_while(&self, mut go_on: impl FnMut() -> bool) -> bool {
        while go_on() {
            if self.step(Duration::MAX, None) == Step::Idle {
                return false;
            }
        }
        true
    }

    /// Runs the world until `future` is done.
    ///
    /// # Panics
    /// If nothing is left to run and the future is not done: it waits for something that cannot happen.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self.block_on_until(Duration::MAX, future) {
            Some(output) => output,
            None => panic!(
                "deadlock at {:?}; waiting: {}",
                self.now(),
                self.handle.0.task_names()
            ),
        }
    }

    /// Runs the world until `future` is done, at most until `end`; `None` if it is not done by then or never will be.
    pub fn block_on_until<F: Future>(&self, end: Duration, future: F) -> Option<F::Output> {
        let future = pin!(future);
        let mut root = Running::start(ROOT, &self.handle.0.ready, future);
        let mut output = None;
        while output.is_none() {
            let mut poll_root = || match root.poll() {
                Poll::Ready(done) => output = Some(done),
                Poll::Pending => {}
            };
            if self.step(end, Some(&mut poll_root)) == Step::Idle {
                break;
            }
        }
        output
    }

    /// Polls the next task that was woken; if there is none, goes to the next timer and fires it.
    fn step(&self, end: Duration, root: Option<&mut dyn FnMut()>) -> Step {
        let inner = &self.handle.0;
        if let Some(id) = inner.ready.pop() {
            inner.count_poll();
            match root {
                Some(root) if id == ROOT => root(),
                _ => inner.poll(id),
            }
            return Step::Ran;
        }
        match inner.timers.pop_until(end) {
            Some((at, fire)) => {
                inner.advance(at);
                fire.run();
                Step::Ran
            }
            None => Step::Idle,
        }
    }
}

impl Inner {
    fn advance(&self, to: Duration) {
        debug_assert!(to >= self.now.get(), "time does not go back");
        if to > self.now.get() {
            self.polls_before_now.set(self.polls.get());
            self.now.set(to);
        }
    }

    fn count_poll(&self) {
        self.polls.set(self.polls.get() + 1);
        let polls = self.polls.get() - self.polls_before_now.get();
        assert!(
            polls < POLLS_AT_ONE_MOMENT,
            "livelock: {polls} polls and still {:?}; tasks: {}",
            self.now.get(),
            self.task_names()
        );
    }

    fn poll(&self, id: TaskId) {
        // It leaves the table meanwhile, so that it may start or abort tasks.
        let Some(mut running) = self
            .tasks
            .borrow_mut()
            .get_mut(&id)
            .and_then(|task| task.running.take())
        else {
            return;
        };
        if running.poll().is_ready() {
            self.tasks.borrow_mut().remove(&id);
        } else if let Some(task) = self.tasks.borrow_mut().get_mut(&id) {
            task.running = Some(running);
        }
        // Else it has aborted itself, and is dropped here.
    }

    fn task_names(&self) -> String {
        let tasks = self.tasks.borrow();
        let names: Vec<&str> = tasks.values().map(|task| task.name.as_str()).collect();
        names.join(", ")
    }
}

impl Handle {
    /// Virtual time since the world was made.
    pub fn now(&self) -> Duration {
        self.0.now.get()
    }

    /// Completes when `time` has passed.
    pub fn sleep(&self, time: Duration) -> Sleep {
        self.sleep_until(self.now().saturating_add(time))
    }

    /// Completes at `at`; at once if that has passed.
    pub fn sleep_until(&self, at: Duration) -> Sleep {
        Sleep::new(self.clone(), at)
    }

    /// Calls `what` at `at`; if that has passed, as the next timer of this moment.
    pub fn at(&self, at: Duration, what: impl FnOnce() + 'static) {
        self.0.timers.call(at.max(self.now()), Box::new(what));
    }

    /// Starts a task. `name` is for messages. The task runs on if the returned handle is dropped.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let id = self.0.next_task.get();
        self.0.next_task.set(id + 1);
        let outcome: Rc<Outcome<F::Output>> = Rc::default();
        let result = outcome.clone();
        let future: Pin<Box<dyn Future<Output = ()>>> =
            Box::pin(async move { result.set(future.await) });
        let running = Some(Running::start(id, &self.0.ready, future));
        self.0.tasks.borrow_mut().insert(
            id,
            Task {
                name: name.into(),
                running,
            },
        );
        JoinHandle::new(Rc::downgrade(&self.0), id, outcome)
    }

    /// A random number.
    pub fn random_u64(&self) -> u64 {
        self.0.rng.borrow_mut().u64(..)
    }

    /// A generator of its own for one part of the world, so that what the part draws does not change what others draw.
    pub fn fork_rng(&self) -> Rng {
        Rng::with_seed(self.random_u64())
    }

    /// How many tasks are alive.
    pub fn task_count(&self) -> usize {
        self.0.tasks.borrow().len()
    }
}
