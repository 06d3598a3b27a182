//! A network that does to chosen connections what bad servers and bad networks do. It wraps any network, simulated or real, and is
//! one itself.

use core::cell::{Cell, RefCell};
use core::future::pending;
use core::net::{IpAddr, SocketAddr};

use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};

/// What goes wrong with one connection. Positions count the bytes that the client has read, or written, on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionFault {
    /// Connecting fails at once.
    Refuse,
    /// Connecting never ends.
    Hang,
    /// Reading fails with a reset as soon as this many bytes have been read.
    ResetAfter(u64),
    /// The peer seems to have closed as soon as this many bytes have been read.
    EndAfter(u64),
    /// Nothing more comes as soon as this many bytes have been read.
    SilentAfter(u64),
    /// The bits of the mask are flipped in the byte at this position.
    Flip {
        /// Position of the byte among those read.
        at: u64,
        /// The bits to flip.
        mask: u8,
    },
    /// A read returns this many bytes at most.
    Dribble(usize),
    /// Writing fails with a reset as soon as this many bytes have been written.
    ResetAfterWriting(u64),
}

/// An error of the wrapped network, or an injected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultyError<E: core::error::Error> {
    /// The fault injector made it up.
    #[error("injected: {0}")]
    Injected(ErrorKind),
    /// It really happened.
    #[error(transparent)]
    Inner(E),
}

impl<E: Error> Error for FaultyError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            FaultyError::Injected(kind) => *kind,
            FaultyError::Inner(error) => error.kind(),
        }
    }
}

/// A name look-up that failed, really or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultyLookup<E> {
    /// The fault injector made it up.
    Injected,
    /// It really happened.
    Inner(E),
}

/// A network with faults. Connections are counted from 0 in the order in which they are attempted.
pub struct Faulty<N> {
    inner: N,
    planned: RefCell<Vec<(u64, ConnectionFault)>>,
    always: RefCell<Vec<ConnectionFault>>,
    attempts: Cell<u64>,
    lookups_to_fail: Cell<u64>,
}

impl<N> Faulty<N> {
    /// A network without faults yet.
    pub fn new(inner: N) -> Self {
        Faulty {
            inner,
            planned: RefCell::default(),
            always: RefCell::default(),
            attempts: Cell::new(0),
            lookups_to_fail: Cell::new(0),
        }
    }

    /// Plans a fault for the connection with number `connection`. One connection can have several.
    pub fn plan(&self, connection: u64, fault: ConnectionFault) {
        self.planned.borrow_mut().push((connection, fault));
    }

    /// Plans a fault for every connection from now on.
    pub fn always(&self, fault: ConnectionFault) {
        self.always.borrow_mut().push(fault);
    }

    /// Forgets all faults for connections to come.
    pub fn clear(&self) {
        self.planned.borrow_mut().clear();
        self.always.borrow_mut().clear();
        self.lookups_to_fail.set(0);
    }

    /// Lets the next `count` name look-ups fail.
    pub fn fail_lookups(&self, count: u64) {
        self.lookups_to_fail.set(count);
    }

    /// How many connections were attempted.
    pub fn attempts(&self) -> u64 {
        self.attempts.get()
    }

    fn lookup_fails(&self) -> bool {
        let left = self.lookups_to_fail.get();
        self.lookups_to_fail.set(left.saturating_sub(1));
        left > 0
    }

    fn faults_of_next(&self) -> Vec<ConnectionFault> {
        let number = self.attempts.get();
        self.attempts.set(number + 1);
        let planned = self.planned.borrow();
        let own = planned
            .iter()
            .filter(|(connection, _)| *connection == number)
            .map(|(_, fault)| *fault);
        own.chain(self.always.borrow().iter().copied()).collect()
    }
}

impl<N: TcpConnect> TcpConnect for Faulty<N> {
    type Error = FaultyError<N::Error>;
    type Connection<'a>
        = FaultyStream<N::Connection<'a>>
    where
        N: 'a;

