//! TCP over a serial line: a gateway at the other end opens the connections. Frames are packets of SLIP (RFC 1055), which find
//! each other again after a reset in the middle of one.
//!
//! ```text
//!  0xC0 | kind | channel | 0 to 254 bytes | 0xC0          0xC0 and 0xDB in it are escaped
//!
//!  device -> gateway                        gateway -> device
//!  O  open: "host:port"                     U  up, down: 1 or 0, every two seconds
//!  D  data                                  O  open
//!  C  close                                 R  refused
//!                                           D  data
//!                                           C  closed: the answer to a close, or the peer did it; no data comes behind it
//! ```
//!
//! A channel is closed before it is opened, and the gateway's answer waited for: so nothing of an earlier connection, or of an
//! earlier boot, gets into a new one. RTS and CTS stop the line while nobody takes what comes, as during a flash command; so what
//! one connection does not read holds up the others until it reads on or is dropped.

use core::cell::Cell;
use core::fmt::Write as _;
use core::net::Ipv4Addr;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel as Queue;
use embassy_sync::pipe::Pipe;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};
use otaria_device::board::{Clock, Instant as Moment};
use otaria_device::net::{Connect, ConnectError, Target};
use otaria_esp::Uplink;

const END: u8 = 0xC0;
const ESCAPE: u8 = 0xDB;
const ESCAPED_END: u8 = 0xDC;
const ESCAPED_ESCAPE: u8 = 0xDD;

/// Kind, channel, and what follows.
const HEAD: usize = 2;
const MAX_DATA: usize = 254;
/// Bytes that a connection may have received and not taken.
const WINDOW: usize = 4096;
/// One for the broker, one for packages, one while a connection is replaced.
const CHANNELS: usize = 3;
/// A gateway that has said nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(5);
/// A line that fails is not asked again at once.
const PAUSE: Duration = Duration::from_millis(20);

type Frame = heapless::Vec<u8, { HEAD + MAX_DATA }>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody has it.
    Free,
    /// The gateway was told to close it.
    Closing,
    /// The gateway has closed it.
    Closed,
    Opening,
    Open,
    Refused,
}

struct Channel {
    state: Mutex<CriticalSectionRawMutex, Cell<State>>,
    changed: Signal<CriticalSectionRawMutex, ()>,
    received: Pipe<CriticalSectionRawMutex, WINDOW>,
}

impl Channel {
    const fn new() -> Self {
        Self {
            state: Mutex::new(Cell::new(State::Free)),
            changed: Signal::new(),
            received: Pipe::new(),
        }
    }

    fn state(&self) -> State {
        self.state.lock(Cell::get)
    }

    fn set(&self, state: State) {
        self.state.lock(|cell| cell.set(state));
        self.changed.signal(());
    }

    /// Goes from one state to the next, or is in another one.
    fn advance(&self, from: State, to: State) -> bool {
        let advanced = self.state() == from;
        if advanced {
            self.set(to);
        }
        advanced
    }

    /// Until it is in another state.
    async fn leaves(&self, state: State) -> State {
        while self.state() == state {
            self.changed.wait().await;
        }
        self.state()
    }
}

/// The gateway at the other end of the line. Make one, in a `static`.
pub struct Gateway {
    channels: [Channel; CHANNELS],
    to_send: Queue<CriticalSectionRawMutex, Frame, 4>,
    /// When the gateway last said that it is in a network.
    up: Mutex<CriticalSectionRawMutex, Cell<Option<Instant>>>,
}

impl Gateway {
    /// A gateway that nobody has heard of.
    pub const fn new() -> Self {
        Self {
            channels: [const { Channel::new() }; CHANNELS],
            to_send: Queue::new(),
            up: Mutex::new(Cell::new(None)),
        }
    }

    /// Works on the line, for ever. To be called once, from a task of its own.
    pub async fn run(&self, line_in: impl Read, line_out: impl Write) -> ! {
        let (never, _) = join(self.receive(line_in), self.send(line_out)).await;
        never
    }

    async fn receive(&self, mut line: impl Read) -> ! {
        let mut frame = Some(Frame::new());
        let mut escaped = false;
        loop {
            let mut bytes = [0; 64];
            let Ok(len @ 1..) = line.read(&mut bytes).await else {
                frame = None;
                Timer::after(PAUSE).await;
                continue;
            };
            for byte in bytes.iter().take(len) {
                let byte = match (*byte, core::mem::take(&mut escaped)) {
                    (END, _) => {
                        if let Some(whole) = frame.replace(Frame::new()) {
                            self.take(&whole).await;
                        }
                        continue;
                    }
                    (ESCAPE, false) => {
                        escaped = true;
                        continue;
                    }
                    (ESCAPED_END, true) => END,
                    (ESCAPED_ESCAPE, true) => ESCAPE,
                    (byte, _) => byte,
                };
                // One that is too long is none; the next begins behind the next end.
                if frame
                    .as_mut()
                    .is_some_and(|frame| frame.push(byte).is_err())
                {
                    frame = None;
                }
            }
        }
    }

