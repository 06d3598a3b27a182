//! An application that says itself whether an update is good: a thermometer, which has to measure something that can be true.
//!
//! An image on trial is kept once Wi-Fi, the broker and the web server are reached, *and* this says [`Health::Healthy`].
//! [`Health::Unhealthy`] rolls back at once; as long as it is [`Health::Unknown`] the trial goes on, until its time is up.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use embassy_executor::Spawner;
use embassy_time::Timer;
use esp_hal::clock::CpuClock;
use esp_hal::peripherals::{TSENS, WIFI};
use esp_hal::timer::systimer::SystemTimer;
use esp_hal::tsens::{Config, TemperatureSensor};
use otaria_esp::{Health, MONITOR, Otaria, WifiLink, wifi};

otaria_esp::app_desc!();

/// So many good readings in a row prove that the thermometer works.
const ENOUGH: u32 = 10;
/// What the chip may have, in degrees Celsius (ESP32-C3 data sheet, "Absolute maximum ratings").
const POSSIBLE: core::ops::RangeInclusive<f32> = -40.0..=125.0;

/// Good readings in a row.
static GOOD: AtomicU32 = AtomicU32::new(0);
/// The sensor cannot be used at all: no further reading will change that.
static BROKEN: AtomicBool = AtomicBool::new(false);

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    let otaria = otaria_esp::guard(chip.RTC_TIMER, chip.FLASH);
    esp_rtos::start(SystemTimer::new(chip.SYSTIMER).alarm0, chip.FROM_CPU_INTR0);
    spawner.spawn(update(otaria, chip.WIFI).unwrap());
    measure(chip.TSENS).await;
}

#[embassy_executor::task]
async fn update(otaria: Otaria, wifi: WIFI<'static>) -> ! {
    let (driver, link) = (wifi::interface(), WifiLink::new(wifi));
    otaria.run(driver, link, health).await
}

/// Asked about once a second while the image is on trial. It answers at once: what takes time is done by the task.
fn health() -> Health {
    if BROKEN.load(Ordering::Relaxed) {
        Health::Unhealthy
    } else if GOOD.load(Ordering::Relaxed) >= ENOUGH {
        Health::Healthy
    } else {
        Health::Unknown
    }
}

async fn measure(tsens: TSENS<'static>) {
    let Ok(sensor) = TemperatureSensor::new(tsens, Config::default()) else {
        log::error!("the thermometer does not start");
        BROKEN.store(true, Ordering::Relaxed);
        return;
    };
    loop {
        // On trial the image has minutes to prove itself.
        let pause = if MONITOR.on_trial() { 1 } else { 60 };
        Timer::after_secs(pause).await;
        let celsius = sensor.get_temperature().to_celsius();
        let good = if POSSIBLE.contains(&celsius) {
            GOOD.load(Ordering::Relaxed).saturating_add(1)
        } else {
            0
        };
        GOOD.store(good, Ordering::Relaxed);
        // In tenths: what prints numbers with a point is a lot of code.
        log::info!("{} tenths of a degree", (celsius * 10.0) as i32);
    }
}
