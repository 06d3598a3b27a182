//! What one connection has asked for and not yet got: the state of the conversation, without I/O.

use super::codec::{ConnAck, Packet, Publish};
use super::mailbox::{Inbound, Mailbox, PublishError};
use super::names::Names;
use super::outbox::Outbox;
use super::{Awaited, MqttError, ReasonCode};
use crate::board::{Duration, Instant};

/// How long the broker may take for SUBACK and PUBACK.
pub(super) const ANSWER: Duration = Duration::from_secs(20);
/// How long it may take for a sign of life after PINGREQ.
const PING_ANSWER: Duration = Duration::from_secs(15);

/// Something that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) id: u16,
    pub(super) until: Instant,
}

/// Where the device's own `presence` message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Due,
    Sent(Waiting),
    Done,
}

/// What a packet from the broker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Nothing,
    /// Send PUBACK, then tell the mailbox that this topic's message is acknowledged.
    PubAck(u16, Option<Inbound>),
    /// Refuse the QoS 2 message with this identifier, then give up.
    RefuseQos2(u16),
}

/// The conversation after CONNACK.
#[derive(Debug)]
pub(super) struct Flow {
    session_present: bool,
    /// The largest packet that the broker takes.
    pub(super) packet_max: u32,
    /// Whether the broker takes QoS 1.
    pub(super) qos1: bool,
    /// Whether the broker keeps retained messages.
    pub(super) retain: bool,
    subscribing: Option<Waiting>,
    pub(super) presence: Presence,
    /// The outbox's message, if it is on its way on this connection.
    publishing: Option<Waiting>,
    /// A ping goes out after this long without anything sent or anything received.
    ping_after: Duration,
    sent_at: Instant,
    alive_at: Instant,
    ping_until: Option<Instant>,
}

impl Flow {
    /// The broker has accepted the connection with `connack`; `keep_alive` is what was announced to it.
    pub(super) fn new(now: Instant, connack: &ConnAck, keep_alive: u16) -> Self {
        // The broker's word counts, unless it allows more silence than was asked for. It drops a client after one and a half
        // times that (3.1.2.10).
        let keep_alive = match connack.keep_alive {
            Some(prescribed) if prescribed > 0 => keep_alive.min(prescribed),
            _ => keep_alive,
        };
        Self {
            session_present: connack.session_present,
            packet_max: connack.maximum_packet_size,
            qos1: connack.maximum_qos > 0,
            retain: connack.retain_available,
            subscribing: None,
            presence: Presence::Due,
            publishing: None,
            ping_after: Duration::from_secs(keep_alive.into()) * 3 / 4,
            sent_at: now,
            alive_at: now,
            ping_until: None,
        }
    }

