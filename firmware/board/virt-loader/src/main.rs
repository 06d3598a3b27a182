//! The virtual board's bootloader. QEMU starts it; it chooses a slot as ESP-IDF's second-stage bootloader does
//! (`otaria-boot`), copies the segments of the image in it to their addresses, and jumps to its entry point. Where a chip has
//! an MMU that shows which slot runs, it passes the slot's number in register `a0`.
//!
//! A strap ([`Straps`]) makes it a bootloader that was built with `CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE`; without that it
//! behaves as espflash's stock bootloader, which was not.
#![no_std]
#![no_main]

use embedded_storage::nor_flash::ReadNorFlash;
use otaria_boot::{BootError, Booted, Bootloader};
use otaria_virt::flash::{CfiFlash, FlashError};
use otaria_virt::straps::Straps;
use otaria_virt::{NO_SLOT, clint, map, println, reset};
use otaria_wire::esp_image::{ChipId, HEADER_LEN, SEGMENT_HEADER_LEN};

otaria_virt::entry!(main);

/// How long a message stands before the next try, in microseconds.
const PAUSE: u64 = 1_000_000;

/// Bytes that are copied at once.
const CHUNK: usize = 512;

/// Why nothing was started.
enum Failure {
    Boot(BootError<FlashError>),
    Flash(FlashError),
    /// A segment lies where this board has something else.
    Segment(u32),
}

fn main(_hart: u32) -> ! {
    let rollback = Straps::read().bootloader_rollback();
    // SAFETY: the only one in this program, and the app's begins when this one is gone.
    let mut flash = match unsafe { CfiFlash::open() } {
        Ok(flash) => flash,
        Err(missing) => {
            println!("loader: {missing}; this is not QEMU's riscv32 `virt`");
            reset::power_off(1)
        }
    };
    let bootloader = Bootloader::new(rollback).on_chip(ChipId::VIRT, 0);
    let loaded = bootloader
        .boot(&mut flash)
        .map_err(Failure::Boot)
        .and_then(|booted| load(&mut flash, &booted).map(|()| booted));
    match loaded {
        Ok(booted) => {
            if let Some((app, refusal)) = booted.refused {
                println!("loader: {app:?} refused: {refusal:?}");
            }
            println!(
                "loader: {:?} at {:#x}, {} {}, {} bytes{}",
                booted.app,
                booted.region.offset,
                booted.image.desc.project,
                booted.image.desc.version,
                booted.image.len,
                if rollback { ", rollback" } else { "" },
            );
            start(booted.image.entry, booted.slot().map_or(NO_SLOT, u32::from))
        }
        Err(failure) => {
            match failure {
                Failure::Boot(error) => println!("loader: {error}"),
                Failure::Flash(error) => println!("loader: {error}"),
                Failure::Segment(load) => {
                    println!("loader: a segment at {load:#x} is outside of an app's RAM");
                }
            }
            // As the real one: it resets, and tries again.
            let until = clint::ticks() + PAUSE * clint::TICKS_PER_MICRO;
            while clint::ticks() < until {}
            reset::reset_now()
        }
    }
}

/// Copies the segments of a verified image to where they belong.
fn load(flash: &mut CfiFlash, booted: &Booted) -> Result<(), Failure> {
    let mut at = booted.region.offset + HEADER_LEN as u32;
    for _ in 0..booted.image.segments {
        let mut header = [0; SEGMENT_HEADER_LEN];
        flash.read(at, &mut header).map_err(Failure::Flash)?;
        let [a, b, c, d, e, f, g, h] = header;
        let load = u32::from_le_bytes([a, b, c, d]);
        let len = u32::from_le_bytes([e, f, g, h]);
        at += SEGMENT_HEADER_LEN as u32;
        // What is below is not loaded: padding (`should_load` in ESP-IDF's esp_image_format.c).
        if load >= 0x1000_0000 && len > 0 {
            copy(flash, at, load, len)?;
        }
        at += len;
    }
    Ok(())
}

fn copy(flash: &mut CfiFlash, from: u32, load: u32, len: u32) -> Result<(), Failure> {
    let end = load.checked_add(len).ok_or(Failure::Segment(load))?;
    if load < map::APP_START || end > map::APP_END || !load.is_multiple_of(4) {
        return Err(Failure::Segment(load));
    }
    let mut done = 0;
    while done < len {
        let mut chunk = [0; CHUNK];
        let now = ((len - done) as usize).min(CHUNK);
        let (piece, _) = chunk.split_at_mut(now);
        flash.read(from + done, piece).map_err(Failure::Flash)?;
        let to = (load + done) as *mut u8;
        // SAFETY: RAM between `APP_START` and `APP_END`, checked above, which this program uses for nothing else (loader.x ends
        // below; hw/riscv/virt.c, `virt_memmap[VIRT_DRAM]`). `piece` is in the loader's own RAM.
        unsafe { core::ptr::copy_nonoverlapping(piece.as_ptr(), to, now) };
        done += now as u32;
    }
    Ok(())
}

/// Jumps to the image.
fn start(entry: u32, slot: u32) -> ! {
    riscv::asm::fence_i();
    // SAFETY: `entry` is inside one of the segments that were just copied (`ImageChecker` checks that), and RISC-V code that
    // expects nothing but its slot in `a0` (`otaria_virt::entry!`). After `fence_i` the copied bytes are what is fetched (RISC-V
    // unprivileged specification 20191213, chapter 3).
    let app: extern "C" fn(u32) -> ! = unsafe { core::mem::transmute(entry as usize as *const ()) };
    app(slot)
}
