//! Addresses of packages: absolute `http` and `https` URLs (RFC 3986).
//!
//! A URL is where attackers meet a device first, so this reads less than a
//! browser does: no user info, no backslash, no number that only some parsers
//! take for an IPv4 address, no other scheme.

mod joined;
#[cfg(test)]
mod tests;

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use heapless::String;

use joined::Joined;

/// Longest URL that a wish may have.
pub const MAX_URL_LEN: usize = 512;
/// Longest URL that a redirect may lead to, and longest Location.
pub const MAX_LOCATION_LEN: usize = 2048;

/// Why a text is no URL that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// No characters.
    Empty,
    /// Longer than allowed here.
    TooLong,
    /// A space, a control character, a backslash, or not ASCII.
    Character,
    /// No `http://` or `https://` at the start.
    Scheme,
    /// `user@` or `user:password@`.
    UserInfo,
    /// Neither a name, nor an IPv4 address, nor an IPv6 address in brackets.
    Host,
    /// Not 1 to 65535.
    Port,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the URL is empty",
            Self::TooLong => "the URL is too long",
            Self::Character => "the URL has a character that must be percent-encoded",
            Self::Scheme => "the URL does not start with http:// or https://",
            Self::UserInfo => "the URL has a user name or a password",
            Self::Host => "the URL's host is no name and no address",
            Self::Port => "the URL's port is not 1 to 65535",
        })
    }
}

impl core::error::Error for UrlError {}

/// How to talk to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP over TCP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme's text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port without one in the URL.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Whom to talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name to be resolved, in the URL's own case.
    Name(&'a str),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => write!(f, "{address}"),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// A checked URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    scheme: Scheme,
    host: Host<'a>,
    host_text: &'a str,
    port: u16,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Url<'a> {
    /// Reads a URL of a wish.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &'a str) -> Result<Self, UrlError> {
        Self::parse_within(text, MAX_URL_LEN)
    }

    /// Reads a URL that a redirect led to.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse_redirected(text: &'a str) -> Result<Self, UrlError> {
        Self::parse_within(text, MAX_LOCATION_LEN)
    }

    fn parse_within(text: &'a str, longest: usize) -> Result<Self, UrlError> {
        check_characters(text, longest)?;
        let (scheme, rest) = split_scheme(text).ok_or(UrlError::Scheme)?;
        let scheme = known_scheme(scheme)?;
        let rest = rest.strip_prefix("//").ok_or(UrlError::Scheme)?;
        let rest = without_fragment(rest);
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(authority_len).ok_or(UrlError::Host)?;
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let (host_text, port) = split_port(authority)?;
        let port = match port {
            Some(digits) => parse_port(digits)?,
            None => scheme.default_port(),
        };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Ok(Self {
            scheme,
            host: parse_host(host_text)?,
            host_text,
            port,
            path,
            query,
        })
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether the connection has to be TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> Host<'a> {
        self.host
    }

    /// The host as it stands in the URL, brackets of an IPv6 address included.
    #[must_use]
    pub fn host_str(&self) -> &'a str {
        self.host_text
    }

    /// The port, the scheme's own if the URL has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, at least `/`.
    #[must_use]
    pub fn path(&self) -> &'a str {
        if self.path.is_empty() { "/" } else { self.path }
    }

    /// What follows the question mark.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The request target: path and query, without the fragment.
    #[must_use]
    pub fn target(&self) -> Target<'a> {
        Target(*self)
    }

    /// The value of the Host header: the port only if it is not the scheme's.
    #[must_use]
    pub fn authority(&self) -> Authority<'a> {
        Authority(*self)
    }

    /// Resolves a Location against this URL (RFC 3986, section 5.2), and checks
    /// the result. It is put into `joined`.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn join(
        &self,
        location: &str,
        joined: &mut String<MAX_LOCATION_LEN>,
    ) -> Result<(), UrlError> {
        check_characters(location, MAX_LOCATION_LEN)?;
        let location = without_fragment(location);
        joined.clear();
        let mut joined = Joined(joined);
        if let Some((scheme, rest)) = split_scheme(location) {
            let scheme = known_scheme(scheme)?;
            let rest = rest.strip_prefix("//").ok_or(UrlError::Scheme)?;
            joined.authority(scheme, rest)?;
        } else if let Some(rest) = location.strip_prefix("//") {
            joined.authority(self.scheme, rest)?;
        } else {
            joined.push(self.scheme.as_str())?;
            joined.push("://")?;
            joined.push(self.host_text)?;
            if self.port != self.scheme.default_port() {
                let mut digits = String::<6>::new();
                fmt::Write::write_fmt(&mut digits, format_args!(":{}", self.port))
                    .map_err(|_| UrlError::TooLong)?;
                joined.push(&digits)?;
            }
            let (path, query) = match location.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (location, None),
            };
            if path.is_empty() {
                joined.path(self.path())?;
                joined.query(query.or(self.query))?;
            } else {
                if !path.starts_with('/') {
                    let (directory, _) = self.path().rsplit_once('/').unwrap_or_default();
                    joined.path_of_two(directory, path)?;
                } else {
                    joined.path(path)?;
                }
                joined.query(query)?;
            }
        }
        Url::parse_redirected(joined.0)?;
        Ok(())
    }
}

