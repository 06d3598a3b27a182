//! The HTTP client with which `object_store` reaches a bucket: hyper and rustls, which the broker draws in already.
//!
//! Nothing waits without a limit: not for a connection, not for an answer, not for the next bytes of one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use tokio::time::{Sleep, sleep};

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For TCP.
    connect: Duration,
    /// For TLS, sending a request (at most a part of an upload) and the head of its answer.
    answer: Duration,
    /// For the next bytes of an answer.
    stall: Duration,
}

impl Limits {
    /// 5 s, 60 s, 20 s.
    pub(super) const DEFAULT: Self = Self {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(60),
        stall: Duration::from_secs(20),
    };
}

/// How long a connection waits for another request.
const IDLE: Duration = Duration::from_secs(30);

/// Makes clients that share their connections.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
    limits: Limits,
}

impl Connector {
    /// Trusts the authorities of this machine (`SSL_CERT_FILE` names others).
    pub(super) fn new(limits: Limits) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_native_roots()?
            .with_no_client_auth();
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(limits.connect));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self { client, limits })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        Ok(HttpClient::new(Service {
            client: self.client.clone(),
            limits: self.limits,
            plain: plain.as_deref() == Some("true"),
        }))
    }
}

/// A client, and whether it may do without TLS.
#[derive(Debug)]
struct Service {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
    limits: Limits,
    plain: bool,
}

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !self.plain && request.uri().scheme_str() != Some("https") {
            let why = io::Error::other("http:// is not allowed here, only https://");
            return Err(HttpError::new(HttpErrorKind::Unknown, why));
        }
        match tokio::time::timeout(self.limits.answer, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer.map(|body| {
                HttpResponseBody::new(Limited {
                    body,
                    stall: self.limits.stall,
                    waiting: None,
                })
            })),
            Ok(Err(error)) if error.is_connect() => {
                Err(HttpError::new(HttpErrorKind::Connect, error))
            }
            Ok(Err(error)) => Err(HttpError::new(HttpErrorKind::Interrupted, error)),
            Err(_) => Err(timed_out()),
        }
    }
}

fn timed_out() -> HttpError {
    let why = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    HttpError::new(HttpErrorKind::Timeout, why)
}

/// A body that fails if nothing of it comes for a while although somebody waits for it.
struct Limited<B> {
    body: B,
    stall: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<B> Body for Limited<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = None;
            let broken = |error| HttpError::new(HttpErrorKind::Interrupted, error);
            return Poll::Ready(frame.map(|frame| frame.map_err(broken)));
        }
        // Begins when somebody waits: the time that a slow reader takes is not the bucket's.
        let stall = self.stall;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(Some(Err(timed_out())))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Asks a server that says `answer` to each request, and nothing more.
    async fn ask(answer: &'static [u8], plain: bool) -> Result<HttpResponse, HttpError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
            std::future::pending::<()>().await;
        });
        let limits = Limits {
            connect: Duration::from_secs(5),
            answer: Duration::from_millis(300),
            stall: Duration::from_millis(300),
        };
        let options = ClientOptions::new().with_allow_http(plain);
        let client = Connector::new(limits).unwrap().connect(&options).unwrap();
        let request = HttpRequest::new(HttpRequestBody::empty());
        let (mut head, body) = request.into_parts();
        head.uri = url.parse().unwrap();
        client.execute(HttpRequest::from_parts(head, body)).await
    }

    #[tokio::test]
    async fn a_store_that_says_nothing_or_stops_in_the_middle_is_not_waited_for() {
        let error = ask(b"", true).await.unwrap_err();
        assert_eq!(error.kind(), HttpErrorKind::Timeout, "{error}");
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
        let answer = ask(half, true).await.unwrap();
        let error = answer.into_body().bytes().await.unwrap_err();
        assert_eq!(error.kind(), HttpErrorKind::Timeout, "{error}");
    }

    #[tokio::test]
    async fn nothing_goes_without_tls_unless_that_is_allowed() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        let answer = ask(whole, true).await.unwrap();
        assert_eq!(answer.into_body().bytes().await.unwrap(), "hello");
        let error = ask(whole, false).await.unwrap_err();
        assert!(error.to_string().contains("https://"), "{error}");
    }
}
