//! MQTT 5.0 packets, as far as a device needs them (OASIS Standard, 7 March 2019; section numbers in this folder are its).
//!
//! A codec of its own, because no crate was found that needs neither a heap nor `unsafe` and survives a hostile broker:
//! rust-mqtt 0.6 keeps received strings borrowed for the life of the client, so that its buffer can be used again only by an
//! `unsafe` reset; it panics on a user property whose length exceeds the packet; it cannot acknowledge what does not fit.
//!
//! No I/O in here. [`Receiver`] collects bytes until a packet is whole; [`Packet`] is what it says, checked; the functions in
//! [`encode`] write packets into buffers.

pub(super) mod encode;
mod fields;
mod packet;
mod properties;
mod receiver;

pub(super) use packet::{ConnAck, Limits, Packet, Publish};
pub(super) use receiver::{Oversized, Received, Receiver};

use super::{MqttError, ReasonCode};

/// The largest packet that this device takes, header and all. Announced in CONNECT.
pub(super) const PACKET_MAX: usize = 2048;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodecError {
    /// Not MQTT 5.
    Malformed,
    /// Larger than [`PACKET_MAX`] and not a message whose payload could be skipped.
    TooLarge,
    /// A topic alias, although none was announced.
    TopicAlias,
    /// A CONNACK in the form of MQTT 3.1.1; the number is its return code.
    V3ConnAck(u8),
    /// A whole packet of a kind that a broker does not send, or not to this device.
    Unexpected(u8),
}

impl From<CodecError> for MqttError {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Malformed => Self::Malformed,
            CodecError::TooLarge => Self::TooLarge,
            CodecError::TopicAlias => Self::TopicAlias,
            CodecError::Unexpected(kind) => Self::Unexpected(kind),
            // MQTT 3.1.1, 3.2.2.3: 1 unacceptable protocol version, 2 identifier rejected, 3 unavailable, 4 bad user name or
            // password, 5 not authorized. A broker that says 0 there has accepted a 3.1.1 session that nobody asked for.
            CodecError::V3ConnAck(code) => match code {
                2 => Self::Refused(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID),
                3 => Self::Refused(ReasonCode::SERVER_UNAVAILABLE),
                4 => Self::Refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD),
                5 => Self::Refused(ReasonCode::NOT_AUTHORIZED),
                _ => Self::NotV5,
            },
        }
    }
}
