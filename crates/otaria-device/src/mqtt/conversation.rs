//! What is said on one connection, without I/O: what to send next, and what to do about what arrives.

use core::future::{Future, pending};

use embedded_io_async::ErrorKind;
use otaria_wire::topics::Topics;

use super::codec::encode::{self, SHORT_MAX};
use super::codec::{ConnAck, Oversized, Packet, Publish, Received};
use super::flow::{Flow, Stage};
use super::mailbox::{Inbound, Mailbox, PublishError};
use super::outbox::Next;
use super::{Awaited, MqttError, MqttSession, ReasonCode};
use crate::board::{Duration, Instant};
use crate::net::LinkError;

/// One kind of work. None waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Whatever time brings: answers that are late, pings.
    Time,
    /// The next packet of this device's own.
    Speak,
    /// The next packet of the broker's.
    Listen,
}

impl Duty {
    pub(super) const ALL: [Self; 3] = [Self::Time, Self::Speak, Self::Listen];
}

/// What a duty asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Todo<'b> {
    /// Nothing, until time, broker or mailbox bring something.
    Nothing,
    /// Something was done, and there may be more of it.
    ComeAgain,
    /// Send this, and then call [`Conversation::sent`].
    Send(&'b [u8], Then),
}

/// What follows when a packet has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing.
    GoOn,
    /// The mailbox is told that this topic's message is acknowledged.
    Acknowledged(Option<Inbound>),
    /// The outbox's message needs no answer.
    Delivered,
    /// It was a refusal of a QoS 2 message, and the end.
    GiveUp,
}

/// A packet that has been dealt with, save for its answer.
enum Answer {
    None,
    PubAck(u16, Option<Inbound>),
    RefuseQos2(u16),
}

/// The conversation on one connection.
pub(super) struct Conversation<'s, 'a, M> {
    session: &'s mut MqttSession<'a>,
    mailbox: &'s M,
    flow: Flow,
    /// Where the packets without a payload are written.
    short: [u8; SHORT_MAX],
}

impl<'s, 'a, M: Mailbox> Conversation<'s, 'a, M> {
    /// The connection is open, and nothing has been said.
    pub(super) fn new(session: &'s mut MqttSession<'a>, mailbox: &'s M, now: Instant) -> Self {
        Self {
            session,
            mailbox,
            flow: Flow::new(now),
            short: [0; SHORT_MAX],
        }
    }

    /// How long the broker has accepted the session, if it ever did.
    pub(super) fn lasted(&self, now: Instant) -> Option<Duration> {
        self.flow.up_since().map(|since| now - since)
    }