    async fn connect<'a>(
        &'a self,
        remote: SocketAddr,
    ) -> Result<Self::Connection<'a>, Self::Error> {
        let faults = self.faults_of_next();
        if faults.contains(&ConnectionFault::Refuse) {
            return Err(FaultyError::Injected(ErrorKind::ConnectionRefused));
        }
        if faults.contains(&ConnectionFault::Hang) {
            pending::<()>().await;
        }
        let inner = self
            .inner
            .connect(remote)
            .await
            .map_err(FaultyError::Inner)?;
        Ok(FaultyStream {
            inner,
            faults,
            read: 0,
            written: 0,
        })
    }
}

impl<N: Dns> Dns for Faulty<N> {
    type Error = FaultyLookup<N::Error>;

    async fn get_host_by_name(
        &self,
        host: &str,
        addr_type: AddrType,
    ) -> Result<IpAddr, Self::Error> {
        if self.lookup_fails() {
            return Err(FaultyLookup::Injected);
        }
        self.inner
            .get_host_by_name(host, addr_type)
            .await
            .map_err(FaultyLookup::Inner)
    }

    async fn get_host_by_address(
        &self,
        addr: IpAddr,
        result: &mut [u8],
    ) -> Result<usize, Self::Error> {
        if self.lookup_fails() {
            return Err(FaultyLookup::Injected);
        }
        self.inner
            .get_host_by_address(addr, result)
            .await
            .map_err(FaultyLookup::Inner)
    }
}

/// A connection with faults.
pub struct FaultyStream<S> {
    inner: S,
    faults: Vec<ConnectionFault>,
    read: u64,
    written: u64,
}

impl<S: ErrorType> ErrorType for FaultyStream<S> {
    type Error = FaultyError<S::Error>;
}

impl<S: Read> Read for FaultyStream<S> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        if buf.is_empty() {
            return Ok(0);
        }
        // How many bytes may be read before the next fault that ends the reading.
        let mut most = buf.len();
        for fault in &self.faults {
            match *fault {
                ConnectionFault::ResetAfter(at) if self.read >= at => {
                    return Err(FaultyError::Injected(ErrorKind::ConnectionReset));
                }
                ConnectionFault::EndAfter(at) if self.read >= at => return Ok(0),
                ConnectionFault::SilentAfter(at) if self.read >= at => pending::<()>().await,
                ConnectionFault::ResetAfter(at)
                | ConnectionFault::EndAfter(at)
                | ConnectionFault::SilentAfter(at) => {
                    most = most.min(usize::try_from(at - self.read).unwrap_or(most));
                }
                ConnectionFault::Dribble(len) => most = most.min(len.max(1)),
                ConnectionFault::Refuse
                | ConnectionFault::Hang
                | ConnectionFault::Flip { .. }
                | ConnectionFault::ResetAfterWriting(_) => {}
            }
        }
        let len = self
            .inner
            .read(&mut buf[..most])
            .await
            .map_err(FaultyError::Inner)?;
        let read = self.read..self.read + len as u64;
        for fault in &self.faults {
            if let ConnectionFault::Flip { at, mask } = fault
                && read.contains(at)
            {
                buf[(at - read.start) as usize] ^= mask;
            }
        }
        self.read = read.end;
        Ok(len)
    }
}

impl<S: Write> Write for FaultyStream<S> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        let mut most = buf.len();
        for fault in &self.faults {
            if let ConnectionFault::ResetAfterWriting(at) = *fault {
                if self.written >= at {
                    return Err(FaultyError::Injected(ErrorKind::ConnectionReset));
                }
                most = most.min(usize::try_from(at - self.written).unwrap_or(most));
            }
        }
        let len = self
            .inner
            .write(&buf[..most])
            .await
            .map_err(FaultyError::Inner)?;
        self.written += len as u64;
        Ok(len)
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        self.inner.flush().await.map_err(FaultyError::Inner)
    }
}
