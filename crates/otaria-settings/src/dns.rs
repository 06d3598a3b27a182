//! The set-up access point's name server: every name is the device, so that whatever a browser asks for ends at the set-up page.
//!
//! Pure: [`answer`] is given a query and makes the reply (RFC 1035, 4). A question for an IPv4 address is answered with the
//! device's; one for anything else about a name is answered with nothing, which says that the name has no such thing.

use core::net::Ipv4Addr;

/// The port that queries come to.
pub const PORT: u16 = 53;
/// Longest query that is looked at: a message without extensions (RFC 1035, 2.3.4).
pub const MAX_QUERY_LEN: usize = 512;
/// Longest reply: head, the longest question, one address.
pub const MAX_REPLY_LEN: usize = HEAD_LEN + MAX_NAME_LEN + 4 + ANSWER_LEN;

const HEAD_LEN: usize = 12;
/// RFC 1035, 3.1: with lengths and the root's.
const MAX_NAME_LEN: usize = 255;
const MAX_LABEL_LEN: u8 = 63;
const ANSWER_LEN: usize = 16;

/// Seconds that an answer may be kept. The telephone is in another network soon, where names mean something else.
const KEEP: u8 = 5;

/// The reply to a query, written into `reply`; `None` if this is no query that can be answered. `address` is the device's.
pub fn answer<'r>(
    query: &[u8],
    address: Ipv4Addr,
    reply: &'r mut [u8; MAX_REPLY_LEN],
) -> Option<&'r [u8]> {
    let (head, rest) = query.split_first_chunk::<HEAD_LEN>()?;
    let [id_high, id_low, flags, _, 0, 1, 0, 0, ..] = *head else {
        // More than one question, or answers.
        return None;
    };
    // A query (not a reply) of the standard kind; additional records are passed over.
    if query.len() > MAX_QUERY_LEN || flags & 0xF8 != 0 {
        return None;
    }
    let question_len = name_len(rest)?.checked_add(4)?;
    let question = rest.get(..question_len)?;
    let asks_for_address = question.ends_with(&[0, 1, 0, 1]);
    let recursion_wanted = flags & 1;
    let found_count = u8::from(asks_for_address);
    // A reply, authoritative, not cut; recursion is done by whoever has all names.
    let flags = 0x84 | recursion_wanted;
    let head = [
        id_high,
        id_low,
        flags,
        0x80,
        0,
        1,
        0,
        found_count,
        0,
        0,
        0,
        0,
    ];
    let [a, b, c, d] = address.octets();
    // The name is the question's (4.1.4), then kind and class, time, length, address.
    let found = [
        0xC0,
        HEAD_LEN as u8,
        0,
        1,
        0,
        1,
        0,
        0,
        0,
        KEEP,
        0,
        4,
        a,
        b,
        c,
        d,
    ];
    let found: &[u8] = if asks_for_address { &found } else { &[] };
    let mut len = 0;
    for part in [&head[..], question, found] {
        let end = len + part.len();
        reply.get_mut(len..end)?.copy_from_slice(part);
        len = end;
    }
    reply.get(..len)
}

/// Bytes of the name at the start, with its end. A question's name is never compressed.
fn name_len(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    loop {
        let label = *bytes.get(len)?;
        len += 1 + usize::from(label);
        if label > MAX_LABEL_LEN || len > MAX_NAME_LEN {
            return None;
        }
        if label == 0 {
            return Some(len);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::wire::{DnsFlags, DnsPacket, DnsQueryType, DnsQuestion, DnsRecord, DnsRecordData};

    use super::*;

    const HERE: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 1);

    fn query(name: &[u8], kind: u16) -> Vec<u8> {
        let mut query = b"\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
        query.extend(name);
        query.extend(kind.to_be_bytes());
        query.extend([0, 1]);
        query
    }

    fn answered(query: &[u8]) -> Option<Vec<u8>> {
        answer(query, HERE, &mut [0; MAX_REPLY_LEN]).map(<[u8]>::to_vec)
    }

    /// What smoltcp reads in a reply to a question: the addresses.
    fn addresses(reply: &[u8]) -> Vec<Ipv4Addr> {
        let packet = DnsPacket::new_checked(reply).unwrap();
        assert_eq!(packet.transaction_id(), 0xabcd);
        assert!(packet.flags().contains(DnsFlags::RESPONSE));
        assert_eq!(packet.question_count(), 1);
        let (mut rest, _) = DnsQuestion::parse(packet.payload()).unwrap();
        let mut addresses = Vec::new();
        for _ in 0..packet.answer_record_count() {
            let (behind, record) = DnsRecord::parse(rest).unwrap();
            rest = behind;
            match record.data {
                DnsRecordData::A(address) => addresses.push(address),
                other => panic!("{other:?}"),
            }
        }
        assert!(rest.is_empty());
        addresses
    }

    const NAME: &[u8] = b"\x11connectivitycheck\x07gstatic\x03com\0";

    #[test]
    fn every_name_is_the_device() {
        let reply = answered(&query(NAME, u16::from(DnsQueryType::A))).unwrap();
        assert_eq!(addresses(&reply), [HERE]);
        let longest = [&[63; 64][..], &[63; 64], &[63; 64], &[61; 62], &[0]].concat();
        assert_eq!(longest.len(), 255);
        let reply = answered(&query(&longest, 1)).unwrap();
        assert_eq!(addresses(&reply), [HERE]);
        assert_eq!(reply.len(), MAX_REPLY_LEN);
    }

    #[test]
    fn what_else_is_asked_of_a_name_is_not_there() {
        for kind in [28, 65, 16, 255] {
            let reply = answered(&query(NAME, kind)).unwrap();
            assert!(addresses(&reply).is_empty());
            assert_eq!(reply[3] & 0xF, 0);
        }
    }

    #[test]
    fn extensions_behind_the_question_are_passed_over() {
        let mut with_edns = query(NAME, 1);
        with_edns[11] = 1;
        with_edns.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
        assert_eq!(addresses(&answered(&with_edns).unwrap()), [HERE]);
    }

    #[test]
    fn what_is_no_query_has_no_reply() {
        let good = query(NAME, 1);
        for len in 0..good.len() {
            assert_eq!(answered(&good[..len]), None, "{len}");
        }
        for (at, value) in [(2, 0x81), (2, 0x28), (5, 2), (5, 0), (7, 1), (4, 1)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(answered(&bad), None, "{at}");
        }
        let too_long = [&[63; 64][..], &[63; 64], &[63; 64], &[62; 63], &[0]].concat();
        assert_eq!(answered(&query(&too_long, 1)), None);
        assert_eq!(answered(&query(b"\xC0\x0C", 1)), None);
        let mut padded = good;
        padded.resize(MAX_QUERY_LEN + 1, 0);
        assert_eq!(answered(&padded), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_or_not(
            noise in proptest::collection::vec(any::<u8>(), 0..80),
            name in proptest::collection::vec(1u8..=63, 0..4),
            kind: u16,
        ) {
            let _ = answered(&noise);
            let head = b"\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00";
            let _ = answered(&[&head[..], &noise].concat());
            let labels = name.iter().flat_map(|len| core::iter::once(*len).chain((0..*len).map(|_| b'a')));
            let name: Vec<u8> = labels.chain([0]).collect();
            let reply = answered(&query(&name, kind)).unwrap();
            prop_assert_eq!(addresses(&reply).len(), usize::from(kind == 1));
        }
    }
}
