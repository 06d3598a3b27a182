//! The heap: as large as what an ESP32-C3 has to give.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};

use embedded_alloc::LlffHeap;

/// Bytes of the heap.
pub const HEAP_LEN: usize = 96 * 1024;

/// A first-fit heap that remembers how full it ever was.
pub struct Heap {
    inner: LlffHeap,
    /// Fewest bytes that were ever free.
    least: AtomicUsize,
}

impl Heap {
    /// Without memory yet: see [`Heap::init`].
    #[must_use]
    pub const fn new() -> Self {
        Self {
            inner: LlffHeap::empty(),
            least: AtomicUsize::new(HEAP_LEN),
        }
    }

    /// Gives the heap its memory, once in a boot.
    pub fn init(&self) {
        #[repr(align(16))]
        struct Space(core::cell::UnsafeCell<[u8; HEAP_LEN]>);
        // SAFETY: only the heap gets at it, through the pointer below.
        unsafe impl Sync for Space {}
        static SPACE: Space = Space(core::cell::UnsafeCell::new([0; HEAP_LEN]));
        // SAFETY: embedded-alloc 0.7, `LlffHeap::init`: called once, by `Machine::take`; the memory is the heap's alone.
        unsafe { self.inner.init(SPACE.0.get() as usize, HEAP_LEN) };
    }

    /// Bytes that are free now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.inner.free()
    }

    /// The fewest bytes that were ever free.
    #[must_use]
    pub fn least_free(&self) -> usize {
        self.least.load(Ordering::Relaxed)
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: all but the counting is embedded-alloc's, whose own implementation makes the same promises.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        let memory = unsafe { self.inner.alloc(layout) };
        let free = self.inner.free();
        if free < self.least.load(Ordering::Relaxed) {
            self.least.store(free, Ordering::Relaxed);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { self.inner.dealloc(memory, layout) }
    }
}
