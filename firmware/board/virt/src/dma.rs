//! Memory that virtio devices share with the program.

use core::cell::{Cell, UnsafeCell};
use core::ptr::NonNull;

use critical_section::Mutex;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Two pages for each of the network device's two queues (virtio-drivers 0.13, `VirtQueueLayout::allocate_flexible`).
const PAGES: usize = 4;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[[u8; PAGE_SIZE]; PAGES]>);

// SAFETY: only addresses of it are given out, each page once (see `dma_alloc`), and nothing here reads or writes it.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool(UnsafeCell::new([[0; PAGE_SIZE]; PAGES]));
static USED: Mutex<Cell<usize>> = Mutex::new(Cell::new(0));

/// Pages for virtqueues, from a static pool.
pub(crate) struct StaticPages;

// SAFETY: of the requirements in virtio-drivers 0.13, `Hal`: pages are aligned, zeroed (.bss) and given out once; they are never
// reused, so giving them back is nothing. This machine has no MMU in use and no IOMMU: what the program calls an address is what
// the device calls one.
unsafe impl Hal for StaticPages {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = critical_section::with(|cs| {
            let used = USED.borrow(cs);
            let first = used.get();
            let end = first.checked_add(pages).filter(|end| *end <= PAGES)?;
            used.set(end);
            Some(first)
        });
        let page = first.and_then(|first| {
            // SAFETY: `first` is less than PAGES or, for no pages, equal to it: inside the pool or at its end.
            NonNull::new(unsafe { POOL.0.get().cast::<[u8; PAGE_SIZE]>().add(first) })
        });
        match page {
            Some(page) => (page.as_ptr() as usize as PhysAddr, page.cast()),
            // virtio-drivers takes the address 0 for "none left".
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, _: usize) -> NonNull<u8> {
        // For PCI only. The address of a region of registers is not 0.
        NonNull::new(paddr as usize as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>() as usize as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
