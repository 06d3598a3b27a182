//! One sector of NOR cells: bits that can be cleared one by one and set only all together, and bits that an unfinished erase
//! left in between.

use fastrand::Rng;

use super::SECTOR_LEN;

const LEN: usize = SECTOR_LEN as usize;
const WORD: usize = 4;

/// The cells of one sector.
#[derive(Clone)]
pub(super) struct Sector {
    data: [u8; LEN],
    weak: Option<Box<Weak>>,
}

/// Bits whose cells are half erased.
#[derive(Clone)]
struct Weak {
    mask: [u8; LEN],
    /// The weak bits still read as 1, and go on doing so until something is written into the sector.
    dormant: bool,
}

impl Sector {
    /// An erased sector.
    pub(super) fn blank() -> Self {
        Sector {
            data: [0xFF; LEN],
            weak: None,
        }
    }

    /// What a read returns: stable bits as they are, unstable ones at random.
    pub(super) fn read(&self, at: usize, out: &mut [u8], rng: &mut Rng) {
        let range = at..at + out.len();
        out.copy_from_slice(&self.data[range.clone()]);
        if let Some(weak) = self.weak.as_deref()
            && !weak.dormant
        {
            for (byte, mask) in out.iter_mut().zip(&weak.mask[range]) {
                if *mask != 0 {
                    *byte = (*byte & !mask) | (rng.u8(..) & mask);
                }
            }
        }
    }

    /// The cells as they are stored, without the randomness of unstable bits.
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Whether any bit is unstable, dormant or not.
    pub(super) fn is_unstable(&self) -> bool {
        self.weak.is_some()
    }

    /// The first byte in which `bytes` has a 1 where a cell is surely 0: only an erase can do that.
    pub(super) fn first_set_bit(&self, at: usize, bytes: &[u8]) -> Option<usize> {
        bytes.iter().enumerate().position(|(i, wanted)| {
            let weak = self.weak.as_deref().map_or(0, |weak| weak.mask[at + i]);
            wanted & !self.data[at + i] & !weak != 0
        })
    }

    /// Clears the bits that are 0 in `bytes`. A cleared bit is stable, whatever it was before.
    pub(super) fn program(&mut self, at: usize, bytes: &[u8]) {
        for (cell, byte) in self.data[at..].iter_mut().zip(bytes) {
            *cell &= byte;
        }
        if let Some(weak) = self.weak.as_deref_mut() {
            weak.dormant = false;
            for (mask, byte) in weak.mask[at..].iter_mut().zip(bytes) {
                *mask &= byte;
            }
            if weak.mask.iter().all(|mask| *mask == 0) {
                self.weak = None;
            }
        }
    }

    /// Sets the cells as a factory programmer would.
    pub(super) fn load(&mut self, at: usize, bytes: &[u8]) {
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
        if let Some(weak) = self.weak.as_deref_mut() {
            weak.mask[at..at + bytes.len()].fill(0);
        }
    }

    /// What an erase of this sector leaves when the power goes in the middle of it.
    ///
    /// How far the erase got differs from sector to sector: from "all old" over any mixture to "all 0xFF", so that a torn block
    /// erase leaves sectors of every sort. In half of them it differs from word to word, too: there a record may keep its number
    /// and its checksum and lose only its state.
    pub(super) fn torn_erase(&self, rng: &mut Rng) -> Sector {
        let mut after = Sector {
            data: self.data,
            weak: None,
        };
        let mut progress = match rng.u8(..8) {
            0 => 0,
            1 => u8::MAX,
            _ => rng.u8(..),
        };
        let unstable = rng.u8(..);
        let by_word = rng.bool();
        let mut mask = [0u8; LEN];
        for (i, (cell, mask)) in after.data.iter_mut().zip(&mut mask).enumerate() {
            if by_word && i % WORD == 0 {
                progress = match rng.u8(..4) {
                    0 => u8::MAX,
                    1 => rng.u8(..),
                    _ => 0,
                };
            }
            let mut done = 0u8;
            for bit in 0..8 {
                if rng.u8(..=254) < progress {
                    done |= 1 << bit;
                } else if progress != 0 && rng.u8(..) < unstable {
                    *mask |= 1 << bit;
                }
            }
            if let Some(old) = self.weak.as_deref() {
                *mask |= old.mask[i] & !done;
            }
            *cell |= done;
            *cell = (*cell & !*mask) | (rng.u8(..) & *mask);
        }
        let any = mask.iter().any(|mask| *mask != 0);
        after.weak = any.then(|| {
            Box::new(Weak {
                mask,
                dormant: false,
            })
        });
        after
    }

    /// What an erase leaves that looks finished and is not: all 0xFF, and about one bit in eight will read at random once
    /// something is written here.
    pub(super) fn weak_erase(rng: &mut Rng) -> Sector {
        let mut mask = [0u8; LEN];
        for mask in &mut mask {
            *mask = rng.u8(..) & rng.u8(..) & rng.u8(..);
        }
        mask[0] |= 1;
        Sector {
            data: [0xFF; LEN],
            weak: Some(Box::new(Weak {
                mask,
                dormant: true,
            })),
        }
    }
}
