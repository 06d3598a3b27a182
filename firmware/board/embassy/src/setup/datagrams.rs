//! Addresses and names for whoever has joined the access point.

use alloc::vec;
use core::future::pending;
use core::net::Ipv4Addr;

use embassy_futures::join::join;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpEndpoint, Stack};
use otaria_settings::access_point::ADDRESS;
use otaria_settings::{dhcp, dns};

/// Datagrams that may wait, each way.
const QUEUE: usize = 4;
/// The longest datagram of either kind, and what is kept for all that wait.
const LEN: usize = dhcp::MAX_REQUEST_LEN;
const QUEUE_LEN: usize = 1024;

/// Room for a reply of either kind.
type Reply = [u8; dhcp::REPLY_LEN];
const _: () = assert!(dns::MAX_REPLY_LEN <= dhcp::REPLY_LEN);

/// What makes a reply, and says how long it is and for whom, if not for whoever asked.
type Answer<'a> = &'a mut dyn FnMut(&[u8], &mut Reply) -> Option<(usize, Option<IpEndpoint>)>;

/// For as long as the access point is open.
pub(super) async fn serve(stack: Stack<'_>) -> ! {
    let mut lender = dhcp::Server::new(ADDRESS);
    let everybody = IpEndpoint::new(Ipv4Addr::BROADCAST.into(), dhcp::CLIENT_PORT);
    let mut lend = |request: &[u8], reply: &mut Reply| {
        *reply = lender.answer(request)?;
        Some((reply.len(), Some(everybody)))
    };
    let mut name = |query: &[u8], reply: &mut Reply| {
        let reply = reply.first_chunk_mut()?;
        Some((dns::answer(query, ADDRESS, reply)?.len(), None))
    };
    let lending = answer(stack, dhcp::SERVER_PORT, &mut lend);
    let naming = answer(stack, dns::PORT, &mut name);
    join(lending, naming).await.0
}

async fn answer(stack: Stack<'_>, port: u16, answer: Answer<'_>) -> ! {
    let (mut received, mut sent) = (vec![0; QUEUE_LEN], vec![0; QUEUE_LEN]);
    let mut places = [[PacketMetadata::EMPTY; QUEUE]; 2];
    let [came, go] = &mut places;
    let mut socket = UdpSocket::new(stack, came, &mut received, go, &mut sent);
    if socket.bind(port).is_err() {
        // Only 0 is no port.
        pending::<()>().await;
    }
    let mut request = vec![0; LEN];
    let mut reply = [0; dhcp::REPLY_LEN];
    loop {
        // One that is too long is gone then.
        let Ok((len, from)) = socket.recv_from(&mut request).await else {
            continue;
        };
        let request = request.get(..len).unwrap_or_default();
        let Some((len, to)) = answer(request, &mut reply) else {
            continue;
        };
        let reply = reply.get(..len).unwrap_or_default();
        // Who has no route has no reply.
        let _ = socket.send_to(reply, to.unwrap_or(from.endpoint)).await;
    }
}