    async fn take(&self, frame: &[u8]) {
        let [kind, channel, data @ ..] = frame else {
            return;
        };
        if *kind == b'U' {
            let up = (data == [1]).then(Instant::now);
            return self.up.lock(|cell| cell.set(up));
        }
        let Some(channel) = self.channels.get(usize::from(*channel)) else {
            return;
        };
        match kind {
            b'O' => _ = channel.advance(State::Opening, State::Open),
            b'R' => _ = channel.advance(State::Opening, State::Refused),
            b'C' => {
                // A close of the peer, or the answer to one of ours.
                let known = channel.advance(State::Closing, State::Closed);
                _ = known || channel.advance(State::Open, State::Closed);
            }
            b'D' if channel.state() == State::Open => {
                let mut rest = data;
                // Until somebody reads, or the connection is dropped, which makes room.
                while !rest.is_empty() {
                    let taken = channel.received.write(rest).await;
                    rest = rest.get(taken..).unwrap_or_default();
                }
            }
            _ => {}
        }
    }

    async fn send(&self, mut line: impl Write) -> ! {
        loop {
            let frame = self.to_send.receive().await;
            if write(&mut line, &frame).await.is_err() {
                Timer::after(PAUSE).await;
            }
        }
    }

    /// Queues a frame, whole or not at all. `data` is cut to what fits; how much that was.
    async fn queue(&self, kind: u8, channel: usize, data: &[u8]) -> usize {
        let data = data.get(..MAX_DATA).unwrap_or(data);
        let mut frame = Frame::new();
        // There are three channels, and there is room.
        let _ = frame.extend_from_slice(&[kind, channel as u8]);
        let _ = frame.extend_from_slice(data);
        self.to_send.send(frame).await;
        data.len()
    }
}

async fn write<W: Write>(line: &mut W, frame: &[u8]) -> Result<(), W::Error> {
    line.write_all(&[END]).await?;
    for byte in frame {
        match *byte {
            END => line.write_all(&[ESCAPE, ESCAPED_END]).await?,
            ESCAPE => line.write_all(&[ESCAPE, ESCAPED_ESCAPE]).await?,
            byte => line.write_all(&[byte]).await?,
        }
    }
    line.write_all(&[END]).await?;
    line.flush().await
}

impl Uplink for Gateway {
    fn is_up(&self) -> bool {
        let heard = self.up.lock(Cell::get);
        heard.is_some_and(|at| at.elapsed() < SILENCE)
    }

    /// The gateway's, which it does not say.
    fn address(&self) -> Option<Ipv4Addr> {
        None
    }
}

impl Connect for Gateway {
    type Connection<'a> = Connection<'a>;

    async fn connect<'a, K: Clock>(
        &'a self,
        clock: &K,
        deadline: Moment,
        target: &Target<'_>,
    ) -> Result<Connection<'a>, ConnectError> {
        if target.tls {
            return Err(ConnectError::TlsUnavailable);
        }
        match select(self.open(target), clock.sleep_until(deadline)).await {
            Either::First(opened) => opened,
            Either::Second(()) => Err(ConnectError::Timeout),
        }
    }
}

impl Gateway {
    async fn open(&self, target: &Target<'_>) -> Result<Connection<'_>, ConnectError> {
        let free = self.channels.iter().enumerate();
        let mut free = free.filter(|(_, channel)| channel.advance(State::Free, State::Closing));
        let Some((number, channel)) = free.next() else {
            return Err(ConnectError::Failed(ErrorKind::OutOfMemory));
        };
        // From here on a drop gives the channel back.
        let connection = Connection {
            gateway: self,
            channel,
            number,
        };
        self.queue(b'C', number, &[]).await;
        channel.leaves(State::Closing).await;
        channel.received.clear();
        channel.set(State::Opening);
        let mut peer = heapless::String::<MAX_DATA>::new();
        if write!(peer, "{}:{}", target.host, target.port).is_err() {
            return Err(ConnectError::NameNotFound);
        }
        self.queue(b'O', number, peer.as_bytes()).await;
        match channel.leaves(State::Opening).await {
            State::Open => Ok(connection),
            _ => Err(ConnectError::Refused),
        }
    }
}

/// A connection that the gateway holds for the device.
pub struct Connection<'a> {
    gateway: &'a Gateway,
    channel: &'a Channel,
    number: usize,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.channel.set(State::Free);
        self.channel.received.clear();
        // So that the peer need not wait. Without room the gateway hears it when the channel is used again.
        let close = Frame::from_slice(&[b'C', self.number as u8]);
        if let Ok(close) = close {
            let _ = self.gateway.to_send.try_send(close);
        }
    }
}

/// The connection is closed.
#[derive(Clone, Copy, Debug)]
pub struct Closed;

impl core::fmt::Display for Closed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the connection is closed")
    }
}

impl core::error::Error for Closed {}

impl Error for Closed {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

impl ErrorType for Connection<'_> {
    type Error = Closed;
}

impl Read for Connection<'_> {
    /// Dropped before it is done, it has taken nothing: bytes leave the pipe when it completes.
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Closed> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if let Ok(len) = self.channel.received.try_read(buf) {
                return Ok(len);
            }
            if self.channel.state() != State::Open {
                return Ok(0);
            }
            let more = self.channel.received.read(buf);
            if let Either::First(len) = select(more, self.channel.changed.wait()).await {
                return Ok(len);
            }
        }
    }
}

impl Write for Connection<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Closed> {
        if self.channel.state() != State::Open {
            return Err(Closed);
        }
        Ok(self.gateway.queue(b'D', self.number, buf).await)
    }

    /// What is queued is sent by itself.
    async fn flush(&mut self) -> Result<(), Closed> {
        Ok(())
    }
}
