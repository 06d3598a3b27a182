//! Somebody at the other end of the board's cable: smoltcp over Ethernet frames, as a telephone in the set-up network, or as the
//! network that the board is told to join.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use otaria_settings::dhcp;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{dhcpv4, dns, tcp, udp};
use smoltcp::wire::{DnsQueryType, EthernetAddress, IpAddress, IpCidr, IpEndpoint};

const MAC: EthernetAddress = EthernetAddress([0x02, 0, 0, 0, 0, 0x77]);
/// The address of the network that is to be joined.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 1);

/// What a DHCP server has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) router: Option<Ipv4Addr>,
    pub(crate) name_servers: Vec<Ipv4Addr>,
}

pub(crate) struct Peer {
    frames: Frames,
    iface: Interface,
    sockets: SocketSet<'static>,
    start: Instant,
    port: u16,
    /// What hands out addresses, if this is a network.
    lender: Option<(SocketHandle, dhcp::Server)>,
}

impl Peer {
    /// At the socket `here`, which is made, with the board's at `there`.
    pub(crate) fn new(here: &Path, there: &Path) -> Self {
        let _ = std::fs::remove_file(here);
        let socket = UnixDatagram::bind(here).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut frames = Frames {
            socket,
            there: there.to_owned(),
            came: VecDeque::new(),
        };
        let now = smoltcp::time::Instant::ZERO;
        Self {
            iface: Interface::new(Config::new(MAC.into()), &mut frames, now),
            frames,
            sockets: SocketSet::new(Vec::new()),
            start: Instant::now(),
            port: 49152,
            lender: None,
        }
    }

