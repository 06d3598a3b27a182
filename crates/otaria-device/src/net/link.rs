//! An open connection whose every operation has a deadline.

use embedded_io_async::{Error as _, Read, Write};

use super::{LinkError, until};
use crate::board::{Clock, Instant};

/// An open connection and the clock that its operations are timed by.
pub(crate) struct Link<'k, S, K> {
    stream: S,
    clock: &'k K,
}

impl<'k, S: Read + Write, K: Clock> Link<'k, S, K> {
    pub(crate) fn new(stream: S, clock: &'k K) -> Self {
        Self { stream, clock }
    }

    /// The time by the link's clock.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Reads at least one byte into `buf`; `Ok(0)` only at the end of the stream (or if `buf` is empty).
    ///
    /// Cancel-safe, because the stream's own reads are.
    pub(crate) async fn read(
        &mut self,
        buf: &mut [u8],
        deadline: Instant,
    ) -> Result<usize, LinkError> {
        match until(self.clock, deadline, self.stream.read(buf)).await {
            // A driver that claims more than it was given room for must not get anyone to index past the end.
            Ok(Ok(n)) => Ok(n.min(buf.len())),
            Ok(Err(error)) => Err(LinkError::Broken(error.kind())),
            Err(_) => Err(LinkError::Timeout),
        }
    }

    /// Writes all of `bytes` and flushes them.
    ///
    /// Not cancel-safe: dropped half-way, some of the bytes have been sent, and only closing the connection is left.
    pub(crate) async fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), LinkError> {
        let stream = &mut self.stream;
        let sending = async {
            // `write_all` panics if a write returns 0; so the loop is here.
            let mut rest = bytes;
            while !rest.is_empty() {
                match stream.write(rest).await {
                    Ok(0) => return Err(LinkError::Closed),
                    Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                    Err(error) => return Err(LinkError::Broken(error.kind())),
                }
            }
            stream
                .flush()
                .await
                .map_err(|error| LinkError::Broken(error.kind()))
        };
        until(self.clock, deadline, sending)
            .await
            .unwrap_or(Err(LinkError::Timeout))
    }
}
