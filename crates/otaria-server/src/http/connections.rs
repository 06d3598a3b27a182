//! HTTP connections: how long a request may take to be asked, and how much of an answer is kept for who reads slowly.
//!
//! `axum::serve` can be told neither. It keeps up to 400 KiB of an answer in memory, so five hundred devices that download
//! at once hold all of their packages there; and it waits for a request without an end.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tower::ServiceExt as _;

use crate::trust::{Peer, TlsListener};

/// How long a request may take to arrive as far as its body, and how long a connection may wait for one.
const REQUEST_HEAD: Duration = Duration::from_secs(30);
/// Bytes of an answer that wait for the other end, and the largest head of a request.
const BUFFER: usize = 32 * 1024;

/// Serves who comes until `end`, and then what has been asked already.
pub(crate) async fn serve(
    mut listener: TlsListener,
    router: Router,
    end: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEAD)
        .max_buf_size(BUFFER);
    let open = GracefulShutdown::new();
    let mut end = std::pin::pin!(end);
    loop {
        let (stream, peer) = tokio::select! {
            Some(connection) = listener.next() => connection,
            () = &mut end => break,
        };
        let address = peer.address;
        let router = router.clone();
        let service = service_fn(move |request| answer(router.clone(), peer.clone(), request));
        let served = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!("{address}: {error}");
            }
        });
    }
    drop(listener);
    open.shutdown().await;
}

async fn answer(
    router: Router,
    peer: Peer,
    mut request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::trust::{listen, plain_listener};

    // Time stands still but for what nobody hurries: it jumps to the next timer when all others wait.
    #[tokio::test(start_paused = true)]
    async fn who_does_not_finish_asking_is_let_go() {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let listener = plain_listener(listener).unwrap();
        let address = listener.address();
        tokio::spawn(serve(listener, Router::new(), std::future::pending()));
        for begun in ["", "GET / HTTP/1.1\r\nHost: a\r\nX-Never-Ends: "] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let end = stream.read_to_end(&mut answer).await;
            assert!(end.is_ok(), "{begun:?}: {end:?}");
        }
    }
}
