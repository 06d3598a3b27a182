//! A host: its link, its power, its sockets; and how it connects and looks names up.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use embedded_nal_async::{AddrType, Dns, TcpConnect};
use fastrand::Rng;

use super::listener::{Listener, Waiting};
use super::tcp::Connection;
use super::{HostConfig, LinkConfig, NetError, NetInner, SimStream};
use crate::flash::Busy;

/// The time-out of the first SYN that is not answered. RFC 6298, 2.1.
const SYN_RETRY: Duration = Duration::from_secs(1);
/// How often a SYN is sent again before the attempt fails: 1 + 2 + 4 + ... + 64 s, as in Linux (`tcp_syn_retries` = 6).
const SYN_RETRIES: u32 = 6;
/// When a name server's answer is waited for no longer, and how often it is asked. resolv.conf(5): `timeout`, `attempts`.
const DNS_TIMEOUT: Duration = Duration::from_secs(5);
const DNS_ATTEMPTS: u32 = 2;

/// How often one segment is lost on one link, at most: a loss rate of 1 has to end somewhere.
const MOST_LOSSES: u32 = 16;

/// One direction of a link: bytes pass one after another.
#[derive(Default)]
pub(super) struct Pipe {
    free_at: Cell<Duration>,
}

impl Pipe {
    /// When the last bit of `len` bytes has passed that come to the pipe at `at`.
    fn pass(&self, at: Duration, len: usize, link: &LinkConfig) -> Duration {
        let nanos = (len as u64 * 8 * 1_000_000_000)
            .checked_div(link.bits_per_second)
            .unwrap_or(0);
        let done = at.max(self.free_at.get()) + Duration::from_nanos(nanos);
        self.free_at.set(done);
        done
    }

    fn stall(&self, now: Duration, time: Duration) {
        self.free_at.set(self.free_at.get().max(now) + time);
    }
}

/// What all handles of a host share.
pub(super) struct HostInner {
    net: Rc<NetInner>,
    pub(super) world: crate::world::Handle,
    pub(super) addr: IpAddr,
    pub(super) config: Cell<HostConfig>,
    up: Pipe,
    down: Pipe,
    link_up: Cell<bool>,
    powered: Cell<bool>,
    silent: Cell<bool>,
    stalled: Cell<Duration>,
    busy: RefCell<Busy>,
    rng: RefCell<Rng>,
    next_port: Cell<u16>,
    pub(super) listeners: RefCell<BTreeMap<u16, Rc<Waiting>>>,
    connections: RefCell<Vec<Weak<Connection>>>,
    pub(super) received: Cell<u64>,
    pub(super) sent: Cell<u64>,
}

impl HostInner {
    pub(super) fn new(net: &Rc<NetInner>, addr: IpAddr, config: HostConfig) -> Self {
        HostInner {
            net: net.clone(),
            world: net.world.clone(),
            addr,
            config: Cell::new(config),
            up: Pipe::default(),
            down: Pipe::default(),
            link_up: Cell::new(true),
            powered: Cell::new(true),
            silent: Cell::new(false),
            stalled: Cell::new(Duration::ZERO),
            busy: RefCell::default(),
            rng: RefCell::new(net.world.fork_rng()),
            next_port: Cell::new(49_152),
            listeners: RefCell::default(),
            connections: RefCell::default(),
            received: Cell::new(0),
            sent: Cell::new(0),
        }
    }

    pub(super) fn link(&self) -> LinkConfig {
        self.config.get().link
    }

    /// Whether packets get to this host and from it.
    pub(super) fn reachable(&self) -> bool {
        self.powered.get() && self.link_up.get() && !self.silent.get()
    }

    /// The time for which this host's link has stood still altogether.
    pub(super) fn stalled(&self) -> Duration {
        self.stalled.get()
    }

    /// When `len` bytes that are sent now arrive at `to`, losses and retransmissions included.
    pub(super) fn arrival(&self, to: &HostInner, len: usize) -> Duration {
        let (own, other) = (self.link(), to.link());
        let left = self.up.pass(self.world.now(), len, &own) + own.latency;
        let arrived = to.down.pass(left, len, &other) + other.latency;
        arrived + self.lost(&own) + self.lost(&other)
    }

