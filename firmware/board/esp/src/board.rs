//! The chip as Otaria's `Board`.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicI8, AtomicU32, Ordering};

use embassy_time::{Instant, Timer};
use esp_hal::efuse;
use esp_hal::peripherals::{RTC_TIMER, TIMG0};
use esp_hal::rng::Rng;
use esp_hal::rtc_cntl::{Rtc, Rwdt, RwdtStage};
use esp_hal::timer::timg::{MwdtStage, Wdt};
use heapless::String;
use otaria_device::board::{Board, Duration, ResetReason, Slot};
use otaria_wire::partitions::{DEFAULT_4MB, Layout, Region};

use crate::chip;
use crate::heap;
use crate::reset::{self, PanicRecord};

/// Signal strength of the last look, in dBm; 0 before the first one.
static RSSI: AtomicI8 = AtomicI8::new(0);

/// Somebody wants to see which board this is.
static IDENTIFY: AtomicBool = AtomicBool::new(false);

/// Millisecond of this boot in which the watchdog was fed last, and for how many of them it is waited; 0 while it is not armed.
static FED_AT: AtomicU32 = AtomicU32::new(0);
static PATIENCE: AtomicU32 = AtomicU32::new(0);

/// Of the watchdog's time-out, the part after which [`watch`] does not wait any longer: before either watchdog resets the chip.
const WATCH: (u64, u64) = (5, 6);
/// How often [`watch`] looks: several times in the part that is left of the shortest time-out, a second.
const WATCH_EVERY: embassy_time::Duration = embassy_time::Duration::from_millis(50);
/// The second watchdog's time-out, as a part of the first one's: later, so that a reset says which clock was to blame.
const SECOND: (u64, u64) = (9, 8);
/// See [`Board::arm_watchdog`] of [`EspBoard`].
const HOUR: esp_hal::time::Duration = esp_hal::time::Duration::from_secs(3600);

/// Keeps the signal strength for the reports.
pub(crate) fn set_rssi(dbm: Option<i8>) {
    RSSI.store(dbm.unwrap_or(0), Ordering::Relaxed);
}

/// Whether somebody has asked to see which board this is, since the last call: for whoever drives an LED.
pub fn identify_wanted() -> bool {
    let wanted = IDENTIFY.load(Ordering::Relaxed);
    IDENTIFY.store(false, Ordering::Relaxed);
    wanted
}

/// Watches the task that feeds the watchdog, and panics shortly before the watchdog resets the chip: a panic says where that task
/// is, a watchdog does not. To be run on an executor that interrupts it. What stops interrupts, too, is the watchdog's.
#[allow(
    clippy::panic,
    reason = "this is how a place is kept for the next boot"
)]
pub async fn watch() -> ! {
    loop {
        Timer::after(WATCH_EVERY).await;
        let patience = PATIENCE.load(Ordering::Relaxed);
        // In this order: who feeds it in between must not seem to have done so in the future.
        let fed = FED_AT.load(Ordering::Relaxed);
        let since = millis().wrapping_sub(fed);
        if patience > 0 && since >= patience {
            panic!("watchdog: the main task has not come back for {since} ms");
        }
    }
}

/// Milliseconds of this boot, of which the upper half is missing; differences of less than 49 days are right for ever.
fn millis() -> u32 {
    (Instant::now().as_millis() & u64::from(u32::MAX)) as u32
}

/// Fills `bytes` from the hardware generator. Nobody can guess them as long as the radio runs, which is what gives it noise
/// (ESP32-C3 TRM 1.1, "Random Number Generator"); without a radio the application has to start esp-hal's `TrngSource`.
pub fn random(bytes: &mut [u8]) {
    Rng::new().read(bytes);
}

