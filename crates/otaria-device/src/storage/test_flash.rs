//! A few sectors of NOR flash for the unit tests. The exhaustive power-cut sweeps run on otaria-sim's flash, which knows torn
//! and unstable bits too.

use std::vec;
use std::vec::Vec;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

use super::SECTOR_LEN;

/// What is left of the command that the cut hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing of it happened.
    Before,
    /// All of it happened.
    After,
    /// The first half of the write or of the erased range happened.
    Half,
}

/// NOR flash that counts its commands and can lose power at one of them.
#[derive(Debug, Clone)]
pub(crate) struct TestFlash {
    bytes: Vec<u8>,
    /// Write and erase commands so far; an erase of several sectors counts as one for each, a 64 KiB block as one.
    pub(crate) ops: usize,
    /// Erased sectors so far.
    pub(crate) sectors_erased: usize,
    cut: Option<(usize, Cut)>,
    dead: bool,
    /// A byte with a bit that reads differently every time.
    unsteady: Option<usize>,
}

impl TestFlash {
    pub(crate) fn new(sectors: usize) -> Self {
        TestFlash {
            bytes: vec![0xFF; sectors * SECTOR_LEN as usize],
            ops: 0,
            sectors_erased: 0,
            cut: None,
            dead: false,
            unsteady: None,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Lets a bit of the byte at `at` read differently every time, as after an erase that was cut.
    pub(crate) fn disturb(&mut self, at: usize) {
        self.unsteady = Some(at);
    }

    /// Power goes at the command number `op` from now (0 = the next).
    pub(crate) fn cut_at(&mut self, op: usize, cut: Cut) {
        self.cut = Some((self.ops + op, cut));
    }

    /// Power is back; a cut that has not happened is off.
    pub(crate) fn power_on(&mut self) {
        self.dead = false;
        self.cut = None;
    }

    /// How much of this command happens, and whether the power goes.
    fn command(&mut self, len: usize) -> (usize, bool) {
        let op = self.ops;
        self.ops += 1;
        match self.cut {
            Some((at, cut)) if at == op => {
                self.dead = true;
                let done = match cut {
                    Cut::Before => 0,
                    Cut::After => len,
                    Cut::Half => len / 2,
                };
                (done, true)
            }
            _ => (len, false),
        }
    }
}

impl ErrorType for TestFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for TestFlash {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        check_read(self, offset, bytes.len())?;
        if self.dead {
            return Err(NorFlashErrorKind::Other);
        }
        let at = offset as usize;
        bytes.copy_from_slice(&self.bytes[at..at + bytes.len()]);
        if let Some(unsteady) = self
            .unsteady
            .filter(|byte| (at..at + bytes.len()).contains(byte))
        {
            self.bytes[unsteady] ^= 1;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for TestFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = SECTOR_LEN as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        check_erase(self, from, to)?;
        let mut at = from as usize;
        while at < to as usize {
            if self.dead {
                return Err(NorFlashErrorKind::Other);
            }
            let block = 0x1_0000;
            let len = if at.is_multiple_of(block) && to as usize - at >= block {
                block
            } else {
                Self::ERASE_SIZE
            };
            let (done, cut) = self.command(len);
            self.bytes[at..at + done].fill(0xFF);
            self.sectors_erased += len / Self::ERASE_SIZE;
            if cut {
                return Err(NorFlashErrorKind::Other);
            }
            at += len;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        check_write(self, offset, bytes.len())?;
        if self.dead {
            return Err(NorFlashErrorKind::Other);
        }
        let at = offset as usize;
        let cells = &self.bytes[at..at + bytes.len()];
        for (word, new) in cells.chunks(4).zip(bytes.chunks(4)) {
            assert!(
                word == [0xFF; 4] || new == [0xFF; 4],
                "the word at {offset:#x} + is written twice"
            );
        }
        let (done, cut) = self.command(bytes.len());
        self.bytes[at..at + done].copy_from_slice(&bytes[..done]);
        if cut {
            Err(NorFlashErrorKind::Other)
        } else {
            Ok(())
        }
    }
}
