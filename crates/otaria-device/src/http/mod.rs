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
mod window;

use heapless::String;
use otaria_wire::url::{MAX_LOCATION_LEN, Url, UrlError};

use crate::board::{Clock, Duration, Instant};
use crate::net::{Connect, Link, Target};

pub use error::{HttpError, RedirectError};
pub use policy::UrlPolicy;
pub use response::{Response, Timing};

use head::{ETAG_MAX, Head, HeadReader};
use request::Ask;
use window::Window;

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
    window: Window,
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
            window: Window::new(),
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
        let ask = Ask::Get {
            from: request.range_from,
            if_range: request.if_range,
        };
        self.start(request.url)?;
        let mut timing = Timing::default();
        for _ in 0..=REDIRECTS_MAX {
            let https = Url::parse_redirected(&self.url)
                .map_err(HttpError::Url)?
                .is_https();
            let mut link = self.connect(&mut timing).await?;
            let asked_at = self.clock.now();
            let deadline = asked_at + self.timeouts.head;
            self.send(&mut link, &ask, deadline).await?;
            let head = self.read_head(&mut link, deadline).await?;
            timing.answer += self.clock.now() - asked_at;
            if head.is_redirect() {
                self.redirected(&head, https)?;
                continue;
            }
            return Response::new(
                link,
                &mut self.window,
                head,
                request,
                &self.timeouts,
                timing,
            );
        }
        Err(HttpError::TooManyRedirects)
    }

    /// Whether the host of `url` answers: the status of whatever HTTP answer it gives, without following redirects.
    ///
    /// Takes at most the connect and the head time-out. May be dropped at any time.
    ///
    /// # Errors
    ///
    /// See [`HttpError`]; never [`HttpError::Status`].
    pub async fn probe(&mut self, url: &str) -> Result<u16, HttpError> {
        self.start(url)?;
        let mut link = self.connect(&mut Timing::default()).await?;
        let deadline = self.clock.now() + self.timeouts.head;
        self.send(&mut link, &Ask::Head, deadline).await?;
        let mut reader = HeadReader::new();
        loop {
            let whole = reader.advance(&mut self.window, &mut self.url);
            // What follows the status line does not matter, not even if it is broken.
            match (reader.status(), whole) {
                (Some(status), _) => return Ok(status),
                (None, Ok(Some(head))) => return Ok(head.status),
                (None, Ok(None)) => {}
                (None, Err(error)) => return Err(error),
            }
            fill(&mut link, &mut self.window, deadline).await?;
        }
    }

    /// Begins a request: its address is checked, as far as it goes without asking anybody.
    fn start(&mut self, url: &str) -> Result<(), HttpError> {
        self.url.clear();
        let parsed = Url::parse(url).map_err(HttpError::Url)?;
        if !self.policy.allows(&parsed) {
            return Err(HttpError::NotAllowed);
        }
        self.url
            .push_str(url)
            .map_err(|_| HttpError::Url(UrlError::TooLong))
    }

    async fn connect(
        &self,
        timing: &mut Timing,
    ) -> Result<Link<'a, C::Connection<'a>, K>, HttpError> {
        let url = Url::parse_redirected(&self.url).map_err(HttpError::Url)?;
        let target = Target {
            host: url.host_str(),
            port: url.port(),
            tls: url.is_https(),
        };
        let started = self.clock.now();
        let deadline = started + self.timeouts.connect;
        let stream = self
            .connector
            .connect(self.clock, deadline, &target)
            .await?;
        timing.connect += self.clock.now() - started;
        Ok(Link::new(stream, self.clock))
    }

    async fn send(
        &mut self,
        link: &mut Link<'a, C::Connection<'a>, K>,
        ask: &Ask<'_>,
        deadline: Instant,
    ) -> Result<(), HttpError> {
        let url = Url::parse_redirected(&self.url).map_err(HttpError::Url)?;
        // The request is written where the answer will be read.
        let request = request::write(self.window.idle_buffer(), &url, ask)
            .ok_or(HttpError::Url(UrlError::TooLong))?;
        link.send(request, deadline)
            .await
            .map_err(HttpError::in_head)
    }

    async fn read_head(
        &mut self,
        link: &mut Link<'a, C::Connection<'a>, K>,
        deadline: Instant,
    ) -> Result<Head, HttpError> {
        let mut reader = HeadReader::new();
        loop {
            if let Some(head) = reader.advance(&mut self.window, &mut self.url)? {
                return Ok(head);
            }
            fill(link, &mut self.window, deadline).await?;
        }
    }

    /// Checks where a redirect leads to. `https`: it came over https.
    fn redirected(&self, head: &Head, https: bool) -> Result<(), HttpError> {
        let refused = HttpError::RedirectRefused;
        head.located
            .unwrap_or(Err(RedirectError::NoLocation))
            .map_err(refused)?;
        let url =
            Url::parse_redirected(&self.url).map_err(|error| refused(RedirectError::Url(error)))?;
        if https && !url.is_https() {
            return Err(refused(RedirectError::Downgrade));
        }
        if !self.policy.allows(&url) {
            return Err(refused(RedirectError::NotAllowed));
        }
        Ok(())
    }
}

/// Reads into the window while a head is awaited.
async fn fill<S, K>(
    link: &mut Link<'_, S, K>,
    window: &mut Window,
    deadline: Instant,
) -> Result<(), HttpError>
where
    S: embedded_io_async::Read + embedded_io_async::Write,
    K: Clock,
{
    match link.read(window.space(), deadline).await {
        Ok(0) => Err(HttpError::EarlyClose),
        Ok(n) => {
            window.filled(n);
            Ok(())
        }
        Err(error) => Err(HttpError::in_head(error)),
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
