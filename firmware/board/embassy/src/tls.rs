//! What connections with TLS take from the board: heap while they are open, and random numbers.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;

use otaria_device::net::tls::Resources;
use otaria_wire::Sha256Hasher;

/// Fills a slice from the chip's generator.
pub type Random = fn(&mut [u8]);

/// The heap, and the chip's generator of random numbers.
///
/// A connection that is open has 5.3 KiB of the heap, and 17 KiB if its server sends records of 16 KiB; see
/// [`otaria_device::net::tls`]. If that is not there it is not opened, and the update goes on when it is.
pub struct HeapAndRandom {
    random: Random,
    pool: Cell<[u8; 32]>,
}

impl HeapAndRandom {
    /// With random numbers from `random`.
    pub fn new(random: Random) -> Self {
        Self {
            random,
            pool: Cell::new([0; 32]),
        }
    }
}

impl Resources for HeapAndRandom {
    type Buffer = Box<[u8]>;

    fn buffer(&self, len: usize) -> Option<Box<[u8]>> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(len).ok()?;
        buffer.resize(len, 0);
        Some(buffer.into_boxed_slice())
    }

    /// Two bits of the generator make one: it may be slower than it is read, or lean to one side. And what it has given before
    /// counts as well.
    fn random(&self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(32) {
            let mut raw = [0; 64];
            (self.random)(&mut raw);
            let digest = |label: u8| {
                let mut hasher = Sha256Hasher::new();
                hasher.update(&[label]);
                hasher.update(&self.pool.get());
                hasher.update(&raw);
                hasher.finish().0
            };
            for (byte, drawn) in piece.iter_mut().zip(digest(1)) {
                *byte = drawn;
            }
            self.pool.set(digest(2));
        }
    }
}