    pub(super) fn perform(&mut self, duty: Duty, now: Instant) -> Result<Todo<'_>, MqttError> {
        match duty {
            Duty::Time => Ok(if self.flow.on_time(now)? {
                Todo::Send(&encode::PINGREQ, Then::GoOn)
            } else {
                Todo::Nothing
            }),
            Duty::Speak if !self.flow.may_speak() => Ok(Todo::Nothing),
            Duty::Speak => self.speak(),
            Duty::Listen => self.listen(now),
        }
    }

    /// The packet that [`perform`](Self::perform) returned has been sent.
    pub(super) fn sent(&mut self, then: Then, now: Instant) -> Result<(), MqttError> {
        self.flow.sent(now);
        self.follow(then)
    }

    fn follow(&mut self, then: Then) -> Result<(), MqttError> {
        match then {
            Then::GoOn | Then::Acknowledged(None) => {}
            Then::Acknowledged(Some(topic)) => self.mailbox.acknowledged(topic),
            Then::Delivered => {
                if let Some(token) = self.session.outbox.finish() {
                    self.mailbox.delivered(token);
                }
            }
            Then::GiveUp => return Err(MqttError::Qos2),
        }
        Ok(())
    }

    /// What comes next when everything that was said before is answered.
    fn speak(&mut self) -> Result<Todo<'_>, MqttError> {
        let session = &mut *self.session;
        let topics = session.config.topics;
        let (packet, awaited, then) = match self.flow.stage() {
            Stage::Opened => {
                let buf = session.receiver.idle_buffer();
                let packet = encode::connect(buf, &session.config, session.will);
                (packet, Some((Awaited::Connect, 0)), Then::GoOn)
            }
            Stage::Accepted { .. } => {
                let id = session.outbox.fresh_id();
                let packet = encode::subscribe(&mut self.short, topics, id)
                    .filter(|packet| packet.len() <= self.flow.limits().packet_max as usize);
                (packet, Some((Awaited::Subscribe, id)), Then::GoOn)
            }
            Stage::Subscribed => {
                let limits = self.flow.limits();
                match session.outbox.next(topics, limits, self.mailbox)? {
                    Next::Nothing => return Ok(Todo::Nothing),
                    Next::Dropped => return Ok(Todo::ComeAgain),
                    Next::Packet {
                        bytes,
                        id,
                        finishes,
                    } => (
                        Some(bytes),
                        id.map(|id| (Awaited::Publish, id)),
                        if finishes {
                            Then::Delivered
                        } else {
                            Then::GoOn
                        },
                    ),
                }
            }
        };
        if let Some((what, id)) = awaited {
            self.flow.wait_for(what, id);
        }
        let packet = packet.ok_or(MqttError::Settings)?;
        Ok(Todo::Send(packet, then))
    }

    /// Deals with the next packet that is whole.
    fn listen(&mut self, now: Instant) -> Result<Todo<'_>, MqttError> {
        let Some((received, total)) = self.session.receiver.next()? else {
            return Ok(Todo::Nothing);
        };
        self.flow.alive(now);
        let opened = matches!(self.flow.stage(), Stage::Opened);
        let mut answer = Answer::None;
        match received {
            Received::Packet(Packet::Disconnect(reason)) => return Err(disconnected(reason)),
            Received::Packet(Packet::ConnAck(connack)) if opened => {
                refused(&connack)?;
                let session = &mut *self.session;
                session.will.qos1 = connack.limits.qos1;
                session.will.retain = connack.limits.retain;
                session.outbox.connected(connack.session_present);
                self.flow
                    .accepted(&connack, session.config.keep_alive(), now);
            }
            Received::Packet(packet) if opened => {
                return Err(MqttError::Unexpected(packet.kind()));
            }
            Received::Oversized(_) if opened => return Err(MqttError::Unexpected(3)),
            Received::Packet(Packet::ConnAck(_)) => return Err(MqttError::Unexpected(2)),
            Received::Packet(Packet::Publish(publish)) => {
                let topics = self.session.config.topics;
                answer = pass_on(self.mailbox, topics, &publish, None);
            }
            Received::Oversized(Oversized { publish, len }) => {
                let topics = self.session.config.topics;
                answer = pass_on(self.mailbox, topics, &publish, Some(len));
            }
            Received::Packet(Packet::PubAck { id, reason }) => {
                self.flow.answered(Awaited::Publish, id)?;
                match self.session.outbox.finish() {
                    Some(token) if reason.is_error() => {
                        let why = PublishError::Refused(reason);
                        self.mailbox.refused(token, &why);
                    }
                    Some(token) => self.mailbox.delivered(token),
                    // A broker that refuses `presence` (by its access rights, say) can still update the device.
                    None => {}
                }
            }
            Received::Packet(Packet::SubAck { id, codes }) => {
                self.flow.answered(Awaited::Subscribe, id)?;
                granted(codes)?;
                self.mailbox.connected(self.flow.subscribed());
            }
            Received::Packet(Packet::PingResp) => {}
        }
        self.session.receiver.consume(total);
        let (packet, then) = match answer {
            Answer::None => return Ok(Todo::ComeAgain),
            Answer::PubAck(id, topic) => (
                encode::puback(&mut self.short, id),
                Then::Acknowledged(topic),
            ),
            Answer::RefuseQos2(id) => {
                // With this the broker forgets the message; hanging up alone would bring it again and again.
                let reason = ReasonCode::IMPLEMENTATION_SPECIFIC;
                let packet = encode::pubrec(&mut self.short, id, reason);
                (packet, Then::GiveUp)
            }
        };
        let packet = packet.ok_or(MqttError::Settings)?;
        Ok(Todo::Send(packet, then))
    }

    /// When [`perform`](Self::perform) has to be called at the latest, if nothing else happens.
    pub(super) fn poll_at(&self) -> Instant {
        self.flow.poll_at()
    }

    /// Completes when the mailbox has something that may be sent now.
    pub(super) fn outgoing(&self) -> impl Future<Output = ()> + use<'s, 'a, M> {
        let may_speak = self.flow.may_speak();
        let mailbox = self.mailbox;
        async move {
            if may_speak {
                mailbox.outgoing_ready().await;
            } else {
                pending::<()>().await;
            }
        }
    }

    /// Where the next bytes from the broker go.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.session.receiver.space()
    }

    /// `n` bytes have been read into [`space`](Self::space); 0: the broker has closed the connection.
    pub(super) fn filled(&mut self, n: usize, now: Instant) -> Result<(), MqttError> {
        if n == 0 {
            return Err(self.broken(LinkError::Closed));
        }
        let skipping = self.session.receiver.is_skipping();
        self.session.receiver.filled(n);
        if skipping {
            self.flow.skipped(now);
        }
        Ok(())
    }

    /// Why the conversation ends when reading from the broker failed.
    pub(super) fn broken(&self, error: LinkError) -> MqttError {
        match (self.flow.stage(), error) {
            (Stage::Opened, LinkError::Closed | LinkError::Broken(ErrorKind::ConnectionReset)) => {
                MqttError::ClosedBeforeConnack
            }
            (Stage::Opened | Stage::Accepted { .. } | Stage::Subscribed, error) => error.into(),
        }
    }
}

