//! Where a broker is.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Port of MQTT without TLS, and with it.
const DEFAULT_PORTS: (u16, u16) = (1883, 8883);

/// The address of a broker: `mqtt://[user:password@]host[:port]`, or `mqtts://` for TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Whether it is reached with TLS.
    pub tls: bool,
    /// Name or address, without the brackets of an IPv6 address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User name and password.
    pub login: Option<(String, String)>,
}

/// Why a text is not the address of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerUrlError {
    /// Another scheme, or none.
    #[error("a broker's address starts with mqtt:// or mqtts://")]
    Scheme,
    /// No host.
    #[error("the host is missing: mqtt://HOST[:PORT]")]
    Host,
    /// No port number.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Something after host and port.
    #[error("nothing may follow host and port")]
    Path,
}

impl FromStr for BrokerUrl {
    type Err = BrokerUrlError;

    fn from_str(text: &str) -> Result<Self, BrokerUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(BrokerUrlError::Scheme)?;
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(BrokerUrlError::Scheme),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (Some((user.to_owned(), password.to_owned())), place)
            }
            None => (None, rest),
        };
        if place.contains(['/', '?', '#']) {
            return Err(BrokerUrlError::Path);
        }
        let (host, port) = match place.strip_prefix('[') {
            Some(six) => {
                let (host, port) = six.split_once(']').ok_or(BrokerUrlError::Host)?;
                (host, port.strip_prefix(':'))
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() {
            return Err(BrokerUrlError::Host);
        }
        let port = match port {
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(BrokerUrlError::Port)?,
            None if tls => DEFAULT_PORTS.1,
            None => DEFAULT_PORTS.0,
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            login,
        })
    }
}

impl From<SocketAddr> for BrokerUrl {
    fn from(address: SocketAddr) -> Self {
        Self {
            tls: false,
            host: address.ip().to_string(),
            port: address.port(),
            login: None,
        }
    }
}

/// Without the password.
impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "mqtts://" } else { "mqtt://" })?;
        if let Some((user, _)) = &self.login {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Without the password.
impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_without_the_password() {
        for (text, shown) in [
            ("mqtt://h", "mqtt://h:1883"),
            ("mqtt://h/", "mqtt://h:1883"),
            ("mqtt://10.0.0.1:1884", "mqtt://10.0.0.1:1884"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtt://[fe80::1]:99", "mqtt://[fe80::1]:99"),
            ("mqtt://u:p@ss@h:1", "mqtt://u@h:1"),
            ("mqtts://h", "mqtts://h:8883"),
            ("mqtts://u@[::1]:1", "mqtts://u@[::1]:1"),
        ] {
            let url: BrokerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
        let url: BrokerUrl = "mqtt://u:p@ss@h:1".parse().unwrap();
        assert_eq!(url.login, Some(("u".into(), "p@ss".into())));
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for (text, error) in [
            ("h:1883", BrokerUrlError::Scheme),
            ("http://h", BrokerUrlError::Scheme),
            ("mqtts:h", BrokerUrlError::Scheme),
            ("mqtt://", BrokerUrlError::Host),
            ("mqtt://:1883", BrokerUrlError::Host),
            ("mqtt://[::1", BrokerUrlError::Host),
            ("mqtt://h:", BrokerUrlError::Port),
            ("mqtt://h:0", BrokerUrlError::Port),
            ("mqtt://h:65536", BrokerUrlError::Port),
            ("mqtt://h/x", BrokerUrlError::Path),
        ] {
            assert_eq!(text.parse::<BrokerUrl>(), Err(error), "{text}");
        }
    }
}
