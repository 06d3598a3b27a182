//! The network: a virtio network device on the memory-mapped transport, as an embassy-net driver.
//!
//! ```text
//!   embassy-net          Net                         virtqueues (16 places each)
//!   receive() <---- token = buffer that came   <---- device fills what lies in the receive queue
//!   transmit() ---> token = buffer that is free ---> device sends what lies in the transmit queue
//!                   waker <-------------------------- interrupt: a queue moved, or the link changed
//! ```
//!
//! virtio 1.2: 4.2 (transport), 5.1 (network device). Buffers belong to the driver or to the device; which, their place in
//! `in_receive` and `in_transmit` says.

use core::ptr::{NonNull, read_volatile, write_volatile};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_sync::waitqueue::AtomicWaker;
use static_cell::ConstStaticCell;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};

use crate::dma::StaticPages;
use crate::map;
use crate::plic;
use crate::transport::PlainQueues;

/// Places in a virtqueue. QEMU's has room for many more.
const PLACES: usize = 16;
/// Buffers each way: fewer than places, so that a queue is never full.
const BUFFERS: usize = 8;
/// An Ethernet frame without its checksum: 14 bytes of header and 1500.
const FRAME_LEN: usize = 1514;
/// virtio's own header and a frame, in whole words: at least 1526 (virtio 1.2, 5.1.6.3.1).
const BUFFER_LEN: usize = 1536;
/// Length of virtio's own header (virtio 1.2, 5.1.6: `struct virtio_net_hdr` with `num_buffers`).
const HEADER_LEN: usize = 12;

// virtio 1.2, 4.2.2, table 4.1, from the place's start.
const INTERRUPT_STATUS: usize = 0x60;
const INTERRUPT_ACK: usize = 0x64;
const CONFIG: usize = 0x100;
/// In the device's configuration, behind the MAC address (virtio 1.2, 5.1.4).
const CONFIG_STATUS: usize = CONFIG + 6;
const STATUS_LINK_UP: u16 = 1;

/// Something happened: packets came, buffers are free again, or the link changed.
static WAKER: AtomicWaker = AtomicWaker::new();

/// Whether the cable is in. Until then the driver says that there is no link, whatever QEMU says.
static PLUGGED: AtomicBool = AtomicBool::new(false);

/// Plugs the cable in: what joining a network is on a board with a radio.
pub fn plug_in() {
    PLUGGED.store(true, Ordering::Relaxed);
    WAKER.wake();
}

/// Pulls it out again.
pub fn pull_out() {
    PLUGGED.store(false, Ordering::Relaxed);
    WAKER.wake();
}

type Device = VirtIONetRaw<StaticPages, PlainQueues<MmioTransport<'static>>, PLACES>;

#[repr(C, align(4))]
struct Buffer([u8; BUFFER_LEN]);

/// What one direction has.
struct Buffers {
    buffers: [Buffer; BUFFERS],
    /// Which buffer a token of the queue stands for, while the device has it.
    of_token: [Option<u8>; PLACES],
    /// The device has it.
    lent: [bool; BUFFERS],
}

impl Buffers {
    const fn new() -> Self {
        Self {
            buffers: [const { Buffer([0; BUFFER_LEN]) }; BUFFERS],
            of_token: [None; PLACES],
            lent: [false; BUFFERS],
        }
    }

    fn free(&self) -> Option<u8> {
        let index = self.lent.iter().position(|lent| !lent)?;
        u8::try_from(index).ok()
    }

    fn lend(&mut self, index: u8, token: u16) {
        if let (Some(lent), Some(of_token)) = (
            self.lent.get_mut(usize::from(index)),
            self.of_token.get_mut(usize::from(token)),
        ) {
            *lent = true;
            *of_token = Some(index);
        }
    }

