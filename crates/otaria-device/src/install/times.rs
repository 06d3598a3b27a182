//! Where the time of an update went.

use core::cell::Cell;

use otaria_wire::messages::Timing;

use crate::board::{Duration, Instant};

/// Phase times of the job at hand, over all its tries. Phases overlap, so they need not add up.
#[derive(Debug, Default)]
pub struct Times {
    started: Cell<Option<Instant>>,
    connect: Cell<Duration>,
    receive: Cell<Duration>,
    erase: Cell<Duration>,
    write: Cell<Duration>,
    verify: Cell<Duration>,
    bytes: Cell<u64>,
}

impl Times {
    /// Nothing has taken any time yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            started: Cell::new(None),
            connect: Cell::new(Duration::ZERO),
            receive: Cell::new(Duration::ZERO),
            erase: Cell::new(Duration::ZERO),
            write: Cell::new(Duration::ZERO),
            verify: Cell::new(Duration::ZERO),
            bytes: Cell::new(0),
        }
    }

    /// A new job begins, if none is being timed.
    pub fn begin(&self, now: Instant) {
        if self.started.get().is_none() {
            self.started.set(Some(now));
        }
    }

    /// The job is over: everything from zero.
    pub fn reset(&self) {
        self.started.set(None);
        for phase in [
            &self.connect,
            &self.receive,
            &self.erase,
            &self.write,
            &self.verify,
        ] {
            phase.set(Duration::ZERO);
        }
        self.bytes.set(0);
    }

    pub(super) fn add_connect(&self, took: Duration) {
        add(&self.connect, took);
    }

    pub(super) fn add_receive(&self, took: Duration, bytes: usize) {
        add(&self.receive, took);
        self.bytes
            .set(self.bytes.get().saturating_add(bytes as u64));
    }

    pub(super) fn add_erase(&self, took: Duration) {
        add(&self.erase, took);
    }

    pub(super) fn add_write(&self, took: Duration) {
        add(&self.write, took);
    }

    pub(super) fn add_verify(&self, took: Duration) {
        add(&self.verify, took);
    }

    /// For a report at `now`.
    #[must_use]
    pub fn report(&self, now: Instant) -> Option<Timing> {
        let started = self.started.get()?;
        Some(Timing {
            connect_ms: millis(self.connect.get()),
            tls_ms: 0,
            receive_ms: millis(self.receive.get()),
            erase_ms: millis(self.erase.get()),
            write_ms: millis(self.write.get()),
            verify_ms: millis(self.verify.get()),
            total_ms: millis(now - started),
            bytes: u32::try_from(self.bytes.get()).unwrap_or(u32::MAX),
            heap_min: 0,
            rssi: None,
        })
    }
}

fn add(phase: &Cell<Duration>, took: Duration) {
    phase.set(phase.get() + took);
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