/// An id made of the chip's MAC address, such as `esp32c3-34b4721a9c00`.
#[must_use]
pub fn device_id() -> String<32> {
    let mut id = String::new();
    let mac = efuse::base_mac_address();
    // 20 characters at most.
    let _ = write!(id, "{}-", chip::CHIP.name().unwrap_or("esp"));
    for byte in mac.as_bytes() {
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// The chip in one boot.
pub struct EspBoard {
    rwdt: Rwdt,
    /// A second watchdog, on the bus clock: for what stops the first one's, the slow clock of the RTC.
    second: Wdt<TIMG0<'static>>,
    rng: Rng,
    armed: bool,
    reset_reason: ResetReason,
    mapped: u32,
    slots: [Region; 2],
    last_panic: Option<PanicRecord>,
}

impl EspBoard {
    /// The chip, as this boot found it: right behind [`esp_hal::init`]. The watchdog is not armed yet.
    #[must_use]
    pub fn new(timer: RTC_TIMER<'static>) -> Self {
        let last_panic = PanicRecord::take();
        Self {
            rwdt: Rtc::new(timer).rwdt,
            second: Wdt::new(),
            rng: Rng::new(),
            armed: false,
            reset_reason: reset::reset_reason(last_panic.is_some()),
            mapped: chip::mapped_offset(),
            slots: DEFAULT_4MB.slots,
            last_panic,
        }
    }

    /// Where the slots are, if not where they usually are.
    pub fn set_layout(&mut self, layout: &Layout) {
        self.slots = layout.slots;
    }

    fn feed(&mut self) {
        FED_AT.store(millis(), Ordering::Relaxed);
        self.rwdt.feed();
        self.second.feed();
    }

    /// What the boot before died of, if that was a panic.
    #[must_use]
    pub fn last_panic(&self) -> Option<&PanicRecord> {
        self.last_panic.as_ref()
    }
}

impl Board for EspBoard {
    fn reset(&mut self) {
        esp_hal::system::software_reset()
    }

    fn reset_reason(&self) -> ResetReason {
        self.reset_reason
    }

    fn random_u64(&mut self) -> u64 {
        // Truly random only while the radio runs; before, seeded by the chip's noise (ESP32-C3 TRM 1.1, "Random Number
        // Generator"). It picks jitter and names, no secret.
        u64::from(self.rng.random()) << 32 | u64::from(self.rng.random())
    }

    fn running_slot(&self) -> Option<Slot> {
        let [first, second] = self.slots;
        match self.mapped {
            at if at == first.offset => Some(Slot::Ota0),
            at if at == second.offset => Some(Slot::Ota1),
            _ => None,
        }
    }

    fn chip_id(&self) -> u16 {
        chip::CHIP.0
    }

    fn chip_revision(&self) -> u16 {
        let revision = efuse::chip_revision();
        u16::from(revision.major) * 100 + u16::from(revision.minor)
    }

    fn arm_watchdog(&mut self, timeout: Duration) {
        // The counter has 32 bits at 136 kHz or so: eight hours.
        let micros = timeout.as_micros().min(3_600_000_000);
        // Enabling starts from the default time-out, so the time is set on both sides of it: never disarmed, never too short.
        self.feed();
        self.rwdt.set_timeout(
            RwdtStage::Stage0,
            esp_hal::time::Duration::from_micros(micros),
        );
        // The clock's divider is taken over when it changes. It goes with the time: so first a time that wants a large one, for a
        // stage that is off.
        let (times, of) = SECOND;
        self.second.set_timeout(MwdtStage::Stage1, HOUR);
        self.second.set_timeout(
            MwdtStage::Stage0,
            esp_hal::time::Duration::from_micros(micros * times / of),
        );
        let (times, of) = WATCH;
        let patience = micros / 1_000 * times / of;
        PATIENCE.store(
            u32::try_from(patience).unwrap_or(u32::MAX).max(1),
            Ordering::Relaxed,
        );
        if !self.armed {
            self.rwdt.enable();
            self.second.enable();
            self.armed = true;
        }
        self.feed();
    }

    fn feed_watchdog(&mut self) {
        if self.armed {
            self.feed();
        }
    }

    fn disarm_watchdog(&mut self) {
        PATIENCE.store(0, Ordering::Relaxed);
        self.rwdt.disable();
        self.second.disable();
        self.armed = false;
    }

    fn link_up(&self) -> bool {
        // `otaria_embassy::Networked` asks the network stack.
        false
    }

    fn rssi(&self) -> Option<i8> {
        match RSSI.load(Ordering::Relaxed) {
            0 => None,
            dbm => Some(dbm),
        }
    }

    fn heap_free(&self) -> Option<u32> {
        u32::try_from(heap::free()).ok()
    }

    fn heap_min(&self) -> Option<u32> {
        u32::try_from(heap::least_free()).ok()
    }

    fn identify(&mut self) {
        IDENTIFY.store(true, Ordering::Relaxed);
        log::info!("identify: this is {}", device_id());
    }
}