/// Writes path and query of a URL.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a>(Url<'a>);

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.path())?;
        match self.0.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// Writes host and, if it is not the scheme's own, port of a URL.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a>(Url<'a>);

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.host_text)?;
        if self.0.port == self.0.scheme.default_port() {
            Ok(())
        } else {
            write!(f, ":{}", self.0.port)
        }
    }
}

impl fmt::Display for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme.as_str(),
            self.authority(),
            self.target()
        )
    }
}

fn check_characters(text: &str, longest: usize) -> Result<(), UrlError> {
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    if text.len() > longest {
        return Err(UrlError::TooLong);
    }
    if text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    {
        Ok(())
    } else {
        Err(UrlError::Character)
    }
}

/// Splits `scheme:rest`, if the text starts with a scheme at all.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    is_scheme.then_some((scheme, rest))
}

fn known_scheme(scheme: &str) -> Result<Scheme, UrlError> {
    [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
        .ok_or(UrlError::Scheme)
}

fn without_fragment(text: &str) -> &str {
    text.split_once('#').map_or(text, |(before, _)| before)
}

/// Splits host and port digits; an IPv6 address keeps its brackets.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or(UrlError::Host)?;
        let (host, rest) = authority.split_at_checked(end + 1).ok_or(UrlError::Host)?;
        return match rest.strip_prefix(':') {
            Some(digits) => Ok((host, Some(digits))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(UrlError::Host),
        };
    }
    Ok(match authority.split_once(':') {
        Some((host, digits)) => (host, Some(digits)),
        None => (authority, None),
    })
}

fn parse_port(digits: &str) -> Result<u16, UrlError> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::Port);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(UrlError::Port),
        Ok(port) => Ok(port),
    }
}

fn parse_host(text: &str) -> Result<Host<'_>, UrlError> {
    if let Some(address) = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        return address.parse().map(Host::V6).map_err(|_| UrlError::Host);
    }
    let last_label = text.rsplit('.').next().unwrap_or_default();
    // As in the URL standard: a last label that is a number, 0x7f included, makes
    // it an IPv4 address, and only the plain dotted form is taken here.
    if last_label.starts_with(|first: char| first.is_ascii_digit())
        && (last_label.bytes().all(|byte| byte.is_ascii_digit()) || is_hex_number(last_label))
    {
        return text.parse().map(Host::V4).map_err(|_| UrlError::Host);
    }
    let labels_are_good = text.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    });
    if labels_are_good && text.len() <= 253 {
        Ok(Host::Name(text))
    } else {
        Err(UrlError::Host)
    }
}

fn is_hex_number(label: &str) -> bool {
    let digits = label
        .strip_prefix("0x")
        .or_else(|| label.strip_prefix("0X"));
    digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}