    /// Which buffer the device gives back under this token.
    fn take_back(&mut self, token: u16) -> Option<u8> {
        let index = self.of_token.get_mut(usize::from(token))?.take()?;
        *self.lent.get_mut(usize::from(index))? = false;
        Some(index)
    }

    fn get(&mut self, index: u8) -> Option<&mut [u8; BUFFER_LEN]> {
        let buffer = self.buffers.get_mut(usize::from(index))?;
        Some(&mut buffer.0)
    }
}

struct Lent {
    receive: Buffers,
    transmit: Buffers,
}

/// Devices write here for as long as they have a buffer, so it must never move or go: hence a `static`.
static BUFFER_SPACE: ConstStaticCell<Lent> = ConstStaticCell::new(Lent {
    receive: Buffers::new(),
    transmit: Buffers::new(),
});

/// The network device.
pub struct Net {
    device: Device,
    /// Start of its virtio-mmio place.
    base: usize,
    mac: [u8; 6],
    lent: &'static mut Lent,
}

/// Why there is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetError {
    /// No virtio network device: `-device virtio-net-device,netdev=...` is missing.
    NoDevice,
    /// The device does not work as this driver expects.
    Device(virtio_drivers::Error),
}

/// The right to use the network device. There is one, in [`crate::Machine`].
pub struct Port(pub(crate) ());

impl Port {
    /// The first network device on the memory-mapped transport.
    ///
    /// # Errors
    /// See [`NetError`].
    pub fn open(self) -> Result<Net, NetError> {
        for place in 0..map::VIRTIO_PLACES {
            let base = map::VIRTIO + place * map::VIRTIO_STRIDE;
            let Some(header) = NonNull::new(base as *mut VirtIOHeader) else {
                continue;
            };
            // SAFETY: virtio-drivers 0.13, `MmioTransport::new`: `virt_memmap[VIRT_VIRTIO]` of hw/riscv/virt.c has a transport,
            // registers and configuration, in each of its 8 places, from start to power-off; there is one `Port`, and it
            // is gone after this.
            let transport = unsafe { MmioTransport::new(header, map::VIRTIO_STRIDE) };
            // An empty place answers with device number 0.
            let Ok(transport) = transport else { continue };
            if transport.device_type() != DeviceType::Network {
                continue;
            }
            let device =
                VirtIONetRaw::new(PlainQueues::new(transport)).map_err(NetError::Device)?;
            let mut net = Net {
                mac: device.mac_address(),
                device,
                base,
                lent: BUFFER_SPACE.take(),
            };
            net.refill();
            plic::enable(map::VIRTIO_IRQ + place as u32);
            return Ok(net);
        }
        Err(NetError::NoDevice)
    }
}

impl Net {
    /// The MAC address that QEMU gave the device.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Whether the link is up, as the device says now.
    fn link_is_up(&self) -> bool {
        // SAFETY: the configuration of the device that this driver found at `base` (see `open`); `status` is there because
        // the feature VIRTIO_NET_F_STATUS is offered by QEMU's device (hw/net/virtio-net.c). Reading has no effect.
        let status = unsafe { read_volatile((self.base + CONFIG_STATUS) as *const u16) };
        u16::from_le(status) & STATUS_LINK_UP != 0
    }

    /// Gives free receive buffers to the device.
    fn refill(&mut self) {
        while let Some(index) = self.lent.receive.free() {
            let Some(buffer) = self.lent.receive.get(index) else {
                return;
            };
            // SAFETY: virtio-drivers 0.13, `receive_begin`: the buffer is in a static, marked as lent below, and nobody reads or
            // writes a lent buffer until `receive_complete` in `receive`.
            match unsafe { self.device.receive_begin(buffer) } {
                Ok(token) => self.lent.receive.lend(index, token),
                // The queue has more places than there are buffers, so this does not happen; then one buffer rests.
                Err(_) => return,
            }
        }
    }

