//! TLS 1.3 (RFC 8446): a client for devices, in constant memory.
//!
//! One suite, TLS_CHACHA20_POLY1305_SHA256, with P-256 for keys and signatures: what every TLS 1.3 server has (save those of FIPS
//! alone), and the fastest without hardware. The primitives are RustCrypto's; the protocol is here, without I/O but for
//! [`TlsStream`]. There is no way to leave a check out.
//!
//! | module | what it is |
//! |---|---|
//! | `stream` | the one place that waits: handshake, reads, writes |
//! | `record` | records put together, opened, sealed |
//! | `handshake`, `hello` | which message follows which, and what is in it |
//! | `certificate` | whom to trust |
//! | `keys` | the key schedule |
//!
//! A connection takes 5.3 KiB of buffers: 4.3 KiB to receive and 1 KiB to send. The server is asked for records of 4 KiB (RFC
//! 6066, 4), which OpenSSL, GnuTLS, mbedTLS and Erlang grant, and with them nginx, Apache, Mosquitto and EMQX. rustls and Go send
//! what they like; for their records the receive buffer grows to at most 16.3 KiB, and for a server's certificates to what they
//! need, 28 KiB at the very most.

mod bytes;
mod certificate;
mod error;
mod handshake;
mod hello;
mod keys;
mod record;
mod stream;

use core::ops::DerefMut;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

use super::{Connect, ConnectError, Target, until};
use crate::board::{Clock, Duration, Instant};
use crate::settings::TlsConfig;
use crate::time::{validity_time_of, witness};

pub use error::TlsError;
pub use stream::TlsStream;

/// What connections with TLS take from the board.
pub trait Resources {
    /// A piece of memory, given back when it is dropped.
    type Buffer: DerefMut<Target = [u8]>;

    /// Memory of exactly `len` bytes; `None` if there is none now.
    fn buffer(&self, len: usize) -> Option<Self::Buffer>;

    /// Fills `bytes` with random numbers that nobody can guess: keys are made of them.
    fn random(&self, bytes: &mut [u8]);
}

impl<R: Resources> Resources for &R {
    type Buffer = R::Buffer;

    fn buffer(&self, len: usize) -> Option<Self::Buffer> {
        R::buffer(self, len)
    }

    fn random(&self, bytes: &mut [u8]) {
        R::random(self, bytes);
    }
}

/// Opens connections with TLS and without, as the [`Target`] says.
#[derive(Clone, Copy, Debug)]
pub struct Tls<'c, C, R> {
    tcp: C,
    resources: R,
    config: TlsConfig<'c>,
}

impl<'c, C, R> Tls<'c, C, R> {
    /// Opens connections over those of `tcp`.
    pub const fn new(tcp: C, resources: R, config: TlsConfig<'c>) -> Self {
        Self {
            tcp,
            resources,
            config,
        }
    }
}

impl<C: Connect, R: Resources> Connect for Tls<'_, C, R> {
    type Connection<'a>
        = Stream<'a, C::Connection<'a>, R>
    where
        Self: 'a;

    async fn connect<'a, K: Clock>(
        &'a self,
        clock: &K,
        deadline: Instant,
        target: &Target<'_>,
    ) -> Result<Self::Connection<'a>, ConnectError> {
        if target.tls {
            handshake::Handshake::possible(&self.config, target.host)?;
        }
        let below = Target {
            tls: false,
            ..*target
        };
        let tcp = self.tcp.connect(clock, deadline, &below).await?;
        if !target.tls {
            return Ok(Stream::Plain(tcp));
        }
        let began = clock.now();
        let time = validity_time_of(clock);
        let opening = TlsStream::open(tcp, &self.resources, &self.config, target.host, time);
        match until(clock, deadline, opening).await {
            Ok(opened) => {
                let (stream, passed) = opened?;
                if let Some(moment) = passed {
                    witness(clock, moment);
                }
                Ok(Stream::Tls(stream, clock.now().since(began)))
            }
            Err(_) => Err(ConnectError::Tls(TlsError::Timeout)),
        }
    }

    fn handshake<'a>(connection: &Self::Connection<'a>) -> Duration
    where
        Self: 'a,
    {
        match connection {
            Stream::Plain(_) => Duration::ZERO,
            Stream::Tls(_, handshake) => *handshake,
        }
    }
}

/// An open connection, with TLS or without.
#[allow(
    clippy::large_enum_variant,
    reason = "it is where its opener was, and there is no heap to put the larger one on"
)]
pub enum Stream<'r, S, R: Resources> {
    /// Without.
    Plain(S),
    /// With, and how long the handshake took.
    Tls(TlsStream<'r, S, R>, Duration),
}

impl<S, R: Resources> ErrorType for Stream<'_, S, R> {
    type Error = ErrorKind;
}

impl<S: Read + Write, R: Resources> Read for Stream<'_, S, R> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        use embedded_io_async::Error as _;
        match self {
            Self::Plain(stream) => stream.read(buf).await.map_err(|error| error.kind()),
            Self::Tls(stream, _) => stream.read(buf).await,
        }
    }
}

impl<S: Read + Write, R: Resources> Write for Stream<'_, S, R> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        use embedded_io_async::Error as _;
        match self {
            Self::Plain(stream) => stream.write(bytes).await.map_err(|error| error.kind()),
            Self::Tls(stream, _) => stream.write(bytes).await,
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        use embedded_io_async::Error as _;
        match self {
            Self::Plain(stream) => stream.flush().await.map_err(|error| error.kind()),
            Self::Tls(stream, _) => stream.flush().await,
        }
    }
}
