//! Which addresses may be asked.

use otaria_wire::url::{Host, Scheme, Url};

/// Which addresses the settings allow. It is asked for the first address and again for every redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UrlPolicy<'a> {
    /// Whether `http://` is allowed.
    pub allow_http: bool,
    /// Whether `https://` is allowed.
    pub allow_https: bool,
    /// Names or addresses of the hosts that are allowed; empty: all are.
    pub hosts: &'a [&'a str],
}

impl UrlPolicy<'_> {
    /// Allows everything.
    pub const ANY: UrlPolicy<'static> = UrlPolicy {
        allow_http: true,
        allow_https: true,
        hosts: &[],
    };

    /// Whether `url` may be asked.
    #[must_use]
    pub fn allows(&self, url: &Url<'_>) -> bool {
        let scheme = match url.scheme() {
            Scheme::Http => self.allow_http,
            Scheme::Https => self.allow_https,
        };
        scheme && (self.hosts.is_empty() || self.hosts.iter().any(|host| is(url, host)))
    }
}

/// Whether the setting `text` names the host of `url`. IPv6 addresses are compared as numbers, because they have many spellings.
fn is(url: &Url<'_>, text: &str) -> bool {
    match url.host() {
        Host::Name(_) | Host::V4(_) => url.host_str().eq_ignore_ascii_case(text),
        Host::V6(address) => {
            let text = text
                .strip_prefix('[')
                .and_then(|text| text.strip_suffix(']'))
                .unwrap_or(text);
            text.parse() == Ok(address)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_allows_every_host_and_any_other_only_its_own() {
        let listed = UrlPolicy {
            hosts: &["Files.example", "192.0.2.1", "2001:db8::1"],
            ..UrlPolicy::ANY
        };
        for (url, allowed) in [
            ("http://files.example/a", true),
            ("https://FILES.EXAMPLE:8443/a", true),
            ("http://192.0.2.1/a", true),
            ("http://[2001:DB8:0::1]/a", true),
            ("http://files.example.evil/a", false),
            ("http://evil.files.example/a", false),
            ("http://files.exampl/a", false),
            ("http://192.0.2.2/a", false),
            ("http://[2001:db8::2]/a", false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(listed.allows(&url), allowed, "{url}");
            assert!(UrlPolicy::ANY.allows(&url));
        }
    }

    #[test]
    fn schemes_are_allowed_one_by_one() {
        let only_https = UrlPolicy {
            allow_http: false,
            ..UrlPolicy::ANY
        };
        let only_http = UrlPolicy {
            allow_https: false,
            ..UrlPolicy::ANY
        };
        let http = Url::parse("http://h/").unwrap();
        let https = Url::parse("https://h/").unwrap();
        assert!(!only_https.allows(&http) && only_https.allows(&https));
        assert!(only_http.allows(&http) && !only_http.allows(&https));
    }
}
