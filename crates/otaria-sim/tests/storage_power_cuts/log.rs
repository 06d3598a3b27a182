//! The log: at most the line that was being written is lost, and the oldest sector.

use std::cell::RefCell;

use otaria_device::storage::log::FlashLog;
use otaria_device::storage::region::Region;
use otaria_sim::flash::{SECTOR_LEN, SimFlash};
use otaria_wire::clip;
use otaria_wire::messages::{Level, LogLine};

use crate::sweep::{Scenario, sweep};

/// Fewest lines that a full sector holds: 127 cells, at most 8 a line.
const SECTOR_LINES: usize = 127 / 8;

struct Lines {
    sectors: u32,
    lines: u32,
}

fn line(n: u32) -> LogLine {
    let text = format!("{n} {}", "y".repeat(n as usize * 41 % 196));
    LogLine {
        n,
        boot: 1,
        t_ms: u64::from(n),
        level: Level::Warn,
        text: clip(&text),
    }
}

impl Lines {
    fn mount<'a>(&self, flash: &'a RefCell<SimFlash>) -> Option<FlashLog<Region<'a, SimFlash>>> {
        FlashLog::mount(Region::new(flash, 0, self.sectors * SECTOR_LEN).unwrap()).ok()
    }

    fn read(&self, flash: &RefCell<SimFlash>) -> Vec<u32> {
        let mut log = self.mount(flash).unwrap();
        let mut tail = log.tail(usize::MAX).unwrap();
        let mut found = Vec::new();
        while let Some(got) = log.next_line(&mut tail).unwrap() {
            assert_eq!(got, line(got.n));
            found.push(got.n);
        }
        assert!(found.is_sorted(), "{found:?}");
        found
    }

    /// Checks what is read when `done` lines were acknowledged, and returns how many there are.
    fn check(&self, flash: &RefCell<SimFlash>, done: u32) -> u32 {
        let found = self.read(flash);
        let count = found.last().map_or(0, |last| last + 1);
        assert!(
            count == done || count == done + 1,
            "{count} lines of {done}"
        );
        // Of the oldest sector some lines may be gone.
        let gapless = found
            .iter()
            .rev()
            .zip((0..count).rev())
            .take_while(|(a, b)| *a == b)
            .count();
        assert!(gapless >= SECTOR_LINES.min(count as usize), "{found:?}");
        count
    }
}

impl Scenario for Lines {
    /// Lines acknowledged.
    type World = u32;

    fn start(&self) -> (SimFlash, u32) {
        (SimFlash::new(self.sectors * SECTOR_LEN), 0)
    }

    fn run(&self, flash: &RefCell<SimFlash>, done: &mut u32) -> bool {
        let Some(mut log) = self.mount(flash) else {
            return false;
        };
        while *done < self.lines {
            if *done % 4 == 3 && log.erase_ahead().is_err() {
                return false;
            }
            if log.append(&line(*done)).is_err() {
                return false;
            }
            *done += 1;
        }
        true
    }

    fn check_after_cut(&self, flash: &RefCell<SimFlash>, done: &mut u32) {
        let count = self.check(flash, *done);
        for _ in 0..3 {
            assert_eq!(self.check(flash, *done), count);
        }
        *done = count;
    }

    fn check_at_end(&self, flash: &SimFlash, done: &u32, cuts: u32) {
        self.check(&RefCell::new(flash.clone()), *done);
        let erases = flash.stats().sector_erases;
        // A sector for each 15 lines, the first one, one ahead, and one again for each cut.
        let allowed = u64::from(self.lines) / SECTOR_LINES as u64 + 2 + u64::from(cuts);
        assert!(erases <= allowed, "{erases} erases, {allowed} allowed");
    }
}

#[test]
fn a_log_survives_two_cuts_anywhere() {
    for (sectors, lines) in [(2, 70), (3, 90)] {
        let count = sweep("log", &Lines { sectors, lines });
        println!("log of {sectors} sectors: {count}");
    }
}
