//! Reading the head of an answer (RFC 9112, RFC 9110), line by line, in constant memory.
//!
//! Lines that do not matter may have any length (some servers send cookies and policies of many kilobytes); only all of them
//! together are limited.

use heapless::String;
use otaria_wire::url::{MAX_LOCATION_LEN, Url, UrlError};

use super::text::{number, split_at_byte};
use super::window::{Line, Window};
use super::{HttpError, RedirectError, is_strong_etag};

/// The largest head, all interim answers (1xx) before it included.
const HEAD_MAX: usize = 16 * 1024;
/// How many interim answers there may be.
const INTERIM_MAX: u8 = 8;
/// The longest ETag that is kept. A longer one is as good as none.
pub(super) const ETAG_MAX: usize = 64;

/// What the head of an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// The headers that are read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    ContentLength,
    TransferEncoding,
    ContentRange,
    ContentEncoding,
    ContentType,
    ETag,
    RetryAfter,
    Location,
}

const HEADERS: [(&str, Header); 8] = [
    ("content-length", Header::ContentLength),
    ("transfer-encoding", Header::TransferEncoding),
    ("content-range", Header::ContentRange),
    ("content-encoding", Header::ContentEncoding),
    ("content-type", Header::ContentType),
    ("etag", Header::ETag),
    ("retry-after", Header::RetryAfter),
    ("location", Header::Location),
];

/// Reads a head out of a window.
#[derive(Debug)]
pub(super) struct HeadReader {
    stage: Stage,
    total: usize,
    interim: u8,
    /// Whether the status line is enough. Then what follows does not matter, not even if it is broken.
    only_status: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    StatusLine,
    Headers,
    /// In a header line that is longer than the window and does not matter.
    LongLine,
}

impl HeadReader {
    pub(super) const fn new(only_status: bool) -> Self {
        Self {
            stage: Stage::StatusLine,
            total: 0,
            interim: 0,
            only_status,
        }
    }

    /// Reads on into `head`, as far as the window goes. Whether that is whole; then the window stands at the body's first byte.
    ///
    /// If the answer is a redirect, `url` (the address that was asked) becomes the address that it leads to.
    pub(super) fn advance(
        &mut self,
        window: &mut Window,
        head: &mut Head,
        url: &mut String<MAX_LOCATION_LEN>,
    ) -> Result<bool, HttpError> {
        loop {
            let mut ended = false;
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
                        *head = Head::NONE;
                        head.status_line(line)?;
                        self.stage = Stage::Headers;
                        ended = self.only_status;
                        len
                    }
                    // Whoever does not begin with this never will; waiting for the end of the line would only take longer.
                    Line::Partial if is_start_of_status_line(window.unread()) => 0,
                    Line::Partial | Line::TooLong(_) => return Err(HttpError::NotHttp),
                },
                Stage::Headers => match window.line()? {
                    Line::Whole([], len) => {
                        ended = head.status >= 200;
                        if ended {
                            head.check()?;
                        } else {
                            // An interim answer is forgotten, and the next head begins.
                            self.interim += 1;
                            self.stage = Stage::StatusLine;
                        }
                        len
                    }
                    Line::Whole(line, len) => {
                        head.header(line, url)?;
                        len
                    }
                    Line::Partial => 0,
                    Line::TooLong(start) => match split_header(start)? {
                        (None | Some(Header::RetryAfter), _) => {
                            self.stage = Stage::LongLine;
                            start.len()
                        }
                        _ => return Err(HttpError::HeadTooLarge),
                    },
                },
            };
            self.total = self.total.saturating_add(used);
            if self.total > HEAD_MAX || self.interim > INTERIM_MAX {
                return Err(HttpError::HeadTooLarge);
            }
            window.consume(used);
            if ended || used == 0 {
                return Ok(ended);
            }
        }
    }
}

impl Head {
    /// The head of nothing.
    pub(super) const NONE: Self = Self {
        status: 0,
        content_length: None,
        chunked: false,
        content_range: None,
        etag: None,
        retry_after: None,
        encoded: false,
        multipart: false,
        located: None,
        http_1_0: false,
        seen_etag: false,
    };

