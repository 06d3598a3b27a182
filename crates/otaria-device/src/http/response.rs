//! The answer to a GET, from the first byte of its body on.

use embedded_io_async::{Read, Write};
use heapless::String;
use otaria_wire::url::MAX_LOCATION_LEN;

use super::body::{Body, Step};
use super::head::{ContentRange, Head, HeadReader};
use super::window::Window;
use super::{GetRequest, HttpError};
use crate::board::{Clock, Duration, Instant};
use crate::net::Link;

/// Where the time went before the body began; over all redirects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Name look-up and TCP.
    pub connect: Duration,
    /// TLS handshakes.
    pub tls: Duration,
    /// From the request to the end of the head.
    pub answer: Duration,
}

/// What is known of a request and its answer. All of it, and the bytes that have come in, stay in one place.
pub(super) struct Transfer {
    pub(super) window: Window,
    reader: HeadReader,
    pub(super) head: Head,
    pub(super) timing: Timing,
    start: u64,
    total_len: Option<u64>,
    body: Body,
    received: u64,
    since: Instant,
    failed: Option<HttpError>,
}

impl Transfer {
    pub(super) const fn new() -> Self {
        Self {
            window: Window::new(),
            reader: HeadReader::new(false),
            head: Head::NONE,
            timing: Timing {
                connect: Duration::ZERO,
                tls: Duration::ZERO,
                answer: Duration::ZERO,
            },
            start: 0,
            total_len: None,
            body: Body::NONE,
            received: 0,
            since: Instant::ZERO,
            failed: None,
        }
    }

    /// The request has been sent.
    pub(super) fn begin_head(&mut self, only_status: bool) {
        self.head = Head::NONE;
        self.reader = HeadReader::new(only_status);
    }

    /// Reads the head as far as it has come in; see [`HeadReader::advance`].
    pub(super) fn read_head(
        &mut self,
        url: &mut String<MAX_LOCATION_LEN>,
    ) -> Result<bool, HttpError> {
        self.reader.advance(&mut self.window, &mut self.head, url)
    }

    /// Checks the head as the answer to `request`.
    pub(super) fn begin_body(
        &mut self,
        request: &GetRequest<'_>,
        now: Instant,
    ) -> Result<(), HttpError> {
        let head = &self.head;
        let mut len = head.content_length;
        self.start = 0;
        self.total_len = len;
        match (head.status, head.content_range) {
            (200, _) => {}
            (206, Some(ContentRange::Range { first, last, total })) => {
                len = Some(range_len(head, request, first, last)?);
                self.start = first;
                self.total_len = total;
            }
            (206, _) => return Err(HttpError::RangeMismatch),
            (416, range) => {
                let total = match range {
                    Some(ContentRange::Total(total)) => u32::try_from(total).ok(),
                    Some(ContentRange::Range { .. }) | None => None,
                };
                return Err(HttpError::RangeNotSatisfiable { total });
            }
            (status, _) => {
                return Err(HttpError::Status {
                    status,
                    retry_after: head.retry_after,
                });
            }
        }
        if head.encoded {
            return Err(HttpError::Encoded);
        }
        self.body = Body::new(len, head.chunked);
        self.received = 0;
        self.since = now;
        self.failed = None;
        Ok(())
    }

    /// `n` bytes are in the caller's buffer.
    fn count(&mut self, n: usize) -> usize {
        self.received = self.received.saturating_add(n as u64);
        n
    }
}

/// An answer whose body can be read.
pub struct Response<'r, S, K> {
    link: Link<'r, S, K>,
    transfer: &'r mut Transfer,
    stall: Duration,
}

impl<'r, S: Read + Write, K: Clock> Response<'r, S, K> {
    pub(super) fn new(link: Link<'r, S, K>, transfer: &'r mut Transfer, stall: Duration) -> Self {
        Self {
            link,
            transfer,
            stall,
        }
    }

    /// 200 (the whole file) or 206 (from [`start`](Self::start) on).
    #[must_use]
    pub fn status(&self) -> u16 {
        self.transfer.head.status
    }

    /// The position in the file of the body's first byte: 0, or the one that was asked for.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.transfer.start
    }

    /// The length of the whole file, if the server says so.
    #[must_use]
    pub fn total_len(&self) -> Option<u64> {
        self.transfer.total_len
    }

    /// The file's strong ETag, its quotes included. Weak ones, and those beyond 64 bytes, are left out.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.transfer.head.etag.as_deref()
    }

    /// Bytes of the body that have been read. Together with [`since`](Self::since) it gives the rate; what rate is too low is for
    /// the caller to say.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.transfer.received
    }

    /// When the body began.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.transfer.since
    }

    /// Where the time went before that.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.transfer.timing
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
        if let Some(error) = self.transfer.failed {
            return Err(error);
        }
        let result = self.read_body(buf).await;
        self.transfer.failed = result.err();
        result
    }

    async fn read_body(&mut self, buf: &mut [u8]) -> Result<usize, HttpError> {
        if buf.is_empty() {
            return Ok(0);
        }
        let transfer = &mut *self.transfer;
        // One deadline for the whole call: sizes and extensions of chunks are no progress.
        let deadline = self.link.now() + self.stall;
        loop {
            let step = transfer.body.step(&mut transfer.window, buf)?;
            let room = match step {
                Step::Copied(n) => return Ok(transfer.count(n)),
                Step::End => return Ok(0),
                Step::Direct(room) => buf.get_mut(..room).unwrap_or_default(),
                Step::More => transfer.window.space(),
            };
            let got = self.link.read(room, deadline).await;
            match got.map_err(HttpError::in_body)? {
                0 => transfer.body.closed()?,
                n if matches!(step, Step::More) => transfer.window.filled(n),
                n => {
                    transfer.body.took(n)?;
                    return Ok(transfer.count(n));
                }
            }
        }
    }
}

/// The number of bytes in `first..=last`, if they are what `request` asks for.
fn range_len(
    head: &Head,
    request: &GetRequest<'_>,
    first: u64,
    last: u64,
) -> Result<u64, HttpError> {
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
    Ok(len)
}
