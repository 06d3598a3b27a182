//! The broker's address.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use otaria_wire::url::Url;

use crate::Secret;

/// Longest user name or password at the broker in bytes.
pub const MAX_CREDENTIAL_LEN: usize = 256;

/// Where the broker is and how to present oneself to it: `mqtt://[user[:password]@]host[:port]`, or `mqtts://` for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Whether to use TLS.
    pub tls: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port; 1883 unless given, or 8883 with TLS.
    pub port: u16,
    /// User name.
    pub user: Option<String>,
    /// Password; never without a user name.
    pub password: Option<Secret>,
}

impl BrokerUrl {
    /// Reads an address. User name and password may have percent-encoded bytes.
    ///
    /// # Errors
    /// See [`BrokerUrlError`].
    pub fn parse(text: &str) -> Result<Self, BrokerUrlError> {
        let (tls, rest) = if let Some(rest) = text.strip_prefix("mqtt://") {
            (false, rest)
        } else if let Some(rest) = text.strip_prefix("mqtts://") {
            (true, rest)
        } else {
            return Err(BrokerUrlError::Scheme);
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, rest),
        };
        if authority.contains(['/', '?', '#']) {
            return Err(BrokerUrlError::Path);
        }
        let has_port = match authority.rsplit_once(']') {
            Some((_, behind)) => !behind.is_empty(),
            None => authority.contains(':'),
        };
        let default_port = if tls { 8883 } else { 1883 };
        // Hosts and ports are read as in a package's URL.
        let as_http = if has_port {
            format!("http://{authority}")
        } else {
            format!("http://{authority}:{default_port}")
        };
        let url = Url::parse(&as_http).map_err(|_| BrokerUrlError::Address)?;
        let host = url.host_str();
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let broker = Self {
            tls,
            host: bare.unwrap_or(host).to_string(),
            port: url.port(),
            user: None,
            password: None,
        };
        match credentials {
            None => Ok(broker),
            Some(credentials) => {
                let (user, password) = match credentials.split_once(':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (credentials, None),
                };
                let user = percent_decoded(user)?;
                let password = password.map(percent_decoded).transpose()?;
                broker.with_credentials(&user, password.map(Secret::from))
            }
        }
    }

    /// The same broker with a user name and a password.
    ///
    /// # Errors
    /// The user name is empty, or one of them is too long or has a zero byte.
    pub fn with_credentials(
        self,
        user: &str,
        password: Option<Secret>,
    ) -> Result<Self, BrokerUrlError> {
        let bad = |text: &str| text.len() > MAX_CREDENTIAL_LEN || text.contains('\0');
        if user.is_empty() || bad(user) || password.as_deref().is_some_and(bad) {
            return Err(BrokerUrlError::Credentials);
        }
        Ok(Self {
            user: Some(user.to_string()),
            password,
            ..self
        })
    }

    /// The address without user name and password, as it stands in the settings and may stand in a log.
    #[must_use]
    pub fn address(&self) -> String {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        let (host, port) = (&self.host, self.port);
        if host.contains(':') {
            format!("{scheme}://[{host}]:{port}")
        } else {
            format!("{scheme}://{host}:{port}")
        }
    }
}

impl fmt::Display for BrokerUrl {
    /// [`BrokerUrl::address`]: without user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address())
    }
}

fn percent_decoded(text: &str) -> Result<String, BrokerUrlError> {
    let mut bytes = alloc::vec::Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let (high, low) = (digit(), digit());
        let (Some(high), Some(low)) = (high, low) else {
            return Err(BrokerUrlError::Credentials);
        };
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).map_err(|_| BrokerUrlError::Credentials)
}

/// Why a text is no broker's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerUrlError {
    /// It starts with neither `mqtt://` nor `mqtts://`.
    Scheme,
    /// Host or port is missing or wrong.
    Address,
    /// Something follows the port.
    Path,
    /// User name or password is wrongly encoded, too long, or there is a password without a user name.
    Credentials,
}

impl fmt::Display for BrokerUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "the broker's address does not start with mqtt:// or mqtts://",
            Self::Address => "the broker's host or port is wrong: mqtt://HOST[:PORT] is expected",
            Self::Path => "something follows the broker's host and port",
            Self::Credentials => {
                "the broker's user name or password is wrongly encoded, empty or too long"
            }
        })
    }
}

impl core::error::Error for BrokerUrlError {}
