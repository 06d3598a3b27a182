//! Reading the head of an answer (RFC 9112, RFC 9110), line by line, in constant memory.
//!
//! Lines that do not matter may have any length (some servers send cookies and policies of many kilobytes); only all of them
//! together are limited.

use heapless::String;
use otaria_wire::url::{MAX_LOCATION_LEN, Url};

use super::window::{Line, Window};
use super::{HttpError, RedirectError, is_strong_etag};

/// The largest head, all interim answers (1xx) before it included.
const HEAD_MAX: usize = 16 * 1024;
/// How many interim answers there may be.
const INTERIM_MAX: u8 = 8;
/// The longest ETag that is kept. A longer one is as good as none.
pub(super) const ETAG_MAX: usize = 64;

/// What the head of an answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) content_length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) content_range: Option<ContentRange>,
    /// A strong ETag, its quotes included.
    pub(super) etag: Option<String<ETAG_MAX>>,
    pub(super) retry_after: Option<u32>,
    /// Compressed or otherwise encoded.
    pub(super) encoded: bool,
    /// Several ranges in one body.
    pub(super) multipart: bool,
    /// A redirect whose Location has been followed into the `url` given to [`HeadReader::advance`].
    pub(super) located: Option<Result<(), RedirectError>>,
    http_1_0: bool,
    seen_etag: bool,
}

/// A Content-Range header (RFC 9110, 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentRange {
    /// Bytes `first..=last` of a file of `total` bytes, if that is known.
    Range {
        first: u64,
        last: u64,
        total: Option<u64>,
    },
    /// No range, only the size of the file: that comes with 416.
    Total(u64),
}

/// Reads a head out of a window.
#[derive(Debug)]
pub(super) struct HeadReader {
    head: Head,
    stage: Stage,
    total: usize,
    interim: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    StatusLine,
    Headers,
    /// In a header line that is longer than the window and does not matter.
    LongLine,
}

impl HeadReader {
    pub(super) fn new() -> Self {
        Self {
            head: Head::default(),
            stage: Stage::StatusLine,
            total: 0,
            interim: 0,
        }
    }

    /// The status, as soon as it has been read; also of an interim answer.
    pub(super) fn status(&self) -> Option<u16> {
        (self.head.status != 0).then_some(self.head.status)
    }

    /// Reads on, as far as the window goes. The head, when it is whole; then the window stands at the body's first byte.
    ///
    /// If the answer is a redirect, `url` (the address that was asked) becomes the address that it leads to.
    pub(super) fn advance(
        &mut self,
        window: &mut Window,
        url: &mut String<MAX_LOCATION_LEN>,
    ) -> Result<Option<Head>, HttpError> {
        loop {
            let used = match self.stage {
                Stage::LongLine => match window.unread().iter().position(|byte| *byte == b'\n') {
                    Some(end) => {
                        self.stage = Stage::Headers;
                        end + 1
                    }
                    None => window.unread().len(),
                },
                Stage::StatusLine => match window.line()? {
                    Line::Whole(line, len) => {
                        self.head.status_line(line)?;
                        self.stage = Stage::Headers;
                        len
                    }
                    // Whoever does not begin with this never will; waiting for the end of the line would only take longer.
                    _ if !is_start_of_status_line(window.unread()) => {
                        return Err(HttpError::NotHttp);
                    }
                    Line::Partial => 0,
                    Line::TooLong(_) => return Err(HttpError::NotHttp),
                },
                Stage::Headers => match window.line()? {
                    Line::Whole([], len) => {
                        self.count(len)?;
                        window.consume(len);
                        if self.is_final()? {
                            return Ok(Some(core::mem::take(&mut self.head)));
                        }
                        continue;
                    }
                    Line::Whole(line, len) => {
                        self.head.header(line, url)?;
                        len
                    }
                    Line::Partial => 0,
                    Line::TooLong(start) => {
                        let (name, _) = split_header(start)?;
                        if matters(name) {
                            return Err(HttpError::HeadTooLarge);
                        }
                        self.stage = Stage::LongLine;
                        start.len()
                    }
                },
            };
            if used == 0 {
                return Ok(None);
            }
            self.count(used)?;
            window.consume(used);
        }
    }

    fn count(&mut self, used: usize) -> Result<(), HttpError> {
        self.total = self.total.saturating_add(used);
        if self.total > HEAD_MAX {
            return Err(HttpError::HeadTooLarge);
        }
        Ok(())
    }

    /// The head ended. An interim answer is forgotten, and the next head begins.
    fn is_final(&mut self) -> Result<bool, HttpError> {
        if self.head.status >= 200 {
            self.head.check()?;
            return Ok(true);
        }
        self.interim += 1;
        if self.interim > INTERIM_MAX {
            return Err(HttpError::HeadTooLarge);
        }
        self.head = Head::default();
        self.stage = Stage::StatusLine;
        Ok(false)
    }
}