/// Gives a message to the mailbox; of one that is too large to be received, only its length.
///
/// What arrives on a topic that was not subscribed is acknowledged and ignored.
fn pass_on<M: Mailbox>(
    mailbox: &M,
    topics: &Topics,
    publish: &Publish<'_>,
    too_large: Option<u32>,
) -> Answer {
    let retain = publish.retain;
    let mut topic = Inbound::ALL
        .into_iter()
        .find(|topic| topics.name(topic.topic()).as_bytes() == publish.topic)
        .filter(|_| publish.qos < 2);
    match (topic, too_large) {
        (Some(topic), None) => mailbox.received(topic, publish.payload, retain),
        (Some(oversized), Some(len)) => {
            mailbox.oversized(oversized, len, retain);
            topic = None;
        }
        (None, _) => {}
    }
    match (publish.qos, topic) {
        (1, topic) => Answer::PubAck(publish.id, topic),
        (2, _) => Answer::RefuseQos2(publish.id),
        // Nothing to acknowledge, and nothing that would be repeated.
        (_, Some(topic)) => {
            mailbox.acknowledged(topic);
            Answer::None
        }
        (_, None) => Answer::None,
    }
}

/// Whether the broker refuses the session.
fn refused(connack: &ConnAck) -> Result<(), MqttError> {
    match connack.reason {
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => Err(MqttError::NotV5),
        reason if reason.is_error() => Err(MqttError::Refused(reason)),
        _ => Ok(()),
    }
}

/// Whether the broker has granted all subscriptions.
fn granted(codes: &[u8]) -> Result<(), MqttError> {
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
    Ok(())
}

/// Why the connection ends, if the broker has sent DISCONNECT with `reason`.
fn disconnected(reason: ReasonCode) -> MqttError {
    if reason == ReasonCode::SESSION_TAKEN_OVER {
        MqttError::TakenOver
    } else {
        MqttError::Disconnected(reason)
    }
}
