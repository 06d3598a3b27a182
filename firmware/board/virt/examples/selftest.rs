//! The virtual board tests itself: flash, time, executors, and every kind of reset. It goes through five boots, each ended by
//! another reset, and says `selftest: passed` in the last one.
#![no_std]
#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test, which fails by panicking"
)]

use core::sync::atomic::{AtomicU32, Ordering};

use embassy_time::{Duration, Instant, Timer};
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use otaria_device::board::{Board, ResetReason, Slot};
use otaria_virt::Machine;
use otaria_virt::executor::{Main, Urgent};
use otaria_virt::flash::{CfiFlash, FlashError};
use otaria_virt::heap::Heap;
use otaria_virt::{println, reset};
use static_cell::StaticCell;

otaria_virt::app_descriptor!("selftest", env!("CARGO_PKG_VERSION"), 0);
otaria_virt::entry!(main);

#[global_allocator]
static HEAP: Heap = Heap::new();

/// Flash that belongs to nobody here: the log's partition.
const FREE: u32 = 0x3C_0000;

static TICKS: AtomicU32 = AtomicU32::new(0);

fn main(slot: u32) -> ! {
    // SAFETY: the first and only call.
    let machine = unsafe { Machine::take(slot, &HEAP) };
    let mut board = machine.board;
    let words = machine.last_words;
    let words = words.as_ref().map_or("", |record| record.text());
    println!(
        "selftest: {:?} after {:?} {words}",
        board.running_slot(),
        board.reset_reason()
    );
    assert_eq!(board.running_slot(), Some(Slot::Ota0));
    assert_ne!(board.random_u64(), board.random_u64());
    match board.reset_reason() {
        ResetReason::PowerOn => {
            let mut flash = machine.flash.unwrap();
            flash_behaves_as_nor(&mut flash);
            println!("selftest: mac {:02x?}", machine.port.open().unwrap().mac());
            static MAIN: StaticCell<Main> = StaticCell::new();
            MAIN.init_with(Main::new).run(|spawner| {
                Urgent::start().spawn(tick().unwrap());
                spawner.spawn(time_passes(board).unwrap());
            })
        }
        ResetReason::Software => panic!("on purpose"),
        ResetReason::Panic if words.contains("on purpose") => {
            // SAFETY: no instruction; it ends in the exception that is wanted.
            unsafe { core::arch::asm!("unimp", options(noreturn)) }
        }
        ResetReason::Panic if words.starts_with("exception 2 at 0x8") => {
            board.arm_watchdog(otaria_device::board::Duration::from_millis(100));
            let fed_until = Instant::now() + Duration::from_millis(300);
            while Instant::now() < fed_until {
                board.feed_watchdog();
            }
            println!("selftest: fed for 300 ms, now it hangs");
            loop {
                core::hint::spin_loop();
            }
        }
        ResetReason::Watchdog => {
            println!(
                "selftest: {} bytes of stack at worst",
                otaria_virt::stack::worst_used()
            );
            println!("selftest: passed");
            reset::power_off(0)
        }
        other => panic!("{other:?} was not expected"),
    }
}

fn flash_behaves_as_nor(flash: &mut CfiFlash) {
    let read = |flash: &mut CfiFlash, at: u32| {
        let mut bytes = [0; 8];
        flash.read(at, &mut bytes).unwrap();
        bytes
    };
    flash.erase(FREE, FREE + 3 * 4096).unwrap();
    for at in (FREE..FREE + 3 * 4096).step_by(8) {
        assert_eq!(read(flash, at), [0xFF; 8]);
    }
    // A write over the borders of buffers and sectors.
    let pattern: [u8; 6000] = core::array::from_fn(|index| (index * 7) as u8);
    flash.write(FREE + 2040, &pattern).unwrap();
    let mut back = [0; 6000];
    flash.read(FREE + 2040, &mut back).unwrap();
    assert_eq!(back, pattern);
    assert_eq!(read(flash, FREE + 2032), [0xFF; 8]);
    assert_eq!(read(flash, FREE + 8040), [0xFF; 8]);
    // Only an erase sets bits, and it clears nothing of its neighbours.
    flash.write(FREE, &[0xF0; 8]).unwrap();
    flash.write(FREE, &[0xA0; 8]).unwrap();
    let refused = flash.write(FREE, &[0xA0, 0xA0, 0xA0, 0xA0, 0xA1, 0xA0, 0xA0, 0xA0]);
    assert_eq!(refused, Err(FlashError::SetsBit { addr: FREE + 4 }));
    assert_eq!(read(flash, FREE), [0xA0; 8]);
    flash.erase(FREE + 4096, FREE + 8192).unwrap();
    assert_eq!(read(flash, FREE), [0xA0; 8]);
    assert_eq!(read(flash, FREE + 4096), [0xFF; 8]);
    assert_ne!(read(flash, FREE + 4088), [0xFF; 8]);
    // Bounds and units.
    let end = flash.capacity() as u32;
    assert_eq!(flash.write(FREE + 1, &[0; 4]), Err(FlashError::NotAligned));
    assert_eq!(flash.write(FREE, &[0; 3]), Err(FlashError::NotAligned));
    assert_eq!(flash.erase(FREE, FREE + 4), Err(FlashError::NotAligned));
    assert_eq!(flash.erase(FREE + 4096, FREE), Err(FlashError::OutOfBounds));
    assert_eq!(
        flash.read(end - 4, &mut [0; 8]),
        Err(FlashError::OutOfBounds)
    );
    assert_eq!(
        flash.read(u32::MAX - 3, &mut [0; 8]),
        Err(FlashError::OutOfBounds)
    );
    flash.erase(FREE, FREE + 3 * 4096).unwrap();
    println!(
        "selftest: flash is well, {} us in commands",
        otaria_virt::flash::busy_micros()
    );
}

#[embassy_executor::task]
async fn tick() {
    loop {
        Timer::after(Duration::from_millis(1)).await;
        TICKS.store(TICKS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

#[embassy_executor::task]
async fn time_passes(mut board: otaria_virt::board::VirtBoard) {
    let start = Instant::now();
    Timer::after(Duration::from_millis(50)).await;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(50), "{took:?}");
    // A task that computes for 100 ms and never awaits is interrupted by the urgent one.
    let before = TICKS.load(Ordering::Relaxed);
    let until = Instant::now() + Duration::from_millis(100);
    while Instant::now() < until {}
    let ticks = TICKS.load(Ordering::Relaxed) - before;
    println!("selftest: {ticks} ticks of 1 ms in 100 ms of computing");
    assert!(ticks >= 50);
    board.reset();
}
