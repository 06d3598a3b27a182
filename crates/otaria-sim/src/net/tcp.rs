//! A connection between two hosts: two byte flows, each with a send buffer, segments on their way, and a receive window.

use core::cell::{Cell, RefCell};
use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;

use super::host::{HostInner, backoff};
use super::{NetError, OnDrop, SEGMENT_LEN, SimStream};
use crate::world::Handle;

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    fn index(self) -> usize {
        match self {
            Side::Client => 0,
            Side::Server => 1,
        }
    }
}

/// What is left of a socket at one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    /// A program holds it.
    Open,
    /// The program has dropped it in good order: the peer's end is welcome, its data is answered by a reset.
    Closed,
    /// The host knows nothing of it: whatever arrives is answered by a reset.
    Unknown,
}

struct End {
    host: Rc<HostInner>,
    addr: SocketAddr,
    socket: Cell<Socket>,
    /// What this end has learned to be wrong with the connection.
    error: Cell<Option<NetError>>,
}

/// Bytes on their way.
struct Segment {
    bytes: Vec<u8>,
    /// Nothing follows.
    end: bool,
    arrival: Duration,
    /// The stalls of both links that are part of `arrival` already.
    stalls: Duration,
}

/// Bytes from one end to the other. Counters of bytes start with the connection.
struct Flow {
    // At the sender.
    unsent: VecDeque<u8>,
    end_wanted: bool,
    end_sent: bool,
    sent: u64,
    acknowledged: u64,
    /// The receiver lets this many bytes be sent altogether, as far as the sender has heard.
    allowed: u64,
    writer: Option<Waker>,
    // Between them.
    on_the_way: VecDeque<Segment>,
    timer_set: bool,
    attempts: u32,
    failing_since: Option<Duration>,
    // At the receiver.
    window: usize,
    unread: VecDeque<u8>,
    end_received: bool,
    received: u64,
    /// What the receiver has last said that it lets be sent altogether.
    advertised: u64,
    /// An acknowledgement is about to be sent.
    ack_due: bool,
    reader: Option<Waker>,
}

impl Flow {
    fn new(window: usize) -> Self {
        Flow {
            unsent: VecDeque::new(),
            end_wanted: false,
            end_sent: false,
            sent: 0,
            acknowledged: 0,
            allowed: window as u64,
            writer: None,
            on_the_way: VecDeque::new(),
            timer_set: false,
            attempts: 0,
            failing_since: None,
            window,
            unread: VecDeque::new(),
            end_received: false,
            received: 0,
            advertised: window as u64,
            ack_due: false,
            reader: None,
        }
    }

    /// Bytes that the sender has to keep.
    fn kept(&self) -> usize {
        self.unsent.len() + (self.sent - self.acknowledged) as usize
    }

    /// The length of the next segment; `None` if there is nothing to send or it may not be sent yet.
    fn next_segment(&self) -> Option<usize> {
        if self.unsent.is_empty() {
            return (self.end_wanted && !self.end_sent).then_some(0);
        }
        let room = (self.allowed - self.sent) as usize;
        let len = self.unsent.len().min(SEGMENT_LEN).min(room);
        // A small segment is sent only if it is all there is or makes up half a window. RFC 9293, 3.8.6.2.1.
        let worth = len == SEGMENT_LEN || len == self.unsent.len() || len * 2 >= self.window;
        (len > 0 && worth).then_some(len)
    }

    /// What the receiver lets be sent altogether now.
    fn edge(&self) -> u64 {
        self.received - self.unread.len() as u64 + self.window as u64
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// Forgets all that the sender has not delivered.
    fn lose_outgoing(&mut self) {
        self.unsent.clear();
        self.on_the_way.clear();
    }
}

/// A connection. Its ends, and the timers of what is on its way, hold it.
pub(super) struct Connection {
    world: Handle,
    ends: [End; 2],
    /// `flows[side]` goes out from `side`.
    flows: [RefCell<Flow>; 2],
}

impl Connection {
    /// Both ends of a new connection, the client's first.
    pub(super) fn open(
        client: &Rc<HostInner>,
        client_addr: SocketAddr,
        server: &Rc<HostInner>,
        server_addr: SocketAddr,
    ) -> (SimStream, SimStream) {
        let end = |host: &Rc<HostInner>, addr| End {
            host: host.clone(),
            addr,
            socket: Cell::new(Socket::Open),
            error: Cell::new(None),
        };
        let connection = Rc::new(Connection {
            world: client.world.clone(),
            ends: [end(client, client_addr), end(server, server_addr)],
            flows: [
                RefCell::new(Flow::new(server.config.get().window)),
                RefCell::new(Flow::new(client.config.get().window)),
            ],
        });
        client.remember(&connection);
        server.remember(&connection);
        (
            SimStream::new(connection.clone(), Side::Client),
            SimStream::new(connection, Side::Server),
        )
    }

