//! The device's client on this machine's network.

use core::future::{Future, pending};
use std::time::Duration;

use embassy_futures::yield_now;
use embedded_io_async::{ErrorType, Read, Write};
use otaria_device::board::{Clock, Instant};
use otaria_device::net::tls::{Stream, Tls};
use otaria_device::net::{Connect, ConnectError, PlainTcp, Target};
use otaria_device::time::BUILT;
use otaria_sim::device::{HostHeap, TlsSettings};
use otaria_sim::flash::Busy;
use otaria_sim::real::{RealClock, RealNetwork};

/// A moment that all certificates are valid at unless they are made otherwise: rcgen's are from 1975 to 4096.
pub(crate) const NOW: u64 = 1_795_000_000;

/// A device: what it trusts, who it is, what time it has.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) tls: TlsSettings,
    pub(crate) unix: Option<u64>,
    pub(crate) floor: u64,
    pub(crate) heap: usize,
    /// Bytes come one by one, each after a moment without any.
    pub(crate) drip: bool,
    /// Once the handshake is over, half of what is written goes out, and the rest is waited for without an end.
    pub(crate) stuck_writes: bool,
}

impl Device {
    pub(crate) fn trusting(anchors: &[&[u8]]) -> Self {
        Self {
            tls: TlsSettings {
                anchors: anchors.concat(),
                ..TlsSettings::default()
            },
            unix: Some(NOW),
            floor: BUILT,
            heap: 64 * 1024,
            drip: false,
            stuck_writes: false,
        }
    }

    /// Connects to this machine's `port`, by the name or address `host`.
    pub(crate) async fn with<T>(
        &self,
        host: &str,
        port: u16,
        talk: impl AsyncFnOnce(&mut Open<'_>) -> T,
    ) -> Result<T, ConnectError> {
        let clock = At(RealClock::boot(Busy::default()), self.unix, self.floor);
        let heap = HostHeap::new(self.heap, fastrand::u64(..));
        let connector = Tls::new(
            Loopback {
                drip: self.drip,
                stuck_writes: self.stuck_writes,
            },
            &heap,
            self.tls.config(),
        );
        let deadline = clock.now() + Duration::from_secs(10).into();
        let target = Target {
            host,
            port,
            tls: true,
        };
        let result = match connector.connect(&clock, deadline, &target).await {
            Ok(stream) => {
                let mut open = Open {
                    stream,
                    heap: &heap,
                };
                Ok(talk(&mut open).await)
            }
            Err(error) => Err(error),
        };
        assert_eq!(heap.free(), self.heap, "buffers are given back");
        result
    }

    /// Whether a handshake comes about.
    pub(crate) async fn greet(&self, host: &str, port: u16) -> Result<(), ConnectError> {
        self.with(host, port, async |_| ()).await
    }
}

/// An open connection.
pub(crate) struct Open<'a> {
    pub(crate) stream: Stream<'a, <Loopback as Connect>::Connection<'a>, &'a HostHeap>,
    pub(crate) heap: &'a HostHeap,
}

impl Open<'_> {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// At least so many bytes.
    pub(crate) async fn read(&mut self, len: usize) -> Vec<u8> {
        let mut all = vec![0; len];
        self.stream.read_exact(&mut all).await.unwrap();
        all
    }
}

/// Whatever host is asked for, this machine answers.
#[derive(Clone, Copy)]
pub(crate) struct Loopback {
    drip: bool,
    stuck_writes: bool,
}

type Tcp<'a> = <PlainTcp<'a, RealNetwork> as Connect>::Connection<'a>;

impl Connect for Loopback {
    type Connection<'a> = Drip<Tcp<'a>>;

    async fn connect<'a, K: Clock>(
        &'a self,
        clock: &K,
        deadline: Instant,
        target: &Target<'_>,
    ) -> Result<Self::Connection<'a>, ConnectError> {
        let here = Target {
            host: "127.0.0.1",
            ..*target
        };
        let tcp = PlainTcp::new(&RealNetwork)
            .connect(clock, deadline, &here)
            .await?;
        Ok(Drip {
            stream: tcp,
            drip: self.drip,
            dry: false,
            stuck_writes: self.stuck_writes,
            flushes: 0,
        })
    }
}

/// A connection whose bytes come one by one, or as they come, and whose writes get stuck, or not.
pub(crate) struct Drip<S> {
    stream: S,
    drip: bool,
    dry: bool,
    stuck_writes: bool,
    /// There is one behind the handshake, and none before.
    flushes: usize,
}

impl<S: ErrorType> ErrorType for Drip<S> {
    type Error = S::Error;
}

impl<S: Read> Read for Drip<S> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, S::Error> {
        if !self.drip {
            return self.stream.read(buf).await;
        }
        self.dry = !self.dry;
        if self.dry {
            // Whoever gives up now comes back to a byte.
            yield_now().await;
        }
        self.stream.read(&mut buf[..1]).await
    }
}

impl<S: Write> Write for Drip<S> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, S::Error> {
        if !self.stuck_writes || self.flushes == 0 {
            return self.stream.write(buf).await;
        }
        if buf.len() < 16 {
            pending::<()>().await;
        }
        self.stream.write(&buf[..buf.len() / 2]).await
    }

    async fn flush(&mut self) -> Result<(), S::Error> {
        self.flushes += 1;
        self.stream.flush().await
    }
}

/// A clock that knows the date, or not.
struct At(RealClock, Option<u64>, u64);

impl Clock for At {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        self.0.sleep_until(at)
    }

    fn unix_time(&self) -> Option<u64> {
        self.1
    }

    fn time_floor(&self) -> u64 {
        self.2
    }
}

/// Runs `test` in real time, for two minutes at most.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(120), test)
            .await
            .expect("hangs")
    })
}
