//! Why a session ended.

use core::fmt;

use super::{Inbound, ReasonCode};
use crate::net::{ConnectError, LinkError};

/// Why the connection to the broker ended, or could not be made.
///
/// None of these is final: the session tries again, after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MqttError {
    /// No connection to the broker's host.
    Connect(ConnectError),
    /// The connection broke.
    Link(LinkError),
    /// The broker closed the connection instead of answering CONNECT. Brokers that speak only MQTT 3.1.1 do that, and so do
    /// ports that are not MQTT at all (or are TLS).
    ClosedBeforeConnack,
    /// The broker did not answer in time.
    NoAnswer(Awaited),
    /// The broker speaks MQTT 3.1 or 3.1.1, but not 5.0.
    NotV5,
    /// The broker refused the connection.
    Refused(ReasonCode),
    /// The broker ended the connection.
    Disconnected(ReasonCode),
    /// Another client with this device's id has taken over the session.
    TakenOver,
    /// The broker refused a subscription.
    SubscribeRefused(Inbound, ReasonCode),
    /// The broker sent bytes that are not MQTT 5.
    Malformed,
    /// The broker sent a packet larger than this device announced to take, and of a kind that cannot be skipped.
    TooLarge,
    /// The broker sent a packet that has no place there; the number is MQTT's packet type (2 CONNACK, 3 PUBLISH, ...).
    Unexpected(u8),
    /// The broker acknowledged something that was not sent.
    UnknownPacketId(u16),
    /// The broker sent a message with QoS 2, although only QoS 1 was subscribed. The message was refused.
    Qos2,
    /// The broker used a topic alias, although the device announced that it takes none.
    TopicAlias,
    /// The settings do not fit into a CONNECT or SUBSCRIBE packet, or into the broker's limit for packets.
    Settings,
}

/// The answer that did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// To the connection request (CONNACK).
    Connect,
    /// To the subscriptions (SUBACK).
    Subscribe,
    /// To a published message (PUBACK).
    Publish,
    /// To a ping, or anything else: the broker has gone silent.
    Ping,
}

impl MqttError {
    /// The reason that goes into DISCONNECT, if the connection ends for something that the broker did wrong.
    pub(super) fn told_to_the_broker(&self) -> Option<ReasonCode> {
        match self {
            Self::Malformed => Some(ReasonCode::MALFORMED_PACKET),
            Self::TooLarge => Some(ReasonCode::PACKET_TOO_LARGE),
            Self::TopicAlias => Some(ReasonCode::TOPIC_ALIAS_INVALID),
            Self::Unexpected(_) | Self::UnknownPacketId(_) | Self::Qos2 => {
                Some(ReasonCode::PROTOCOL_ERROR)
            }
            // It is gone, or never was there, or knows by itself.
            Self::Connect(_)
            | Self::Link(_)
            | Self::ClosedBeforeConnack
            | Self::NoAnswer(_)
            | Self::NotV5
            | Self::Refused(_)
            | Self::Disconnected(_)
            | Self::TakenOver
            | Self::SubscribeRefused(..)
            | Self::Settings => None,
        }
    }
}

impl fmt::Display for MqttError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Link(error) => error.fmt(f),
            Self::ClosedBeforeConnack => f.write_str(
                "the broker closed the connection without an answer: is this an MQTT 5 broker and its plain port?",
            ),
            Self::NoAnswer(Awaited::Connect) => {
                f.write_str("nothing on that port answers an MQTT connection request")
            }
            Self::NoAnswer(Awaited::Subscribe) => {
                f.write_str("the broker did not answer the subscriptions")
            }
            Self::NoAnswer(Awaited::Publish) => {
                f.write_str("the broker did not acknowledge a message")
            }
            Self::NoAnswer(Awaited::Ping) => f.write_str("the broker has gone silent"),
            Self::NotV5 => f.write_str(
                "the broker does not speak MQTT 5.0: use Mosquitto 1.6, EMQX 4, HiveMQ 4, VerneMQ 1.6 or later, or `otaria serve`",
            ),
            Self::Refused(reason) => write!(f, "the broker refused the connection: {reason}"),
            Self::Disconnected(reason) => write!(f, "the broker ended the connection: {reason}"),
            Self::TakenOver => f.write_str("another client connected with this device's id"),
            Self::SubscribeRefused(topic, reason) => {
                write!(f, "the broker refused the subscription to '{topic}': {reason}")
            }
            Self::Malformed => f.write_str("the broker sent bytes that are not MQTT 5"),
            Self::TooLarge => f.write_str("the broker sent a packet larger than agreed"),
            Self::Unexpected(kind) => {
                write!(f, "the broker sent a packet (type {kind}) that has no place there")
            }
            Self::UnknownPacketId(id) => {
                write!(f, "the broker acknowledged packet {id}, which was not sent")
            }
            Self::Qos2 => f.write_str("the broker sent a message with QoS 2, not subscribed"),
            Self::TopicAlias => f.write_str("the broker used a topic alias, not announced"),
            Self::Settings => f.write_str(
                "user name, password or topic prefix are too long for a packet to the broker",
            ),
        }
    }
}

impl core::error::Error for MqttError {}

impl From<ConnectError> for MqttError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl From<LinkError> for MqttError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}
