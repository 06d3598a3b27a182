//! The firmware on an ESP32 chip.
#![no_std]
#![no_main]

use core::cell::RefCell;
use core::fmt::Display;

use embassy_executor::SendSpawner;
use embassy_time::Timer;
use esp_hal::clock::CpuClock;
use esp_hal::gpio::{AnyPin, Level, Output, OutputConfig};
use esp_hal::interrupt::Priority;
use esp_rtos::embassy::{Executor, InterruptExecutor};
use otaria_app::{Alive, PRODUCT, Parts, Resources, SECURITY_VERSION, VERSION};
use otaria_device::board::Board;
use otaria_device::settings::Timing;
use otaria_esp::flash::Flash;
use otaria_esp::wifi::{Interface, WifiLink};
use otaria_esp::{EspBoard, board, console, flash, heap, wifi};
use static_cell::StaticCell;

esp_bootloader_esp_idf::esp_app_desc!(
    VERSION,
    PRODUCT,
    // Nothing in an image may depend on when it was built.
    "00:00:00",
    "1970-01-01",
    esp_bootloader_esp_idf::ESP_IDF_COMPATIBLE_VERSION,
    esp_bootloader_esp_idf::MMU_PAGE_SIZE,
    0,
    u16::MAX,
    SECURITY_VERSION
);

/// The GPIO of an LED that beats while the firmware runs, and blinks fast for `identify`; none unless the build says so.
const LED: Option<u32> = match option_env!("OTARIA_LED") {
    Some(digits) => Some(otaria_app::number(digits)),
    None => None,
};

static FLASH: StaticCell<RefCell<Flash>> = StaticCell::new();
static RESOURCES: StaticCell<Resources> = StaticCell::new();
static DEVICE_ID: StaticCell<heapless::String<32>> = StaticCell::new();
static MAIN: StaticCell<Executor> = StaticCell::new();
static URGENT: StaticCell<InterruptExecutor<1>> = StaticCell::new();
static ALIVE: Alive = Alive::new();

#[esp_hal::main]
fn main() -> ! {
    let config = esp_hal::Config::default().with_cpu_clock(CpuClock::max());
    let peripherals = esp_hal::init(config);
    let mut board = EspBoard::new(peripherals.RTC_TIMER);
    board.arm_watchdog(Timing::DEFAULT.watchdog);
    console::init();
    let flash: &'static RefCell<Flash> = FLASH.init(RefCell::new(flash::open(peripherals.FLASH)));
    let layout = otaria_app::layout(flash);
    if let Some(layout) = &layout {
        board.set_layout(layout);
    }
    let words = board.last_panic().cloned();
    let started = match &words {
        None => otaria_app::start(&mut board, flash, layout, &[]),
        Some(panic) => {
            let (text, backtrace) = (panic.text(), panic.addresses());
            let lines: [&dyn Display; 2] = [&text, &backtrace];
            otaria_app::start(&mut board, flash, layout, &lines)
        }
    };
    // From here on a crash has been counted before it happens.
    heap::init();
    // Made on the stack, most of which that takes: so while nothing else needs any, not even an interrupt.
    let resources = RESOURCES.init_with(Resources::new);
    let timer = cfg_select! {
        feature = "esp32" => { esp_hal::timer::timg::TimerGroup::new(peripherals.TIMG0).timer0 }
        _ => { esp_hal::timer::systimer::SystemTimer::new(peripherals.SYSTIMER).alarm0 }
    };
    esp_rtos::start(timer, peripherals.FROM_CPU_INTR0);
    let urgent = URGENT.init(InterruptExecutor::new(peripherals.FROM_CPU_INTR1));
    spawn_application(urgent.start(Priority::Priority2));
    let device_id = DEVICE_ID.init(board::device_id());
    let parts = Parts {
        board,
        flash,
        started,
        driver: wifi::interface(),
        link: WifiLink::new(peripherals.WIFI),
        resources,
        alive: &ALIVE,
        device_id,
    };
    MAIN.init(Executor::new()).run(|spawner| {
        // The pool of this task has one place, and this is the one call.
        if let Ok(token) = otaria(parts) {
            spawner.spawn(token);
        }
    })
}

type EspParts = Parts<'static, EspBoard, Flash, Interface, WifiLink>;

#[embassy_executor::task]
async fn otaria(parts: EspParts) -> ! {
    otaria_app::run(parts).await
}

/// The application's own tasks. They interrupt the main executor: a signature takes 85 ms there, in which nobody else has a turn.
fn spawn_application(spawner: SendSpawner) {
    if let Ok(token) = ticker() {
        spawner.spawn(token);
    }
    if let Ok(token) = watch() {
        spawner.spawn(token);
    }
    if let Some(pin) = LED
        && let Ok(pin) = u8::try_from(pin)
        && let Ok(token) = heartbeat(pin)
    {
        spawner.spawn(token);
    }
}

#[embassy_executor::task]
async fn ticker() -> ! {
    ALIVE.tick().await
}

#[embassy_executor::task]
async fn watch() -> ! {
    board::watch().await
}

/// One short beat a second; for `identify`, ten seconds of fast blinking.
#[embassy_executor::task]
async fn heartbeat(pin: u8) -> ! {
    // SAFETY: `AnyPin::steal` (esp-hal 1.2): no other driver of this pin. This program drives no other pin; which one has the LED
    // is said by whoever builds it for a board.
    let pin = unsafe { AnyPin::steal(pin) };
    let mut led = Output::new(pin, Level::Low, OutputConfig::default());
    loop {
        if board::identify_wanted() {
            for _ in 0..100 {
                led.toggle();
                Timer::after_millis(100).await;
            }
        }
        led.set_high();
        Timer::after_millis(50).await;
        led.set_low();
        Timer::after_millis(950).await;
    }
}
