//! The driver against a modelled chip, and Otaria's log on it.

mod chip;

use std::cell::RefCell;
use std::time::Duration;

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use otaria_device::storage::log::FlashLog;
use otaria_device::storage::region::Region;
use otaria_nor::joined::TooSmall;
use otaria_nor::spi::{BLOCK_ERASE_LIMIT, PROGRAM_LIMIT, SECTOR_ERASE_LIMIT};
use otaria_nor::{Joined, JoinedError, SpiNor, SpiNorError};
use otaria_wire::messages::{Level, LogLine};
use proptest::prelude::*;

use chip::{Bus, Delay, Wire};

/// 4 MiB, as a W25Q32 has.
const SIZE: u8 = 22;

type Driver = SpiNor<Bus, Delay>;

fn open(bus: &Bus) -> Result<Driver, SpiNorError<std::convert::Infallible>> {
    SpiNor::open(bus.clone(), bus.delay())
}

fn chip() -> (Bus, Driver) {
    let bus = Bus::new(SIZE);
    let driver = open(&bus).unwrap();
    (bus, driver)
}

fn read<F: ReadNorFlash>(flash: &mut F, at: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    flash.read(at, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_chip_says_how_large_it_is() {
    for size in 16..=24 {
        assert_eq!(open(&Bus::new(size)).unwrap().capacity(), 1 << size);
    }
}

#[test]
fn what_is_written_is_read_across_pages() {
    let (bus, mut driver) = chip();
    let bytes: Vec<u8> = (0..600).map(|n| n as u8).collect();
    driver.write(0x1_00F0, &bytes).unwrap();
    assert_eq!(read(&mut driver, 0x1_00F0, 600), bytes);
    assert_eq!(read(&mut driver, 0x1_00EF, 1), [0xFF]);
    let pages = [(2, 0x1_00F0), (2, 0x1_0100), (2, 0x1_0200), (2, 0x1_0300)];
    assert_eq!(bus.0.borrow().log, pages);
}

#[test]
fn an_erase_takes_blocks_where_it_can() {
    let (bus, mut driver) = chip();
    driver.write(0xF000, &[0; 4]).unwrap();
    driver.write(0x2_1FFC, &[0; 4]).unwrap();
    bus.0.borrow_mut().log.clear();
    driver.erase(0xF000, 0x2_2000).unwrap();
    let commands = [
        (0x20, 0xF000),
        (0xD8, 0x1_0000),
        (0x20, 0x2_0000),
        (0x20, 0x2_1000),
    ];
    assert_eq!(bus.0.borrow().log, commands);
    assert_eq!(bus.0.borrow().bytes, vec![0xFF; 1 << SIZE]);
}

#[test]
fn a_command_that_does_not_fit_does_nothing() {
    let (bus, mut driver) = chip();
    let end = 1 << SIZE;
    for (at, len) in [(end, 1), (end - 1, 2), (u32::MAX, 2), (0, end as usize + 1)] {
        let mut bytes = vec![0; len];
        assert_eq!(driver.read(at, &mut bytes), Err(SpiNorError::OutOfBounds));
        assert_eq!(driver.write(at, &bytes), Err(SpiNorError::OutOfBounds));
    }
    for (from, to) in [(0, end + 0x1000), (0x2000, 0x1000), (end, end + 1)] {
        let error = driver.erase(from, to).unwrap_err();
        assert_eq!(error.kind(), NorFlashErrorKind::OutOfBounds);
    }
    for (from, to) in [(1, 0x1001), (0, 1), (0x800, 0x1000)] {
        assert_eq!(driver.erase(from, to), Err(SpiNorError::NotAligned));
    }
    assert_eq!(bus.0.borrow().log, []);
}

#[test]
fn a_bus_without_a_chip_is_said_at_once() {
    for wire in [Wire::PulledUp, Wire::PulledDown] {
        let bus = Bus::new(SIZE);
        bus.0.borrow_mut().wire = wire;
        assert_eq!(open(&bus).unwrap_err(), SpiNorError::NoChip, "{wire:?}");
        assert!(bus.0.borrow().now < Duration::from_millis(1));
    }
}

#[test]
fn a_chip_that_is_lost_while_it_is_used_is_an_error() {
    for (wire, error) in [
        (Wire::PulledUp, SpiNorError::NoChip),
        (Wire::PulledDown, SpiNorError::Protected),
    ] {
        let (bus, mut driver) = chip();
        bus.0.borrow_mut().wire = wire;
        assert_eq!(driver.write(0, &[0]), Err(error));
        assert_eq!(driver.erase(0, 4096), Err(error));
    }
}

#[test]
fn a_chip_that_never_gets_ready_is_given_up() {
    for (command, limit) in [
        (2, PROGRAM_LIMIT),
        (0x20, SECTOR_ERASE_LIMIT),
        (0xD8, BLOCK_ERASE_LIMIT),
    ] {
        let (bus, mut driver) = chip();
        bus.0.borrow_mut().stuck = true;
        let start = bus.0.borrow().now;
        let done = match command {
            2 => driver.write(0, &[0]),
            0x20 => driver.erase(0, 0x1000),
            _ => driver.erase(0, 0x1_0000),
        };
        assert_eq!(done, Err(SpiNorError::Timeout));
        let took = bus.0.borrow().now - start;
        assert!((limit..limit * 2).contains(&took), "{command:#x}: {took:?}");
    }
}

#[test]
fn what_the_chip_was_doing_before_a_reset_is_waited_for() {
    let bus = Bus::new(SIZE);
    bus.0.borrow_mut().busy_until = Duration::from_millis(1_900);
    assert!(open(&bus).is_ok());
    assert!(bus.0.borrow().now >= Duration::from_millis(1_900));
    bus.0.borrow_mut().busy_until = Duration::MAX;
    assert_eq!(open(&bus).unwrap_err(), SpiNorError::Timeout);
}

#[test]
fn a_chip_that_sleeps_is_woken_up() {
    let bus = Bus::new(SIZE);
    bus.0.borrow_mut().asleep = true;
    assert!(open(&bus).is_ok());
}

#[test]
fn chips_that_cannot_be_used_are_named() {
    let bus = Bus::new(SIZE);
    bus.0.borrow_mut().protection = 0b100;
    assert_eq!(open(&bus).unwrap_err(), SpiNorError::Protected);
    for size in [0, 15, 25, 0x20, 0xFF] {
        let bus = Bus::new(SIZE);
        bus.0.borrow_mut().id = [0xEF, 0x40, size];
        let unknown = SpiNorError::UnknownChip([0xEF, 0x40, size]);
        assert_eq!(open(&bus).unwrap_err(), unknown);
    }
}

/// What a test does to a chip.
#[derive(Clone, Debug)]
enum Act {
    Write(u32, Vec<u8>),
    Erase(u32, u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let write = (0..0x2_0000_u32, prop::collection::vec(any::<u8>(), 0..600));
    let erase = (0..32_u32, 0..24_u32);
    let act = prop_oneof![
        3 => write.prop_map(|(at, bytes)| Act::Write(at, bytes)),
        1 => erase.prop_map(|(from, len)| Act::Erase(from * 4096, (from + len).min(32) * 4096)),
    ];
    prop::collection::vec(act, 0..12)
}

proptest! {
    #[test]
    fn every_command_leaves_what_a_nor_flash_has_then(acts in acts()) {
        let bus = Bus::new(17);
        let mut driver = open(&bus).unwrap();
        let mut model = vec![0xFF_u8; 1 << 17];
        for act in acts {
            match act {
                Act::Write(at, bytes) => {
                    let fits = at as usize + bytes.len() <= model.len();
                    prop_assert_eq!(driver.write(at, &bytes).is_ok(), fits);
                    if fits {
                        for (place, byte) in model[at as usize..].iter_mut().zip(&bytes) {
                            *place &= byte;
                        }
                    }
                }
                Act::Erase(from, to) => {
                    driver.erase(from, to).unwrap();
                    model[from as usize..to as usize].fill(0xFF);
                }
            }
            prop_assert!(bus.0.borrow().bytes == model);
        }
        let read = read(&mut driver, 0, model.len());
        prop_assert!(read == model);
    }
}

type Two = Joined<Driver, Driver>;

/// 128 KiB that the program runs from, and 128 KiB of a second chip.
fn two() -> (Bus, Bus, Two) {
    let (first, second) = (Bus::new(17), Bus::new(17));
    let joined = Joined::new(open(&first).unwrap(), 0x2_0000);
    (first, second, joined)
}

#[test]
fn a_command_reaches_the_chip_that_it_is_meant_for() {
    let (first, second, mut joined) = two();
    assert_eq!(joined.capacity(), 0x4_0000);
    assert_eq!(joined.border(), 0x2_0000);
    joined.attach(open(&second).unwrap()).unwrap();
    joined.write(0x1_FFFC, &[1; 4]).unwrap();
    joined.write(0x2_0000, &[2; 4]).unwrap();
    assert_eq!(first.0.borrow().bytes[0x1_FFFC..], [1; 4]);
    assert_eq!(second.0.borrow().bytes[..4], [2; 4]);
    assert_eq!(read(&mut joined, 0x2_0000, 4), [2; 4]);
    joined.erase(0x2_0000, 0x2_1000).unwrap();
    assert_eq!(read(&mut joined, 0x2_0000, 4), [0xFF; 4]);
    assert_eq!(read(&mut joined, 0x1_FFFC, 4), [1; 4]);
}

#[test]
fn the_first_chip_works_before_the_second_is_there() {
    let (_, second, mut joined) = two();
    joined.write(0x1000, &[1; 4]).unwrap();
    assert_eq!(joined.write(0x2_0000, &[2; 4]), Err(JoinedError::Missing));
    assert_eq!(
        joined.read(0x2_0000, &mut [0; 4]),
        Err(JoinedError::Missing)
    );
    assert_eq!(joined.erase(0x2_0000, 0x2_1000), Err(JoinedError::Missing));
    let small = Bus::new(16);
    let refused = joined.attach(open(&small).unwrap());
    assert_eq!(refused, Err(TooSmall { has: 0x1_0000 }));
    assert_eq!(joined.write(0x2_0000, &[2; 4]), Err(JoinedError::Missing));
    joined.attach(open(&second).unwrap()).unwrap();
    joined.write(0x2_0000, &[2; 4]).unwrap();
}

#[test]
fn no_command_reaches_over_the_border_or_the_end() {
    let (first, second, mut joined) = two();
    joined.attach(open(&second).unwrap()).unwrap();
    for (at, len) in [(0x1_FFFC, 8), (0x3_FFFC, 8), (0x4_0000, 1), (u32::MAX, 4)] {
        let mut bytes = vec![0; len];
        assert_eq!(joined.read(at, &mut bytes), Err(JoinedError::OutOfBounds));
        assert_eq!(joined.write(at, &bytes), Err(JoinedError::OutOfBounds));
    }
    for (from, to) in [(0x1_F000, 0x2_1000), (0x3_F000, 0x4_1000), (0x1000, 0)] {
        assert_eq!(joined.erase(from, to), Err(JoinedError::OutOfBounds));
    }
    assert!(first.0.borrow().log.is_empty() && second.0.borrow().log.is_empty());
}

#[test]
fn the_log_goes_round_on_the_second_chip_and_never_touches_the_first() {
    let (first, second, mut joined) = two();
    joined.attach(open(&second).unwrap()).unwrap();
    let flash = RefCell::new(joined);
    let log = || FlashLog::mount(Region::new(&flash, 0x2_0000, 0x4000).unwrap()).unwrap();
    let mut ring = log();
    for n in 0..900 {
        let text = format!("line {n}").as_str().try_into().unwrap();
        ring.append(&LogLine {
            n,
            boot: 7,
            t_ms: 0,
            level: Level::Warn,
            text,
        })
        .unwrap();
    }
    // As after a restart.
    let mut ring = log();
    let mut tail = ring.tail(3).unwrap();
    for n in 897..900 {
        let line = ring.next_line(&mut tail).unwrap().unwrap();
        assert_eq!(
            (line.n, line.text.as_str()),
            (n, format!("line {n}").as_str())
        );
    }
    assert_eq!(ring.next_line(&mut tail).unwrap(), None);
    assert!(first.0.borrow().log.is_empty());
    let sectors = second
        .0
        .borrow()
        .log
        .iter()
        .filter(|(command, _)| *command == 0x20)
        .count();
    assert!(
        sectors > 4,
        "it has gone round: {sectors} sectors were erased"
    );
}
