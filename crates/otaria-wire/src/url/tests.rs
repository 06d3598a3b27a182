//! Tests of URLs and of redirects.

use std::format;
use std::string::{String as StdString, ToString};

use proptest::prelude::*;

use super::*;

#[test]
fn the_parts_of_a_url_are_found() {
    let url = Url::parse("https://Example.com:8443/a/b.otaria?v=1&w=/x?y#top").unwrap();
    assert_eq!(url.scheme(), Scheme::Https);
    assert!(url.is_https());
    assert_eq!(url.host(), Host::Name("Example.com"));
    assert_eq!(url.host_str(), "Example.com");
    assert_eq!(url.port(), 8443);
    assert_eq!(url.path(), "/a/b.otaria");
    assert_eq!(url.query(), Some("v=1&w=/x?y"));
    assert_eq!(url.target().to_string(), "/a/b.otaria?v=1&w=/x?y");
    assert_eq!(url.authority().to_string(), "Example.com:8443");
    assert_eq!(
        url.to_string(),
        "https://Example.com:8443/a/b.otaria?v=1&w=/x?y"
    );
}

#[test]
fn what_a_url_leaves_out_has_defaults() {
    for (text, port, target) in [
        ("http://host", 80, "/"),
        ("HTTP://host/", 80, "/"),
        ("https://host?q", 443, "/?q"),
        ("http://host:80/x#f", 80, "/x"),
        ("http://host#/f?q", 80, "/"),
    ] {
        let url = Url::parse(text).unwrap();
        assert_eq!(
            (url.port(), url.target().to_string().as_str()),
            (port, target),
            "{text}"
        );
        assert_eq!(url.authority().to_string(), "host", "{text}");
    }
}

#[test]
fn addresses_are_told_from_names() {
    let host =
        |text: &str| Url::parse(&format!("http://{text}/")).map(|url| format!("{:?}", url.host()));
    assert_eq!(host("192.168.1.2"), Ok("V4(192.168.1.2)".into()));
    assert_eq!(host("[fe80::1]:8080"), Ok("V6(fe80::1)".into()));
    assert_eq!(
        host("my_host-1.local"),
        Ok("Name(\"my_host-1.local\")".into())
    );
    assert_eq!(host("1host"), Ok("Name(\"1host\")".into()));
    let url = Url::parse("http://[2001:DB8::1]:81/x").unwrap();
    assert_eq!(url.authority().to_string(), "[2001:DB8::1]:81");
    assert_eq!(url.host().to_string(), "[2001:db8::1]");
}

#[test]
fn each_bad_url_has_its_own_refusal() {
    let long_label = format!("http://{}/", "a".repeat(64));
    let long_name = format!("http://{}a/", "a.".repeat(127));
    let long = format!("http://host/{}", "a".repeat(501));
    for (text, error) in [
        ("", UrlError::Empty),
        (long.as_str(), UrlError::TooLong),
        ("http://host/a b", UrlError::Character),
        ("http://host/\r\nHost:x", UrlError::Character),
        ("http://höst/", UrlError::Character),
        ("http://host\\@evil/", UrlError::Character),
        ("ftp://host/", UrlError::Scheme),
        ("file:///etc/passwd", UrlError::Scheme),
        ("host/x", UrlError::Scheme),
        ("//host/x", UrlError::Scheme),
        ("http:/host", UrlError::Scheme),
        ("http:host", UrlError::Scheme),
        ("://host", UrlError::Scheme),
        ("http://user@host/", UrlError::UserInfo),
        ("http://user:secret@host/", UrlError::UserInfo),
        ("http://good.example@evil.example/", UrlError::UserInfo),
        ("http:///x", UrlError::Host),
        ("http://", UrlError::Host),
        ("http://.host/", UrlError::Host),
        ("http://host./", UrlError::Host),
        ("http://a..b/", UrlError::Host),
        ("http://ho%73t/", UrlError::Host),
        ("http://host,x/", UrlError::Host),
        (long_label.as_str(), UrlError::Host),
        (long_name.as_str(), UrlError::Host),
        ("http://127.1/", UrlError::Host),
        ("http://2130706433/", UrlError::Host),
        ("http://0x7f000001/", UrlError::Host),
        ("http://0177.0.0.1/", UrlError::Host),
        ("http://127.0.0.0x1/", UrlError::Host),
        ("http://256.1.1.1/", UrlError::Host),
        ("http://[::1/", UrlError::Host),
        ("http://[::1]x/", UrlError::Host),
        ("http://[fe80::1%25eth0]/", UrlError::Host),
        ("http://[]/", UrlError::Host),
        ("http://::1/", UrlError::Port),
        ("http://host:/", UrlError::Port),
        ("http://host:0/", UrlError::Port),
        ("http://host:65536/", UrlError::Port),
        ("http://host:+80/", UrlError::Port),
        ("http://host:80:80/", UrlError::Port),
    ] {
        assert_eq!(Url::parse(text), Err(error), "{text}");
    }
    assert!(Url::parse(&long[1..]).is_err());
    assert!(Url::parse(&long[..MAX_URL_LEN]).is_ok());
    assert!(Url::parse_redirected(&long).is_ok());
}

