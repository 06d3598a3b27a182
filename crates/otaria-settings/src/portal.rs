//! The set-up page of the access point: a form for Wi-Fi and broker, and nothing else.
//!
//! Pure: [`Portal::answer`] is given what a browser has sent so far and says what to do. The firmware reads into a buffer of
//! [`MAX_REQUEST_LEN`] bytes until the answer is not [`Answer::More`], writes the reply, and closes the connection.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the form |
//! | `POST /save` from the form | [`Answer::Try`], or the form with what is wrong |
//! | any other `GET` or `HEAD` | a redirect to the form: so that telephones show it when they look for the Internet |
//! | anything else | an error |
//!
//! Passwords are never sent back, and no field sets keys, hosts or firmware. A `POST` that a page of another origin makes the
//! browser send is refused.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use zeroize::{Zeroize, Zeroizing};

use crate::{BrokerUrl, Secret, WifiNetwork};

/// Longest request, head and body: browsers send a head of about 500 bytes.
pub const MAX_REQUEST_LEN: usize = 4096;
/// Longest body. Six fields at their longest, each byte percent-encoded, do not come near.
const MAX_BODY_LEN: usize = 3072;

/// What the page is about.
#[derive(Clone, Copy, Debug)]
pub struct Portal<'a> {
    /// The address of the access point, such as `192.168.4.1`: where the page is.
    pub address: &'a str,
    /// The device's name.
    pub device: &'a str,
    /// Names of the networks in reach, to choose from.
    pub networks: &'a [&'a str],
    /// The broker that is set. Its password is not shown.
    pub broker: Option<&'a BrokerUrl>,
    /// What was wrong with what was entered last.
    pub problem: Option<&'a str>,
}

/// What a person entered, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The Wi-Fi network.
    pub network: WifiNetwork,
    /// The broker; `None`: the one that is set stays.
    pub broker: Option<BrokerUrl>,
}

/// What to do with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Read on: the request is not complete. A connection that ends here, or stays silent for some seconds, is closed.
    More,
    /// Write this and close the connection.
    Reply(Vec<u8>),
    /// Write the reply and close the connection. Then leave this network and join that one; when that works, save it with
    /// [`save_network`](crate::save_network) and restart, and when it does not, come back and say so in [`Portal::problem`].
    Try {
        /// What a person entered.
        entered: Entered,
        /// Says that the device goes.
        reply: Vec<u8>,
    },
}

