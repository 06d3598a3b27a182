//! Writing a request.

use core::fmt::{self, Write as _};

use otaria_wire::url::Url;

use super::{GetRequest, is_strong_etag};

/// Writes the request for `url` into `buf`: a GET, or a HEAD without a `request`. `None` if it does not fit.
pub(super) fn write<'b>(
    buf: &'b mut [u8],
    url: &Url<'_>,
    request: Option<&GetRequest<'_>>,
) -> Option<&'b [u8]> {
    let mut out = Text { buf, len: 0 };
    compose(&mut out, url, request).ok()?;
    let Text { buf, len } = out;
    buf.get(..len)
}

fn compose(out: &mut Text<'_>, url: &Url<'_>, request: Option<&GetRequest<'_>>) -> fmt::Result {
    let method = if request.is_some() { "GET" } else { "HEAD" };
    let (target, authority) = (url.target(), url.authority());
    write!(out, "{method} {target} HTTP/1.1\r\nHost: {authority}\r\n")?;
    out.write_str(concat!(
        "User-Agent: otaria/",
        env!("CARGO_PKG_VERSION"),
        "\r\nAccept-Encoding: identity\r\nConnection: close\r\n",
    ))?;
    if let Some(GetRequest {
        range_from: Some(from),
        if_range,
        ..
    }) = request
    {
        write!(out, "Range: bytes={from}-\r\n")?;
        // A weak one must not be sent (RFC 9110, 13.1.5). Then the range may be one of another file; the hash of each block
        // shows that.
        if let Some(etag) = if_range.filter(|etag| is_strong_etag(etag.as_bytes())) {
            write!(out, "If-Range: {etag}\r\n")?;
        }
    }
    out.write_str("\r\n")
}

struct Text<'b> {
    buf: &'b mut [u8],
    len: usize,
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.checked_add(text.len()).ok_or(fmt::Error)?;
        self.buf
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::WINDOW_LEN;
    use super::*;
    use std::format;
    use std::string::String;

    fn get(from: Option<u64>, if_range: Option<&str>) -> Option<GetRequest<'_>> {
        Some(GetRequest {
            url: "",
            range_from: from,
            if_range,
        })
    }

    fn request(url: &str, ask: Option<GetRequest<'_>>) -> String {
        let mut buf = [0; WINDOW_LEN];
        let url = Url::parse_redirected(url).unwrap();
        let request = write(&mut buf, &url, ask.as_ref()).unwrap();
        String::from_utf8(request.to_vec()).unwrap()
    }

    #[test]
    fn a_first_request_asks_for_everything() {
        assert_eq!(
            request("http://h:8080/p?q=1#f", get(None, Some("\"e\""))),
            format!(
                "GET /p?q=1 HTTP/1.1\r\nHost: h:8080\r\nUser-Agent: otaria/{}\r\n\
                 Accept-Encoding: identity\r\nConnection: close\r\n\r\n",
                env!("CARGO_PKG_VERSION")
            )
        );
        assert!(request("http://h", None).starts_with("HEAD / HTTP/1.1\r\nHost: h\r\n"));
    }

    #[test]
    fn a_resuming_request_asks_for_the_rest_of_the_same_file() {
        for (etag, sent) in [
            (Some("\"e\""), true),
            (Some("W/\"e\""), false),
            (Some("e"), false),
            (Some("\"e\"\r\nX: y"), false),
            (None, false),
        ] {
            let request = request("http://[::1]/p", get(Some(4096), etag));
            assert!(request.contains("\r\nHost: [::1]\r\n"));
            assert!(request.contains("\r\nRange: bytes=4096-\r\n"));
            assert_eq!(request.contains("\r\nIf-Range: \"e\"\r\n"), sent);
            assert!(!request.contains("X: y"));
        }
    }

    #[test]
    fn the_longest_request_fits() {
        let url = format!("http://h/{}", "p".repeat(2048 - 9));
        let etag = format!("\"{}\"", "e".repeat(62));
        let ask = get(Some(u64::MAX), Some(&etag));
        assert!(request(&url, ask).contains(&etag));
    }
}