fn join(base: &Url<'_>, location: &str) -> Result<StdString, UrlError> {
    let mut joined = heapless::String::new();
    base.join(location, &mut joined)?;
    Ok(joined.as_str().into())
}

#[test]
fn locations_resolve_as_in_rfc_3986() {
    // Section 5.4, the examples whose result is an http URL; fragments are dropped.
    let base = Url::parse("http://a/b/c/d;p?q").unwrap();
    for (location, joined) in [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g/"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q"),
        ("g#s", "http://a/b/c/g"),
        ("g?y#s", "http://a/b/c/g?y"),
        (";x", "http://a/b/c/;x"),
        ("g;x", "http://a/b/c/g;x"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("../../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        (".g", "http://a/b/c/.g"),
        ("g..", "http://a/b/c/g.."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/./x", "http://a/b/c/g?y/./x"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("a//b/../c", "http://a/b/c/a//c"),
    ] {
        assert_eq!(join(&base, location).unwrap(), joined, "{location}");
    }
}

#[test]
fn locations_keep_or_replace_scheme_and_port() {
    let base = Url::parse("https://host:8443/a/b").unwrap();
    for (location, joined) in [
        ("c", "https://host:8443/a/c"),
        ("//other/c", "https://other/c"),
        ("http://other:81?q", "http://other:81/?q"),
        ("HTTPS://[::1]/../c", "https://[::1]/c"),
    ] {
        assert_eq!(join(&base, location).unwrap(), joined, "{location}");
    }
    assert_eq!(
        join(&Url::parse("http://host").unwrap(), "c").unwrap(),
        "http://host/c"
    );
    assert_eq!(
        join(&Url::parse("http://host?q").unwrap(), "?r").unwrap(),
        "http://host/?r"
    );
}

#[test]
fn a_location_is_checked_like_a_url() {
    let base = Url::parse("https://host/a").unwrap();
    let long = "a".repeat(MAX_LOCATION_LEN + 1);
    for (location, error) in [
        ("", UrlError::Empty),
        (long.as_str(), UrlError::TooLong),
        (&long[1..], UrlError::TooLong),
        ("a b", UrlError::Character),
        ("javascript:x", UrlError::Scheme),
        ("ftp://host/", UrlError::Scheme),
        ("http:c", UrlError::Scheme),
        ("//user@host/", UrlError::UserInfo),
        ("http://127.1/", UrlError::Host),
        ("//host:0/", UrlError::Port),
    ] {
        assert_eq!(join(&base, location), Err(error), "{location}");
    }
}

proptest! {
    #[test]
    fn what_is_printed_parses_to_the_same(
        scheme in "http|https|HTTP", host in "[a-z][a-z0-9-]{0,20}(\\.[a-z]{2,5})?", port in proptest::option::of(1u16..),
        path in "(/[!-~&&[^\\\\#?]]{0,20}){0,3}", query in proptest::option::of("[!-~&&[^\\\\#]]{0,20}"),
    ) {
        let mut text: StdString = format!("{scheme}://{host}");
        if let Some(port) = port {
            text += &format!(":{port}");
        }
        text += &path;
        if let Some(query) = query {
            text += &format!("?{query}");
        }
        let url = Url::parse(&text).unwrap();
        let printed = url.to_string();
        let again = Url::parse(&printed).unwrap();
        prop_assert_eq!(again.to_string(), printed.clone());
        prop_assert_eq!((again.host(), again.port(), again.path(), again.query()), (url.host(), url.port(), url.path(), url.query()));
    }

    #[test]
    fn any_text_is_handled_without_panic(text in ".{0,40}", location in "[./?#:@a-z\\[\\]]{0,40}") {
        let _ = Url::parse(&text);
        let _ = Url::parse(&format!("http://{text}"));
        let base = Url::parse("http://host/a/b?q").unwrap();
        if let Ok(joined) = join(&base, &location) {
            prop_assert!(Url::parse_redirected(&joined).is_ok());
        }
        let _ = join(&base, &text);
    }
}
