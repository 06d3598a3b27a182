//! A slow radio that can be switched off, in front of any network.
//!
//! In a world, a [`Host`](crate::net::Host) has a link of its own, which models more. This one is for real sockets, whose buffers
//! and windows are the operating system's.

use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::net::{IpAddr, SocketAddr};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::rc::Rc;

use embedded_io_async::{ErrorType, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use otaria_device::board::{Clock, Instant};

/// Bytes that are let through at once: a segment.
const PIECE_LEN: usize = crate::net::SEGMENT_LEN;

/// What the radio is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RadioConfig {
    /// Payload bits that it carries in a second, in each direction, for all connections together; 0 = no limit.
    pub bits_per_second: u64,
    /// Time from one end to the other. Connecting takes two of them longer, and an answer arrives two of them after the latest
    /// write at the earliest.
    pub latency: Duration,
}

/// The radio's switch. A clone is the same switch.
#[derive(Clone, Default)]
pub struct RadioSwitch(Rc<SwitchState>);

#[derive(Default)]
struct SwitchState {
    off: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl RadioSwitch {
    /// A switch that is on.
    pub fn new() -> Self {
        RadioSwitch::default()
    }

    /// Switches the radio. While it is off nothing gets through and nothing is lost: connections stay open and wait.
    pub fn set_on(&self, on: bool) {
        self.0.off.set(!on);
        if on {
            self.0.waiting.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Whether the radio is on.
    pub fn is_on(&self) -> bool {
        !self.0.off.get()
    }

    fn poll_on(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_on() {
            return Poll::Ready(());
        }
        let mut waiting = self.0.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Runs a future, which stands still while the radio is off.
    async fn while_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|cx| match self.poll_on(cx) {
            Poll::Ready(()) => future.as_mut().poll(cx),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

/// A network behind a radio.
pub struct Radio<N, C> {
    inner: N,
    clock: C,
    config: RadioConfig,
    switch: RadioSwitch,
    down: Pipe,
    up: Pipe,
}

/// When one direction of the radio is free again.
#[derive(Default)]
struct Pipe(Cell<Instant>);

impl Pipe {
    /// Waits until the bytes before are through. Waiting comes first, so that a cancelled call has taken nothing.
    async fn free(&self, clock: &impl Clock) {
        while self.0.get() > clock.now() {
            clock.sleep_until(self.0.get()).await;
        }
    }

    fn pass(&self, len: usize, config: &RadioConfig, now: Instant) {
        let nanos = (len as u64 * 8 * 1_000_000_000).checked_div(config.bits_per_second);
        let takes = Duration::from_nanos(nanos.unwrap_or(0));
        self.0.set(self.0.get().max(now) + takes.into());
    }
}

impl<N, C: Clock> Radio<N, C> {
    /// A radio in front of `inner`.
    pub fn new(inner: N, clock: C, config: RadioConfig, switch: RadioSwitch) -> Self {
        Radio {
            inner,
            clock,
            config,
            switch,
            down: Pipe::default(),
            up: Pipe::default(),
        }
    }

    async fn round_trip(&self) {
        self.clock
            .sleep_until(self.clock.now() + (self.config.latency * 2).into())
            .await;
    }
}

impl<N: TcpConnect, C: Clock> TcpConnect for Radio<N, C> {
    type Error = N::Error;
    type Connection<'a>
        = RadioStream<'a, N, C, N::Connection<'a>>
    where
        Self: 'a;

    async fn connect<'a>(&'a self, remote: SocketAddr) -> Result<Self::Connection<'a>, N::Error> {
        self.round_trip().await;
        let inner = self.switch.while_on(self.inner.connect(remote)).await?;
        Ok(RadioStream {
            radio: self,
            inner,
            answer_at: Instant::ZERO,
        })
    }
}

impl<N: Dns, C: Clock> Dns for Radio<N, C> {
    type Error = N::Error;

    async fn get_host_by_name(&self, host: &str, addr_type: AddrType) -> Result<IpAddr, N::Error> {
        self.round_trip().await;
        self.switch
            .while_on(self.inner.get_host_by_name(host, addr_type))
            .await
    }

    async fn get_host_by_address(
        &self,
        addr: IpAddr,
        result: &mut [u8],
    ) -> Result<usize, N::Error> {
        self.round_trip().await;
        self.switch
            .while_on(self.inner.get_host_by_address(addr, result))
            .await
    }
}

/// A connection through a radio.
pub struct RadioStream<'a, N, C, S> {
    radio: &'a Radio<N, C>,
    inner: S,
    /// What answers the latest write cannot be here earlier.
    answer_at: Instant,
}

impl<N, C, S: ErrorType> ErrorType for RadioStream<'_, N, C, S> {
    type Error = S::Error;
}

impl<N, C: Clock, S: Read> Read for RadioStream<'_, N, C, S> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, S::Error> {
        let radio = self.radio;
        radio.clock.sleep_until(self.answer_at).await;
        radio.down.free(&radio.clock).await;
        let most = buf.len().min(PIECE_LEN);
        let len = radio
            .switch
            .while_on(self.inner.read(&mut buf[..most]))
            .await?;
        radio.down.pass(len, &radio.config, radio.clock.now());
        Ok(len)
    }
}

impl<N, C: Clock, S: Write> Write for RadioStream<'_, N, C, S> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, S::Error> {
        let radio = self.radio;
        radio.up.free(&radio.clock).await;
        let most = buf.len().min(PIECE_LEN);
        let len = radio
            .switch
            .while_on(self.inner.write(&buf[..most]))
            .await?;
        let now = radio.clock.now();
        radio.up.pass(len, &radio.config, now);
        self.answer_at = now + (radio.config.latency * 2).into();
        Ok(len)
    }

    async fn flush(&mut self) -> Result<(), S::Error> {
        self.radio.switch.while_on(self.inner.flush()).await
    }
}