impl Portal<'_> {
    /// Answers a request, of which `received` has come so far. Wipe the buffer afterwards: a request may hold a password.
    #[must_use]
    pub fn answer(&self, received: &[u8]) -> Answer {
        let Some(head_len) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return if received.len() < MAX_REQUEST_LEN {
                Answer::More
            } else {
                refuse(
                    "431 Request Header Fields Too Large",
                    "The request is too long.",
                )
            };
        };
        let head = received.get(..head_len).unwrap_or_default();
        let body = received.get(head_len + 4..).unwrap_or_default();
        let Some(head) = core::str::from_utf8(head).ok().and_then(Head::parse) else {
            return refuse("400 Bad Request", "This is no request that can be read.");
        };
        match (head.method, head.path) {
            ("GET", "/") => {
                let form = self.form(&Fields::default(), self.problem);
                Answer::Reply(reply("200 OK", &form))
            }
            ("GET" | "HEAD", _) => Answer::Reply(self.redirect()),
            ("POST", "/save") => self.save(&head, head_len, body),
            _ => refuse("405 Method Not Allowed", "There is only one page here."),
        }
    }

    fn save(&self, head: &Head<'_>, head_len: usize, body: &[u8]) -> Answer {
        let here = |origin: &str| origin.strip_prefix("http://") == Some(self.address);
        if head.origin.is_some_and(|origin| !here(origin)) {
            return refuse("403 Forbidden", "This form was sent by another page.");
        }
        let Some(len) = head.body_len else {
            return refuse("411 Length Required", "The request has no length.");
        };
        if len > MAX_BODY_LEN || head_len + 4 + len > MAX_REQUEST_LEN {
            return refuse("413 Content Too Large", "The form is too long.");
        }
        let Some(body) = body.get(..len) else {
            return Answer::More;
        };
        let again = |fields: &Fields, problem: &str| {
            Answer::Reply(reply("200 OK", &self.form(fields, Some(problem))))
        };
        let fields = match Fields::parse(body) {
            Ok(fields) => fields,
            Err(problem) => return again(&Fields::default(), problem),
        };
        match fields.entered(self.broker) {
            Ok(entered) => Answer::Try {
                reply: reply(
                    "200 OK",
                    &page(&format!(
                        "<h1>{}</h1><p>The device leaves now and joins \u{201c}{}\u{201d}. If its own network is there again \
                         in a minute, that did not work: join it once more to see why.</p>",
                        escaped(self.device),
                        escaped(&entered.network.ssid),
                    )),
                ),
                entered,
            },
            Err(problem) => again(&fields, &problem),
        }
    }

    fn redirect(&self) -> Vec<u8> {
        format!(
            "HTTP/1.1 302 Found\r\nLocation: http://{}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        )
        .into_bytes()
    }

    fn form(&self, fields: &Fields, problem: Option<&str>) -> String {
        let problem = problem.map(|text| format!("<p class=\"bad\">{}.</p>", escaped(text)));
        let mut networks = String::new();
        for network in self.networks {
            networks.push_str(&format!("<option value=\"{}\">", escaped(network)));
        }
        let (address, user) = match self.broker {
            Some(set) if fields.broker.is_empty() => {
                (set.address(), set.user.clone().unwrap_or_default())
            }
            // An address may hold a password.
            _ if fields.broker.contains('@') => (String::new(), fields.broker_user.to_string()),
            _ => (fields.broker.to_string(), fields.broker_user.to_string()),
        };
        page(&format!(
            "<h1>{device}</h1>{problem}\
             <form method=\"post\" action=\"/save\">\
             <label>Wi-Fi network<input name=\"ssid\" list=\"networks\" maxlength=\"32\" required value=\"{ssid}\"></label>\
             <datalist id=\"networks\">{networks}</datalist>\
             <label>Password<input name=\"password\" type=\"password\" maxlength=\"64\" autocomplete=\"off\"></label>\
             <label>Broker<input name=\"broker\" placeholder=\"mqtt://192.168.1.10\"{required} value=\"{broker}\"></label>\
             <label>User at the broker<input name=\"broker_user\" value=\"{user}\"></label>\
             <label>Password at the broker<input name=\"broker_password\" type=\"password\" autocomplete=\"off\"></label>\
             <button>Save</button></form>",
            device = escaped(self.device),
            problem = problem.unwrap_or_default(),
            required = if self.broker.is_some() {
                ""
            } else {
                " required"
            },
            ssid = escaped(&fields.ssid),
            broker = escaped(&address),
            user = escaped(&user),
        ))
    }
}

/// The lines of a request's head that matter.
struct Head<'a> {
    method: &'a str,
    path: &'a str,
    body_len: Option<usize>,
    origin: Option<&'a str>,
}

impl<'a> Head<'a> {
    fn parse(head: &'a str) -> Option<Self> {
        // A search for one character is a tenth of the code of one for two.
        let mut lines = head.split('\n').map(str::trim_ascii_end);
        let mut start = lines.next()?.split(' ');
        let (method, target, version) = (start.next()?, start.next()?, start.next()?);
        if start.next().is_some() || !version.starts_with("HTTP/1.") {
            return None;
        }
        let path = target.split('?').next().unwrap_or_default();
        let mut parsed = Self {
            method,
            path,
            body_len: None,
            origin: None,
        };
        for line in lines {
            let (name, value) = line.split_once(':')?;
            let value = value.trim_ascii();
            if name.eq_ignore_ascii_case("content-length") {
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                let len = if digits { value.parse().ok() } else { None };
                // Two that differ are how requests are smuggled.
                if parsed.body_len.is_some() || len.is_none() {
                    return None;
                }
                parsed.body_len = len;
            } else if name.eq_ignore_ascii_case("origin") {
                parsed.origin = Some(value);
            }
        }
        Some(parsed)
    }
}

