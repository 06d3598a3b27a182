//! The one message that is on its way, and the packets that it is sent in.

use super::codec::encode::{PUBLISH_HEAD_MAX, PublishHead, publish_head};
use super::mailbox::{Mailbox, Outgoing, PublishError};
use super::names::Names;

/// Bytes that a message's payload may have.
pub const PAYLOAD_MAX: usize = 1024;

/// A QoS 1 message between [`Mailbox::take`] and its acknowledgement. Its payload is in the outbox's buffer.
#[derive(Clone, Copy, Debug)]
struct Kept {
    message: Outgoing,
    /// The packet identifier that it was sent with, if it was sent in the session that the broker has.
    id: Option<u16>,
}

/// The message that is being sent. It outlives the connection: what is not acknowledged is sent again on the next one.
pub(super) struct Outbox {
    kept: Option<Kept>,
    last_id: u16,
    /// Room for a PUBLISH packet: the payload starts at `PUBLISH_HEAD_MAX`, the bytes before it end there.
    buf: [u8; PUBLISH_HEAD_MAX + PAYLOAD_MAX],
}

/// What the broker takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    pub(super) packet_max: u32,
    pub(super) qos1: bool,
    pub(super) retain: bool,
}

/// A packet that is ready to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready<'b> {
    pub(super) bytes: &'b [u8],
    /// The identifier of the PUBACK that will come, if one will.
    pub(super) id: Option<u16>,
    /// The message to be reported as delivered when the bytes have been sent: wanted with QoS 1, but the broker takes only 0.
    pub(super) delivers: Option<u32>,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self {
            kept: None,
            last_id: 0,
            buf: [0; PUBLISH_HEAD_MAX + PAYLOAD_MAX],
        }
    }

    /// A packet identifier that is not in use; `others` are those in use beside the kept message's.
    pub(super) fn fresh_id(&mut self, others: [u16; 2]) -> u16 {
        // Three identifiers are in use at most, so the fourth try finds one.
        for _ in 0..4 {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let kept = self.kept.and_then(|kept| kept.id);
            if kept != Some(self.last_id) && !others.contains(&self.last_id) {
                break;
            }
        }
        self.last_id
    }

    /// The broker has no session of before: whatever was sent in it was never sent.
    pub(super) fn session_lost(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.id = None;
        }
    }

    /// Whether a message waits for its acknowledgement.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// The kept message is acknowledged. Returns its token.
    pub(super) fn finish(&mut self) -> Option<u32> {
        self.kept.take().map(|kept| kept.message.token)
    }

    /// The packet to be sent next: the kept message, or else a new one from the mailbox. `None` if there is nothing.
    ///
    /// Messages that can never be delivered are reported to the mailbox and dropped; then this returns `None` too, and has to
    /// be called again later (so that a mailbox full of such messages does not hold up everything else).
    pub(super) fn next<M: Mailbox>(
        &mut self,
        names: &Names<'_>,
        allowed: &Allowed,
        others: [u16; 2],
        mailbox: &M,
    ) -> Result<Option<Ready<'_>>, Again> {
        let (message, sent_before) = match self.kept {
            Some(kept) => (kept.message, kept.id),
            None => {
                let payload = self.buf.get_mut(PUBLISH_HEAD_MAX..).unwrap_or_default();
                match mailbox.take(payload) {
                    Some(message) => (message, None),
                    None => return Ok(None),
                }
            }
        };
        if message.len > PAYLOAD_MAX {
            mailbox.refused(message.token, &PublishError::BadLength);
            return Err(Again);
        }
        let qos1 = message.qos1 && allowed.qos1;
        let id = match sent_before {
            Some(id) if qos1 => Some(id),
            _ if qos1 => Some(self.fresh_id(others)),
            _ => None,
        };
        let topic = names.outbound(message.topic);
        let head = PublishHead {
            topic: &topic,
            retain: message.retain && allowed.retain,
            id,
            dup: sent_before.is_some(),
        };
        let room = self.buf.get_mut(..PUBLISH_HEAD_MAX).unwrap_or_default();
        let packet = publish_head(room, &head, message.len)
            .map(|len| PUBLISH_HEAD_MAX - len..PUBLISH_HEAD_MAX + message.len)
            .filter(|packet| packet.len() as u64 <= u64::from(allowed.packet_max));
        let Some(packet) = packet else {
            self.kept = None;
            mailbox.refused(message.token, &PublishError::TooLarge(allowed.packet_max));
            return Err(Again);
        };
        self.kept = message.qos1.then_some(Kept { message, id });
        let delivers = (message.qos1 && !qos1).then_some(message.token);
        Ok(Some(Ready {
            bytes: self.buf.get(packet).unwrap_or_default(),
            id,
            delivers,
        }))
    }
}

/// A message was dropped; there may be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again;

#[cfg(test)]
mod tests {
    use super::super::mailbox::Outbound;
    use super::*;

    #[test]
    fn packet_identifiers_skip_zero_and_those_in_use() {
        let mut outbox = Outbox::new();
        outbox.last_id = u16::MAX - 1;
        assert_eq!(outbox.fresh_id([0, 0]), u16::MAX);
        assert_eq!(outbox.fresh_id([1, 2]), 3);
        outbox.kept = Some(Kept {
            message: Outgoing {
                topic: Outbound::Event,
                len: 0,
                qos1: true,
                retain: false,
                token: 0,
            },
            id: Some(4),
        });
        assert_eq!(outbox.fresh_id([5, 6]), 7);
    }
}
