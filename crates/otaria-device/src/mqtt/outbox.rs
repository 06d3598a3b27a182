//! The one message that is on its way, and the packets that it is sent in.

use otaria_wire::topics::{Topic, Topics};

use super::MqttError;
use super::codec::Limits;
use super::codec::encode::{ONLINE, PUBLISH_HEAD_MAX, PublishHead, publish};
use super::mailbox::{Mailbox, PublishError};

/// Bytes that a message's payload may have.
pub const PAYLOAD_MAX: usize = 1024;

/// A message whose payload is in the outbox's buffer.
#[derive(Clone, Copy, Debug)]
struct Message {
    topic: Topic,
    len: usize,
    qos1: bool,
    retain: bool,
    /// The mailbox's name for it. `None`: it is `presence`, the session's own.
    token: Option<u32>,
    /// The packet identifier that it was sent with, if it was sent in the session that the broker has.
    id: Option<u16>,
}

/// The message that is being sent. It outlives the connection: what is not acknowledged is sent again on the next one.
pub(super) struct Outbox {
    /// A QoS 1 message between [`Mailbox::take`] and its acknowledgement.
    kept: Option<Message>,
    /// Whether `presence` is to be sent on this connection.
    presence_due: bool,
    last_id: u16,
    /// Room for a PUBLISH packet: the payload starts at `PUBLISH_HEAD_MAX`, the bytes before it end there.
    buf: [u8; PUBLISH_HEAD_MAX + PAYLOAD_MAX],
}

/// What there is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next<'b> {
    /// Nothing.
    Nothing,
    /// A message was dropped; there may be another one. (A mailbox full of such messages must not hold up everything else.)
    Dropped,
    /// A packet.
    Packet {
        bytes: &'b [u8],
        /// The identifier of the PUBACK that will come, if one will.
        id: Option<u16>,
        /// Whether [`Outbox::finish`] is to be called when the bytes have been sent: wanted with QoS 1, but the broker takes
        /// only 0.
        finishes: bool,
    },
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self {
            kept: None,
            presence_due: false,
            last_id: 0,
            buf: [0; PUBLISH_HEAD_MAX + PAYLOAD_MAX],
        }
    }

    /// A connection has been accepted. If the broker has no session of before, whatever was sent in it was never sent.
    pub(super) fn connected(&mut self, session_present: bool) {
        self.presence_due = true;
        // What `presence` said about the connection before, it says about this one soon.
        self.kept = self.kept.filter(|kept| kept.token.is_some());
        if let Some(kept) = &mut self.kept
            && !session_present
        {
            kept.id = None;
        }
    }

    /// A packet identifier that is not in use. Beside the kept message's there is none: one packet is sent after the other's
    /// acknowledgement.
    pub(super) fn fresh_id(&mut self) -> u16 {
        let mut id = following(self.last_id);
        if self.kept.is_some_and(|kept| kept.id == Some(id)) {
            id = following(id);
        }
        self.last_id = id;
        id
    }

    /// The kept message is acknowledged. Returns its token, if the mailbox waits for it.
    pub(super) fn finish(&mut self) -> Option<u32> {
        self.kept.take()?.token
    }

    /// What is to be sent next: the kept message, which is the oldest; then `presence`; then a new one from the mailbox.
    ///
    /// Messages that can never be delivered are reported to the mailbox and dropped.
    pub(super) fn next<M: Mailbox>(
        &mut self,
        topics: &Topics,
        limits: &Limits,
        mailbox: &M,
    ) -> Result<Next<'_>, MqttError> {
        let message = match self.kept.take() {
            Some(kept) => Some(kept),
            None if self.presence_due => Some(self.presence()),
            None => self.take(mailbox),
        };
        let Some(message) = message else {
            return Ok(Next::Nothing);
        };
        let qos1 = message.qos1 && limits.qos1;
        let id = match message.id {
            _ if !qos1 => None,
            None => Some(self.fresh_id()),
            sent => sent,
        };
        let head = PublishHead {
            topic: message.topic,
            retain: message.retain && limits.retain,
            id,
            dup: message.id.is_some(),
        };
        let packet = publish(&mut self.buf, topics, &head, message.len)
            .filter(|packet| packet.len() <= limits.packet_max as usize);
        match (packet, message.token) {
            (Some(bytes), _) => {
                self.kept = message.qos1.then_some(Message { id, ..message });
                Ok(Next::Packet {
                    bytes,
                    id,
                    finishes: message.qos1 && !qos1,
                })
            }
            (None, Some(token)) => {
                let why = if message.len > PAYLOAD_MAX {
                    PublishError::BadLength
                } else {
                    PublishError::TooLarge(limits.packet_max)
                };
                mailbox.refused(token, &why);
                Ok(Next::Dropped)
            }
            (None, None) => Err(MqttError::Settings),
        }
    }

    /// Puts `presence` into the buffer.
    fn presence(&mut self) -> Message {
        self.presence_due = false;
        let room = self.buf.iter_mut().skip(PUBLISH_HEAD_MAX);
        for (to, from) in room.zip(ONLINE) {
            *to = *from;
        }
        Message {
            topic: Topic::Presence,
            len: ONLINE.len(),
            qos1: true,
            retain: true,
            token: None,
            id: None,
        }
    }

    /// Takes a message from the mailbox into the buffer.
    fn take<M: Mailbox>(&mut self, mailbox: &M) -> Option<Message> {
        let room = self.buf.get_mut(PUBLISH_HEAD_MAX..)?;
        let message = mailbox.take(room)?;
        Some(Message {
            topic: message.topic.topic(),
            len: message.len,
            qos1: message.qos1,
            retain: message.retain,
            token: Some(message.token),
            id: None,
        })
    }
}

/// Packet identifiers are never 0 (2.2.1).
fn following(id: u16) -> u16 {
    id.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_identifiers_skip_zero_and_the_one_in_use() {
        let mut outbox = Outbox::new();
        outbox.last_id = u16::MAX - 2;
        outbox.kept = Some(Message {
            id: Some(1),
            ..outbox.presence()
        });
        let ids = [(); 4].map(|()| outbox.fresh_id());
        assert_eq!(ids, [u16::MAX - 1, u16::MAX, 2, 3]);
    }
}