/// The form's fields as they were sent.
#[derive(Default)]
struct Fields {
    ssid: Zeroizing<String>,
    password: Zeroizing<String>,
    broker: Zeroizing<String>,
    broker_user: Zeroizing<String>,
    broker_password: Zeroizing<String>,
}

impl Fields {
    fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let mut fields = Self::default();
        for pair in body.split(|byte| *byte == b'&') {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let name = parts.next().unwrap_or_default();
            let place = match name {
                b"ssid" => &mut fields.ssid,
                b"password" => &mut fields.password,
                b"broker" => &mut fields.broker,
                b"broker_user" => &mut fields.broker_user,
                b"broker_password" => &mut fields.broker_password,
                // Whatever else a page has: it sets nothing.
                _ => continue,
            };
            let value = decoded(parts.next().unwrap_or_default());
            *place = value.ok_or("A field is wrongly encoded")?;
        }
        Ok(fields)
    }

    fn entered(&self, set: Option<&BrokerUrl>) -> Result<Entered, String> {
        let network = WifiNetwork::new(&self.ssid, &self.password);
        let network = network.map_err(|error| sentence(&error.to_string()))?;
        let broker = self.broker.trim_ascii();
        if broker.is_empty() {
            if set.is_none() {
                return Err("The broker's address is missing".to_string());
            }
            return if self.broker_user.is_empty() && self.broker_password.is_empty() {
                Ok(Entered {
                    network,
                    broker: None,
                })
            } else {
                Err("User and password at the broker need the broker's address".to_string())
            };
        }
        let has_scheme = broker
            .split_once(':')
            .is_some_and(|(_, rest)| rest.starts_with("//"));
        let url = if has_scheme {
            Zeroizing::new(broker.to_string())
        } else {
            Zeroizing::new(format!("mqtt://{broker}"))
        };
        let wrong = |error: crate::BrokerUrlError| sentence(&error.to_string());
        let mut broker = BrokerUrl::parse(&url).map_err(wrong)?;
        if !self.broker_user.is_empty() || !self.broker_password.is_empty() {
            let password = (!self.broker_password.is_empty())
                .then(|| Secret::new(self.broker_password.as_str()));
            broker = broker
                .with_credentials(&self.broker_user, password)
                .map_err(wrong)?;
        }
        // The form shows the broker that is set, without its password: left as it is, it stays as it is.
        let stays = broker.password.is_none()
            && set.is_some_and(|set| set.address() == broker.address() && set.user == broker.user);
        Ok(Entered {
            network,
            broker: (!stays).then_some(broker),
        })
    }
}

/// A text that begins with a capital.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

/// A value of `application/x-www-form-urlencoded`.
fn decoded(value: &[u8]) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(value.len()));
    let mut rest = value.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(*rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).ok()?
            }
            byte => *byte,
        });
    }
    let text = String::from_utf8(core::mem::take(&mut *bytes));
    text.map(Zeroizing::new)
        .map_err(|error| error.into_bytes().zeroize())
        .ok()
}

/// A text as it may stand between tags and in quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

fn page(content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Set up</title>\
         <style>body{{font:1em sans-serif;max-width:24em;margin:2em auto;padding:0 1em}}\
         label,input,button{{display:block;width:100%;box-sizing:border-box;margin:.4em 0}}\
         input,button{{font:inherit;padding:.5em}}.bad{{color:#b00}}</style>{content}</html>"
    )
}

fn reply(status: &str, html: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'\r\n\
         Connection: close\r\n\r\n{html}",
        html.len()
    )
    .into_bytes()
}

