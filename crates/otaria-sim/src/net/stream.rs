//! One end of a connection, as a program holds it.

use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Context, Poll};
use std::rc::Rc;

use embedded_io_async::{ErrorType, Read, Write};

use super::NetError;
use super::tcp::{Connection, Side};

/// One end of a TCP connection. Dropping it does what the host's [`super::OnDrop`] says.
///
/// All calls can be cancelled without loss.
pub struct SimStream {
    connection: Rc<Connection>,
    side: Side,
}

impl SimStream {
    pub(super) fn new(connection: Rc<Connection>, side: Side) -> Self {
        SimStream { connection, side }
    }

    /// This end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.connection.addr(self.side)
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.connection.addr(self.side.other())
    }

    /// Says that nothing more will be written: the peer reads what is on its way and then the end. Reading goes on.
    pub fn shutdown(&mut self) {
        self.connection.shutdown(self.side);
    }

    /// Breaks the connection: what is not delivered yet is lost, and the peer gets [`NetError::Reset`].
    pub fn reset(&mut self) {
        self.connection.reset(self.side);
    }

    async fn when_running<T>(
        &mut self,
        mut poll: impl FnMut(&Self, &mut Context<'_>) -> Poll<T>,
    ) -> T {
        poll_fn(|cx| {
            if self.connection.host(self.side).stands_still(cx) {
                return Poll::Pending;
            }
            poll(self, cx)
        })
        .await
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.connection.dropped(self.side);
    }
}

impl ErrorType for SimStream {
    type Error = NetError;
}

impl Read for SimStream {
    /// Reads what has arrived; `Ok(0)` when the peer has closed and all it wrote has been read.
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, NetError> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.when_running(|stream, cx| stream.connection.poll_read(stream.side, buf, cx))
            .await
    }
}

impl Write for SimStream {
    /// Puts bytes into the send buffer; waits only if that is full.
    async fn write(&mut self, buf: &[u8]) -> Result<usize, NetError> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.when_running(|stream, cx| stream.connection.poll_write(stream.side, buf, cx))
            .await
    }

    /// Waits until the peer has acknowledged all that was written, as embassy-net's `flush` does.
    async fn flush(&mut self) -> Result<(), NetError> {
        self.when_running(|stream, cx| stream.connection.poll_flush(stream.side, cx))
            .await
    }
}
