//! The firmware on the virtual board: QEMU's riscv32 `virt` machine.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt::Display;
use core::future::pending;

use embassy_net::Stack;
use embassy_time::Timer;
use log::{error, info};
use otaria_app::{Alive, PRODUCT, SECURITY_VERSION, TIMING, VERSION};
use otaria_device::board::Board;
use otaria_device::runtime::Monitor;
use otaria_embassy::setup::{Neighbour, Serial, SetUpLink};
use otaria_embassy::{Hardware, Image, Lent, Link, Otaria, Resources, clock, layout};
use otaria_settings::{Settings, WifiNetwork};
use otaria_virt::Machine;
use otaria_virt::board::{self, VirtBoard};
use otaria_virt::executor::{Main, Urgent};
use otaria_virt::flash::CfiFlash;
use otaria_virt::heap::Heap;
use otaria_virt::net::{self, Net, Port};
use otaria_virt::{reset, rtc, stack, uart};
use static_cell::StaticCell;

otaria_virt::app_descriptor!(PRODUCT, VERSION, SECURITY_VERSION);
otaria_virt::entry!(main);

#[global_allocator]
static HEAP: Heap = Heap::new();

static FLASH: StaticCell<RefCell<CfiFlash>> = StaticCell::new();
static RESOURCES: StaticCell<Resources> = StaticCell::new();
static MAIN: StaticCell<Main> = StaticCell::new();
static MONITOR: Monitor = Monitor::new();
static ALIVE: Alive = Alive::new();

fn main(slot: u32) -> ! {
    // SAFETY: the first and only call, at the start of `main`.
    let machine = unsafe { Machine::take(slot, &HEAP) };
    let mut board = machine.board;
    board.arm_watchdog(TIMING.watchdog);
    let flash = match machine.flash {
        Ok(flash) => &*FLASH.init(RefCell::new(flash)),
        Err(missing) => {
            error!("flash: {missing}");
            reset::power_off(1)
        }
    };
    let hardware = Hardware {
        board,
        flash,
        layout: layout(flash),
        image: Image {
            product: PRODUCT,
            version: VERSION,
        },
    };
    let words = machine.last_words.as_ref().map(|record| record.text());
    let words = words.as_ref().filter(|words| !words.is_empty());
    let lines: &[&dyn Display] = match &words {
        Some(words) => &[words],
        None => &[],
    };
    let mut driver = None;
    // From where this is called on, a crash has been counted before it happens.
    let lend = || {
        let net = open(machine.port);
        let [.., a, b, c] = net.mac();
        driver = Some(net);
        let device_id = alloc::format!("virt-{a:02x}{b:02x}{c:02x}");
        Lent {
            resources: RESOURCES.init_with(Resources::new),
            monitor: &MONITOR,
            device_id: Box::leak(device_id.into_boxed_str()),
            random: board::random,
        }
    };
    let otaria = Otaria::guard(hardware, lines, lend);
    clock::set_unix_time(rtc::unix_nanos() / 1_000_000_000);
    // The application's own task interrupts the main executor, as on a chip.
    if let Ok(token) = ticker() {
        Urgent::start().spawn(token);
    }
    MAIN.init_with(Main::new).run(|spawner| {
        // The pool of this task has one place, and this is the one call.
        if let Some(driver) = driver
            && let Ok(token) = update(otaria, driver)
        {
            spawner.spawn(token);
        }
        if let Ok(token) = watch_stack() {
            spawner.spawn(token);
        }
    })
}

fn open(port: Port) -> Net {
    port.open().unwrap_or_else(|why| {
        error!("network: {why:?}; start QEMU with -device virtio-net-device");
        reset::power_off(1)
    })
}

/// A network that is there as soon as the cable is in.
struct Cable;

impl Link for Cable {
    async fn run(&mut self, _: &Settings, _: Stack<'_>) -> ! {
        net::plug_in();
        pending().await
    }
}

/// There is no radio: the access point is whatever the cable goes to.
impl SetUpLink for Cable {
    /// Of the clock, for there is nothing better; and there is nothing here that a password would guard.
    fn secret(&mut self, bytes: &mut [u8]) -> bool {
        let mut nanos = rtc::unix_nanos();
        for byte in bytes {
            nanos = nanos.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            [*byte, ..] = nanos.to_be_bytes();
        }
        true
    }

    async fn scan(&mut self) -> Vec<Neighbour> {
        let cable = Neighbour {
            ssid: String::from("cable"),
            rssi: 0,
            locked: false,
        };
        [cable].into()
    }

    async fn open(&mut self, _: &str, _: &str) -> bool {
        net::plug_in();
        true
    }

    async fn close(&mut self) {
        net::pull_out();
    }

    async fn join(&mut self, _: &WifiNetwork) -> bool {
        net::plug_in();
        true
    }

    async fn leave(&mut self) {
        net::pull_out();
    }
}

/// The serial port.
struct Console;

impl Serial for Console {
    fn read(&mut self) -> Option<u8> {
        uart::Console.get()
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            uart::Console.put(*byte);
        }
    }
}

#[embassy_executor::task]
async fn update(otaria: Otaria<'static, VirtBoard, CfiFlash>, driver: Net) -> ! {
    otaria_app::run(otaria, driver, Cable, Console, &ALIVE, &MONITOR).await
}

#[embassy_executor::task]
async fn ticker() -> ! {
    ALIVE.tick().await
}

/// Says how much stack was ever used, when that has grown.
#[embassy_executor::task]
async fn watch_stack() -> ! {
    let mut worst = 0;
    loop {
        Timer::after_secs(1).await;
        let now = stack::worst_used();
        if now > worst {
            worst = now;
            info!("stack: {worst} bytes at worst");
        }
    }
}
