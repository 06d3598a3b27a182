//! Addresses for who joins the set-up access point: a DHCP server for a handful of clients, as a function of what was received.
//!
//! ```text
//! message (RFC 2131, 2)                       options, behind 0x63825363 (RFC 2132)
//!   0  1  1 request, 2 reply                  1  code: 0 padding, 255 end
//!   1  3  Ethernet: 1, 6, no relay yet: 0     1  length
//!   4  4  transaction                            value
//!  12  4  the client's address, if it has one
//!  16  4  the client's address from now on    53 kind of message        54 the server's address
//!  20  4  the server                          50 the address wanted     51 seconds that it is lent
//!  24  4  relay: 0                             1 mask, 3 router, 6 name server
//!  28 16  the client's MAC address
//! 236  4  0x63825363, then options
//! ```
//!
//! Who gets which address is kept in memory: a client is known again by its MAC address, and when all are given out the one that
//! was lent first goes to the newcomer. Replies are broadcast, which every client takes (RFC 2131, 4.1).

use core::net::Ipv4Addr;

/// The port that requests come to.
pub const SERVER_PORT: u16 = 67;
/// The port that replies are broadcast to.
pub const CLIENT_PORT: u16 = 68;
/// Length of every reply: the shortest that a BOOTP relay or an old client takes (RFC 1542, 2.1).
pub const REPLY_LEN: usize = 300;
/// Longest request that is looked at: what a client may send without having been told more (RFC 2131, 2), less IP and UDP.
pub const MAX_REQUEST_LEN: usize = 548;
/// Clients that have an address at the same time.
pub const CLIENTS: usize = 4;

/// Seconds that an address is lent: longer than set-up lasts, so that nobody has to ask again.
const LEASE: u32 = 3600;

const OPTIONS: usize = 240;
const MAGIC: [u8; 4] = [0x63, 0x82, 0x53, 0x63];

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

const PAD: u8 = 0;
const END: u8 = 255;
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAME_SERVER: u8 = 6;
const WANTED: u8 = 50;
const LENT_FOR: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;

type Mac = [u8; 6];

/// The server, and who has which address.
#[derive(Clone, Debug)]
pub struct Server {
    address: [u8; 4],
    /// Who has the addresses behind the server's own, one each.
    clients: [Option<Mac>; CLIENTS],
    /// The one that was lent first.
    oldest: usize,
}

impl Server {
    /// A server that has this address in a network of 254, and lends the next [`CLIENTS`]. It also says that it is the router and
    /// the name server.
    #[must_use]
    pub const fn new(address: Ipv4Addr) -> Self {
        Self {
            address: address.octets(),
            clients: [None; CLIENTS],
            oldest: 0,
        }
    }

    /// The reply to a request, if it is one that wants a reply of this server. To be broadcast to [`CLIENT_PORT`].
    pub fn answer(&mut self, request: &[u8]) -> Option<[u8; REPLY_LEN]> {
        let request = Request::parse(request)?;
        // Another server was chosen.
        if request.server.is_some_and(|server| server != self.address) {
            return None;
        }
        let lent = self.lend(request.mac);
        let kind = match request.kind {
            DISCOVER => OFFER,
            REQUEST if request.wanted == Some(lent) => ACK,
            REQUEST => NAK,
            // Who declines, releases or asks for more than an address goes without.
            _ => return None,
        };
        self.reply(kind, &request, lent)
    }

    fn lend(&mut self, mac: Mac) -> [u8; 4] {
        let has = |client: &Option<Mac>| *client == Some(mac);
        let index = match self.clients.iter().position(has) {
            Some(index) => index,
            None => {
                let index = self.oldest;
                self.oldest = (index + 1) % CLIENTS;
                if let Some(client) = self.clients.get_mut(index) {
                    *client = Some(mac);
                }
                index
            }
        };
        let [a, b, c, d] = self.address;
        // Of CLIENTS at most.
        [a, b, c, d.wrapping_add(1).wrapping_add(index as u8)]
    }

