//! A GET for packages: HTTP/1.1 in constant memory.
//!
//! One request at a time, one connection a request. What is not needed to fetch a file is not there; what a server or somebody
//! on the way may do is met:
//!
//! | the server | ends in |
//! |---|---|
//! | ignores the range that was asked for | status 200, [`Response::start`] is 0 |
//! | sends another range, several, or does not say which | [`HttpError::RangeMismatch`] |
//! | has another file by now | status 200 from the start (by If-Range), or [`HttpError::ContentChanged`] |
//! | redirects | up to five times, each checked against the [`UrlPolicy`], never from https to http |
//! | closes too early, stalls, drips | [`HttpError::EarlyClose`], [`HttpError::Stalled`]; see [`Response::received`] |
//! | sends a head or trailers without end | [`HttpError::HeadTooLarge`], [`HttpError::Malformed`] |
//! | contradicts itself about the length | [`HttpError::LengthMismatch`] or [`HttpError::Malformed`] |
//! | compresses | [`HttpError::Encoded`] |
//! | is none | [`HttpError::NotHttp`] |
//!
//! Nothing received here is trusted: what is fetched proves itself by its signature.

mod body;
mod error;
mod head;
mod policy;
mod request;
mod response;
#[cfg(test)]
mod tests;
mod text;
mod window;

use heapless::String;
use otaria_wire::url::{MAX_LOCATION_LEN, MAX_URL_LEN, Url, UrlError};

use crate::board::{Clock, Duration};
use crate::net::{Connect, Link, Target};

pub use error::{HttpError, RedirectError};
pub use policy::UrlPolicy;
pub use response::{Response, Timing};

use head::ETAG_MAX;
use response::Transfer;

/// How many redirects are followed.
const REDIRECTS_MAX: usize = 5;

/// What to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetRequest<'a> {
    /// An absolute URL of at most 512 bytes.
    pub url: &'a str,
    /// The position to go on at; `None` for the beginning.
    pub range_from: Option<u64>,
    /// The ETag of the file that the range is asked of: another file comes whole. Only strong ones are sent, and only with a
    /// range.
    pub if_range: Option<&'a str>,
}

impl<'a> GetRequest<'a> {
    /// The whole file behind `url`.
    #[must_use]
    pub const fn whole(url: &'a str) -> Self {
        Self {
            url,
            range_from: None,
            if_range: None,
        }
    }
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For name look-up, TCP and TLS together.
    pub connect: Duration,
    /// For the whole head of the answer.
    pub head: Duration,
    /// For the next byte of the body.
    pub stall: Duration,
}

impl Timeouts {
    /// 15 s, 20 s, 20 s.
    pub const DEFAULT: Self = Self {
        connect: Duration::from_secs(15),
        head: Duration::from_secs(20),
        stall: Duration::from_secs(20),
    };
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A client for one request at a time. It owns all buffers.
pub struct HttpClient<'a, C, K> {
    connector: &'a C,
    clock: &'a K,
    policy: UrlPolicy<'a>,
    timeouts: Timeouts,
    /// The address that is being asked.
    url: String<MAX_LOCATION_LEN>,
    transfer: Transfer,
}

impl<'a, C: Connect, K: Clock> HttpClient<'a, C, K> {
    /// A client that connects through `connector` and goes where `policy` allows.
    #[must_use]
    pub const fn new(connector: &'a C, clock: &'a K, policy: UrlPolicy<'a>) -> Self {
        Self {
            connector,
            clock,
            policy,
            timeouts: Timeouts::DEFAULT,
            url: String::new(),
            transfer: Transfer::new(),
        }
    }

    /// The same client with other time-outs.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// The address of the last request, after redirects. Empty before the first.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for a file, and returns when the body begins.
    ///
    /// Takes at most the connect and the head time-out for each of six hops. May be dropped at any time; that closes the
    /// connection.
    ///
    /// # Errors
    ///
    /// See [`HttpError`].
    pub async fn get(
        &mut self,
        request: &GetRequest<'_>,
    ) -> Result<Response<'_, C::Connection<'a>, K>, HttpError> {
        let link = self.ask(request.url, Some(request)).await?;
        self.transfer.begin_body(request, self.clock.now())?;
        Ok(Response::new(link, &mut self.transfer, self.timeouts.stall))
    }

