//! Otaria in an application for an ESP32 chip.

use core::cell::RefCell;
use core::fmt::Display;

use embedded_storage::nor_flash::NorFlash;
use esp_bootloader_esp_idf::EspAppDesc;
use esp_hal::peripherals::{FLASH, RTC_TIMER};
use heapless::String;
use otaria_device::board::Board;
use otaria_device::runtime::Monitor;
use otaria_device::settings::Timing;
use otaria_embassy::{Hardware, Image, Lent, Resources, layout};
use otaria_wire::partitions::Region;
use static_cell::StaticCell;

use crate::board::{self, EspBoard};
use crate::flash::{self, Flash};
use crate::{console, heap};

/// Otaria on an ESP32 chip: what [`guard`] makes, and what a task runs for the rest of the boot. `F` is the flash, which is the
/// chip's own unless the application says otherwise.
pub type Otaria<F = Flash> = otaria_embassy::Otaria<'static, EspBoard, F>;

/// What Otaria is doing: to be read from any task, at any time.
pub static MONITOR: Monitor = Monitor::new();

static FLASH_CHIP: StaticCell<RefCell<Flash>> = StaticCell::new();
static RESOURCES: StaticCell<Resources> = StaticCell::new();
static DEVICE_ID: StaticCell<String<32>> = StaticCell::new();

/// Puts the app descriptor into the image: what bootloader, packager and Otaria know it by. To be called once, outside of any
/// function.
///
/// Without arguments product and version are the package's, as Cargo.toml has them, and the security version is 0; else
/// `app_desc!(product, version, security_version)`. Product and version have at most 31 bytes, printable ASCII. There is no date
/// in it: the same source makes the same image.
#[macro_export]
macro_rules! app_desc {
    () => {
        $crate::app_desc!(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), 0);
    };
    ($product:expr, $version:expr, $security_version:expr) => {
        $crate::esp_bootloader_esp_idf::esp_app_desc!(
            $version,
            $product,
            "00:00:00",
            "1970-01-01",
            $crate::esp_bootloader_esp_idf::ESP_IDF_COMPATIBLE_VERSION,
            $crate::esp_bootloader_esp_idf::MMU_PAGE_SIZE,
            0,
            u16::MAX,
            $security_version
        );
    };
}

/// What the running image calls itself, by its app descriptor.
#[must_use]
#[allow(unsafe_code, reason = "the descriptor is the application's")]
pub fn image() -> Image<'static> {
    unsafe extern "C" {
        #[link_name = "esp_app_desc"]
        safe static DESCRIPTOR: EspAppDesc;
    }
    Image {
        product: DESCRIPTOR.project_name(),
        version: DESCRIPTOR.version(),
    }
}

/// Guards this boot: the first thing in `main`, right behind `esp_hal::init`, before anything that can crash.
///
/// Arms the RTC watchdog, which `esp_hal::init` has switched off; opens the console; counts the boot, and resets the chip if an
/// image on trial has used up its boots. Then it makes the heap ([`heap`]) and Otaria's buffers, which are built on the stack: 46
/// KiB that nobody else may need meanwhile. It takes some milliseconds, and never waits for anything.
///
/// To be called once.
#[must_use]
pub fn guard(timer: RTC_TIMER<'static>, flash: FLASH<'static>) -> Otaria {
    let board = armed(timer);
    let flash = &*FLASH_CHIP.init(RefCell::new(flash::open(flash)));
    guard_with(board, flash, None, || ())
}

/// The same with a flash that is more than the chip's own, which [`flash::open`] opens and which has to be at its start.
///
/// `log` is where the ring of the log lies, if not in the partition `otalog`: at least two sectors of 4 KiB. `counted` is called
/// once the boot is counted and there is a heap: what is not needed before may be set up then, such as a second chip and its bus.
#[must_use]
pub fn guard_on<F: NorFlash>(
    timer: RTC_TIMER<'static>,
    flash: &'static RefCell<F>,
    log: Option<Region>,
    counted: impl FnOnce(),
) -> Otaria<F> {
    guard_with(armed(timer), flash, log, counted)
}

fn armed(timer: RTC_TIMER<'static>) -> EspBoard {
    let mut board = EspBoard::new(timer);
    board.arm_watchdog(Timing::DEFAULT.watchdog);
    console::init();
    board
}

fn guard_with<F: NorFlash>(
    mut board: EspBoard,
    flash: &'static RefCell<F>,
    log: Option<Region>,
    counted: impl FnOnce(),
) -> Otaria<F> {
    let mut layout = layout(flash);
    if let Some(layout) = &mut layout {
        board.set_layout(layout);
        layout.log = log.unwrap_or(layout.log);
    }
    let panic = board.last_panic().cloned();
    let words = panic
        .as_ref()
        .map(|panic| (panic.text(), panic.addresses()));
    let lines: [&dyn Display; 2];
    let last_words: &[&dyn Display] = match &words {
        Some((text, backtrace)) => {
            lines = [text, backtrace];
            &lines
        }
        None => &[],
    };
    let hardware = Hardware {
        board,
        flash,
        layout,
        image: image(),
    };
    Otaria::guard(hardware, last_words, || {
        let lent = lend();
        counted();
        lent
    })
}

/// From here on a crash has been counted before it happens.
fn lend() -> Lent<'static> {
    heap::init();
    Lent {
        resources: RESOURCES.init_with(Resources::new),
        monitor: &MONITOR,
        device_id: DEVICE_ID.init(board::device_id()),
        random: board::random,
    }
}
