//! Collecting bytes until a packet is whole.

use super::fields::{Fields, varint};
use super::packet::{self, Packet, Publish};
use super::{MqttError, PACKET_MAX};

/// The bytes of the packet that is coming in, and of those after it.
pub(in super::super) struct Receiver {
    buf: [u8; PACKET_MAX],
    len: usize,
    /// Bytes still to come of a packet that does not fit and is being dropped.
    skip: usize,
}

/// What has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Received<'a> {
    Packet(Packet<'a>),
    Oversized(Oversized<'a>),
}

/// A message that does not fit into the buffer. Its start is known; the rest is going to be dropped as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Oversized<'a> {
    /// Without its payload.
    pub(in super::super) publish: Publish<'a>,
    /// Bytes of payload and properties.
    pub(in super::super) len: u32,
}

impl Receiver {
    pub(in super::super) const fn new() -> Self {
        Self {
            buf: [0; PACKET_MAX],
            len: 0,
            skip: 0,
        }
    }

    /// The buffer, for something else before the first byte of a connection arrives. Forgets everything of the one before.
    pub(in super::super) fn idle_buffer(&mut self) -> &mut [u8] {
        self.len = 0;
        self.skip = 0;
        &mut self.buf
    }

    /// Where the next bytes go. Not empty, if [`next`](Self::next) has just found nothing.
    pub(in super::super) fn space(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.len..).unwrap_or_default()
    }

    /// `n` bytes have been written to the start of [`space`](Self::space).
    pub(in super::super) fn filled(&mut self, n: usize) {
        self.len = self.len.saturating_add(n).min(PACKET_MAX);
        let drop = self.skip.min(self.len);
        self.skip -= drop;
        self.remove(drop);
    }

    /// Whether a packet is being dropped. Then every byte is a sign of life, although no packet gets whole.
    pub(in super::super) fn is_skipping(&self) -> bool {
        self.skip > 0
    }

    /// The first packet and the number to give to [`consume`](Self::consume) when it has been dealt with; `None` if it is not
    /// whole yet.
    pub(in super::super) fn next(&self) -> Result<Option<(Received<'_>, usize)>, MqttError> {
        let bytes = self.buf.get(..self.len).unwrap_or_default();
        let Some((first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        packet::check_flags(*first)?;
        let Some((remaining, varint_len)) = varint(rest)? else {
            return Ok(None);
        };
        let head = 1 + varint_len;
        // At most 256 MiB, and usize has at least 32 bits wherever this runs.
        let total = head.saturating_add(remaining as usize);
        if total > PACKET_MAX {
            let oversized = oversized(*first, bytes.get(head..).unwrap_or_default(), remaining)?;
            return Ok(oversized.map(|oversized| (Received::Oversized(oversized), total)));
        }
        match bytes.get(head..total) {
            None => Ok(None),
            Some(body) => Ok(Some((
                Received::Packet(Packet::parse(*first, body)?),
                total,
            ))),
        }
    }

    /// Drops the first `total` bytes, also those that have not arrived yet.
    pub(in super::super) fn consume(&mut self, total: usize) {
        let drop = total.min(self.len);
        self.skip = self.skip.saturating_add(total - drop);
        self.remove(drop);
    }

    fn remove(&mut self, n: usize) {
        if let Some(bytes) = self.buf.get_mut(..self.len)
            && n <= bytes.len()
        {
            bytes.copy_within(n.., 0);
            self.len -= n;
        }
    }
}

/// The start of a message that does not fit, if enough of it is there.
fn oversized(first: u8, start: &[u8], remaining: u32) -> Result<Option<Oversized<'_>>, MqttError> {
    if first >> 4 != packet::PUBLISH {
        return Err(MqttError::TooLarge);
    }
    let Some(topic_len) = start.first_chunk() else {
        return Ok(None);
    };
    let id_len = if first & 6 == 0 { 0 } else { 2 };
    let needed = 2 + u32::from(u16::from_be_bytes(*topic_len)) + id_len;
    let Some(len) = remaining.checked_sub(needed) else {
        return Err(MqttError::Malformed);
    };
    // Five bytes are the most that the fixed header takes.
    if needed as usize > PACKET_MAX - 5 {
        return Err(MqttError::TooLarge);
    }
    let Some(start) = start.get(..needed as usize) else {
        return Ok(None);
    };
    let publish = Publish::parse_start(first, &mut Fields::new(start))?;
    Ok(Some(Oversized { publish, len }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn feed(receiver: &mut Receiver, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = receiver.space();
            let n = space.len().min(bytes.len());
            assert_ne!(n, 0, "no space, although nothing is whole");
            space[..n].copy_from_slice(&bytes[..n]);
            receiver.filled(n);
            bytes = &bytes[n..];
        }
    }

    fn message(payload: usize) -> Vec<u8> {
        let mut packet = std::vec![0x32];
        let mut remaining = 2 + 3 + 2 + 1 + payload;
        while remaining > 127 {
            packet.push((remaining % 128) as u8 | 0x80);
            remaining /= 128;
        }
        packet.push(remaining as u8);
        packet.extend([0, 3, b'a', b'/', b'b', 0, 9, 0]);
        packet.resize(packet.len() + payload, b'x');
        packet
    }

    #[test]
    fn packets_come_out_one_by_one_however_they_arrive() {
        let stream = [message(1), std::vec![0xD0, 0], message(300)].concat();
        for step in [1, 2, 3, 7, 400] {
            let mut receiver = Receiver::new();
            let mut lens = Vec::new();
            for piece in stream.chunks(step) {
                feed(&mut receiver, piece);
                while let Some((received, total)) = receiver.next().unwrap() {
                    lens.push(match received {
                        Received::Packet(Packet::Publish(publish)) => publish.payload.len(),
                        Received::Packet(Packet::PingResp) => 0,
                        other => panic!("{other:?}"),
                    });
                    receiver.consume(total);
                }
            }
            assert_eq!(lens, [1, 0, 300], "in steps of {step}");
        }
    }

    #[test]
    fn the_largest_announced_packet_fits_and_one_byte_more_is_dropped() {
        let fits = message(PACKET_MAX - 11);
        assert_eq!(fits.len(), PACKET_MAX);
        let mut receiver = Receiver::new();
        feed(&mut receiver, &fits);
        assert!(matches!(
            receiver.next(),
            Ok(Some((Received::Packet(_), _)))
        ));

        let large = message(PACKET_MAX - 10);
        let mut receiver = Receiver::new();
        feed(&mut receiver, &large[..20]);
        let (received, total) = receiver.next().unwrap().unwrap();
        let Received::Oversized(Oversized { publish, len }) = received else {
            panic!("{received:?}");
        };
        assert_eq!((publish.topic, publish.id), (&b"a/b"[..], 9));
        assert_eq!(len as usize, PACKET_MAX - 10 + 1, "payload and properties");
        receiver.consume(total);
        feed(&mut receiver, &large[20..large.len() - 1]);
        assert!(receiver.is_skipping());
        assert_eq!(receiver.next(), Ok(None));
        feed(&mut receiver, &[b'x', 0xD0, 0]);
        assert!(!receiver.is_skipping());
        assert_eq!(
            receiver.next(),
            Ok(Some((Received::Packet(Packet::PingResp), 2)))
        );
    }

    #[test]
    fn only_messages_whose_start_fits_can_be_skipped() {
        for (bytes, error) in [
            (&[0x90, 0xFF, 0x7F][..], MqttError::TooLarge),
            (&[0x32, 0xFF, 0x7F, 0x0F, 0xFF], MqttError::TooLarge),
            (&[0x32, 0xFF, 0x1F, 0x0F, 0xFE], MqttError::Malformed),
            (&[0x32, 0xFF, 0x80, 0x00], MqttError::Malformed),
            (&[0x32, 0xFF, 0xFF, 0xFF, 0xFF], MqttError::Malformed),
            (&[0xFF], MqttError::Malformed),
        ] {
            let mut receiver = Receiver::new();
            feed(&mut receiver, bytes);
            assert_eq!(receiver.next(), Err(error), "{bytes:02x?}");
        }
    }
}
