//! The answer to a GET, from the first byte of its body on.

use embedded_io_async::{Read, Write};

use super::body::{Body, Chunk, Step};
use super::head::{ContentRange, Head};
use super::window::Window;
use super::{GetRequest, HttpError, Timeouts};
use crate::board::{Clock, Duration, Instant};
use crate::net::Link;

/// Where the time went before the body began; over all redirects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Name look-up, TCP and TLS.
    pub connect: Duration,
    /// From the request to the end of the head.
    pub answer: Duration,
}

/// An answer whose body can be read.
pub struct Response<'r, S, K> {
    link: Link<'r, S, K>,
    window: &'r mut Window,
    head: Head,
    start: u64,
    total_len: Option<u64>,
    body: Body,
    /// Bytes of the body that are still to come, if the head says so.
    left: Option<u64>,
    received: u64,
    since: Instant,
    stall: Duration,
    failed: Option<HttpError>,
    timing: Timing,
}

impl<'r, S: Read + Write, K: Clock> Response<'r, S, K> {
    /// Checks `head` as the answer to `request`.
    pub(super) fn new(
        link: Link<'r, S, K>,
        window: &'r mut Window,
        head: Head,
        request: &GetRequest<'_>,
        timeouts: &Timeouts,
        timing: Timing,
    ) -> Result<Self, HttpError> {
        let (start, len, total_len) = match head.status {
            200 => (0, head.content_length, head.content_length),
            206 => {
                let (start, len, total) = range(&head, request)?;
                (start, Some(len), total)
            }
            416 => {
                let total = match head.content_range {
                    Some(ContentRange::Total(total)) => Some(total),
                    Some(ContentRange::Range { .. }) | None => None,
                };
                return Err(HttpError::RangeNotSatisfiable { total });
            }
            status => {
                return Err(HttpError::Status {
                    status,
                    retry_after: head.retry_after,
                });
            }
        };
        if head.encoded {
            return Err(HttpError::Encoded);
        }
        let body = match len {
            _ if head.chunked => Body::Chunked(Chunk::Size),
            Some(len) => Body::of_length(len),
            None => Body::UntilClose,
        };
        let since = link.now();
        Ok(Self {
            link,
            window,
            head,
            start,
            total_len,
            body,
            left: len,
            received: 0,
            since,
            stall: timeouts.stall,
            failed: None,
            timing,
        })
    }

    /// 200 (the whole file) or 206 (from [`start`](Self::start) on).
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The position in the file of the body's first byte: 0, or the one that was asked for.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The length of the whole file, if the server says so.
    #[must_use]
    pub fn total_len(&self) -> Option<u64> {
        self.total_len
    }

    /// The file's strong ETag, its quotes included. Weak ones, and those beyond 64 bytes, are left out.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.head.etag.as_deref()
    }

    /// Bytes of the body that have been read. Together with [`since`](Self::since) it gives the rate; what rate is too low is for
    /// the caller to say.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// When the body began.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Where the time went before that.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Reads the next bytes of the body, at least one; `Ok(0)` when the body has ended as it should (or `buf` is empty).
    ///
    /// A body that is shorter than the server announced is an error. With 206 the body may end before the file does. If the
    /// server announced no length, an early end cannot be told from the right one.
    ///
    /// Cancel-safe: dropped before it completes, it has taken no byte. After an error it returns the same error again.
    ///
    /// # Errors
    ///
    /// [`HttpError::Stalled`] if no byte of the body came for the stall time-out, whatever else came;
    /// [`HttpError::EarlyClose`], [`HttpError::Broken`], [`HttpError::LengthMismatch`], [`HttpError::Malformed`].
    pub async fn read(&mut self, buf: &mut [u8]) -> Result<usize, HttpError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.read_body(buf).await;
        if let Err(error) = result {
            self.failed = Some(error);
        }
        result
    }

    async fn read_body(&mut self, buf: &mut [u8]) -> Result<usize, HttpError> {
        if buf.is_empty() {
            return Ok(0);
        }
        // One deadline for the whole call: sizes and extensions of chunks are no progress.
        let deadline = self.link.now() + self.stall;
        loop {
            match self.body.step(self.window, buf)? {
                Step::Copied(n) => return self.count(n),
                Step::End => return self.end(),
                Step::Direct(room) => {
                    let room = buf.get_mut(..room).unwrap_or_default();
                    match self.link.read(room, deadline).await {
                        Ok(0) => self.body.closed()?,
                        Ok(n) => {
                            self.body.took(n);
                            return self.count(n);
                        }
                        Err(error) => return Err(HttpError::in_body(error)),
                    }
                }
                Step::More => match self.link.read(self.window.space(), deadline).await {
                    Ok(0) => self.body.closed()?,
                    Ok(n) => self.window.filled(n),
                    Err(error) => return Err(HttpError::in_body(error)),
                },
            }
        }
    }

    /// `n` bytes are in the caller's buffer. Chunks may add up to more than the range that was announced.
    fn count(&mut self, n: usize) -> Result<usize, HttpError> {
        self.received = self.received.saturating_add(n as u64);
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(n as u64)
                .ok_or(HttpError::LengthMismatch)?;
        }
        Ok(n)
    }

    fn end(&self) -> Result<usize, HttpError> {
        match self.left {
            Some(1..) => Err(HttpError::LengthMismatch),
            Some(0) | None => Ok(0),
        }
    }
}

/// First byte, length and total of the range in a 206.
fn range(head: &Head, request: &GetRequest<'_>) -> Result<(u64, u64, Option<u64>), HttpError> {
    let Some(ContentRange::Range { first, last, total }) = head.content_range else {
        return Err(HttpError::RangeMismatch);
    };
    if head.multipart || request.range_from != Some(first) {
        return Err(HttpError::RangeMismatch);
    }
    let len = (last - first)
        .checked_add(1)
        .ok_or(HttpError::RangeMismatch)?;
    if head.content_length.is_some_and(|other| other != len) {
        return Err(HttpError::LengthMismatch);
    }
    // A server that knows Range but not If-Range sends a piece of whatever it has.
    if let (Some(asked), Some(is)) = (request.if_range, &head.etag)
        && asked != is.as_str()
    {
        return Err(HttpError::ContentChanged);
    }
    Ok((first, len, total))
}
