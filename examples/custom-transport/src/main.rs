//! An application without Wi-Fi: its connections go over a serial line, to a gateway that opens them. `gateway.rs` is the whole
//! network, as Otaria sees it: [`Connect`](otaria_device::net::Connect) opens connections, [`Uplink`](otaria_esp::Uplink) says
//! whether there is a network. A modem with a stack of its own, or a field bus, is joined in the same way.
//!
//! | line | GPIO |
//! |---|---|
//! | TX | 4 |
//! | RX | 5 |
//! | RTS | 6 |
//! | CTS | 7 |
#![no_std]
#![no_main]

mod gateway;

use embassy_executor::Spawner;
use embassy_time::Timer;
use esp_hal::Async;
use esp_hal::clock::CpuClock;
use esp_hal::timer::systimer::SystemTimer;
use esp_hal::uart::{Config, CtsConfig, HwFlowControl, RtsConfig, Uart};
use otaria_esp::{AlwaysHealthy, BrokerUrl, Otaria};

use gateway::Gateway;

otaria_esp::app_desc!();

/// Where the broker is unless the settings say something else.
const BROKER: &str = "mqtt://broker.lan";
const BAUD: u32 = 921_600;
/// The line is stopped when so many bytes lie in the UART's buffer of 128: a frame's worth may still be on its way.
const STOP_AT: u8 = 96;

static GATEWAY: Gateway = Gateway::new();

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    let otaria = otaria_esp::guard(chip.RTC_TIMER, chip.FLASH);
    esp_rtos::start(SystemTimer::new(chip.SYSTIMER).alarm0, chip.FROM_CPU_INTR0);
    let flow = HwFlowControl {
        cts: CtsConfig::Enabled,
        rts: RtsConfig::Enabled(STOP_AT),
    };
    let config = Config::default()
        .with_baudrate(BAUD)
        .with_hw_flow_ctrl(flow);
    match Uart::new(chip.UART1, config) {
        Ok(uart) => {
            let uart = uart.with_tx(chip.GPIO4).with_rx(chip.GPIO5);
            let uart = uart.with_rts(chip.GPIO6).with_cts(chip.GPIO7).into_async();
            spawner.spawn(line(uart).unwrap());
        }
        // The application works on; nothing is updated.
        Err(error) => log::error!("UART1: {error:?}"),
    }
    spawner.spawn(update(otaria).unwrap());
    loop {
        log::info!("the application works");
        Timer::after_secs(10).await;
    }
}

#[embassy_executor::task]
async fn line(uart: Uart<'static, Async>) -> ! {
    let (line_in, line_out) = uart.split();
    GATEWAY.run(line_in, line_out).await
}

#[embassy_executor::task]
async fn update(otaria: Otaria) -> ! {
    // Keys and all else come from NVS.
    let mut settings = otaria.stored_settings().unwrap_or_default();
    if settings.broker.is_none() {
        settings.broker = BrokerUrl::parse(BROKER).ok();
    }
    let otaria = otaria.with_settings(settings);
    otaria.run_over(&GATEWAY, AlwaysHealthy).await
}
