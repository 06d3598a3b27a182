//! The server's API, as the commands use it. All of them go through this, on the server's machine as on any other.

mod access;
mod fleet;
mod work;

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use otaria_server::model::{Live, Page, Problem, Secret};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::header::{AUTHORIZATION, HeaderValue};
use ureq::http::{Request, Response, StatusCode};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody};

use crate::login::Logins;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take, once asked for. Uploads take as long as they take.
const ANSWER: Duration = Duration::from_secs(60);
/// How long the stream may be silent: the server says something every 15 s.
const SILENCE: Duration = Duration::from_secs(60);
/// Entries of a page.
const PAGE: usize = 1000;

/// Where a server is if nothing says otherwise.
const HERE: &str = "http://127.0.0.1:8080";

/// Which server.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server's address.
    /// [default: the one that you are logged in to, else http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", env = "OTARIA_SERVER")]
    server: Option<String>,

    /// A token, instead of the log-in; better in OTARIA_TOKEN, where other users of this machine do not see it.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "OTARIA_TOKEN",
        hide_env_values = true
    )]
    token: Option<SecretArg>,

    /// Trust this authority (PEM) and no other when the server shows its certificate.
    #[arg(long, value_name = "FILE", env = "OTARIA_CA")]
    ca: Option<PathBuf>,
}

/// Without a `Debug` that shows it.
#[derive(Clone)]
struct SecretArg(Secret);

impl std::str::FromStr for SecretArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned().into()))
    }
}

impl std::fmt::Debug for SecretArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl ServerArgs {
    /// A client of it. Nothing is asked yet.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let logins = Logins::read()?;
        let server = self
            .server
            .clone()
            .or_else(|| logins.server.clone())
            .unwrap_or_else(|| HERE.to_owned());
        let login = logins.of(&server);
        let ca = match &self.ca {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?,
            ),
            None => login.and_then(|login| login.ca.clone()),
        };
        let token = match &self.token {
            Some(SecretArg(token)) => Some(token.clone()),
            // A token goes to the server that has given it, and to no other.
            None => login.map(|login| login.token.clone()),
        };
        Client::new(&server, token, ca.as_deref())
    }
}

/// Why the server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody answered.
    #[error(
        "no server answers at {0}; start one with `otaria serve`, or name yours with --server or OTARIA_SERVER"
    )]
    Unreachable(String, #[source] Box<ureq::Error>),
    /// Somebody answered, and then no more.
    #[error(
        "the connection to {0} broke off; is the server still there, or is something between that ends it?"
    )]
    BrokenOff(String, #[source] Box<ureq::Error>),
    /// Somebody took the question and did not answer.
    #[error("{0} did not answer in time; it may have done what was asked")]
    Silent(String, #[source] Box<ureq::Error>),
    /// It is not whom it should be.
    #[error(
        "{0} shows a certificate that is not trusted here; if it is your server, name its authority: --ca FILE (it has it in \
         DATA/tls/ca.pem), or `otaria login URL --ca FILE`"
    )]
    Untrusted(String, #[source] Box<ureq::Error>),
    /// The address itself is no good.
    #[error("{0} cannot be asked; check --server or OTARIA_SERVER")]
    Address(String, #[source] Box<ureq::Error>),
    /// The server said no.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// Something answered that is no Otaria server.
    #[error("{0} answers, but not as an Otaria server does (HTTP status {1})")]
    Stranger(String, StatusCode),
}

/// The API of one server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    base: String,
    agent: Agent,
}

impl Client {
    /// With a token and an authority, both for this server alone.
    pub(crate) fn new(
        server: &str,
        token: Option<Secret>,
        ca: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut tls = TlsConfig::builder();
        if let Some(ca) = ca {
            let roots: Vec<Certificate<'static>> = parse_pem(ca.as_bytes())
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            anyhow::ensure!(
                !roots.is_empty(),
                "there is no certificate in what --ca names"
            );
            tls = tls.root_certs(RootCerts::new_with_certs(&roots));
        }
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .middleware(Bearer(token))
            // A token must not follow to another address, and nothing here is ever elsewhere.
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .user_agent(concat!("otaria/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Client {
            base: server.trim_end_matches('/').to_owned(),
            agent,
        })
    }