    /// Lets the stack work until `look` finds something.
    fn until<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(&mut Interface, &mut SocketSet<'static>) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            self.frames.receive_all();
            let now = smoltcp::time::Instant::from_micros_const(
                i64::try_from(self.start.elapsed().as_micros()).unwrap(),
            );
            self.iface.poll(now, &mut self.frames, &mut self.sockets);
            if let Some((handle, server)) = &mut self.lender {
                let everybody = IpEndpoint::new(Ipv4Addr::BROADCAST.into(), dhcp::CLIENT_PORT);
                let socket = self.sockets.get_mut::<udp::Socket>(*handle);
                while let Ok((request, _)) = socket.recv() {
                    if let Some(reply) = server.answer(request) {
                        socket.send_slice(&reply, everybody).unwrap();
                    }
                }
            }
            if let Some(found) = look(&mut self.iface, &mut self.sockets) {
                return Some(found);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Asks for an address, and takes it.
    pub(crate) fn lease(&mut self, limit: Duration) -> Option<Lease> {
        let mut asking = dhcpv4::Socket::new();
        let mut patience = dhcpv4::RetryConfig::default();
        patience.discover_timeout = smoltcp::time::Duration::from_millis(500);
        asking.set_retry_config(patience);
        let asking = self.sockets.add(asking);
        let lease = self.until(limit, |iface, sockets| {
            let socket = sockets.get_mut::<dhcpv4::Socket>(asking);
            let Some(dhcpv4::Event::Configured(config)) = socket.poll() else {
                return None;
            };
            iface.update_ip_addrs(|addresses| {
                addresses.clear();
                addresses.push(IpCidr::Ipv4(config.address)).unwrap();
            });
            Some(Lease {
                address: config.address.address(),
                router: config.router,
                name_servers: config.dns_servers.to_vec(),
            })
        });
        self.sockets.remove(asking);
        lease
    }

    /// Looks a name up.
    pub(crate) fn resolve(&mut self, server: Ipv4Addr, name: &str) -> Vec<IpAddress> {
        let socket = dns::Socket::new(&[server.into()], Vec::new());
        let handle = self.sockets.add(socket);
        let socket = self.sockets.get_mut::<dns::Socket>(handle);
        let query = socket.start_query(self.iface.context(), name, DnsQueryType::A);
        let query = query.unwrap();
        let found = self.until(Duration::from_secs(10), |_, sockets| {
            let socket = sockets.get_mut::<dns::Socket>(handle);
            match socket.get_query_result(query) {
                Ok(found) => Some(found.to_vec()),
                Err(dns::GetQueryResultError::Pending) => None,
                Err(error) => panic!("{name}: {error:?}"),
            }
        });
        self.sockets.remove(handle);
        found.unwrap_or_default()
    }

    /// Sends a request in pieces and reads the reply until the other side closes; `None` if nobody listens.
    pub(crate) fn http(&mut self, server: Ipv4Addr, request: &str) -> Option<String> {
        self.port += 1;
        let handle = self.connect(server, self.port);
        let mut rest = request.as_bytes();
        let mut reply = Vec::new();
        let whole = self.until(Duration::from_secs(20), |_, sockets| {
            let socket = sockets.get_mut::<tcp::Socket>(handle);
            if socket.can_send() && !rest.is_empty() {
                let piece = &rest[..rest.len().min(100)];
                let sent = socket.send_slice(piece).unwrap();
                rest = &rest[sent..];
            }
            if socket.can_recv() {
                let _ = socket.recv(|bytes| {
                    reply.extend_from_slice(bytes);
                    (bytes.len(), ())
                });
            }
            let is_over = !socket.may_recv() && !matches!(socket.state(), tcp::State::SynSent);
            (is_over && !socket.can_recv()).then(|| socket.close())
        });
        // The goodbye has to leave.
        self.until(Duration::from_millis(100), |_, _| None::<()>);
        self.sockets.remove(handle);
        whole?;
        let reply = String::from_utf8(reply).unwrap();
        (!reply.is_empty()).then_some(reply)
    }

    /// Opens a connection and says nothing.
    pub(crate) fn idle(&mut self, server: Ipv4Addr) {
        self.port += 1;
        let handle = self.connect(server, self.port);
        self.until(Duration::from_secs(5), |_, sockets| {
            sockets
                .get_mut::<tcp::Socket>(handle)
                .may_send()
                .then_some(())
        });
    }

    fn connect(&mut self, server: Ipv4Addr, port: u16) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 8192]);
        let handle = self.sockets.add(tcp::Socket::new(buffer(), buffer()));
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        let to = IpEndpoint::new(server.into(), 80);
        socket.connect(self.iface.context(), to, port).unwrap();
        handle
    }

    /// Is a network that hands out addresses from now on, beside what it was.
    pub(crate) fn be_a_network(&mut self) {
        self.iface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(NETWORK.into(), 24)).unwrap();
        });
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(dhcp::SERVER_PORT).unwrap();
        let handle = self.sockets.add(socket);
        self.lender = Some((handle, dhcp::Server::new(NETWORK)));
    }

    /// Works until `done`; whether that came in time.
    pub(crate) fn work_until(&mut self, limit: Duration, done: impl Fn() -> bool) -> bool {
        self.until(limit, |_, _| done().then_some(())).is_some()
    }
}

/// Ethernet frames, each a datagram.
struct Frames {
    socket: UnixDatagram,
    there: PathBuf,
    came: VecDeque<Vec<u8>>,
}

impl Frames {
    fn receive_all(&mut self) {
        let mut frame = [0; 2048];
        while let Ok(len) = self.socket.recv(&mut frame) {
            self.came.push_back(frame[..len].to_vec());
        }
    }
}

struct Came(Vec<u8>);

struct Goes<'a>(&'a Frames);

impl RxToken for Came {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Goes<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        // A board that is switched off hears nothing.
        let _ = self.0.socket.send_to(&frame, &self.0.there);
        result
    }
}

impl Device for Frames {
    type RxToken<'a> = Came;
    type TxToken<'a> = Goes<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Came, Goes<'_>)> {
        let frame = self.came.pop_front()?;
        Some((Came(frame), Goes(self)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Goes<'_>> {
        Some(Goes(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}
