//! Whether a certificate is for a host (RFC 9525).

use core::net::IpAddr;

use super::TlsError;
use super::der::Der;

/// Of the kinds of names in a certificate (RFC 5280, 4.2.1.6), the two that count.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// Whether one of the alternative names is the host's. A common name is never looked at.
pub(super) fn covers(names: &[u8], host: &str) -> Result<bool, TlsError> {
    let address = crate::net::literal(host);
    let mut names = Der::new(names);
    let mut found = false;
    while !names.is_empty() {
        let name = names.element()?;
        found |= match (name.tag, address) {
            (IP_ADDRESS, Some(IpAddr::V4(address))) => name.content == address.octets(),
            (IP_ADDRESS, Some(IpAddr::V6(address))) => name.content == address.octets(),
            (DNS_NAME, None) => matches(name.content, host.as_bytes()),
            _ => false,
        };
    }
    Ok(found)
}

/// Whether the name in a certificate is the host's. `*` stands for the whole first label, and for nothing else.
fn matches(name: &[u8], host: &[u8]) -> bool {
    let host = host.strip_suffix(b".").unwrap_or(host);
    let Some(parent) = name.strip_prefix(b"*.") else {
        return !host.is_empty() && name.eq_ignore_ascii_case(host);
    };
    let mut labels = host.splitn(2, |byte| *byte == b'.');
    let (Some(label), Some(rest)) = (labels.next(), labels.next()) else {
        return false;
    };
    // Nobody is trusted for a whole top-level domain.
    !label.is_empty() && parent.contains(&b'.') && parent.eq_ignore_ascii_case(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
        let mut der = Vec::new();
        for (tag, content) in names {
            der.extend_from_slice(&[*tag, content.len() as u8]);
            der.extend_from_slice(content);
        }
        der
    }

    #[test]
    fn a_name_is_the_hosts_or_it_is_not() {
        for (name, host, is) in [
            ("broker.example", "broker.example", true),
            ("Broker.Example", "bROKER.eXAMPLE", true),
            ("broker.example", "broker.example.", true),
            ("broker.example", "broker.example.evil", false),
            ("broker.example", "xbroker.example", false),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "A.Example.org", true),
            ("*.example.org", "a.b.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.org", "example.org", false),
            ("*", "example", false),
            ("a*.example.org", "ab.example.org", false),
            ("a.*.org", "a.b.org", false),
            ("", "", false),
        ] {
            let der = names(&[(DNS_NAME, name.as_bytes())]);
            assert_eq!(covers(&der, host), Ok(is), "{name} {host}");
        }
    }

    #[test]
    fn addresses_are_compared_as_addresses_and_never_with_names() {
        let v4: &[u8] = &[192, 0, 2, 1];
        let v6: &[u8] = &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let both = names(&[(DNS_NAME, b"h"), (IP_ADDRESS, v4), (IP_ADDRESS, v6)]);
        for host in ["192.0.2.1", "2001:db8::1", "[2001:DB8:0::1]", "h"] {
            assert_eq!(covers(&both, host), Ok(true), "{host}");
        }
        for host in ["192.0.2.2", "2001:db8::2"] {
            assert_eq!(covers(&both, host), Ok(false), "{host}");
        }
        // The address as a name, as some make it.
        let text = names(&[(DNS_NAME, b"192.0.2.1")]);
        assert_eq!(covers(&text, "192.0.2.1"), Ok(false));
        // Of another kind: a mail address, a URI.
        let others = names(&[(0x81, b"h"), (0x86, b"h")]);
        assert_eq!(covers(&others, "h"), Ok(false));
    }

    #[test]
    fn names_that_are_cut_off_are_refused() {
        assert_eq!(
            covers(&[DNS_NAME, 3, b'h'], "h"),
            Err(TlsError::BadCertificate)
        );
    }
}
