//! Where the time of an update went.

use core::cell::Cell;

use otaria_wire::messages::Timing;

use crate::board::{Duration, Instant};

/// Phase times of the job at hand, over all its tries; on trial, with those of the boot that activated the image. Phases overlap,
/// so they need not add up.
#[derive(Debug, Default)]
pub struct Times {
    started: Cell<Option<Instant>>,
    /// The whole time of earlier boots.
    earlier: Cell<Duration>,
    connect: Cell<Duration>,
    tls: Cell<Duration>,
    receive: Cell<Duration>,
    erase: Cell<Duration>,
    write: Cell<Duration>,
    verify: Cell<Duration>,
    bytes: Cell<u64>,
    /// The lowest free heap of earlier boots; 0 if there is none.
    heap_min: Cell<u32>,
    confirmed: Cell<Option<Instant>>,
    /// Sessions since then, beside the first one of each boot.
    reconnects: Cell<u32>,
    /// There was a session in this boot.
    was_connected: Cell<bool>,
}

impl Times {
    /// Nothing has taken any time yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            started: Cell::new(None),
            earlier: Cell::new(Duration::ZERO),
            connect: Cell::new(Duration::ZERO),
            tls: Cell::new(Duration::ZERO),
            receive: Cell::new(Duration::ZERO),
            erase: Cell::new(Duration::ZERO),
            write: Cell::new(Duration::ZERO),
            verify: Cell::new(Duration::ZERO),
            bytes: Cell::new(0),
            heap_min: Cell::new(0),
            confirmed: Cell::new(None),
            reconnects: Cell::new(0),
            was_connected: Cell::new(false),
        }
    }

    /// A new job begins, if none is being timed.
    pub fn begin(&self, now: Instant) {
        if self.started.get().is_none() {
            self.started.set(Some(now));
        }
    }

    /// The job of an image that was activated in an earlier boot goes on, from the start of this one.
    pub fn go_on(&self, earlier: &Timing) {
        self.set(earlier);
        self.started.set(Some(Instant::ZERO));
    }

    /// The job is over: everything from zero.
    pub fn reset(&self) {
        self.set(&Timing::default());
        self.started.set(None);
    }

    fn set(&self, timing: &Timing) {
        for (phase, millis) in [
            (&self.earlier, timing.total_ms),
            (&self.connect, timing.connect_ms),
            (&self.tls, timing.tls_ms),
            (&self.receive, timing.receive_ms),
            (&self.erase, timing.erase_ms),
            (&self.write, timing.write_ms),
            (&self.verify, timing.verify_ms),
        ] {
            phase.set(Duration::from_millis(millis.into()));
        }
        self.bytes.set(timing.bytes.into());
        self.heap_min.set(timing.heap_min);
        self.reconnects.set(timing.reconnects.unwrap_or_default());
        self.confirmed.set(None);
    }

    pub(super) fn add_connect(&self, took: Duration) {
        add(&self.connect, took);
    }

    pub(super) fn add_tls(&self, took: Duration) {
        add(&self.tls, took);
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

    /// The broker has accepted a session.
    pub fn connected(&self) {
        if self.was_connected.replace(true) && self.started.get().is_some() {
            self.reconnects.set(self.reconnects.get().saturating_add(1));
        }
    }

    /// The running image has proved itself.
    pub fn confirmed(&self, now: Instant) {
        self.confirmed.set(Some(now));
    }

    /// For a report at `now`; the lowest free heap of this boot in bytes, and the signal in dBm, if there are such. `None` if no
    /// job is being timed.
    #[must_use]
    pub fn report(&self, now: Instant, heap_min: Option<u32>, rssi: Option<i8>) -> Option<Timing> {
        let started = self.started.get()?;
        // The report of a confirmation is made twice: for the journal, and to be sent.
        let confirmed = self.confirmed.get();
        let total = self.earlier.get() + (confirmed.unwrap_or(now) - started);
        let heap_min = match (self.heap_min.get(), heap_min) {
            (0, here) => here.unwrap_or_default(),
            (earlier, here) => here.map_or(earlier, |here| here.min(earlier)),
        };
        Some(Timing {
            connect_ms: millis(self.connect.get()),
            tls_ms: millis(self.tls.get()),
            receive_ms: millis(self.receive.get()),
            erase_ms: millis(self.erase.get()),
            write_ms: millis(self.write.get()),
            verify_ms: millis(self.verify.get()),
            total_ms: millis(total),
            bytes: u32::try_from(self.bytes.get()).unwrap_or(u32::MAX),
            heap_min,
            rssi,
            confirm_ms: confirmed.map(|at| millis(at - Instant::ZERO)),
            reconnects: Some(self.reconnects.get()),
        })
    }
}

fn add(phase: &Cell<Duration>, took: Duration) {
    phase.set(phase.get() + took);
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: Timing = Timing {
        connect_ms: 100,
        tls_ms: 200,
        receive_ms: 300,
        erase_ms: 400,
        write_ms: 500,
        verify_ms: 600,
        total_ms: 3_000,
        bytes: 4_096,
        heap_min: 50_000,
        rssi: Some(-70),
        confirm_ms: None,
        reconnects: Some(2),
    };

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn without_a_job_nothing_is_reported() {
        let times = Times::new();
        times.connected();
        times.connected();
        assert_eq!(times.report(at(5), None, None), None);
        times.begin(at(10));
        let timing = times.report(at(30), None, None).unwrap();
        assert_eq!((timing.total_ms, timing.reconnects), (20, Some(0)));
    }

    #[test]
    fn an_image_on_trial_goes_on_where_the_boot_before_it_stopped() {
        let times = Times::new();
        times.go_on(&EARLIER);
        times.connected();
        times.confirmed(at(12_000));
        let confirmed = Timing {
            total_ms: 15_000,
            heap_min: 40_000,
            rssi: Some(-60),
            confirm_ms: Some(12_000),
            ..EARLIER
        };
        for now in [12_000, 12_100] {
            let timing = times.report(at(now), Some(40_000), Some(-60));
            assert_eq!(
                timing,
                Some(confirmed),
                "the same, whenever it is asked for"
            );
        }
        times.reset();
        assert_eq!(times.report(at(13_000), None, None), None);
    }

    #[test]
    fn sessions_that_are_opened_anew_are_counted_and_the_first_of_a_boot_is_not() {
        let times = Times::new();
        times.begin(at(0));
        let reconnects = |times: &Times| times.report(at(1), None, None).unwrap().reconnects;
        times.connected();
        assert_eq!(reconnects(&times), Some(0));
        times.connected();
        times.connected();
        assert_eq!(reconnects(&times), Some(2));
        times.reset();
        times.begin(at(0));
        assert_eq!(reconnects(&times), Some(0));
    }

    #[test]
    fn the_lowest_heap_is_the_lowest_of_all_boots_that_know_it() {
        for (earlier, here, lowest) in [
            (0, None, 0),
            (0, Some(7), 7),
            (5, None, 5),
            (5, Some(7), 5),
            (9, Some(7), 7),
        ] {
            let times = Times::new();
            times.go_on(&Timing {
                heap_min: earlier,
                ..Timing::default()
            });
            let timing = times.report(at(0), here, None).unwrap();
            assert_eq!(timing.heap_min, lowest, "{earlier} {here:?}");
        }
    }
}