impl Head {
    /// Whether the status is one of those that lead elsewhere.
    pub(super) const fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
    }

    fn status_line(&mut self, line: &[u8]) -> Result<(), HttpError> {
        let [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            minor @ b'0'..=b'9',
            b' ',
            code @ ..,
        ] = line
        else {
            return Err(HttpError::NotHttp);
        };
        let ([a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']
        | [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ..]) = code
        else {
            return Err(HttpError::NotHttp);
        };
        self.http_1_0 = *minor == b'0';
        self.status = [a, b, c]
            .into_iter()
            .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        Ok(())
    }

    fn header(&mut self, line: &[u8], url: &mut String<MAX_LOCATION_LEN>) -> Result<(), HttpError> {
        let (name, value) = split_header(line)?;
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("content-length") {
            let length = number(value).ok_or(HttpError::Malformed)?;
            if self.content_length.is_some_and(|other| other != length) {
                return Err(HttpError::LengthMismatch);
            }
            self.content_length = Some(length);
        } else if is("transfer-encoding") {
            // Nothing else was allowed by the request, and nothing else says where the body ends.
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HttpError::Malformed);
            }
            self.chunked = true;
        } else if is("content-range") {
            if self.content_range.is_some() {
                return Err(HttpError::RangeMismatch);
            }
            self.content_range = Some(content_range(value).ok_or(HttpError::RangeMismatch)?);
        } else if is("content-encoding") {
            self.encoded |= !(value.is_empty() || value.eq_ignore_ascii_case(b"identity"));
        } else if is("content-type") {
            let multipart = b"multipart/";
            self.multipart |= value
                .get(..multipart.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(multipart));
        } else if is("etag") {
            // Two of them say nothing.
            self.etag = if self.seen_etag || !is_strong_etag(value) {
                None
            } else {
                core::str::from_utf8(value)
                    .ok()
                    .and_then(|etag| String::try_from(etag).ok())
            };
            self.seen_etag = true;
        } else if is("retry-after") {
            self.retry_after = number(value).and_then(|secs| u32::try_from(secs).ok());
        } else if is("location") && self.is_redirect() {
            if self.located.is_some() {
                return Err(HttpError::Malformed);
            }
            self.located = Some(follow(url, value));
        }
        Ok(())
    }

    /// What contradicts itself.
    fn check(&self) -> Result<(), HttpError> {
        // RFC 9112, 6.1 and 6.3: both together is how responses are smuggled, and HTTP/1.0 has no chunks.
        if self.chunked && (self.content_length.is_some() || self.http_1_0) {
            return Err(HttpError::Malformed);
        }
        Ok(())
    }
}

/// The headers that are read at all.
fn matters(name: &[u8]) -> bool {
    [
        "content-length",
        "transfer-encoding",
        "content-range",
        "content-encoding",
        "content-type",
        "etag",
        "location",
    ]
    .iter()
    .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether `bytes` may become a status line.
fn is_start_of_status_line(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(b"HTTP/1.")
        .all(|(byte, good)| byte == good)
}

/// Name and value, without the white space around the value.
///
/// A line that begins with white space would continue the one before (obsolete line folding, RFC 9112, 5.2): malformed, as is
/// white space before the colon.
fn split_header(line: &[u8]) -> Result<(&[u8], &[u8]), HttpError> {
    let colon = line
        .iter()
        .position(|byte| *byte == b':')
        .ok_or(HttpError::Malformed)?;
    let (name, value) = line.split_at_checked(colon).ok_or(HttpError::Malformed)?;
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(token) {
        return Err(HttpError::Malformed);
    }
    let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
    Ok((name, value))
}

/// Digits only: no sign, no list, no overflow.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn content_range(value: &[u8]) -> Option<ContentRange> {
    let (unit, rest) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes ") {
        return None;
    }
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let (range, total) = rest.split_at_checked(slash)?;
    let total = total.strip_prefix(b"/")?;
    let total = match total {
        b"*" => None,
        digits => Some(number(digits)?),
    };
    if range == b"*" {
        return total.map(ContentRange::Total);
    }
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let (first, last) = range.split_at_checked(dash)?;
    let (first, last) = (number(first)?, number(last.strip_prefix(b"-")?)?);
    if first > last || total.is_some_and(|total| last >= total) {
        return None;
    }
    Some(ContentRange::Range { first, last, total })
}

/// Replaces `url` by the address that `location` leads to from there.
fn follow(url: &mut String<MAX_LOCATION_LEN>, location: &[u8]) -> Result<(), RedirectError> {
    use otaria_wire::url::UrlError;

    let location =
        core::str::from_utf8(location).map_err(|_| RedirectError::Url(UrlError::Character))?;
    *url = Url::parse_redirected(url)
        .and_then(|base| base.join(location))
        .map_err(RedirectError::Url)?;
    Ok(())
}

#[cfg(test)]
mod tests;
