//! The chip: power, bootloader, reset loop, watchdog, radio.

use core::cell::{Cell, Ref, RefCell, RefMut};
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::net::Ipv4Addr;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::rc::Rc;

use embassy_futures::select::{Either, Either4, select, select4};
use fastrand::Rng;
use otaria_boot::{BootError, Booted, Bootloader};
use otaria_device::board::{Clock, ResetReason, Slot};
use otaria_wire::esp_image::ChipId;

use super::behaviour::Behaviour;
use super::bell::Bell;
use super::board::{BootState, SimBoard};
use super::site::Site;
use crate::flash::{FlashError, SimFlash};
use crate::world::paced;

/// How often a bootloader that finds nothing to boot tries again before it is left alone until the power is cut. The real one
/// goes on for ever; unstable bits may read differently the next time.
const BOOT_ATTEMPTS: u32 = 10;
const BOOT_RETRY: Duration = Duration::from_secs(1);

/// What a device is built of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    /// The chip.
    pub chip: ChipId,
    /// Its revision, major x 100 + minor.
    pub revision: u16,
    /// Whether its bootloader was built with rollback.
    pub rollback: bool,
    /// From reset to `main`, beside what reading flash takes.
    pub startup: Duration,
    /// From the start of an image to an address in the network.
    pub join: Duration,
    /// The address that it then has.
    pub ip: Option<Ipv4Addr>,
}

impl Default for Hardware {
    /// An ESP32-C3 of revision 0.4 with espflash's bootloader, which has no rollback, that starts in a quarter of a second and then
    /// joins at once.
    fn default() -> Self {
        Hardware {
            chip: ChipId::ESP32C3,
            revision: 4,
            rollback: false,
            startup: Duration::from_millis(250),
            join: Duration::ZERO,
            ip: None,
        }
    }
}

/// How a program ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It restarted the chip.
    Reset,
    /// It panicked; the panic handler restarts the chip.
    Panic,
}

/// What an image needs in order to run: one boot's worth of a chip.
pub struct Env<S: Site> {
    /// The flash, as device code takes it.
    pub flash: Rc<RefCell<SimFlash>>,
    /// The board.
    pub board: SimBoard<S::Clock>,
    /// The clock, which starts with the boot.
    pub clock: S::Clock,
    /// The network.
    pub network: S::Network,
    /// How the image behaves.
    pub behaviour: Behaviour,
    /// What the bootloader started.
    pub booted: Booted,
}

/// The code in an image.
pub trait Firmware<S: Site>: 'static {
    /// Runs one boot. It is dropped, wherever it stands, when the chip loses its power or is reset.
    fn run(&self, env: Env<S>) -> impl Future<Output = Exit>;
}

/// Why an image does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// The power went while the bootloader worked.
    PowerLost,
    /// The bootloader found nothing to boot.
    NothingToBoot,
}

/// One start of the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootRecord {
    /// When, by [`Site::now`].
    pub at: Duration,
    /// Why.
    pub reason: ResetReason,
    /// What the bootloader made of it.
    pub result: Result<Booted, Outage>,
}

struct Inner<S> {
    site: S,
    hardware: Hardware,
    flash: Rc<RefCell<SimFlash>>,
    rng: Rc<RefCell<Rng>>,
    /// Rings when the power or the access point changes, or somebody presses reset.
    bell: Bell,
    powered: Cell<bool>,
    /// How often the power has gone: a cut that is over before anybody looks is a cut all the same.
    outages: Cell<u64>,
    access_point: Cell<bool>,
    reset_pressed: Cell<bool>,
    restore_after: Cell<Option<Duration>>,
    boots: RefCell<Vec<BootRecord>>,
    console: Rc<RefCell<Vec<String>>>,
    running: Cell<Option<Booted>>,
}

/// A device. A clone is the same device.
pub struct SimDevice<S>(Rc<Inner<S>>);

impl<S> Clone for SimDevice<S> {
    fn clone(&self) -> Self {
        SimDevice(self.0.clone())
    }
}

/// Why a boot has ended.
enum End {
    Reset(ResetReason),
    PowerLost,
}

impl<S: Site> SimDevice<S> {
    /// A device with its power off. `seed` decides what its chance decides: jitter, and what a cut tears how.
    pub fn new(site: S, hardware: Hardware, flash: SimFlash, seed: u64) -> Self {
        SimDevice(Rc::new(Inner {
            site,
            hardware,
            flash: Rc::new(RefCell::new(flash)),
            rng: Rc::new(RefCell::new(Rng::with_seed(seed))),
            bell: Bell::default(),
            powered: Cell::new(false),
            outages: Cell::new(0),
            access_point: Cell::new(true),
            reset_pressed: Cell::new(false),
            restore_after: Cell::new(None),
            boots: RefCell::default(),
            console: Rc::default(),
            running: Cell::new(None),
        }))
    }

