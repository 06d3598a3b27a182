//! A network and a clock for tests: virtual time, and peers that are scripts. Nothing here sleeps.

use core::cell::{Cell, RefCell};
use core::future::{Future, pending, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::collections::VecDeque;
use std::rc::Rc;
use std::string::String;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::vec::Vec;

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

use super::{Connect, ConnectError, Target};
use crate::board::{Clock, Duration, Instant};

/// A clock that [`run`] moves on when nothing else can happen.
#[derive(Default)]
pub(crate) struct FakeClock {
    now: Cell<Instant>,
    next: Cell<Option<Instant>>,
}

impl FakeClock {
    fn wake_at(&self, at: Instant) {
        self.next.set(Instant::earliest(self.next.get(), Some(at)));
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        poll_fn(move |_| {
            if self.now.get() >= at {
                return Poll::Ready(());
            }
            self.wake_at(at);
            Poll::Pending
        })
    }

    fn unix_time(&self) -> Option<u64> {
        None
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls `future` until it is ready. `None` if it waits for nothing that could still happen, or until the clock passes `limit`.
///
/// Panics if it is polled a million times without the clock moving on: it spins.
pub(crate) fn run<F: Future>(clock: &FakeClock, limit: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    let mut polls = 0u32;
    loop {
        clock.next.set(None);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        polls += 1;
        assert!(polls < 1_000_000, "the future spins at {}", clock.now());
        if flag.0.swap(false, Ordering::Relaxed) {
            continue;
        }
        let next = clock.next.get()?;
        if next > limit {
            clock.now.set(limit);
            return None;
        }
        if next > clock.now() {
            polls = 0;
        }
        clock.now.set(next);
    }
}

enum Item {
    Bytes(Vec<u8>),
    Close,
    Reset,
}

/// What a peer sends, and how it behaves.
#[derive(Default)]
pub(crate) struct Wire {
    now: Instant,
    /// When the next item leaves.
    at: Instant,
    items: VecDeque<(Instant, Item)>,
    /// At most this many bytes are taken by one write, and come out of one read; 0: any number.
    pub(crate) segment: usize,
    /// Takes no more bytes: writes wait for ever.
    pub(crate) deaf: bool,
    /// The connection has been dropped.
    pub(crate) dropped: bool,
    flood: Option<Flood>,
    close_at: Option<Instant>,
}

/// Bytes that come again and again, between those that are sent.
struct Flood {
    bytes: Vec<u8>,
    every: Duration,
    next: Instant,
}

impl Wire {
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Sends `bytes` after all that was sent before.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.push(Item::Bytes(bytes.to_vec()));
    }

    /// What is sent next is sent `duration` later.
    pub(crate) fn pause(&mut self, duration: Duration) {
        self.at = self.at.max(self.now) + duration;
    }

    /// Ends the stream.
    pub(crate) fn close(&mut self) {
        self.push(Item::Close);
    }

    /// Breaks the stream.
    pub(crate) fn reset(&mut self) {
        self.push(Item::Reset);
    }

    /// Ends the stream `duration` from now, whatever else has been sent.
    pub(crate) fn close_after(&mut self, duration: Duration) {
        self.close_at = Some(self.now + duration);
    }

    /// From now on sends `bytes` every so often, also between other packets.
    pub(crate) fn flood(&mut self, bytes: Vec<u8>, every: Duration) {
        self.flood = Some(Flood {
            bytes,
            every,
            next: self.now,
        });
    }

    /// Moves what is due at `now` to the front of the queue. Returns when to look again, if nothing is.
    fn advance(&mut self, now: Instant) -> Option<Instant> {
        if self.close_at.is_some_and(|at| now >= at) {
            self.items.push_front((now, Item::Close));
        }
        if let Some(flood) = &mut self.flood
            && now >= flood.next
            && self.items.front().is_none_or(|(at, _)| now < *at)
        {
            self.items
                .push_front((now, Item::Bytes(flood.bytes.clone())));
            flood.next += flood.every;
        }
        let flood = self.flood.as_ref().map(|flood| flood.next);
        let next = self.items.front().map(|(at, _)| *at);
        Instant::earliest(Instant::earliest(next, flood), self.close_at)
    }

    fn push(&mut self, item: Item) {
        self.at = self.at.max(self.now);
        self.items.push_back((self.at, item));
    }
}

/// The other side of a connection.
pub(crate) trait Peer {
    /// The connection is open.
    fn opened(&mut self, _wire: &mut Wire) {}

    /// Bytes have come from the device.
    fn received(&mut self, bytes: &[u8], wire: &mut Wire);
}

impl<F: FnMut(&[u8], &mut Wire)> Peer for F {
    fn received(&mut self, bytes: &[u8], wire: &mut Wire) {
        self(bytes, wire);
    }
}

/// What happens to an attempt to connect.
pub(crate) enum Dial {
    Fail(ConnectError),
    Hang,
    Open(Box<dyn Peer>),
}

impl Dial {
    pub(crate) fn open(peer: impl Peer + 'static) -> Self {
        Self::Open(Box::new(peer))
    }
}

/// A network whose every connection is scripted.
pub(crate) struct FakeNet {
    clock: Rc<FakeClock>,
    dials: RefCell<VecDeque<Dial>>,
    /// When and where to each attempt went.
    pub(crate) dialed: RefCell<Vec<(Instant, String)>>,
    /// The wire of the last connection.
    pub(crate) last: RefCell<Option<Rc<RefCell<Wire>>>>,
}

impl FakeNet {
    /// `dials` are the attempts to connect, in order; later ones are refused.
    pub(crate) fn new(clock: &Rc<FakeClock>, dials: impl IntoIterator<Item = Dial>) -> Self {
        Self {
            clock: clock.clone(),
            dials: RefCell::new(dials.into_iter().collect()),
            dialed: RefCell::default(),
            last: RefCell::default(),
        }
    }
}

impl Connect for FakeNet {
    type Connection<'a> = FakeStream;

    async fn connect<K: Clock>(
        &self,
        clock: &K,
        deadline: Instant,
        target: &Target<'_>,
    ) -> Result<FakeStream, ConnectError> {
        let scheme = if target.tls { "tls" } else { "tcp" };
        self.dialed.borrow_mut().push((
            clock.now(),
            std::format!("{scheme}:{}:{}", target.host, target.port),
        ));
        let dial = self.dials.borrow_mut().pop_front();
        match dial {
            None => Err(ConnectError::Refused),
            Some(Dial::Fail(error)) => Err(error),
            Some(Dial::Hang) => super::until(clock, deadline, pending())
                .await
                .map_err(|_| ConnectError::Timeout),
            Some(Dial::Open(mut peer)) => {
                let wire = Rc::new(RefCell::new(Wire {
                    now: clock.now(),
                    ..Wire::default()
                }));
                peer.opened(&mut wire.borrow_mut());
                *self.last.borrow_mut() = Some(wire.clone());
                Ok(FakeStream {
                    clock: self.clock.clone(),
                    peer,
                    wire,
                })
            }
        }
    }
}

/// The device's side of a scripted connection.
pub(crate) struct FakeStream {
    clock: Rc<FakeClock>,
    peer: Box<dyn Peer>,
    wire: Rc<RefCell<Wire>>,
}

impl ErrorType for FakeStream {
    type Error = ErrorKind;
}

impl Drop for FakeStream {
    fn drop(&mut self) {
        self.wire.borrow_mut().dropped = true;
    }
}

impl Read for FakeStream {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| {
            let mut wire = self.wire.borrow_mut();
            let segment = wire.segment;
            let now = self.clock.now();
            if let Some(at) = wire.advance(now)
                && now < at
            {
                self.clock.wake_at(at);
                return Poll::Pending;
            }
            let Some((_, item)) = wire.items.front_mut() else {
                return Poll::Pending;
            };
            match item {
                Item::Close => Poll::Ready(Ok(0)),
                Item::Reset => Poll::Ready(Err(ErrorKind::ConnectionReset)),
                Item::Bytes(bytes) => {
                    let mut n = bytes.len().min(buf.len());
                    if segment > 0 {
                        n = n.min(segment);
                    }
                    buf[..n].copy_from_slice(&bytes[..n]);
                    bytes.drain(..n);
                    if bytes.is_empty() {
                        wire.items.pop_front();
                    }
                    Poll::Ready(Ok(n))
                }
            }
        })
        .await
    }
}

impl Write for FakeStream {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        if self.wire.borrow().deaf {
            pending::<()>().await;
        }
        let mut wire = self.wire.borrow_mut();
        wire.now = self.clock.now();
        let n = match wire.segment {
            0 => buf.len(),
            segment => buf.len().min(segment),
        };
        self.peer.received(&buf[..n], &mut wire);
        Ok(n)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