    /// Takes back what the device has sent.
    fn reclaim(&mut self) {
        while let Some(token) = self.device.poll_transmit() {
            let Some(index) = self.lent.transmit.take_back(token) else {
                return;
            };
            let Some(buffer) = self.lent.transmit.get(index) else {
                return;
            };
            // SAFETY: virtio-drivers 0.13, `transmit_complete`: the buffer that was passed under this token; its length may not
            // differ either, and nothing here goes by the length but the recycling of the one descriptor.
            if unsafe { self.device.transmit_complete(token, buffer) }.is_err() {
                return;
            }
        }
    }
}

/// The interrupt of a device.
pub(crate) fn interrupt(irq: u32) {
    let place = irq.wrapping_sub(map::VIRTIO_IRQ) as usize;
    if place >= map::VIRTIO_PLACES {
        return;
    }
    let base = map::VIRTIO + place * map::VIRTIO_STRIDE;
    // SAFETY: virtio 1.2, 4.2.2.2: reading the reasons has no effect, writing them back acknowledges them. The driver itself never
    // touches these two registers.
    unsafe {
        let reasons = read_volatile((base + INTERRUPT_STATUS) as *const u32);
        write_volatile((base + INTERRUPT_ACK) as *mut u32, reasons);
    }
    WAKER.wake();
}

impl Driver for Net {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Send<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Received<'_>, Send<'_>)> {
        // First of all: whatever happens from here on wakes again.
        WAKER.register(cx.waker());
        self.reclaim();
        self.refill();
        let out = self.lent.transmit.free()?;
        let token = self.device.poll_receive()?;
        let index = self.lent.receive.take_back(token)?;
        let Self { device, lent, .. } = self;
        let Lent { receive, transmit } = &mut **lent;
        let buffer = receive.get(index)?;
        // SAFETY: virtio-drivers 0.13, `receive_complete`: the very buffer that was passed under this token.
        let (header, len) = unsafe { device.receive_complete(token, buffer) }.ok()?;
        let frame = buffer.get_mut(header..header.checked_add(len)?)?;
        Some((
            Received { frame },
            Send {
                device,
                transmit,
                index: out,
            },
        ))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Send<'_>> {
        WAKER.register(cx.waker());
        self.reclaim();
        let index = self.lent.transmit.free()?;
        let Self { device, lent, .. } = self;
        Some(Send {
            device,
            transmit: &mut lent.transmit,
            index,
        })
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        WAKER.register(cx.waker());
        if PLUGGED.load(Ordering::Relaxed) && self.link_is_up() {
            LinkState::Up
        } else {
            LinkState::Down
        }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME_LEN;
        capabilities.max_burst_size = Some(BUFFERS);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.mac)
    }
}

/// A frame that came in.
pub struct Received<'a> {
    frame: &'a mut [u8],
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }
}

/// Room for a frame to send.
pub struct Send<'a> {
    device: &'a mut Device,
    transmit: &'a mut Buffers,
    index: u8,
}

impl TxToken for Send<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Self {
            device,
            transmit,
            index,
        } = self;
        // embassy-net asks for no more than `capabilities` allows, and `index` is a free buffer: `None` does not happen.
        let whole = transmit
            .get(index)
            .and_then(|buffer| buffer.get_mut(..HEADER_LEN + len.min(FRAME_LEN)));
        let Some(whole) = whole else {
            return f(&mut []);
        };
        let (header, frame) = whole.split_at_mut(HEADER_LEN);
        // Nothing to be offloaded: all zeros (virtio 1.2, 5.1.6.2).
        header.fill(0);
        let result = f(frame);
        // SAFETY: virtio-drivers 0.13, `transmit_begin`: the buffer is in a static, marked as lent below, and nobody reads or
        // writes a lent buffer until `transmit_complete` in `reclaim`.
        let sent = unsafe { device.transmit_begin(whole) };
        if let Ok(token) = sent {
            transmit.lend(index, token);
        }
        result
    }
}