    /// Whether the host of `url` answers: the status of whatever HTTP answer it gives, without following redirects.
    ///
    /// Takes at most the connect and the head time-out. May be dropped at any time.
    ///
    /// # Errors
    ///
    /// See [`HttpError`]; never [`HttpError::Status`].
    pub async fn probe(&mut self, url: &str) -> Result<u16, HttpError> {
        self.ask(url, None).await?;
        Ok(self.transfer.head.status)
    }

    /// Asks for `url`, and again wherever it is redirected to, until a head has been read that is an answer.
    ///
    /// Without a `request` it asks for the head only, and is content with the first status line.
    async fn ask(
        &mut self,
        url: &str,
        request: Option<&GetRequest<'_>>,
    ) -> Result<Link<'a, C::Connection<'a>, K>, HttpError> {
        self.url.clear();
        if url.len() > MAX_URL_LEN || self.url.push_str(url).is_err() {
            return Err(HttpError::Url(UrlError::TooLong));
        }
        let transfer = &mut self.transfer;
        transfer.timing = Timing::default();
        let mut redirects = 0;
        let mut came_from_https = false;
        loop {
            let url = Url::parse_redirected(&self.url)
                .map_err(|error| refusal(redirects, RedirectError::Url(error)))?;
            if came_from_https && !url.is_https() {
                return Err(HttpError::RedirectRefused(RedirectError::Downgrade));
            }
            if !self.policy.allows(&url) {
                return Err(refusal(redirects, RedirectError::NotAllowed));
            }
            if redirects > REDIRECTS_MAX {
                return Err(HttpError::TooManyRedirects);
            }
            // The request is written where the answer will be read.
            let text = request::write(transfer.window.idle_buffer(), &url, request)
                .ok_or(HttpError::Url(UrlError::TooLong))?;
            let target = Target {
                host: url.host_str(),
                port: url.port(),
                tls: url.is_https(),
            };
            came_from_https = target.tls;

            let started = self.clock.now();
            let deadline = started + self.timeouts.connect;
            let connecting = self.connector.connect(self.clock, deadline, &target);
            let stream = connecting.await?;
            let tls = C::handshake(&stream);
            let mut link = Link::new(stream, self.clock);
            let asked = self.clock.now();
            transfer.timing.connect += asked - started - tls;
            transfer.timing.tls += tls;

            let deadline = asked + self.timeouts.head;
            link.send(text, deadline)
                .await
                .map_err(HttpError::in_head)?;
            transfer.begin_head(request.is_none());
            while !transfer.read_head(&mut self.url)? {
                match link.read(transfer.window.space(), deadline).await {
                    Ok(0) => return Err(HttpError::EarlyClose),
                    Ok(n) => transfer.window.filled(n),
                    Err(error) => return Err(HttpError::in_head(error)),
                }
            }
            transfer.timing.answer += self.clock.now() - asked;
            if request.is_none() || !transfer.head.is_redirect() {
                return Ok(link);
            }
            transfer
                .head
                .located
                .unwrap_or(Err(RedirectError::NoLocation))
                .map_err(HttpError::RedirectRefused)?;
            redirects += 1;
        }
    }
}

/// Why an address is not asked: the one of the request, or one that redirects led to.
fn refusal(redirects: usize, why: RedirectError) -> HttpError {
    match why {
        RedirectError::Url(error) if redirects == 0 => HttpError::Url(error),
        RedirectError::NotAllowed if redirects == 0 => HttpError::NotAllowed,
        why => HttpError::RedirectRefused(why),
    }
}

/// Whether `etag` is a strong entity tag (RFC 9110, 8.8.3) of a length that is kept: only such a one tells whether two files are
/// the same, byte by byte.
fn is_strong_etag(etag: &[u8]) -> bool {
    match etag {
        [b'"', tag @ .., b'"'] => {
            etag.len() <= ETAG_MAX
                && tag
                    .iter()
                    .all(|byte| byte.is_ascii_graphic() && *byte != b'"')
        }
        _ => false,
    }
}
