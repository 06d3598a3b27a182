//! What the session and the rest of the device say to each other.

use core::fmt;
use core::future::Future;

use otaria_wire::topics::Topic;

use super::{MqttError, ReasonCode};

/// A topic that the session subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// `desired`: the wanted firmware.
    Desired,
    /// `cmd`: a command.
    Command,
    /// `keys`: a key epoch record.
    Keys,
}

impl Inbound {
    /// All of them, in the order in which they are subscribed: who signs packages is known before one is wanted.
    pub const ALL: [Self; 3] = [Self::Keys, Self::Desired, Self::Command];

    pub(super) const fn topic(self) -> Topic {
        match self {
            Self::Desired => Topic::Desired,
            Self::Command => Topic::Cmd,
            Self::Keys => Topic::Keys,
        }
    }
}

impl fmt::Display for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.topic().leaf())
    }
}

/// A topic that the device reports on. `presence` is not among them: it is the session's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// `state`
    State,
    /// `progress`
    Progress,
    /// `event`
    Event,
    /// `log`
    Log,
}

impl Outbound {
    pub(super) const fn topic(self) -> Topic {
        match self {
            Self::State => Topic::State,
            Self::Progress => Topic::Progress,
            Self::Event => Topic::Event,
            Self::Log => Topic::Log,
        }
    }
}

/// A message that [`Mailbox::take`] has put into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where it goes.
    pub topic: Outbound,
    /// Bytes of the payload, from the buffer's start.
    pub len: usize,
    /// `true`: QoS 1, kept and sent again until the broker has acknowledged it. `false`: QoS 0, sent once.
    pub qos1: bool,
    /// Whether the broker shall keep it for those who subscribe later.
    pub retain: bool,
    /// Comes back in [`Mailbox::delivered`] or [`Mailbox::refused`]. The session gives it no meaning.
    pub token: u32,
}

/// Why a message will never be delivered. Sending the same bytes again would end the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// It is larger than the broker takes; the number is the broker's limit for a whole packet, in bytes.
    TooLarge(u32),
    /// The broker refused it (access rights or a quota, say).
    Refused(ReasonCode),
    /// [`Outgoing::len`] was larger than the buffer.
    BadLength,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => {
                write!(
                    f,
                    "larger than the {limit} bytes that the broker takes in a packet"
                )
            }
            Self::Refused(reason) => write!(f, "the broker refused it: {reason}"),
            Self::BadLength => f.write_str("its length is larger than the buffer"),
        }
    }
}

impl core::error::Error for PublishError {}

/// The device's end of the session: it takes what arrives and hands out what is to be sent.
///
/// Everything is called from within [`MqttSession::run`](super::MqttSession::run), by one task, and must return soon.
pub trait Mailbox {
    /// The broker has accepted the session and granted all subscriptions. `session_present`: it still knew this device from
    /// before, so what was sent to the device meanwhile is coming.
    ///
    /// A broker may deliver first messages before this.
    fn connected(&self, session_present: bool);

    /// The connection is gone, or could not be made. The session goes on trying by itself.
    fn disconnected(&self, why: &MqttError);

    /// A message has arrived. It is acknowledged to the broker when this returns: whatever has to survive a loss of power must
    /// be in flash by then.
    ///
    /// `retained`: on [`Inbound::Command`], the sender has set the retain flag, also if the command comes at once. On the others,
    /// the broker had stored the message and delivers it because the device has subscribed; what is published while the device is
    /// connected is not `retained`, even if the broker stores it.
    ///
    /// The broker repeats a message if its acknowledgement got lost; then this is called again.
    fn received(&self, topic: Inbound, payload: &[u8], retained: bool);

    /// A message has arrived that is too large to be received: `len` bytes of payload. It is acknowledged (else the broker would
    /// repeat it for ever) and dropped.
    fn oversized(&self, topic: Inbound, len: u32, retained: bool);

    /// The acknowledgement of the last [`received`](Self::received) message has been handed to the network and flushed: the
    /// broker will not repeat it. Not called if the connection broke before that.
    fn acknowledged(&self, topic: Inbound);

    /// Writes the next message to be sent into `buf` ([`PAYLOAD_MAX`](super::PAYLOAD_MAX) bytes); `None` if there is none.
    ///
    /// Asked only while no QoS 1 message is on its way.
    fn take(&self, buf: &mut [u8]) -> Option<Outgoing>;

    /// The broker has acknowledged a QoS 1 message. QoS 0 messages end without a word.
    fn delivered(&self, token: u32);

    /// A message will never be delivered. The session has dropped it.
    fn refused(&self, token: u32, why: &PublishError);

    /// Completes when [`take`](Self::take) may have something. It may complete for nothing, and it is dropped and called again
    /// at any time.
    fn outgoing_ready(&self) -> impl Future<Output = ()>;
}

impl<M: Mailbox + ?Sized> Mailbox for &M {
    fn connected(&self, session_present: bool) {
        (**self).connected(session_present);
    }

    fn disconnected(&self, why: &MqttError) {
        (**self).disconnected(why);
    }

    fn received(&self, topic: Inbound, payload: &[u8], retained: bool) {
        (**self).received(topic, payload, retained);
    }

    fn oversized(&self, topic: Inbound, len: u32, retained: bool) {
        (**self).oversized(topic, len, retained);
    }

    fn acknowledged(&self, topic: Inbound) {
        (**self).acknowledged(topic);
    }

    fn take(&self, buf: &mut [u8]) -> Option<Outgoing> {
        (**self).take(buf)
    }

    fn delivered(&self, token: u32) {
        (**self).delivered(token);
    }

    fn refused(&self, token: u32, why: &PublishError) {
        (**self).refused(token, why);
    }

    fn outgoing_ready(&self) -> impl Future<Output = ()> {
        (**self).outgoing_ready()
    }
}