fn refuse(status: &str, text: &str) -> Answer {
    Answer::Reply(reply(status, &page(&format!("<p>{text}</p>"))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PORTAL: Portal<'static> = Portal {
        address: "192.168.4.1",
        device: "otaria-a1b2",
        networks: &["home", "<script>\"'&"],
        broker: None,
        problem: None,
    };

    fn post(body: &str, headers: &str) -> Vec<u8> {
        let len = body.len();
        format!("POST /save HTTP/1.1\r\nHost: 192.168.4.1\r\ncontent-length: {len}\r\n{headers}\r\n{body}")
            .into_bytes()
    }

    fn text(answer: Answer) -> String {
        match answer {
            Answer::Reply(reply) => String::from_utf8(reply).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_form_is_a_whole_page_and_hostile_names_are_text_in_it() {
        let page = text(PORTAL.answer(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(body.contains("<option value=\"&lt;script&gt;&quot;&#39;&amp;\">"));
        assert!(!body.contains("<script"));
        assert!(body.contains("action=\"/save\""));
    }

    #[test]
    fn telephones_that_look_for_the_internet_are_sent_to_the_form() {
        for path in [
            "/generate_204",
            "/hotspot-detect.html",
            "/connecttest.txt?x=1",
        ] {
            let reply = text(PORTAL.answer(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()));
            assert!(reply.starts_with("HTTP/1.1 302 Found\r\nLocation: http://192.168.4.1/\r\n"));
        }
    }

    #[test]
    fn what_is_entered_is_decoded_and_handed_over() {
        let body = "ssid=caf%C3%A9+%26+bar&password=p%2Bss%20word&broker=10.0.0.9&broker_user=me&broker_password=s%25t&signer0=x";
        let answer = PORTAL.answer(&post(body, "Origin: http://192.168.4.1\r\n"));
        let Answer::Try { entered, reply } = answer else {
            panic!("{answer:?}");
        };
        let broker = BrokerUrl::parse("mqtt://me:s%25t@10.0.0.9").unwrap();
        assert_eq!(
            entered,
            Entered {
                network: WifiNetwork::new("café & bar", "p+ss word").unwrap(),
                broker: Some(broker),
            }
        );
        let reply = String::from_utf8(reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"));
        assert!(reply.contains("joins \u{201c}café &amp; bar\u{201d}") && !reply.contains("p+ss"));
        let open = PORTAL.answer(&post("ssid=open&password=&broker=b", ""));
        let Answer::Try { entered, .. } = open else {
            panic!("{open:?}");
        };
        assert!(entered.network.password.is_empty());
    }

    #[test]
    fn what_did_not_work_is_shown_when_the_form_is_asked_for_again() {
        let portal = Portal {
            problem: Some("\u{201c}<home>\u{201d} cannot be joined"),
            ..PORTAL
        };
        let form = text(portal.answer(b"GET / HTTP/1.1\r\n\r\n"));
        assert!(
            form.contains("<p class=\"bad\">\u{201c}&lt;home&gt;\u{201d} cannot be joined.</p>")
        );
    }

    #[test]
    fn what_is_wrong_is_said_and_passwords_are_not_sent_back() {
        for (body, problem) in [
            (
                "ssid=&password=12345678",
                "The name of a Wi-Fi network has 1 to 32 bytes.",
            ),
            (
                "ssid=a&password=horse",
                "A Wi-Fi password has 8 to 63 bytes",
            ),
            ("ssid=a&broker=", "The broker&#39;s address is missing."),
            ("ssid=a&broker=http://b", "does not start with mqtt://"),
            ("ssid=a&broker=b:99999", "host or port is wrong"),
            (
                "ssid=a&broker_user=me&broker_password=horse",
                "The broker&#39;s address is missing.",
            ),
            ("ssid=%zz", "A field is wrongly encoded."),
            ("ssid=%ff", "A field is wrongly encoded."),
            (
                "ssid=a&broker=b&broker_password=horse",
                "user name or password",
            ),
        ] {
            let page = text(PORTAL.answer(&post(body, "")));
            assert!(page.contains(problem), "{body}: {page}");
            assert!(!page.contains("horse"));
        }
        let page = text(PORTAL.answer(&post("ssid=%22%3E%3Cb%3E&password=short", "")));
        assert!(page.contains("value=\"&quot;&gt;&lt;b&gt;\""), "{page}");
    }

    #[test]
    fn the_broker_that_is_set_is_shown_and_stays_with_its_password_unless_it_is_changed() {
        let set = BrokerUrl::parse("mqtts://me:horse@b.example").unwrap();
        let portal = Portal {
            broker: Some(&set),
            ..PORTAL
        };
        let form = text(portal.answer(b"GET / HTTP/1.1\r\n\r\n"));
        assert!(form.contains("value=\"mqtts://b.example:8883\"") && form.contains("value=\"me\""));
        assert!(!form.contains("horse"));
        for (body, broker) in [
            (
                "ssid=a&broker=mqtts%3A%2F%2Fb.example:8883&broker_user=me",
                None,
            ),
            ("ssid=a&broker=", None),
            (
                "ssid=a&broker=mqtts%3A%2F%2Fb.example:8883",
                Some("mqtts://b.example"),
            ),
            (
                "ssid=a&broker=mqtts://evil.example&broker_user=me",
                Some("mqtts://me@evil.example"),
            ),
            (
                "ssid=a&broker=mqtts://b.example&broker_user=me&broker_password=x",
                Some("mqtts://me:x@b.example"),
            ),
        ] {
            let answer = portal.answer(&post(body, ""));
            let Answer::Try { entered, .. } = answer else {
                panic!("{answer:?}");
            };
            let expected = broker.map(|broker| BrokerUrl::parse(broker).unwrap());
            assert_eq!(entered.broker, expected, "{body}");
        }
    }

    #[test]
    fn requests_that_are_not_from_the_form_are_refused() {
        let status = |bytes: &[u8]| text(PORTAL.answer(bytes))[9..12].to_owned();
        assert_eq!(
            status(&post("ssid=a", "Origin: http://evil.example\r\n")),
            "403"
        );
        assert_eq!(status(&post("ssid=a", "Origin: null\r\n")), "403");
        assert_eq!(status(&post("ssid=a", "Content-Length: 3\r\n")), "400");
        assert_eq!(status(b"POST /save HTTP/1.1\r\n\r\nssid=a"), "411");
        assert_eq!(
            status(b"POST /save HTTP/1.1\r\nContent-Length: 4000\r\n\r\n"),
            "413"
        );
        assert_eq!(
            status(b"POST /save HTTP/1.1\r\nContent-Length: +3\r\n\r\n"),
            "400"
        );
        assert_eq!(status(b"PUT / HTTP/1.1\r\n\r\n"), "405");
        assert_eq!(status(b"POST / HTTP/1.1\r\n\r\n"), "405");
        assert_eq!(status(b"\x16\x03\x01\r\n\r\n"), "400");
        assert_eq!(status(&[b'a'; MAX_REQUEST_LEN]), "431");
    }

    #[test]
    fn a_request_in_pieces_is_waited_for() {
        let whole = post("ssid=home&password=12345678&broker=b", "");
        for len in 0..whole.len() {
            assert_eq!(PORTAL.answer(&whole[..len]), Answer::More, "{len}");
        }
        assert!(matches!(PORTAL.answer(&whole), Answer::Try { .. }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300), body in "[ -~]{0,80}") {
            let _ = PORTAL.answer(&bytes);
            let _ = PORTAL.answer(&[&b"GET / HTTP/1.1\r\n"[..], &bytes, b"\r\n\r\n"].concat());
            if let Answer::Reply(reply) = PORTAL.answer(&post(&body, "")) {
                prop_assert!(reply.starts_with(b"HTTP/1.1 "));
            }
        }

        #[test]
        fn what_a_browser_encodes_is_decoded(text in "\\PC{1,10}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(&**decoded(encoded.as_bytes()).unwrap(), text.as_str());
        }
    }
}