    /// Bytes have been sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent_at = now;
    }

    /// The broker has shown that it lives.
    pub(super) fn alive(&mut self, now: Instant) {
        self.alive_at = now;
        self.ping_until = None;
    }

    /// Bytes have come of a packet that is being dropped. No answer can arrive before its end, so none is late.
    pub(super) fn skipped(&mut self, now: Instant) {
        self.alive(now);
        let until = now + ANSWER;
        for waiting in [&mut self.subscribing, &mut self.publishing]
            .into_iter()
            .flatten()
        {
            waiting.until = until;
        }
        if let Presence::Sent(waiting) = &mut self.presence {
            waiting.until = until;
        }
    }

    /// The SUBSCRIBE packet `id` has been sent.
    pub(super) fn subscribing(&mut self, now: Instant, id: u16) {
        self.subscribing = Some(waiting(now, id));
    }

    /// `presence` is being sent as packet `id`, or without one.
    pub(super) fn presence_sent(&mut self, now: Instant, id: Option<u16>) {
        self.presence = id.map_or(Presence::Done, |id| Presence::Sent(waiting(now, id)));
    }

    /// The outbox's message is being sent as packet `id`.
    pub(super) fn publishing(&mut self, now: Instant, id: u16) {
        self.publishing = Some(waiting(now, id));
    }

    /// Whether something may be published now: everything that was sent before is acknowledged.
    pub(super) fn may_publish(&self) -> bool {
        self.subscribing.is_none()
            && self.publishing.is_none()
            && !matches!(self.presence, Presence::Sent(_))
    }

    /// The packet identifiers that are in use, beside the outbox's.
    pub(super) fn ids(&self) -> [u16; 2] {
        let presence = match self.presence {
            Presence::Sent(waiting) => waiting.id,
            Presence::Due | Presence::Done => 0,
        };
        [self.subscribing.map_or(0, |waiting| waiting.id), presence]
    }

    /// When [`on_time`](Self::on_time) has to be called at the latest.
    pub(super) fn poll_at(&self) -> Instant {
        let presence = match self.presence {
            Presence::Sent(waiting) => Some(waiting),
            Presence::Due | Presence::Done => None,
        };
        [self.subscribing, presence, self.publishing]
            .into_iter()
            .flatten()
            .map(|waiting| waiting.until)
            .fold(self.ping_at(), Instant::min)
    }

    fn ping_at(&self) -> Instant {
        self.ping_until
            .unwrap_or_else(|| self.sent_at.min(self.alive_at) + self.ping_after)
    }

    /// Time has passed. `Ok(true)`: send PINGREQ now.
    pub(super) fn on_time(&mut self, now: Instant) -> Result<bool, MqttError> {
        let late = |waiting: Waiting| now >= waiting.until;
        if self.subscribing.is_some_and(late) {
            return Err(MqttError::NoAnswer(Awaited::Subscribe));
        }
        let presence_late = matches!(self.presence, Presence::Sent(waiting) if late(waiting));
        if presence_late || self.publishing.is_some_and(late) {
            return Err(MqttError::NoAnswer(Awaited::Publish));
        }
        if now < self.ping_at() {
            return Ok(false);
        }
        if self.ping_until.is_some() {
            return Err(MqttError::NoAnswer(Awaited::Ping));
        }
        self.ping_until = Some(now + PING_ANSWER);
        Ok(true)
    }

    /// A packet has arrived.
    pub(super) fn on_packet<M: Mailbox>(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        names: &Names<'_>,
        outbox: &mut Outbox,
        mailbox: &M,
    ) -> Result<Reply, MqttError> {
        self.alive(now);
        match *packet {
            Packet::Publish(publish) => {
                // What arrives on a topic that was not subscribed is acknowledged and ignored.
                let topic = names.inbound(publish.topic);
                if let Some(topic) = topic.filter(|_| publish.qos < 2) {
                    mailbox.received(topic, publish.payload, publish.retain);
                }
                Ok(reply_to(&publish, topic, mailbox))
            }
            Packet::PubAck { id, reason } => {
                self.on_puback(id, reason, outbox, mailbox)?;
                Ok(Reply::Nothing)
            }
            Packet::SubAck { id, codes } => {
                self.on_suback(id, codes)?;
                mailbox.connected(self.session_present);
                Ok(Reply::Nothing)
            }
            Packet::PingResp => Ok(Reply::Nothing),
            Packet::Disconnect(reason) => Err(disconnected(reason)),
            Packet::ConnAck(_) => Err(MqttError::Unexpected(2)),
        }
    }

    /// The start of a message has arrived that is too large to be received.
    pub(super) fn on_oversized<M: Mailbox>(
        &mut self,
        now: Instant,
        publish: &Publish<'_>,
        len: u32,
        names: &Names<'_>,
        mailbox: &M,
    ) -> Reply {
        self.alive(now);
        if let Some(topic) = names.inbound(publish.topic).filter(|_| publish.qos < 2) {
            mailbox.oversized(topic, len, publish.retain);
        }
        reply_to(publish, None, mailbox)
    }

    fn on_puback<M: Mailbox>(
        &mut self,
        id: u16,
        reason: ReasonCode,
        outbox: &mut Outbox,
        mailbox: &M,
    ) -> Result<(), MqttError> {
        if matches!(self.presence, Presence::Sent(waiting) if waiting.id == id) {
            // A broker that refuses it (by its access rights, say) can still update the device.
            self.presence = Presence::Done;
            return Ok(());
        }
        if self.publishing.is_none_or(|waiting| waiting.id != id) {
            return Err(MqttError::UnknownPacketId(id));
        }
        self.publishing = None;
        if let Some(token) = outbox.finish() {
            if reason.is_error() {
                mailbox.refused(token, &PublishError::Refused(reason));
            } else {
                mailbox.delivered(token);
            }
        }
        Ok(())
    }

    fn on_suback(&mut self, id: u16, codes: &[u8]) -> Result<(), MqttError> {
        if self.subscribing.is_none_or(|waiting| waiting.id != id) {
            return Err(MqttError::UnknownPacketId(id));
        }
        if codes.len() != Inbound::ALL.len() {
            return Err(MqttError::Malformed);
        }
        for (topic, code) in Inbound::ALL.into_iter().zip(codes) {
            match *code {
                0 | 1 => {}
                code if code >= 0x80 => {
                    return Err(MqttError::SubscribeRefused(topic, ReasonCode(code)));
                }
                // More than was asked for.
                _ => return Err(MqttError::Malformed),
            }
        }
        self.subscribing = None;
        Ok(())
    }
}

