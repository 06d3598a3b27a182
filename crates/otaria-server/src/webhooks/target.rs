//! Where messages may go.
//!
//! Whoever may add a webhook chooses an address to which this server connects. So that they reach nothing that only the
//! server reaches (its own services, a cloud's metadata at 169.254.169.254, the plant's network), addresses are checked after
//! the name is resolved, and the connection goes to the very addresses that were checked: a name that resolves to something
//! else a moment later gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::Uri;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Longest address.
const MAX_URL: usize = 1024;

/// Why an address is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("an address is https://HOST[:PORT]/PATH, without a user, of at most 1024 bytes")]
    Url,
    #[error(
        "messages go by https; to a receiver of one's own by http, too, with --webhooks-to-private"
    )]
    Http,
    #[error(
        "{0} is not an address of the Internet; messages go to private ones with --webhooks-to-private"
    )]
    Private(IpAddr),
}

/// Where messages may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    /// To private addresses, and by http, too.
    pub(crate) private: bool,
}

impl Targets {
    /// Checks an address as it is written; its name is checked when it is resolved.
    pub(crate) fn check(self, url: &str) -> Result<(), TargetError> {
        let uri: Uri = url.parse().map_err(|_| TargetError::Url)?;
        let authority = uri.authority().ok_or(TargetError::Url)?;
        if url.len() > MAX_URL || authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(TargetError::Url);
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if self.private => {}
            Some("http") => return Err(TargetError::Http),
            _ => return Err(TargetError::Url),
        }
        match authority.host().trim_matches(['[', ']']).parse() {
            Ok(ip) => self.allows(ip),
            Err(_) => Ok(()),
        }
    }

    fn allows(self, ip: IpAddr) -> Result<(), TargetError> {
        if self.private || is_public(ip) {
            Ok(())
        } else {
            Err(TargetError::Private(ip))
        }
    }
}

impl Resolver for Targets {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        for address in &found {
            self.allows(address.ip())
                .map_err(|error| ureq::Error::Other(error.into()))?;
        }
        Ok(found)
    }
}

/// Whether an address is one of the Internet, by IANA's registries of special-purpose addresses (RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_broadcast()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        // Shared by a provider's customers (RFC 6598).
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        // Benchmarks (RFC 2544).
        || (a == 198 && (b == 18 || b == 19))
        || a >= 240;
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let within = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(w, x, y, z))
    };
    match [a, b, c, d, e, f] {
        // Ways to an IPv4 address: mapped, NAT64, 6to4.
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => within(g, h),
        [0x2002, high, low, ..] => within(high, low),
        // Teredo, and what documents and protocols use.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        // All others that are given out.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Targets = Targets { private: false };

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for ip in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "::127.0.0.1",
            "64:ff9b:1::1",
            "100::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn an_address_is_https_to_the_internet_unless_private_ones_are_allowed() {
        let private = Targets { private: true };
        for (url, strict, with_private) in [
            ("https://hooks.example/otaria", true, true),
            ("https://hooks.example:8443/a?b=c", true, true),
            ("https://1.1.1.1/", true, true),
            ("http://hooks.example/", false, true),
            ("https://127.0.0.1/", false, true),
            ("https://[::1]:9000/", false, true),
            ("https://10.0.0.1/", false, true),
            ("https://169.254.169.254/latest/meta-data", false, true),
            ("https://user:pass@hooks.example/", false, false),
            ("ftp://hooks.example/", false, false),
            ("file:///etc/passwd", false, false),
            ("hooks.example/otaria", false, false),
            ("/otaria", false, false),
            ("", false, false),
        ] {
            assert_eq!(STRICT.check(url).is_ok(), strict, "{url}");
            assert_eq!(private.check(url).is_ok(), with_private, "{url}");
        }
        let long = format!("https://hooks.example/{}", "a".repeat(MAX_URL));
        assert!(private.check(&long).is_err());
    }
}
