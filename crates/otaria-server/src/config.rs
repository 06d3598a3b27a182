//! What can be set. Everything has a default that works on one machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use otaria_wire::messages::Desired;
use otaria_wire::topics::DEFAULT_ROOT;

use crate::bus::BrokerUrl;

/// Largest package unless told otherwise: more than any slot of an ESP32 holds.
const MAX_PACKAGE_LEN: u64 = 32 * 1024 * 1024;

/// What the server is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept: database, packages, the broker's files.
    pub data: PathBuf,
    /// Where HTTP listens; port 0 takes a free one.
    pub http: SocketAddr,
    /// Which broker.
    pub mqtt: Mqtt,
    /// Where devices reach the HTTP server, such as `http://ota.example:8080`; by default made from the address that
    /// it listens on.
    pub public_url: Option<String>,
    /// First level of all topics.
    pub root: String,
    /// Largest package that is taken, in bytes.
    pub max_package_len: u64,
}

/// Which broker.
#[derive(Clone, Debug)]
pub enum Mqtt {
    /// One in this process.
    Embedded {
        /// Where it listens; port 0 takes a free one.
        listen: SocketAddr,
    },
    /// One that runs already.
    External(BrokerUrl),
}

/// Why a public address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// Devices could not use addresses below it.
    #[error("'{0}' is not an address like http://HOST[:PORT][/PATH] that devices can use")]
    Unusable(String),
}

impl Config {
    /// The defaults: this machine only, the usual ports.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            data: data.into(),
            http: SocketAddr::new(local, 8080),
            mqtt: Mqtt::Embedded {
                listen: SocketAddr::new(local, 1883),
            },
            public_url: None,
            root: DEFAULT_ROOT.to_owned(),
            max_package_len: MAX_PACKAGE_LEN,
        }
    }
}

/// Checks an address for devices, or makes one from where HTTP listens. Without a slash at the end.
pub(crate) fn public_url(
    given: Option<&str>,
    listening: SocketAddr,
) -> Result<String, PublicUrlError> {
    let url = match given {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!(
            "http://{}",
            SocketAddr::new(reachable(listening.ip()), listening.port())
        ),
    };
    let longest = format!("{url}/packages/{}.otaria", "0".repeat(64));
    let usable =
        !url.contains(['?', '#']) && matches!(Desired::parse(longest.as_bytes()), Ok(Some(_)));
    if usable {
        Ok(url)
    } else {
        Err(PublicUrlError::Unusable(url))
    }
}

/// An address of this machine that others can use.
fn reachable(listening: IpAddr) -> IpAddr {
    if !listening.is_unspecified() {
        return listening;
    }
    // Connecting a UDP socket sends nothing; it only asks for the route. The addresses are for documentation.
    let (any, elsewhere): (IpAddr, IpAddr) = match listening {
        IpAddr::V4(_) => (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 1).into(),
        ),
        IpAddr::V6(_) => (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        ),
    };
    let route = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((elsewhere, 9))?;
        socket.local_addr()
    };
    match (route(), listening) {
        (Ok(address), _) => address.ip(),
        (Err(_), IpAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
        (Err(_), IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_devices_is_made_from_where_the_server_listens() {
        let made = |listening: &str| public_url(None, listening.parse().unwrap()).unwrap();
        assert_eq!(made("127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(made("[::1]:8080"), "http://[::1]:8080");
        assert!(!made("0.0.0.0:8080").contains("0.0.0.0"));
        assert!(made("0.0.0.0:8080").ends_with(":8080"));
    }

    #[test]
    fn an_address_that_devices_cannot_use_is_refused() {
        let local = "127.0.0.1:1".parse().unwrap();
        let ok = |given: &str| public_url(Some(given), local);
        assert_eq!(
            ok("http://ota.example/"),
            Ok("http://ota.example".to_owned())
        );
        assert_eq!(
            ok("https://ota.example:8443/ota"),
            Ok("https://ota.example:8443/ota".to_owned())
        );
        let long = format!("http://{}", "a".repeat(500));
        for bad in [
            "",
            "ota.example",
            "ftp://ota.example",
            "http://u:p@h",
            "http://h/?a",
            "http://h/#a",
            long.as_str(),
        ] {
            assert!(ok(bad).is_err(), "{bad}");
        }
    }
}