    fn end(&self, side: Side) -> &End {
        &self.ends[side.index()]
    }

    pub(super) fn host(&self, side: Side) -> &HostInner {
        &self.end(side).host
    }

    pub(super) fn addr(&self, side: Side) -> SocketAddr {
        self.end(side).addr
    }

    fn flow(&self, from: Side) -> &RefCell<Flow> {
        &self.flows[from.index()]
    }

    fn latency(&self) -> Duration {
        self.host(Side::Client).latency_to(self.host(Side::Server))
    }

    fn reachable(&self) -> bool {
        self.ends.iter().all(|end| end.host.reachable())
    }

    fn stalls(&self) -> Duration {
        self.ends.iter().map(|end| end.host.stalled()).sum()
    }

    pub(super) fn poll_read(
        self: &Rc<Self>,
        side: Side,
        buf: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, NetError>> {
        let mut flow = self.flow(side.other()).borrow_mut();
        if !flow.unread.is_empty() {
            let len = buf.len().min(flow.unread.len());
            for (to, from) in buf.iter_mut().zip(flow.unread.drain(..len)) {
                *to = from;
            }
            // A window update of its own is sent when it at least doubles what the sender knows of. smoltcp 0.13,
            // `Socket::window_to_update`.
            let edge = flow.edge();
            if !flow.ack_due && edge - flow.received >= 2 * (flow.advertised - flow.received) {
                drop(flow);
                self.send_ack(side);
            }
            return Poll::Ready(Ok(len));
        }
        if flow.end_received {
            return Poll::Ready(Ok(0));
        }
        if let Some(error) = self.end(side).error.get() {
            return Poll::Ready(Err(error));
        }
        flow.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn poll_write(
        self: &Rc<Self>,
        side: Side,
        buf: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, NetError>> {
        if let Some(error) = self.end(side).error.get() {
            return Poll::Ready(Err(error));
        }
        let mut flow = self.flow(side).borrow_mut();
        if flow.end_wanted {
            return Poll::Ready(Err(NetError::Closed));
        }
        let room = self
            .host(side)
            .config
            .get()
            .send_buffer
            .saturating_sub(flow.kept());
        if room == 0 {
            flow.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let len = room.min(buf.len());
        flow.unsent.extend(&buf[..len]);
        drop(flow);
        self.transmit(side);
        Poll::Ready(Ok(len))
    }

    pub(super) fn poll_flush(
        &self,
        side: Side,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), NetError>> {
        if let Some(error) = self.end(side).error.get() {
            return Poll::Ready(Err(error));
        }
        let mut flow = self.flow(side).borrow_mut();
        if flow.kept() == 0 {
            return Poll::Ready(Ok(()));
        }
        flow.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn shutdown(self: &Rc<Self>, side: Side) {
        self.flow(side).borrow_mut().end_wanted = true;
        self.transmit(side);
    }

    pub(super) fn reset(self: &Rc<Self>, side: Side) {
        self.end(side).socket.set(Socket::Unknown);
        self.fail(side, NetError::Reset);
        self.flow(side.other()).borrow_mut().unread.clear();
        self.send_reset(side);
    }

    /// A program has dropped its end.
    pub(super) fn dropped(self: &Rc<Self>, side: Side) {
        if self.end(side).socket.get() != Socket::Open || self.end(side).error.get().is_some() {
            self.end(side).socket.set(Socket::Unknown);
            return;
        }
        match self.host(side).config.get().on_drop {
            OnDrop::Vanish => {
                self.end(side).socket.set(Socket::Unknown);
                self.flow(side).borrow_mut().unsent.clear();
                self.flow(side.other()).borrow_mut().unread.clear();
            }
            OnDrop::Close if self.flow(side.other()).borrow().unread.is_empty() => {
                self.end(side).socket.set(Socket::Closed);
                self.shutdown(side);
            }
            // RFC 2525, 2.17: closing with unread data is an abort.
            OnDrop::Close => self.reset(side),
        }
    }

    /// Something between the hosts has forgotten the connection, and both ends notice.
    pub(super) fn break_both(&self) {
        for side in [Side::Client, Side::Server] {
            self.fail(side, NetError::Reset);
        }
    }

    /// A host has lost its power.
    pub(super) fn forget_side_of(&self, host: &Rc<HostInner>) {
        for side in [Side::Client, Side::Server] {
            if Rc::ptr_eq(&self.end(side).host, host) {
                self.end(side).socket.set(Socket::Unknown);
                self.fail(side, NetError::Reset);
            }
        }
    }

    /// Lets a side learn that the connection is broken. What it has received can still be read.
    fn fail(&self, side: Side, error: NetError) {
        let end = self.end(side);
        end.error.set(end.error.get().or(Some(error)));
        let mut outgoing = self.flow(side).borrow_mut();
        outgoing.lose_outgoing();
        outgoing.wake_writer();
        self.flow(side.other()).borrow_mut().wake_reader();
    }

    /// Sends a reset from `side`. Like every packet it gets lost where a link is down.
    fn send_reset(self: &Rc<Self>, side: Side) {
        let connection = self.clone();
        self.world.at(self.world.now() + self.latency(), move || {
            if connection.reachable() {
                connection.fail(side.other(), NetError::Reset);
            }
        });
    }

    /// Sends what may be sent from `side`.
    fn transmit(self: &Rc<Self>, side: Side) {
        let (from, to) = (self.host(side), self.host(side.other()));
        let mut flow = self.flow(side).borrow_mut();
        while let Some(len) = flow.next_segment() {
            let bytes: Vec<u8> = flow.unsent.drain(..len).collect();
            flow.sent += len as u64;
            from.sent.set(from.sent.get() + len as u64);
            let end = flow.unsent.is_empty() && flow.end_wanted;
            flow.end_sent = end;
            let arrival = from.arrival(to, len);
            flow.on_the_way.push_back(Segment {
                bytes,
                end,
                arrival,
                stalls: self.stalls(),
            });
        }
        drop(flow);
        self.set_timer(side);
    }

    /// Waits for the first segment that is on its way from `side`.
    fn set_timer(self: &Rc<Self>, side: Side) {
        let mut flow = self.flow(side).borrow_mut();
        if flow.timer_set {
            return;
        }
        let Some(first) = flow.on_the_way.front() else {
            return;
        };
        let arrival = first.arrival;
        flow.timer_set = true;
        let connection = self.clone();
        self.world.at(arrival, move || {
            connection.flow(side).borrow_mut().timer_set = false;
            connection.arrive(side);
            connection.set_timer(side);
        });
    }

    /// The first segment on its way from `side` should be there now.
    fn arrive(self: &Rc<Self>, side: Side) {
        let now = self.world.now();
        let stalls = self.stalls();
        let reachable = self.reachable();
        let sender = self.host(side).config.get();
        let mut flow = self.flow(side).borrow_mut();
        let (attempts, failing_since) = (flow.attempts, flow.failing_since);
        let Some(first) = flow.on_the_way.front_mut() else {
            return;
        };
        if stalls > first.stalls {
            first.arrival += stalls - first.stalls;
            first.stalls = stalls;
            return;
        }
        if !reachable {
            first.arrival = now + backoff(sender.link.retransmit, attempts);
            flow.attempts += 1;
            let since = failing_since.unwrap_or(now);
            flow.failing_since = Some(since);
            if now - since >= sender.give_up {
                drop(flow);
                self.fail(side, NetError::TimedOut);
            }
            return;
        }
        flow.attempts = 0;
        flow.failing_since = None;
        let Some(segment) = flow.on_the_way.pop_front() else {
            return;
        };
        let welcome = match self.end(side.other()).socket.get() {
            Socket::Open => self.end(side.other()).error.get().is_none(),
            Socket::Closed => segment.bytes.is_empty(),
            Socket::Unknown => false,
        };
        if !welcome {
            flow.lose_outgoing();
            drop(flow);
            self.send_reset(side.other());
            return;
        }
        let receiver = self.host(side.other());
        receiver
            .received
            .set(receiver.received.get() + segment.bytes.len() as u64);
        flow.received += segment.bytes.len() as u64;
        flow.unread.extend(&segment.bytes);
        flow.end_received |= segment.end;
        flow.wake_reader();
        if flow.ack_due {
            return;
        }
        flow.ack_due = true;
        drop(flow);
        // Acknowledgements are delayed a little (RFC 9293, 3.8.6.3), so that a reader which is not busy has read by then and they
        // open the window again.
        let connection = self.clone();
        self.world
            .at(now, move || connection.send_ack(side.other()));
    }

    /// Tells the sender, a latency later, what `side` has received and what it lets be sent.
    fn send_ack(self: &Rc<Self>, side: Side) {
        let mut flow = self.flow(side.other()).borrow_mut();
        let (acknowledged, edge) = (flow.received, flow.edge());
        flow.advertised = edge;
        flow.ack_due = false;
        drop(flow);
        let connection = self.clone();
        self.world.at(self.world.now() + self.latency(), move || {
            let sender = side.other();
            let mut flow = connection.flow(sender).borrow_mut();
            flow.acknowledged = flow.acknowledged.max(acknowledged);
            flow.allowed = flow.allowed.max(edge);
            flow.wake_writer();
            drop(flow);
            connection.transmit(sender);
        });
    }
}