    /// What happens from now on, as it happens.
    pub(crate) fn stream(
        &self,
        device: Option<&str>,
        job: Option<&str>,
    ) -> anyhow::Result<LiveStream> {
        let mut path = String::from("stream?");
        for (name, value) in [("device", device), ("job", job)] {
            if let Some(value) = value {
                path.push_str(&format!("{name}={}&", escape(value)));
            }
        }
        let answer = self.answer(
            self.agent
                .get(self.url(&path))
                .header("Accept", "text/event-stream")
                .config()
                .timeout_per_read(Some(SILENCE))
                .build()
                .call(),
        )?;
        Ok(LiveStream {
            lines: BufReader::new(Box::new(answer.into_body().into_reader())),
        })
    }

    /// All pages of a list.
    fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> anyhow::Result<Vec<T>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut url = format!("{path}?limit={PAGE}");
            for (name, value) in query
                .iter()
                .copied()
                .chain(cursor.as_deref().map(|cursor| ("cursor", cursor)))
            {
                url.push_str(&format!("&{name}={}", escape(value)));
            }
            let page: Page<T> = self.get(&url)?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        read(self.answer(self.agent.get(self.url(path)).call())?)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        read(self.answer(self.agent.post(self.url(path)).send_json(body))?)
    }

    fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.answer(self.agent.delete(self.url(path)).call())
            .map(drop)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.base)
    }

    fn failure(&self, error: ureq::Error) -> ClientError {
        use std::io::ErrorKind;
        let kind = match &error {
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
                ClientError::Unreachable
            }
            ureq::Error::Io(cause)
                if matches!(
                    cause.kind(),
                    ErrorKind::ConnectionRefused
                        | ErrorKind::HostUnreachable
                        | ErrorKind::NetworkUnreachable
                        | ErrorKind::AddrNotAvailable
                ) =>
            {
                ClientError::Unreachable
            }
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) => ClientError::Untrusted,
            ureq::Error::Io(cause) if cause.to_string().contains("certificate") => {
                ClientError::Untrusted
            }
            ureq::Error::Timeout(_) => ClientError::Silent,
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => ClientError::Address,
            _ => ClientError::BrokenOff,
        };
        kind(self.base.clone(), Box::new(error))
    }

    fn answer(
        &self,
        result: Result<Response<Body>, ureq::Error>,
    ) -> anyhow::Result<Response<Body>> {
        let mut answer = result.map_err(|error| self.failure(error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        Err(match answer.body_mut().read_json::<Problem>() {
            Ok(problem) => ClientError::Refused(Box::new(problem)).into(),
            Err(_) => ClientError::Stranger(self.base.clone(), status).into(),
        })
    }
}

/// Adds the token to each request.
struct Bearer(Option<Secret>);

impl Middleware for Bearer {
    fn handle(
        &self,
        mut request: Request<SendBody<'_>>,
        next: MiddlewareNext<'_>,
    ) -> Result<Response<Body>, ureq::Error> {
        if let Some(token) = &self.0
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
        {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        next.handle(request)
    }
}

fn read<T: DeserializeOwned>(mut answer: Response<Body>) -> anyhow::Result<T> {
    answer
        .body_mut()
        .read_json()
        .context("the server's answer cannot be read; is it of another version?")
}

/// Server-sent events, read line by line.
pub(crate) struct LiveStream {
    lines: BufReader<Box<dyn Read + Send>>,
}

impl Iterator for LiveStream {
    type Item = anyhow::Result<Live>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut line = String::new();
            match self.lines.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(error).context("the server's stream broke off")),
            }
            // An event of ours is one line of data. What a later server adds is passed over.
            if let Some(live) = line
                .strip_prefix("data:")
                .and_then(|data| serde_json::from_str(data).ok())
            {
                return Some(Ok(live));
            }
        }
    }
}

/// Percent-encodes what is not plainly a part of a path or a query.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(byte.into());
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn names_cannot_leave_their_place_in_an_address() {
        assert_eq!(escape("pump-7"), "pump-7");
        assert_eq!(escape("a/b?c=d&e f"), "a%2Fb%3Fc%3Dd%26e%20f");
    }
}
