//! Servers that send a device elsewhere, or something else.

use crate::answers::*;
use crate::row::*;
use otaria_wire::messages::FailureCode;

pub(crate) fn rows() -> Vec<Row> {
    use FailureCode::{
        HeadTooLarge, HttpMalformed, NotAPackage, RedirectRefused, TooManyRedirects,
    };
    vec![
        row(
            "a redirect to itself",
            Web(|_, _| redirect("/app.otaria")),
            KeepsTrying(TooManyRedirects),
            6 * TRIES,
            Untouched,
        ),
        row(
            "six redirects",
            Web(|ask, files| match ask.number % 7 {
                6 => good(ask, files),
                number => redirect(&format!("/{number}")),
            }),
            // Whoever asks again begins where he left off, and so gets there.
            Confirmed,
            7,
            ONCE,
        ),
        row(
            "a redirect to nowhere",
            Web(|_, _| status("302 Found")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect to a host that the settings do not allow",
            Web(|_, _| redirect("http://broker/app.otaria")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect to an address that the settings do not allow",
            Web(|_, _| redirect("http://10.0.0.3/app.otaria")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect to a file",
            Web(|_, _| redirect("file:///etc/passwd")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect with user name and password",
            Web(|_, _| redirect("http://user:secret@elsewhere/app.otaria")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect to a host that only looks like an allowed one",
            Web(|_, _| redirect("http://files@broker/app.otaria")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect that is not ASCII",
            Web(|_, _| redirect("http://elsewhere/\u{e4}")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect of 5000 bytes",
            Web(|_, _| redirect(&format!("http://elsewhere/{}", "x".repeat(5000)))),
            KeepsTrying(HeadTooLarge),
            TRIES,
            Untouched,
        ),
        row(
            "a redirect to two places",
            Web(|_, _| {
                answer(
                    "302 Found",
                    &["Location: /a", "Location: http://elsewhere/app.otaria"],
                    b"",
                )
            }),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "a redirect to https on a device without TLS",
            Web(|_, _| redirect("https://elsewhere/app.otaria")),
            KeepsTrying(FailureCode::TlsUnknownAuthority),
            TRIES,
            Untouched,
        ),
        row(
            "a web page",
            Web(|_, _| answer("200 OK", &[], "<!doctype html>".repeat(500).as_bytes())),
            Final(NotAPackage),
            1,
            Untouched,
        ),
        row(
            "the image itself",
            Web(|_, files| answer("200 OK", &[], &files.image)),
            Final(NotAPackage),
            1,
            Untouched,
        ),
    ]
}