/// How a message is answered. `topic`: it was passed on, and the mailbox waits for the acknowledgement.
fn reply_to<M: Mailbox>(publish: &Publish<'_>, topic: Option<Inbound>, mailbox: &M) -> Reply {
    match publish.qos {
        0 => {
            // Nothing to acknowledge, and nothing that would be repeated.
            if let Some(topic) = topic {
                mailbox.acknowledged(topic);
            }
            Reply::Nothing
        }
        1 => Reply::PubAck(publish.id, topic),
        _ => Reply::RefuseQos2(publish.id),
    }
}

fn waiting(now: Instant, id: u16) -> Waiting {
    Waiting {
        id,
        until: now + ANSWER,
    }
}

/// Why the connection ends, if the broker has sent DISCONNECT with `reason`.
pub(super) fn disconnected(reason: ReasonCode) -> MqttError {
    if reason == ReasonCode::SESSION_TAKEN_OVER {
        MqttError::TakenOver
    } else {
        MqttError::Disconnected(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        let connack = ConnAck {
            session_present: false,
            reason: ReasonCode(0),
            receive_maximum: 1,
            maximum_qos: 2,
            retain_available: true,
            maximum_packet_size: u32::MAX,
            keep_alive: None,
        };
        Flow::new(Instant::ZERO, &connack, 60)
    }

    #[test]
    fn a_device_that_sends_all_the_time_pings_a_broker_that_says_nothing() {
        let mut flow = flow();
        for secs in 1..45 {
            let now = Instant::from_secs(secs);
            flow.sent(now);
            assert_eq!(flow.on_time(now), Ok(false));
        }
        assert_eq!(flow.poll_at(), Instant::from_secs(45));
        assert_eq!(flow.on_time(Instant::from_secs(45)), Ok(true));
        flow.sent(Instant::from_secs(59));
        assert_eq!(
            flow.on_time(Instant::from_secs(60)),
            Err(MqttError::NoAnswer(Awaited::Ping))
        );
    }

    #[test]
    fn a_device_that_only_listens_pings_too() {
        let mut flow = flow();
        for secs in 1..45 {
            flow.alive(Instant::from_secs(secs));
        }
        assert_eq!(flow.on_time(Instant::from_secs(45)), Ok(true));
    }

    #[test]
    fn nothing_is_late_while_a_packet_is_being_dropped() {
        let mut flow = flow();
        flow.subscribing(Instant::ZERO, 1);
        flow.presence_sent(Instant::ZERO, Some(2));
        flow.publishing(Instant::ZERO, 3);
        for secs in 1..100 {
            flow.sent(Instant::from_secs(secs));
            flow.skipped(Instant::from_secs(secs));
        }
        let end = Instant::from_secs(99) + ANSWER;
        assert_eq!(flow.on_time(end - Duration::from_micros(1)), Ok(false));
        assert_eq!(
            flow.on_time(end),
            Err(MqttError::NoAnswer(Awaited::Subscribe))
        );
        flow.subscribing = None;
        flow.presence = Presence::Done;
        assert_eq!(
            flow.on_time(end),
            Err(MqttError::NoAnswer(Awaited::Publish))
        );
    }
}
