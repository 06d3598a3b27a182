//! A W25Q chip on its bus, modelled by the data sheet of the W25Q32JV (revision I): what it ignores, what it wraps, how long it is
//! busy. Time is virtual: it passes on the bus and while the driver waits.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::spi::{ErrorType, Operation, SpiDevice};

const PAGE: usize = 256;
/// At 40 MHz.
const BYTE: Duration = Duration::from_nanos(8 * 25);

/// What the bus reads when no chip drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Chip,
    PulledUp,
    PulledDown,
}

/// The chip's inside.
#[derive(Debug)]
pub(crate) struct Chip {
    pub(crate) bytes: Vec<u8>,
    pub(crate) id: [u8; 3],
    pub(crate) wire: Wire,
    pub(crate) asleep: bool,
    /// Bits 2 to 4 of the status.
    pub(crate) protection: u8,
    /// It never gets ready once it is busy.
    pub(crate) stuck: bool,
    pub(crate) now: Duration,
    pub(crate) busy_until: Duration,
    /// Commands that changed something, and how long each took.
    pub(crate) log: Vec<(u8, u32)>,
    write_enabled: bool,
}

/// Times of the data sheet at worst, 9.6.
const PROGRAM: Duration = Duration::from_millis(3);
const SECTOR: Duration = Duration::from_millis(400);
const BLOCK: Duration = Duration::from_secs(2);

/// A handle on the chip: the driver has one, and the test another.
#[derive(Clone, Debug)]
pub(crate) struct Bus(pub(crate) Rc<RefCell<Chip>>);

/// Waits by the same clock.
#[derive(Debug)]
pub(crate) struct Delay(Bus);

impl Bus {
    /// A blank chip with `1 << size` bytes.
    pub(crate) fn new(size: u8) -> Self {
        Self(Rc::new(RefCell::new(Chip {
            bytes: vec![0xFF; 1 << size],
            id: [0xEF, 0x40, size],
            wire: Wire::Chip,
            asleep: false,
            protection: 0,
            stuck: false,
            now: Duration::ZERO,
            busy_until: Duration::ZERO,
            log: Vec::new(),
            write_enabled: false,
        })))
    }

    pub(crate) fn delay(&self) -> Delay {
        Delay(self.clone())
    }
}

impl DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        self.0.0.borrow_mut().now += Duration::from_nanos(ns.into());
    }
}

impl ErrorType for Bus {
    type Error = Infallible;
}

impl SpiDevice for Bus {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        let mut chip = self.0.borrow_mut();
        let mut sent = Vec::new();
        for operation in &mut *operations {
            match operation {
                Operation::Write(bytes) => {
                    chip.now += BYTE * bytes.len() as u32;
                    sent.extend_from_slice(bytes);
                }
                Operation::Read(bytes) => {
                    chip.now += BYTE * bytes.len() as u32;
                    chip.answer(&sent, bytes);
                }
                other => panic!("the driver needs no {other:?}"),
            }
        }
        // Deselected: what changes something begins now (8.1.1: /CS must go up behind a whole byte).
        chip.carry_out(&sent);
        Ok(())
    }
}

impl Chip {
    fn is_busy(&self) -> bool {
        self.now < self.busy_until
    }

    fn answer(&self, command: &[u8], bytes: &mut [u8]) {
        let nothing = match self.wire {
            Wire::PulledDown => 0,
            Wire::Chip | Wire::PulledUp => 0xFF,
        };
        bytes.fill(nothing);
        if self.wire != Wire::Chip || self.asleep {
            return;
        }
        match command {
            [0x05] => {
                let busy = u8::from(self.is_busy());
                bytes.fill(busy | u8::from(self.write_enabled) << 1 | self.protection);
            }
            // All others are ignored while the chip works (8.2.5).
            _ if self.is_busy() => {}
            [0x9F] => {
                for (place, byte) in bytes.iter_mut().zip(self.id) {
                    *place = byte;
                }
            }
            [0x03, address @ ..] => {
                for (place, at) in bytes.iter_mut().zip(self.address(address)..) {
                    // A read goes on at the start behind the end (8.2.9).
                    *place = self.bytes[at % self.bytes.len()];
                }
            }
            other => panic!("no answer is known to {other:02x?}"),
        }
    }

    fn address(&self, bytes: &[u8]) -> usize {
        let &[high, middle, low] = bytes else {
            panic!("an address has three bytes: {bytes:02x?}");
        };
        u32::from_be_bytes([0, high, middle, low]) as usize % self.bytes.len()
    }

    fn carry_out(&mut self, sent: &[u8]) {
        if self.wire != Wire::Chip || self.is_busy() {
            return;
        }
        if self.asleep {
            self.asleep = sent != [0xAB];
            return;
        }
        match sent {
            [0x06] => self.write_enabled = true,
            [0x02, a, b, c, data @ ..] => {
                let at = self.address(&[*a, *b, *c]);
                assert!(data.len() <= PAGE, "more than a page");
                self.change(0x02, at, PROGRAM, |bytes| {
                    let page = at - at % PAGE;
                    for (index, byte) in data.iter().enumerate() {
                        // Bits only go from 1 to 0, and the address wraps at the end of the page (8.2.13).
                        bytes[page + (at + index) % PAGE] &= byte;
                    }
                });
            }
            [0x20, address @ ..] => {
                let at = self.address(address) / 4096 * 4096;
                self.change(0x20, at, SECTOR, |bytes| bytes[at..at + 4096].fill(0xFF));
            }
            [0xD8, address @ ..] => {
                let at = self.address(address) / 65536 * 65536;
                self.change(0xD8, at, BLOCK, |bytes| bytes[at..at + 65536].fill(0xFF));
            }
            [0x05 | 0x9F | 0x03 | 0xAB, ..] => {}
            other => panic!("the driver needs no {other:02x?}"),
        }
    }

    fn change(&mut self, command: u8, at: usize, time: Duration, act: impl FnOnce(&mut [u8])) {
        // Not enabled, or protected: ignored.
        if !std::mem::take(&mut self.write_enabled) || self.protection != 0 {
            return;
        }
        act(&mut self.bytes);
        self.log.push((command, at as u32));
        self.busy_until = if self.stuck {
            Duration::MAX
        } else {
            self.now + time
        };
    }
}