    fn reply(&self, kind: u8, request: &Request, lent: [u8; 4]) -> Option<[u8; REPLY_LEN]> {
        let mut reply = [0; REPLY_LEN];
        let mut out = Writer(&mut reply);
        // As it was asked, hops and seconds being 0.
        out.put(&[2, 1, 6, 0])?;
        out.put(&request.transaction)?;
        out.put(&[0, 0])?;
        out.put(&request.flags)?;
        out.put(&[0; 4])?;
        let is_nak = kind == NAK;
        out.put(if is_nak { &[0; 4] } else { &lent })?;
        out.put(if is_nak { &[0; 4] } else { &self.address })?;
        out.put(&[0; 4])?;
        out.put(&request.mac)?;
        out.skip(OPTIONS - MAGIC.len() - 28 - request.mac.len())?;
        out.put(&MAGIC)?;
        out.option(KIND, &[kind])?;
        out.option(SERVER, &self.address)?;
        if !is_nak {
            out.option(LENT_FOR, &LEASE.to_be_bytes())?;
            out.option(MASK, &[255, 255, 255, 0])?;
            out.option(ROUTER, &self.address)?;
            out.option(NAME_SERVER, &self.address)?;
        }
        out.put(&[END])?;
        Some(reply)
    }
}

/// What matters of a request.
struct Request {
    transaction: [u8; 4],
    flags: [u8; 2],
    mac: Mac,
    kind: u8,
    /// The address that the client wants, or has.
    wanted: Option<[u8; 4]>,
    server: Option<[u8; 4]>,
}

impl Request {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, options) = bytes.split_at_checked(OPTIONS)?;
        let from_relay = head.get(24..28)? != [0; 4];
        if bytes.len() > MAX_REQUEST_LEN
            || !head.starts_with(&[1, 1, 6])
            || !head.ends_with(&MAGIC)
            || from_relay
        {
            return None;
        }
        let has: [u8; 4] = *head.get(12..)?.first_chunk()?;
        let mut request = Self {
            transaction: *head.get(4..)?.first_chunk()?,
            flags: *head.get(10..)?.first_chunk()?,
            mac: *head.get(28..)?.first_chunk()?,
            kind: 0,
            wanted: (has != [0; 4]).then_some(has),
            server: None,
        };
        let mut rest = options;
        // What is cut short ends the options; the kind comes first in practice.
        while let Some((code, after)) = rest.split_first() {
            match *code {
                PAD => rest = after,
                END => break,
                code => {
                    let Some((len, after)) = after.split_first() else {
                        break;
                    };
                    let Some((value, after)) = after.split_at_checked(usize::from(*len)) else {
                        break;
                    };
                    match (code, value) {
                        (KIND, [kind]) => request.kind = *kind,
                        (WANTED, value) => request.wanted = value.try_into().ok(),
                        (SERVER, value) => request.server = value.try_into().ok(),
                        _ => {}
                    }
                    rest = after;
                }
            }
        }
        Some(request)
    }
}

