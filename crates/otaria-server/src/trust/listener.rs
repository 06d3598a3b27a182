//! A listener whose connections have shaken hands already, each with what is known of its other end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::Trust;
use super::identity::{Identity, identity};

/// How long a handshake may take. The slowest chip needs about two seconds.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// Handshakes at once; the next one waits in the system's queue.
const HANDSHAKES: usize = 512;
/// Wait after the system had no descriptor for another connection.
const EXHAUSTED: Duration = Duration::from_millis(200);

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// From its certificate, which was verified.
    pub(crate) identity: Option<Identity>,
}

/// A connection that ends when its device is cut off.
pub(crate) enum Secured {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<Guarded>),
}

pub(crate) struct Guarded {
    stream: TlsStream<TcpStream>,
    token: CancellationToken,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Guarded {
    /// `token` ends the connection; one that nobody cancels if there is no certificate that could be revoked.
    fn new(stream: TlsStream<TcpStream>, token: CancellationToken) -> Self {
        let cut = Box::pin(token.clone().cancelled_owned());
        Self { stream, token, cut }
    }

    /// For who looks at the token by itself.
    pub(crate) fn into_parts(self) -> (TlsStream<TcpStream>, CancellationToken) {
        (self.stream, self.token)
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Secured {
    /// Whether the other end is known to have closed. What it sent before may still be unread.
    pub(crate) fn has_gone(&self) -> bool {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(guarded) => guarded.stream.get_ref().0,
        };
        let ready = stream.ready(Interest::READABLE).now_or_never();
        matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(guarded) => {
                guarded.check(cx)?;
                Pin::new(&mut guarded.stream).poll_read(cx, buf)
            }
        }
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(guarded) => {
                guarded.check(cx)?;
                Pin::new(&mut guarded.stream).poll_write(cx, bytes)
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(guarded) => {
                guarded.check(cx)?;
                Pin::new(&mut guarded.stream).poll_flush(cx)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(guarded) => Pin::new(&mut guarded.stream).poll_shutdown(cx),
        }
    }
}

/// Connections that are ready to be used. Accepting ends when it is dropped.
pub(crate) struct TlsListener {
    ready: mpsc::Receiver<(Secured, Peer)>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl TlsListener {
    /// Shakes hands with whoever comes.
    pub(crate) fn start(
        listener: TcpListener,
        acceptor: TlsAcceptor,
        trust: Arc<Trust>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (tell, ready) = mpsc::channel(64);
        let task = tokio::spawn(accept(listener, Some((acceptor, trust)), tell));
        Ok(Self {
            ready,
            address,
            task,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection; `None` never comes while the listener lives.
    pub(crate) async fn next(&mut self) -> Option<(Secured, Peer)> {
        self.ready.recv().await
    }
}

/// Connections that may wait to be accepted. A whole fleet comes at once when a broker or its network is back, and who finds no place
/// tries again after 1, 2, 4, .. s, so that the last come minutes later. The system has a limit of its own (Linux: 4096).
const BACKLOG: u32 = 4096;

/// Listens, with room for many that come at once.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Elsewhere it would let two servers have one port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The same type without TLS, so that there is one way to serve.
pub(crate) fn plain_listener(listener: TcpListener) -> io::Result<TlsListener> {
    let address = listener.local_addr()?;
    let (tell, ready) = mpsc::channel(64);
    let task = tokio::spawn(accept(listener, None, tell));
    Ok(TlsListener {
        ready,
        address,
        task,
    })
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<(TlsAcceptor, Arc<Trust>)>,
    tell: mpsc::Sender<(Secured, Peer)>,
) {
    let hands = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The other end has gone again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                tracing::warn!("a connection cannot be accepted: {error}");
                tokio::time::sleep(EXHAUSTED).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let Some((acceptor, trust)) = &tls else {
            let peer = Peer {
                address,
                identity: None,
            };
            if tell.send((Secured::Plain(stream), peer)).await.is_err() {
                return;
            }
            continue;
        };
        let Ok(hand) = Arc::clone(&hands).acquire_owned().await else {
            return;
        };
        let (acceptor, trust, tell) = (acceptor.clone(), Arc::clone(trust), tell.clone());
        tokio::spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
            drop(hand);
            let stream = match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!("{address}: no TLS session: {error}");
                    return;
                }
                Err(_) => {
                    tracing::debug!("{address}: no TLS session in {HANDSHAKE:?}");
                    return;
                }
            };
            if let Some(connection) = known(stream, address, &trust) {
                // Nobody serves any more.
                let _ = tell.send(connection).await;
            }
        });
    }
}

fn known(
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    trust: &Trust,
) -> Option<(Secured, Peer)> {
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first);
    let (identity, token) = match certificate {
        Some(certificate) => {
            let identity = identity(certificate)?;
            let token = trust.admit(&identity)?;
            (Some(identity), token)
        }
        None => (None, CancellationToken::new()),
    };
    let secured = Secured::Tls(Box::new(Guarded::new(stream, token)));
    Some((secured, Peer { address, identity }))
}