    /// Whether the status is one of those that lead elsewhere.
    pub(super) const fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
    }

    fn status_line(&mut self, line: &[u8]) -> Result<(), HttpError> {
        let Some([minor @ b'0'..=b'9', b' ', code @ ..]) = line.strip_prefix(b"HTTP/1.") else {
            return Err(HttpError::NotHttp);
        };
        let (code, reason) = code.split_at_checked(3).ok_or(HttpError::NotHttp)?;
        self.http_1_0 = *minor == b'0';
        self.status = number(code, 10).unwrap_or(0) as u16;
        if self.status < 100 || !matches!(reason, [] | [b' ', ..]) {
            return Err(HttpError::NotHttp);
        }
        Ok(())
    }

    fn header(&mut self, line: &[u8], url: &mut String<MAX_LOCATION_LEN>) -> Result<(), HttpError> {
        let (header, value) = split_header(line)?;
        let Some(header) = header else {
            return Ok(());
        };
        match header {
            Header::ContentLength => {
                let length = number(value, 10).ok_or(HttpError::Malformed)?;
                if self.content_length.is_some_and(|other| other != length) {
                    return Err(HttpError::LengthMismatch);
                }
                self.content_length = Some(length);
            }
            Header::TransferEncoding => {
                // Nothing else was allowed by the request, and nothing else says where the body ends.
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HttpError::Malformed);
                }
                self.chunked = true;
            }
            Header::ContentRange => {
                let range = content_range(value).ok_or(HttpError::RangeMismatch)?;
                if self.content_range.replace(range).is_some() {
                    return Err(HttpError::RangeMismatch);
                }
            }
            Header::ContentEncoding => {
                self.encoded |= !(value.is_empty() || value.eq_ignore_ascii_case(b"identity"));
            }
            Header::ContentType => {
                self.multipart |= after(value, b"multipart/").is_some();
            }
            Header::ETag => {
                // Two of them say nothing.
                let first = !core::mem::replace(&mut self.seen_etag, true);
                self.etag = Some(value)
                    .filter(|etag| first && is_strong_etag(etag))
                    .and_then(|etag| core::str::from_utf8(etag).ok())
                    .and_then(|etag| String::try_from(etag).ok());
            }
            Header::RetryAfter => {
                self.retry_after = number(value, 10).and_then(|secs| u32::try_from(secs).ok());
            }
            Header::Location if self.is_redirect() => {
                if self.located.is_some() {
                    return Err(HttpError::Malformed);
                }
                self.located = Some(follow(url, value).map_err(RedirectError::Url));
            }
            Header::Location => {}
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

/// Whether `bytes` may become a status line.
fn is_start_of_status_line(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(b"HTTP/1.")
        .all(|(byte, good)| byte == good)
}

/// Which header it is, if it is one that is read, and its value without the white space around it.
///
/// A line that begins with white space would continue the one before (obsolete line folding, RFC 9112, 5.2): malformed, as is
/// white space before the colon.
fn split_header(line: &[u8]) -> Result<(Option<Header>, &[u8]), HttpError> {
    let (name, value) = split_at_byte(line, b':').ok_or(HttpError::Malformed)?;
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(token) {
        return Err(HttpError::Malformed);
    }
    let header = HEADERS
        .iter()
        .find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()))
        .map(|(_, header)| *header);
    Ok((header, value.trim_ascii()))
}

/// What follows `start`, which may be written in capitals.
fn after<'v>(value: &'v [u8], start: &[u8]) -> Option<&'v [u8]> {
    let (head, rest) = value.split_at_checked(start.len())?;
    head.eq_ignore_ascii_case(start).then_some(rest)
}

fn content_range(value: &[u8]) -> Option<ContentRange> {
    let (range, total) = split_at_byte(after(value, b"bytes ")?, b'/')?;
    let total = match total {
        b"*" => None,
        digits => Some(number(digits, 10)?),
    };
    if range == b"*" {
        return total.map(ContentRange::Total);
    }
    let (first, last) = split_at_byte(range, b'-')?;
    let (first, last) = (number(first, 10)?, number(last, 10)?);
    if first > last || total.is_some_and(|total| last >= total) {
        return None;
    }
    Some(ContentRange::Range { first, last, total })
}

/// Replaces `url` by the address that `location` leads to from there.
fn follow(url: &mut String<MAX_LOCATION_LEN>, location: &[u8]) -> Result<(), UrlError> {
    let location = core::str::from_utf8(location).map_err(|_| UrlError::Character)?;
    let mut joined = String::new();
    Url::parse_redirected(url)?.join(location, &mut joined)?;
    *url = joined;
    Ok(())
}

#[cfg(test)]
mod tests;