    /// Gives the device power.
    pub fn plug_in(&self) {
        if !self.0.powered.replace(true) {
            let mut flash = self.0.flash.borrow_mut();
            flash.power_on();
            self.0.site.set_power(true, flash.busy());
            drop(flash);
            self.0.bell.ring();
        }
    }

    /// Takes the power away, also in the middle of a flash command, which is then torn.
    pub fn cut_power(&self) {
        if self.0.powered.get() {
            let mut flash = self.0.flash.borrow_mut();
            if flash.busy().is_busy() {
                flash.power_off_during_op(self.0.rng.borrow_mut().u64(..));
            } else {
                flash.power_off();
            }
            drop(flash);
            self.power_is_gone();
        }
    }

    /// Lets the power come back by itself this long after a cut that was planned in the flash. Without, the device stays off.
    pub fn restore_power_after(&self, time: Option<Duration>) {
        self.0.restore_after.set(time);
    }

    /// Whether the device has power.
    pub fn powered(&self) -> bool {
        self.0.powered.get()
    }

    /// Presses the reset button.
    pub fn press_reset(&self) {
        self.0.reset_pressed.set(true);
        self.0.bell.ring();
    }

    /// Lets the access point disappear or come back.
    pub fn set_access_point(&self, there: bool) {
        self.0.access_point.set(there);
        self.0.bell.ring();
    }

    /// The flash, to look at and to plan faults for. Not to be held while the device runs.
    pub fn flash(&self) -> Ref<'_, SimFlash> {
        self.0.flash.borrow()
    }

    /// The flash, to change. Not to be held while the device runs.
    pub fn flash_mut(&self) -> RefMut<'_, SimFlash> {
        self.0.flash.borrow_mut()
    }

    /// Where it stands.
    pub fn site(&self) -> &S {
        &self.0.site
    }

    /// All starts so far.
    pub fn boots(&self) -> Vec<BootRecord> {
        self.0.boots.borrow().clone()
    }

    /// What it has said on its console, in all its boots.
    pub fn console(&self) -> Vec<String> {
        self.0.console.borrow().clone()
    }

    /// What runs now; `None` without power and while the bootloader works.
    pub fn running(&self) -> Option<Booted> {
        self.0.running.get()
    }

    /// What a bootloader would start from a copy of this flash now.
    ///
    /// # Errors
    /// See [`BootError`].
    pub fn verdict(&self) -> Result<Booted, BootError<FlashError>> {
        let mut copy = self.0.flash.borrow().clone();
        copy.power_on();
        self.bootloader().boot(&mut copy)
    }

    /// The device's life. Spawn it once; it ends only by being dropped.
    pub async fn live(self, firmware: impl Firmware<S>) -> Infallible {
        loop {
            self.0.bell.until(|| self.0.powered.get()).await;
            let life = Life {
                device: &self,
                outages: self.0.outages.get(),
            };
            let mut reason = ResetReason::PowerOn;
            while let End::Reset(why) = life.boot(&firmware, reason).await {
                reason = why;
            }
            life.note_outage();
            if let Some(time) = self.0.restore_after.get() {
                let plugged = self.0.bell.until(|| self.0.powered.get());
                if let Either::First(()) = select(self.0.site.sleep(time), plugged).await {
                    self.plug_in();
                }
            }
        }
    }

    fn bootloader(&self) -> Bootloader {
        let Hardware {
            chip,
            revision,
            rollback,
            ..
        } = self.0.hardware;
        Bootloader::new(rollback).on_chip(chip, revision)
    }

    fn power_is_gone(&self) {
        self.0.outages.set(self.0.outages.get() + 1);
        self.0.powered.set(false);
        self.0.running.set(None);
        self.0.site.set_power(false, self.0.flash.borrow().busy());
        self.0.bell.ring();
    }
}

/// The time from one power-on to the next power cut.
struct Life<'a, S> {
    device: &'a SimDevice<S>,
    outages: u64,
}