/// What is still free of a reply.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let (place, rest) = core::mem::take(&mut self.0).split_at_mut_checked(bytes.len())?;
        place.copy_from_slice(bytes);
        self.0 = rest;
        Some(())
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.0 = core::mem::take(&mut self.0).get_mut(len..)?;
        Some(())
    }

    fn option(&mut self, code: u8, value: &[u8]) -> Option<()> {
        self.put(&[code, u8::try_from(value.len()).ok()?])?;
        self.put(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress};

    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 1);

    fn asks(kind: DhcpMessageType, mac: Mac) -> DhcpRepr<'static> {
        DhcpRepr {
            message_type: kind,
            transaction_id: 0x1234_5678,
            secs: 3,
            client_hardware_address: EthernetAddress(mac),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: Some(EthernetAddress(mac)),
            server_identifier: None,
            parameter_request_list: Some(&[1, 3, 6]),
            dns_servers: None,
            max_size: Some(1432),
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        }
    }

    fn bytes(repr: &DhcpRepr<'_>) -> Vec<u8> {
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
            .unwrap();
        bytes
    }

    /// The reply as smoltcp reads it.
    fn told(server: &mut Server, repr: &DhcpRepr<'_>, look: impl FnOnce(&DhcpRepr<'_>)) {
        let reply = server.answer(&bytes(repr)).expect("a reply");
        let packet = DhcpPacket::new_checked(&reply[..]).unwrap();
        look(&DhcpRepr::parse(&packet).unwrap());
    }

    #[test]
    fn a_client_is_offered_an_address_and_gets_it() {
        let mut server = Server::new(HERE);
        let mac = [2, 0, 0, 0, 0, 1];
        let mut offered = None;
        told(
            &mut server,
            &asks(DhcpMessageType::Discover, mac),
            |offer| {
                assert_eq!(offer.message_type, DhcpMessageType::Offer);
                assert_eq!(offer.transaction_id, 0x1234_5678);
                assert_eq!(offer.client_hardware_address, EthernetAddress(mac));
                assert_eq!(offer.server_identifier, Some(HERE));
                offered = Some(offer.your_ip);
            },
        );
        assert_eq!(offered, Some(Ipv4Addr::new(192, 168, 4, 2)));
        let request = DhcpRepr {
            requested_ip: offered,
            server_identifier: Some(HERE),
            ..asks(DhcpMessageType::Request, mac)
        };
        told(&mut server, &request, |ack| {
            assert_eq!(ack.message_type, DhcpMessageType::Ack);
            assert_eq!(Some(ack.your_ip), offered);
            assert_eq!(ack.router, Some(HERE));
            assert_eq!(ack.subnet_mask, Some(Ipv4Addr::new(255, 255, 255, 0)));
            assert_eq!(ack.dns_servers.as_deref(), Some(&[HERE][..]));
            assert_eq!(ack.lease_duration, Some(LEASE));
        });
    }

    #[test]
    fn an_address_of_another_network_is_refused_and_another_server_s_client_left_alone() {
        let mut server = Server::new(HERE);
        let remembered = DhcpRepr {
            requested_ip: Some(Ipv4Addr::new(10, 0, 0, 7)),
            ..asks(DhcpMessageType::Request, [2; 6])
        };
        told(&mut server, &remembered, |nak| {
            assert_eq!(nak.message_type, DhcpMessageType::Nak);
            assert_eq!(nak.your_ip, Ipv4Addr::UNSPECIFIED);
        });
        let elsewhere = DhcpRepr {
            server_identifier: Some(Ipv4Addr::new(10, 0, 0, 1)),
            ..remembered
        };
        assert!(server.answer(&bytes(&elsewhere)).is_none());
        let renewing = DhcpRepr {
            client_ip: Ipv4Addr::new(192, 168, 4, 2),
            ..asks(DhcpMessageType::Request, [2; 6])
        };
        told(&mut server, &renewing, |ack| {
            assert_eq!(ack.message_type, DhcpMessageType::Ack);
        });
    }

    #[test]
    fn four_clients_have_addresses_of_their_own_and_a_fifth_takes_the_oldest_one() {
        let mut server = Server::new(HERE);
        let mut lent = |mac: u8| {
            let mut address = None;
            let ask = asks(DhcpMessageType::Discover, [mac; 6]);
            told(&mut server, &ask, |offer| {
                address = Some(offer.your_ip.octets()[3]);
            });
            address.unwrap()
        };
        assert_eq!([1, 2, 3, 4, 2, 5, 1].map(&mut lent), [2, 3, 4, 5, 3, 2, 3]);
    }

    #[test]
    fn what_is_no_request_of_a_client_has_no_reply() {
        let good = bytes(&asks(DhcpMessageType::Discover, [2; 6]));
        let mut server = Server::new(HERE);
        assert!(server.answer(&good).is_some());
        for len in 0..OPTIONS + 3 {
            assert!(server.answer(&good[..len]).is_none(), "{len}");
        }
        for (at, value) in [(0, 2), (1, 6), (2, 8), (24, 1), (236, 0)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(server.answer(&bad).is_none(), "{at}");
        }
        let mut long = good.clone();
        long.resize(MAX_REQUEST_LEN + 1, 0);
        assert!(server.answer(&long).is_none());
        for kind in [
            DhcpMessageType::Decline,
            DhcpMessageType::Release,
            DhcpMessageType::Inform,
            DhcpMessageType::Offer,
            DhcpMessageType::Ack,
        ] {
            assert!(server.answer(&bytes(&asks(kind, [2; 6]))).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_with_a_whole_message_or_not_at_all(
            options in proptest::collection::vec(any::<u8>(), 0..80),
            noise in proptest::collection::vec(any::<u8>(), 0..300),
            kind in 0u8..10,
        ) {
            let mut server = Server::new(HERE);
            let _ = server.answer(&noise);
            let mut request = bytes(&asks(DhcpMessageType::Discover, [2; 6]));
            request.truncate(OPTIONS);
            request.extend([KIND, 1, kind]);
            request.extend(&options);
            if let Some(reply) = server.answer(&request) {
                let packet = DhcpPacket::new_checked(&reply[..]).unwrap();
                let repr = DhcpRepr::parse(&packet).unwrap();
                prop_assert_eq!(repr.server_identifier, Some(HERE));
                let [.., last] = repr.your_ip.octets();
                prop_assert!(last == 0 || (2..6).contains(&last));
            }
        }
    }
}
