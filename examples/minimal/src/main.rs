//! An application that keeps itself up to date: signed packages, tried out, and undone when they fail.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_time::Timer;
use esp_hal::clock::CpuClock;
use esp_hal::peripherals::WIFI;
use esp_hal::timer::systimer::SystemTimer;
use otaria_esp::{AlwaysHealthy, Otaria, WifiLink, wifi};

otaria_esp::app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    // First of all: whatever crashes from here on has been counted, and an update that crashes is undone.
    let otaria = otaria_esp::guard(chip.RTC_TIMER, chip.FLASH);
    esp_rtos::start(SystemTimer::new(chip.SYSTIMER).alarm0, chip.FROM_CPU_INTR0);
    spawner.spawn(update(otaria, chip.WIFI).unwrap());
    loop {
        log::info!("the application works");
        Timer::after_secs(10).await;
    }
}

#[embassy_executor::task]
async fn update(otaria: Otaria, wifi: WIFI<'static>) -> ! {
    let (driver, link) = (wifi::interface(), WifiLink::new(wifi));
    otaria.run(driver, link, AlwaysHealthy).await
}
