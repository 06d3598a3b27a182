use core::cell::RefCell;
use std::format;
use std::vec::Vec;

use otaria_wire::clip;
use otaria_wire::messages::Level;

use super::super::region::Region;
use super::super::test_flash::{Cut, TestFlash};
use super::*;

type TestLog<'a> = FlashLog<Region<'a, TestFlash>>;

fn mount(flash: &RefCell<TestFlash>) -> TestLog<'_> {
    let len = flash.borrow().bytes().len() as u32;
    FlashLog::mount(Region::new(flash, 0, len).unwrap()).unwrap()
}

fn flash(sectors: usize) -> RefCell<TestFlash> {
    RefCell::new(TestFlash::new(sectors))
}

/// A line of its number; lengths from one cell to eight.
fn line(n: u32) -> LogLine {
    let text = format!("{n} {}", "x".repeat((n as usize * 37) % 190));
    LogLine {
        n,
        boot: 3,
        t_ms: u64::from(n) * 10,
        level: Level::Info,
        text: clip(&text),
    }
}

fn newest(log: &mut TestLog<'_>, lines: usize) -> Vec<u32> {
    let mut tail = log.tail(lines).unwrap();
    let mut found = Vec::new();
    while let Some(got) = log.next_line(&mut tail).unwrap() {
        assert_eq!(got, line(got.n));
        found.push(got.n);
    }
    found
}

#[test]
fn an_empty_log_gives_no_lines() {
    let flash = flash(2);
    assert!(newest(&mut mount(&flash), 10).is_empty());
    assert_eq!(flash.borrow().ops, 0);
}

#[test]
fn the_newest_lines_come_oldest_first() {
    let flash = flash(4);
    let mut log = mount(&flash);
    for n in 0..20 {
        log.append(&line(n)).unwrap();
    }
    for log in [&mut log, &mut mount(&flash)] {
        assert_eq!(newest(log, 5), [15, 16, 17, 18, 19]);
        assert_eq!(newest(log, 1), [19]);
        assert_eq!(newest(log, 0), []);
        assert_eq!(newest(log, 1000), (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn the_ring_keeps_all_but_the_oldest_sector_over_many_turns() {
    let flash = flash(3);
    let mut log = mount(&flash);
    for n in 0..500 {
        log.append(&line(n)).unwrap();
        if n % 50 == 0 {
            log = mount(&flash);
        }
        if n % 3 == 0 {
            log.erase_ahead().unwrap();
        }
        let all = newest(&mut log, usize::MAX);
        assert_eq!(all.last(), Some(&n));
        assert!(all.windows(2).all(|pair| pair[1] == pair[0] + 1), "{all:?}");
        // 128 cells a sector, at most 8 a line, one full sector at least.
        assert!(all.len() >= 15.min(n as usize), "{} after {n}", all.len());
    }
}

#[test]
fn erasing_ahead_happens_once_and_saves_the_erase_in_the_append() {
    let flash = flash(2);
    let mut log = mount(&flash);
    let mut n = 0;
    while !log.erase_ahead().unwrap() {
        log.append(&line(n)).unwrap();
        n += 1;
    }
    assert!(!log.erase_ahead().unwrap());
    let erased = flash.borrow().sectors_erased;
    let sequence = log.head.unwrap().sequence;
    while log.head.unwrap().sequence == sequence {
        log.append(&line(n)).unwrap();
        n += 1;
    }
    assert_eq!(flash.borrow().sectors_erased, erased);
}

#[test]
fn a_sector_erased_ahead_by_an_earlier_run_is_erased_again() {
    let flash = flash(2);
    let mut log = mount(&flash);
    let mut n = 0;
    while !log.erase_ahead().unwrap() {
        log.append(&line(n)).unwrap();
        n += 1;
    }
    let erased = flash.borrow().sectors_erased;
    let mut log = mount(&flash);
    for n in n..n + 20 {
        log.append(&line(n)).unwrap();
    }
    assert_eq!(flash.borrow().sectors_erased, erased + 1);
}

#[test]
fn a_reader_that_is_overtaken_goes_on_with_the_oldest_line_left() {
    let flash = flash(2);
    let mut log = mount(&flash);
    for n in 0..10 {
        log.append(&line(n)).unwrap();
    }
    let mut tail = log.tail(10).unwrap();
    assert_eq!(log.next_line(&mut tail).unwrap(), Some(line(0)));
    for n in 10..100 {
        log.append(&line(n)).unwrap();
    }
    let next = log.next_line(&mut tail).unwrap().unwrap().n;
    let oldest = newest(&mut log, usize::MAX)[0];
    assert!(next == oldest && next > 1, "{next}, {oldest}");
    let mut given = 2;
    while log.next_line(&mut tail).unwrap().is_some() {
        given += 1;
    }
    assert_eq!(given, 10);
}

#[test]
fn a_cut_at_every_command_loses_at_most_that_line_and_the_oldest_sector() {
    let rounds = 120;
    let total = {
        let flash = flash(3);
        let mut log = mount(&flash);
        (0..rounds).try_for_each(|n| log.append(&line(n))).unwrap();
        flash.borrow().ops
    };
    for op in 0..total {
        for cut in [Cut::Before, Cut::After, Cut::Half] {
            let flash = flash(3);
            flash.borrow_mut().cut_at(op, cut);
            let mut log = mount(&flash);
            let mut done = 0;
            while log.append(&line(done)).is_ok() {
                done += 1;
            }
            flash.borrow_mut().power_on();
            let mut log = mount(&flash);
            let all = newest(&mut log, usize::MAX);
            assert!(
                all.windows(2).all(|pair| pair[1] == pair[0] + 1),
                "op {op}, {cut:?}: {all:?}"
            );
            let last = all.last().map_or(0, |last| last + 1);
            assert!(
                last == done || last == done + 1,
                "op {op}, {cut:?}: {last} of {done}"
            );
            for n in last..rounds {
                log.append(&line(n)).unwrap();
            }
            let all = newest(&mut mount(&flash), usize::MAX);
            assert_eq!(all.last(), Some(&(rounds - 1)));
            assert!(
                all.windows(2).all(|pair| pair[1] == pair[0] + 1),
                "op {op}, {cut:?}: {all:?}"
            );
        }
    }
}

#[test]
fn no_bytes_in_flash_make_the_log_fail() {
    let mut seed = 1u64;
    for round in 0..100 {
        let flash = flash(3);
        if round % 2 == 0 {
            let mut log = mount(&flash);
            (0..100).try_for_each(|n| log.append(&line(n))).unwrap();
        }
        for _ in 0..if round % 2 == 0 { 30 } else { 12288 } {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let at = (seed >> 33) as usize % flash.borrow().bytes().len();
            flash.borrow_mut().bytes_mut()[at] = (seed >> 25) as u8;
        }
        let mut log = mount(&flash);
        newest(&mut log, usize::MAX);
        (0..100).try_for_each(|n| log.append(&line(n))).unwrap();
        assert_eq!(newest(&mut mount(&flash), 3), [97, 98, 99]);
    }
}

#[test]
fn a_region_of_one_sector_is_refused() {
    let flash = flash(1);
    let region = Region::new(&flash, 0, SECTOR_LEN).unwrap();
    assert_eq!(FlashLog::mount(region).err(), Some(LogError::WrongSize));
}
