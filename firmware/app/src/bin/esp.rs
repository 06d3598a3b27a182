//! The firmware on an ESP32 chip.
#![no_std]
#![no_main]

use embassy_executor::SendSpawner;
use embassy_time::Timer;
use esp_hal::clock::CpuClock;
use esp_hal::gpio::{AnyPin, Level, Output, OutputConfig};
use esp_hal::interrupt::Priority;
use esp_hal::peripherals::WIFI;
use esp_rtos::embassy::{Executor, InterruptExecutor};
use otaria_app::{Alive, PRODUCT, SECURITY_VERSION, VERSION};
use otaria_esp::console::SerialPort;
use otaria_esp::{MONITOR, Otaria, WifiLink, board, wifi};
use static_cell::StaticCell;

otaria_esp::app_desc!(PRODUCT, VERSION, SECURITY_VERSION);

/// The GPIO of an LED that beats while the firmware runs, and blinks fast for `identify`; none unless the build says so.
const LED: Option<u32> = match option_env!("OTARIA_LED") {
    Some(digits) => Some(otaria_app::number(digits)),
    None => None,
};

static MAIN: StaticCell<Executor> = StaticCell::new();
static URGENT: StaticCell<InterruptExecutor<1>> = StaticCell::new();
static ALIVE: Alive = Alive::new();

#[esp_hal::main]
fn main() -> ! {
    let config = esp_hal::Config::default().with_cpu_clock(CpuClock::max());
    let peripherals = esp_hal::init(config);
    // First of all: from here on a crash has been counted before it happens.
    let otaria = otaria_esp::guard(peripherals.RTC_TIMER, peripherals.FLASH);
    let timer = cfg_select! {
        feature = "esp32" => { esp_hal::timer::timg::TimerGroup::new(peripherals.TIMG0).timer0 }
        _ => { esp_hal::timer::systimer::SystemTimer::new(peripherals.SYSTIMER).alarm0 }
    };
    esp_rtos::start(timer, peripherals.FROM_CPU_INTR0);
    let urgent = URGENT.init(InterruptExecutor::new(peripherals.FROM_CPU_INTR1));
    spawn_application(urgent.start(Priority::Priority2));
    let wifi = peripherals.WIFI;
    MAIN.init(Executor::new()).run(|spawner| {
        // The pool of this task has one place, and this is the one call.
        if let Ok(token) = update(otaria, wifi) {
            spawner.spawn(token);
        }
    })
}

#[embassy_executor::task]
async fn update(otaria: Otaria, wifi: WIFI<'static>) -> ! {
    let (driver, link) = (wifi::interface(), WifiLink::new(wifi));
    otaria_app::run(otaria, driver, link, SerialPort, &ALIVE, &MONITOR).await
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