impl<S: Site> Life<'_, S> {
    /// Whether it is over: the plug was pulled, or a cut that was planned in the flash has happened.
    fn is_over(&self) -> bool {
        let inner = &self.device.0;
        inner.outages.get() != self.outages || !inner.flash.borrow().powered()
    }

    /// A cut that was planned in the flash takes the power of the whole device.
    fn note_outage(&self) {
        if self.device.0.outages.get() == self.outages {
            self.device.power_is_gone();
        }
    }

    /// Sleeps, unless the power goes.
    async fn sleep(&self, time: Duration) {
        let inner = &self.device.0;
        if !time.is_zero() {
            select(inner.site.sleep(time), inner.bell.until(|| self.is_over())).await;
        }
    }

    /// One boot, from reset to its end.
    async fn boot(&self, firmware: &impl Firmware<S>, reason: ResetReason) -> End {
        let inner = &self.device.0;
        for _ in 0..BOOT_ATTEMPTS {
            let started = self.start(reason).await;
            if self.is_over() {
                return End::PowerLost;
            }
            if let Ok(booted) = started {
                inner.running.set(Some(booted));
                let end = self.run(firmware, reason, booted).await;
                inner.running.set(None);
                return end;
            }
            self.sleep(BOOT_RETRY).await;
        }
        inner.bell.until(|| self.is_over()).await;
        End::PowerLost
    }

    /// The bootloader's part.
    async fn start(&self, reason: ResetReason) -> Result<Booted, Outage> {
        let inner = &self.device.0;
        let at = inner.site.now();
        let (result, busy) = {
            let mut flash = inner.flash.borrow_mut();
            // What the program before left unsettled ended with it.
            flash.busy().clear();
            let result = self.device.bootloader().boot(&mut *flash);
            (result, flash.busy().clone())
        };
        let result = result.map_err(|error| match error {
            BootError::Flash(_) => Outage::PowerLost,
            BootError::PartitionTable(_)
            | BootError::OutsideFlash
            | BootError::OtadataTooSmall
            | BootError::NothingToBoot(_) => Outage::NothingToBoot,
        });
        inner
            .boots
            .borrow_mut()
            .push(BootRecord { at, reason, result });
        self.sleep(busy.settle()).await;
        busy.settled();
        self.sleep(inner.hardware.startup).await;
        result
    }

    /// The image's part, until something ends it.
    async fn run(&self, firmware: &impl Firmware<S>, reason: ResetReason, booted: Booted) -> End {
        let inner = &*self.device.0;
        let flash = inner.flash.clone();
        let busy = flash.borrow().busy().clone();
        let clock = inner.site.clock(&busy);
        let state = Rc::new(BootState::new());
        let board = SimBoard {
            state: state.clone(),
            clock: clock.clone(),
            hardware: inner.hardware,
            reset_reason: reason,
            slot: booted.slot().and_then(Slot::from_index),
            rng: inner.rng.clone(),
            console: inner.console.clone(),
        };
        let behaviour = Behaviour::of_partition(&flash.borrow(), booted.region, booted.image.len)
            .on(inner.hardware.revision);
        let network = inner.site.network(&clock);
        let env = Env {
            flash: flash.clone(),
            board,
            clock: clock.clone(),
            network,
            behaviour,
            booted,
        };
        inner.site.set_link(false);
        inner.reset_pressed.set(false);

        let program = paced(busy, |time| inner.site.sleep(time), firmware.run(env));
        let mut program = pin!(program);
        // A cut that is planned in the flash hits in the middle of a poll: nothing of the program runs after that.
        let program = poll_fn(|cx| match program.as_mut().poll(cx) {
            _ if !flash.borrow().powered() => Poll::Ready(End::PowerLost),
            Poll::Ready(Exit::Reset) => Poll::Ready(End::Reset(ResetReason::Software)),
            Poll::Ready(Exit::Panic) => Poll::Ready(End::Reset(ResetReason::Panic)),
            Poll::Pending => Poll::Pending,
        });
        let outside = inner
            .bell
            .until(|| self.is_over() || inner.reset_pressed.get());
        let reset = state.bell.until(|| state.reset_wanted.get());
        let radio = self.radio(&state, behaviour);
        let end = match select4(outside, select(program, radio), reset, bite(&state, &clock)).await
        {
            Either4::First(()) if self.is_over() => End::PowerLost,
            Either4::First(()) => End::Reset(ResetReason::External),
            Either4::Second(Either::First(end)) => end,
            Either4::Second(Either::Second(never)) => match never {},
            Either4::Third(()) => End::Reset(ResetReason::Software),
            Either4::Fourth(()) => End::Reset(ResetReason::Watchdog),
        };
        if matches!(end, End::PowerLost) {
            // Before the program's sockets are dropped, so that nothing tells their peers.
            self.note_outage();
        }
        end
    }

    /// Joins the access point whenever it is there.
    async fn radio(&self, state: &BootState, behaviour: Behaviour) -> Infallible {
        let inner = &self.device.0;
        let set = |linked: bool| {
            state.linked.set(linked);
            inner.site.set_link(linked);
            state.bell.ring();
        };
        if behaviour == Behaviour::NoWifi {
            core::future::pending::<()>().await;
        }
        loop {
            inner.bell.until(|| inner.access_point.get()).await;
            let gone = inner.bell.until(|| !inner.access_point.get());
            if let Either::Second(()) = select(inner.site.sleep(inner.hardware.join), gone).await {
                continue;
            }
            set(true);
            inner.bell.until(|| !inner.access_point.get()).await;
            set(false);
        }
    }
}

/// Ends when the watchdog was not fed in time.
async fn bite(state: &BootState, clock: &impl Clock) {
    loop {
        state.bell.until(|| state.watchdog.get().is_some()).await;
        let Some((deadline, _)) = state.watchdog.get() else {
            continue;
        };
        // A shorter time-out may be set meanwhile.
        let sooner = state
            .bell
            .until(|| state.watchdog.get().is_some_and(|(at, _)| at < deadline));
        select(clock.sleep_until(deadline), sooner).await;
        if state
            .watchdog
            .get()
            .is_some_and(|(at, _)| at <= clock.now())
        {
            return;
        }
    }
}