    /// How much later a segment arrives because it got lost on a link, now and again.
    fn lost(&self, link: &LinkConfig) -> Duration {
        let mut late = Duration::ZERO;
        for attempt in 0..MOST_LOSSES {
            if link.loss <= 0.0 || self.rng.borrow_mut().f64() >= link.loss {
                break;
            }
            late += backoff(link.retransmit, attempt);
        }
        late
    }

    /// Time for a packet without payload to get to the other host.
    pub(super) fn latency_to(&self, other: &HostInner) -> Duration {
        self.link().latency + other.link().latency
    }

    pub(super) fn remember(&self, connection: &Rc<Connection>) {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|old| old.strong_count() > 0);
        connections.push(Rc::downgrade(connection));
    }

    fn connections(&self) -> Vec<Rc<Connection>> {
        self.connections
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Whether the program on this host may touch its sockets now: not while its CPU stands still. It is polled again later.
    pub(super) fn stands_still(&self, cx: &mut Context<'_>) -> bool {
        let still = self.busy.borrow().is_busy();
        if still {
            cx.waker().wake_by_ref();
        }
        still
    }

    fn fresh_port(&self) -> u16 {
        let port = self.next_port.get();
        self.next_port
            .set(if port == u16::MAX { 49_152 } else { port + 1 });
        port
    }
}

/// The time-out before attempt `attempt + 1`: doubled each time, a minute at most.
pub(super) fn backoff(first: Duration, attempt: u32) -> Duration {
    first
        .saturating_mul(1u32.checked_shl(attempt).unwrap_or(u32::MAX))
        .min(Duration::from_secs(60).max(first))
}

/// A machine on the net. A clone is the same machine.
#[derive(Clone)]
pub struct Host(Rc<HostInner>);

impl Host {
    pub(super) fn new(inner: Rc<HostInner>) -> Self {
        Host(inner)
    }

    /// The host's address.
    pub fn addr(&self) -> IpAddr {
        self.0.addr
    }

    /// What the host's TCP and link are like now.
    pub fn config(&self) -> HostConfig {
        self.0.config.get()
    }

    /// Changes the host's TCP and link. Windows and buffers of open connections stay as they are.
    pub fn set_config(&self, config: HostConfig) {
        self.0.config.set(config);
    }

    /// Lets the program on this host touch its sockets only while `busy` is settled: a chip's network stack stands still with its
    /// CPU. What arrives meanwhile fills the receive window.
    pub fn set_busy(&self, busy: Busy) {
        self.0.busy.replace(busy);
    }

    /// Listens on a port; on a free one if `port` is 0.
    ///
    /// # Errors
    /// [`NetError::AddrInUse`].
    pub fn bind(&self, port: u16) -> Result<Listener, NetError> {
        let port = if port == 0 { self.0.fresh_port() } else { port };
        Listener::bind(self.0.clone(), port)
    }

    /// Breaks or restores the link. While it is broken every packet is lost, and nobody is told.
    pub fn set_link_up(&self, up: bool) {
        self.0.link_up.set(up);
    }

    /// Whether the link is there.
    pub fn link_up(&self) -> bool {
        self.0.link_up.get()
    }

    /// Lets the link stand still for `time`: nothing is lost, everything comes later by that.
    pub fn stall(&self, time: Duration) {
        let now = self.0.world.now();
        self.0.up.stall(now, time);
        self.0.down.stall(now, time);
        self.0.stalled.set(self.0.stalled.get() + time);
    }

    /// Makes the host drop every packet without an answer (`true`), as behind a firewall.
    pub fn set_black_hole(&self, silent: bool) {
        self.0.silent.set(silent);
    }

    /// Resets all connections of this host at both ends, as a middlebox does that forgets them.
    pub fn reset_connections(&self) {
        for connection in self.0.connections() {
            connection.break_both();
        }
    }

