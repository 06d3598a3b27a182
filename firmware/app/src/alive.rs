//! What this application is for: a ticker that must run at its own pace, whatever Otaria does.

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_time::{Duration, Instant, Ticker, Timer};
use log::info;
use otaria_device::runtime::Monitor;

/// The ticker's pace.
pub const TICK: Duration = Duration::from_millis(10);

/// How often is looked for another phase.
const LOOK: Duration = Duration::from_millis(250);

/// A ticker that has not come for so long does not run: a flash erase stops everything for up to a second.
const MISSING: u32 = 3_000;

/// The ticker's pulse, for whoever wants to know whether the application works. Make one, in a `static`.
#[derive(Debug)]
pub struct Alive {
    at_ms: AtomicU32,
    ticks: AtomicU32,
    worst_us: AtomicU32,
}

impl Alive {
    /// Not alive yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            at_ms: AtomicU32::new(0),
            ticks: AtomicU32::new(0),
            worst_us: AtomicU32::new(0),
        }
    }

    /// Ticks for ever, and measures how late it comes. Give it a task on an executor that interrupts the main one: a signature
    /// takes 85 ms there, in which nobody else has a turn.
    pub async fn tick(&self) -> ! {
        let mut ticker = Ticker::every(TICK);
        let mut due = Instant::now() + TICK;
        loop {
            ticker.next().await;
            let now = Instant::now();
            let late = now.saturating_duration_since(due).as_micros();
            // A tick that comes late does not make the next one early.
            due = now.max(due) + TICK;
            let late = u32::try_from(late).unwrap_or(u32::MAX);
            if late > self.worst_us.load(Ordering::Relaxed) {
                self.worst_us.store(late, Ordering::Relaxed);
            }
            let ticks = self.ticks.load(Ordering::Relaxed).wrapping_add(1);
            self.ticks.store(ticks, Ordering::Relaxed);
            self.at_ms.store(low(now.as_millis()), Ordering::Relaxed);
        }
    }

    /// Whether the ticker runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let now = low(Instant::now().as_millis());
        let since = now.wrapping_sub(self.at_ms.load(Ordering::Relaxed));
        self.ticks.load(Ordering::Relaxed) > 0 && since < MISSING
    }

    /// Says on the console, at the start of each phase of an update, how late the ticker came at worst since the one before.
    pub(crate) async fn report(&self, monitor: &Monitor) -> ! {
        let mut phase = monitor.phase();
        loop {
            Timer::after(LOOK).await;
            if monitor.phase() != phase {
                phase = monitor.phase();
                let worst = self.worst_us.load(Ordering::Relaxed);
                self.worst_us.store(0, Ordering::Relaxed);
                info!("ticker: {worst} us late at worst before {phase:?}");
            }
        }
    }
}

impl Default for Alive {
    fn default() -> Self {
        Self::new()
    }
}

/// The low half: differences of less than 49 days are right.
fn low(millis: u64) -> u32 {
    (millis & u64::from(u32::MAX)) as u32
}
