//! What a simulated device needs for TLS: settings of its own, memory, and random numbers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use otaria_device::net::tls::Resources;
use otaria_device::settings::{TlsConfig, TlsIdentity, TlsPsk};

/// What connections with TLS are made with; see [`TlsConfig`].
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    /// Certificates of authorities, in DER, one behind the other.
    pub anchors: Vec<u8>,
    /// The device's certificates the same way, and its P-256 scalar.
    pub identity: Option<(Vec<u8>, [u8; 32])>,
    /// A shared key: the server's name or address, the key's name, and the key.
    pub psk: Option<(String, Vec<u8>, Vec<u8>)>,
}

impl TlsSettings {
    /// As the device takes them.
    pub fn config(&self) -> TlsConfig<'_> {
        TlsConfig {
            anchors: &self.anchors,
            identity: self
                .identity
                .as_ref()
                .map(|(chain, key)| TlsIdentity { chain, key }),
            psk: self
                .psk
                .as_ref()
                .map(|(host, id, key)| TlsPsk { host, id, key }),
        }
    }
}

/// A heap of so many bytes, and random numbers from a seed: the same seed, the same run.
pub struct HostHeap {
    free: Rc<Cell<usize>>,
    random: RefCell<fastrand::Rng>,
}

impl HostHeap {
    /// A heap with `size` bytes free.
    pub fn new(size: usize, seed: u64) -> Self {
        HostHeap {
            free: Rc::new(Cell::new(size)),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// Bytes that nobody has.
    pub fn free(&self) -> usize {
        self.free.get()
    }
}

/// A piece of a [`HostHeap`].
pub struct HostBuffer {
    bytes: Vec<u8>,
    free: Rc<Cell<usize>>,
}

impl core::ops::Deref for HostBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl core::ops::DerefMut for HostBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        self.free.set(self.free.get() + self.bytes.len());
    }
}

impl Resources for HostHeap {
    type Buffer = HostBuffer;

    fn buffer(&self, len: usize) -> Option<HostBuffer> {
        self.free.set(self.free.get().checked_sub(len)?);
        Some(HostBuffer {
            bytes: vec![0; len],
            free: self.free.clone(),
        })
    }

    fn random(&self, bytes: &mut [u8]) {
        self.random.borrow_mut().fill(bytes);
    }
}