    /// Takes the host's power: its connections and listeners are gone, and no peer is told. Drop the program that ran on it.
    pub fn power_off(&self) {
        self.0.powered.set(false);
        self.0.listeners.borrow_mut().clear();
        for connection in self.0.connections() {
            connection.forget_side_of(&self.0);
        }
        self.0.connections.borrow_mut().clear();
    }

    /// Gives the host its power back.
    pub fn power_on(&self) {
        self.0.powered.set(true);
    }

    /// Bytes that programs on other hosts sent and that arrived here.
    pub fn bytes_received(&self) -> u64 {
        self.0.received.get()
    }

    /// Bytes that programs on this host wrote and that left it.
    pub fn bytes_sent(&self) -> u64 {
        self.0.sent.get()
    }

    /// Waits until the host's CPU runs, before a call that is no poll of a socket.
    async fn running(&self) {
        poll_fn(|cx| {
            if self.0.stands_still(cx) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }
}

impl TcpConnect for Host {
    type Error = NetError;
    type Connection<'a> = SimStream;

    async fn connect(&self, remote: SocketAddr) -> Result<SimStream, NetError> {
        self.running().await;
        for attempt in 0..=SYN_RETRIES {
            let sent = self.0.world.now();
            let peer = self
                .0
                .net
                .hosts
                .borrow()
                .get(&remote.ip())
                .and_then(Weak::upgrade);
            if let Some(peer) = peer.filter(|_| self.0.reachable()) {
                self.0.world.sleep(self.0.latency_to(&peer)).await;
                if peer.reachable() && self.0.reachable() {
                    let listening = peer.listeners.borrow().get(&remote.port()).cloned();
                    let local = SocketAddr::new(self.0.addr, self.0.fresh_port());
                    let stream = match listening {
                        Some(waiting) if waiting.is_full() => None,
                        Some(waiting) => Some(Ok(
                            waiting.take(Connection::open(&self.0, local, &peer, remote))
                        )),
                        None => Some(Err(NetError::Refused)),
                    };
                    if let Some(stream) = stream {
                        self.0.world.sleep(self.0.latency_to(&peer)).await;
                        return stream;
                    }
                }
            }
            self.0
                .world
                .sleep_until(sent + SYN_RETRY * (1 << attempt))
                .await;
        }
        Err(NetError::TimedOut)
    }
}

impl Dns for Host {
    type Error = NetError;

    async fn get_host_by_name(&self, host: &str, addr_type: AddrType) -> Result<IpAddr, NetError> {
        self.running().await;
        let fits = |addr: &IpAddr| match addr_type {
            AddrType::IPv4 => addr.is_ipv4(),
            AddrType::IPv6 => addr.is_ipv6(),
            AddrType::Either => true,
        };
        if let Ok(addr) = host.parse::<IpAddr>() {
            return Some(addr).filter(fits).ok_or(NetError::UnknownName);
        }
        self.ask_name_server().await?;
        let found = self
            .0
            .net
            .names
            .borrow()
            .get(&host.to_ascii_lowercase())
            .copied();
        found.filter(fits).ok_or(NetError::UnknownName)
    }

    async fn get_host_by_address(
        &self,
        addr: IpAddr,
        result: &mut [u8],
    ) -> Result<usize, NetError> {
        self.running().await;
        self.ask_name_server().await?;
        let names = self.0.net.names.borrow();
        let (name, _) = names
            .iter()
            .find(|(_, named)| **named == addr)
            .ok_or(NetError::UnknownName)?;
        let out = result
            .get_mut(..name.len())
            .ok_or(NetError::BufferTooSmall)?;
        out.copy_from_slice(name.as_bytes());
        Ok(name.len())
    }
}

impl Host {
    /// Asks a name server that stands right behind this host's link.
    async fn ask_name_server(&self) -> Result<(), NetError> {
        for _ in 0..DNS_ATTEMPTS {
            let asked = self.0.world.now();
            self.0.world.sleep(self.0.link().latency * 2).await;
            if self.0.reachable() {
                return Ok(());
            }
            self.0.world.sleep_until(asked + DNS_TIMEOUT).await;
        }
        Err(NetError::TimedOut)
    }
}
