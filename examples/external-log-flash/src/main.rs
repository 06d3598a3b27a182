//! An application whose log lies on a flash chip of its own, a W25Q32 at SPI2: the log is long, and wears out no other flash.
//!
//! | chip | GPIO |
//! |---|---|
//! | CLK | 6 |
//! | DI | 7 |
//! | DO | 2 |
//! | /CS | 10 |
//! | /WP, /HOLD | to 3.3 V |
#![no_std]
#![no_main]

use core::cell::RefCell;

use embassy_executor::Spawner;
use embassy_time::Timer;
use embedded_hal_bus::spi::ExclusiveDevice;
use esp_hal::Blocking;
use esp_hal::clock::CpuClock;
use esp_hal::delay::Delay;
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_hal::peripherals::{GPIO2, GPIO6, GPIO7, GPIO10, SPI2, WIFI};
use esp_hal::spi::master::{Config, Spi};
use esp_hal::time::Rate;
use esp_hal::timer::systimer::SystemTimer;
use otaria_esp::flash::{self, Flash};
use otaria_esp::{AlwaysHealthy, Otaria, Region, WifiLink, wifi};
use otaria_nor::{Joined, SpiNor};
use static_cell::StaticCell;

otaria_esp::app_desc!();

type Chip = SpiNor<ExclusiveDevice<Spi<'static, Blocking>, Output<'static>, Delay>, Delay>;
type TwoChips = Joined<Flash, Chip>;

/// What the log takes of the second chip: 1 MiB, some 25,000 lines.
const LOG_LEN: u32 = 1024 * 1024;

static FLASH: StaticCell<RefCell<TwoChips>> = StaticCell::new();

#[esp_rtos::main]
async fn main(spawner: Spawner) {
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    let two = Joined::new(flash::open(chip.FLASH), LOG_LEN);
    let log = Region {
        offset: two.border(),
        len: LOG_LEN,
    };
    let flash: &'static RefCell<TwoChips> = FLASH.init(RefCell::new(two));
    let bus = Bus {
        spi: chip.SPI2,
        clock: chip.GPIO6,
        to_chip: chip.GPIO7,
        from_chip: chip.GPIO2,
        select: chip.GPIO10,
    };
    // The bus is set up once the boot is counted: its driver may crash as well as anything.
    let otaria = otaria_esp::guard_on(chip.RTC_TIMER, flash, Some(log), || attach(flash, bus));
    esp_rtos::start(SystemTimer::new(chip.SYSTIMER).alarm0, chip.FROM_CPU_INTR0);
    spawner.spawn(update(otaria, chip.WIFI).unwrap());
    loop {
        log::info!("the application works");
        Timer::after_secs(10).await;
    }
}

#[embassy_executor::task]
async fn update(otaria: Otaria<TwoChips>, wifi: WIFI<'static>) -> ! {
    let (driver, link) = (wifi::interface(), WifiLink::new(wifi));
    otaria.run(driver, link, AlwaysHealthy).await
}

/// What the second chip is connected to.
struct Bus {
    spi: SPI2<'static>,
    clock: GPIO6<'static>,
    to_chip: GPIO7<'static>,
    from_chip: GPIO2<'static>,
    select: GPIO10<'static>,
}

/// Without the chip everything works but the log.
fn attach(flash: &RefCell<TwoChips>, bus: Bus) {
    let config = Config::default().with_frequency(Rate::from_mhz(20));
    let spi = match Spi::new(bus.spi, config) {
        Ok(spi) => spi
            .with_sck(bus.clock)
            .with_mosi(bus.to_chip)
            .with_miso(bus.from_chip),
        Err(error) => return log::error!("SPI2: {error:?}"),
    };
    let select = Output::new(bus.select, Level::High, OutputConfig::default());
    let device = match ExclusiveDevice::new(spi, select, Delay::new()) {
        Ok(device) => device,
        Err(error) => match error {},
    };
    match SpiNor::open(device, Delay::new()) {
        Ok(chip) => {
            if let Err(small) = flash.borrow_mut().attach(chip) {
                log::error!("{small}");
            }
        }
        Err(error) => log::error!("{error}"),
    }
}
