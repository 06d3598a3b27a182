//! The loop that joins engine and world: it brings in what changed, hands out what is to be done, and feeds the watchdog.

use core::future::pending;

use embassy_futures::select::select;
use embassy_futures::yield_now;
use embedded_storage::nor_flash::NorFlash;
use otaria_engine::machine::{Action, Event as EngineEvent};
use otaria_wire::messages::{Level, Phase};

use super::commands::Order;
use super::monitor::HealthCheck;
use super::shared::{Operation, Request, Shared};
use crate::board::{Board, Clock, Duration, Instant};

/// What the driver has seen, to notice what changes.
#[derive(Debug, Default)]
struct Seen {
    /// A moment and the wall clock then.
    unix: Option<(Instant, u64)>,
    phase: Option<Phase>,
}

/// The wall clock is told to the engine again if it is off by more than this from what the engine thinks.
const UNIX_DRIFT: u64 = 2;
/// Actions that are carried out before others get their turn.
const ACTIONS: usize = 16;

impl<B: Board, K: Clock, F: NorFlash> Shared<'_, B, K, F> {
    /// Drives the engine, for ever.
    pub(super) async fn drive(&self, health: &impl HealthCheck) -> ! {
        let mut seen = Seen::default();
        loop {
            self.board.borrow_mut().feed_watchdog();
            self.look(&mut seen);
            self.carry_out_commands().await;
            for _ in 0..ACTIONS {
                let Some(action) = self.next_action() else {
                    break;
                };
                self.carry_out(action, health).await;
            }
            self.show_phase(&mut seen);
            let now = self.clock.now();
            let poll_at = self.engine.borrow().poll_at(now);
            let state = {
                let mut outbox = self.outbox.borrow_mut();
                outbox.state_if_older(now, self.config.timing.state);
                outbox.state_at(self.config.timing.state)
            };
            if self.outbox.borrow().has_something() {
                self.publish();
            }
            let until = [poll_at, state]
                .into_iter()
                .flatten()
                .fold(now + self.config.timing.tick, Instant::min);
            // Never less than a millisecond: whatever wants to be asked at once has been asked just now.
            let until = until.max(now + Duration::from_millis(1));
            select(self.clock.sleep_until(until), self.wake.wait()).await;
        }
    }

    /// Brings in what only a look can tell.
    fn look(&self, seen: &mut Seen) {
        let now = self.clock.now();
        self.look_at_link();
        self.follow_time_floor();
        self.follow_starts(now);
        if let Some(unix) = self.clock.unix_time() {
            let expected = seen
                .unix
                .map(|(then, base)| base.saturating_add((now - then).as_secs()));
            if expected.is_none_or(|expected| expected.abs_diff(unix) > UNIX_DRIFT) {
                seen.unix = Some((now, unix));
                self.engine
                    .borrow_mut()
                    .handle(now, EngineEvent::UnixTime(unix));
            }
        }
    }

    fn follow_starts(&self, now: Instant) {
        let mut journal = self.stores.journal.borrow_mut();
        if let Err(error) = self.starts.recover(&mut journal, now) {
            self.note(Level::Error, format_args!("account of downloads: {error}"));
        }
    }

    /// Tells the engine if the link has come or gone; whether it is up.
    pub(super) fn look_at_link(&self) -> bool {
        let link = self.board.borrow().link_up();
        if self.link.replace(Some(link)) != Some(link) {
            self.note(
                Level::Info,
                format_args!("link {}", if link { "up" } else { "down" }),
            );
            self.engine
                .borrow_mut()
                .handle(self.clock.now(), EngineEvent::Link(link));
        }
        link
    }

    /// Shows phase changes in `state`, on the monitor, and in the pace of `progress`.
    fn show_phase(&self, seen: &mut Seen) {
        let phase = self.engine.borrow().status().phase;
        if seen.phase != Some(phase) {
            seen.phase = Some(phase);
            self.monitor.set_phase(phase);
            self.restart_progress();
            self.outbox.borrow_mut().state();
            self.publish();
        }
    }

    async fn carry_out_commands(&self) {
        loop {
            let due = self.commands.borrow_mut().due();
            match due {
                None => return,
                Some(Order::Cancel) => self.tell(EngineEvent::Cancel),
                Some(Order::Reboot) => self.restart("command").await,
                Some(Order::Logs(lines)) => self.send_logs(lines),
                Some(Order::Identify) => self.board.borrow_mut().identify(),
            }
        }
    }

    /// Does what the engine wants. Long acts are handed to the operator, short ones are done here.
    async fn carry_out(&self, action: Action, health: &impl HealthCheck) {
        match action {
            Action::Report(report) => self.report(&report),
            Action::Fetch => self.request(Operation::Fetch),
            Action::Verify => self.request(Operation::Verify),
            Action::Probe => self.request(Operation::Probe),
            Action::Reactivate => self.request(Operation::Reactivate),
            Action::Stop => self.stop.signal(self.operations.get()),
            Action::Activate => {
                let result = self.activate();
                self.tell_end(result, |result| EngineEvent::Activated(result));
            }
            Action::CheckHealth => {
                let health = health.health();
                self.engine
                    .borrow_mut()
                    .handle(self.clock.now(), EngineEvent::Health(health));
            }
            Action::Confirm(report) => {
                let result = self.confirm(&report);
                if let Err(code) = result {
                    self.note_failure("confirm", code);
                }
                self.tell(EngineEvent::Confirmed(result));
            }
            Action::RollBack(code) => {
                self.roll_back(code);
                self.tell(EngineEvent::RolledBack);
            }
            Action::Close(quarantine) => {
                if let Err(code) = self.drop_trial(quarantine) {
                    self.note_failure("close", code);
                }
                self.tell(EngineEvent::Closed);
            }
            Action::Reboot => self.restart("update").await,
        }
        yield_now().await;
    }

    fn request(&self, operation: Operation) {
        let number = self.operations.get().wrapping_add(1);
        self.operations.set(number);
        self.request.signal(Request { number, operation });
    }

    async fn restart(&self, why: &str) -> ! {
        self.note(Level::Info, format_args!("restart: {why}"));
        self.board.borrow_mut().reset();
        // On a chip nobody comes here. In a simulation the world ends this future.
        pending().await
    }
}
