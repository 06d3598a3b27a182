//! The reason codes of MQTT 5 (OASIS MQTT 5.0, 2.4).

use core::fmt;

/// A reason code that the broker gave. Unknown codes are kept, so that they can be reported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReasonCode(pub u8);

impl ReasonCode {
    /// The broker speaks another version of MQTT.
    pub const UNSUPPORTED_PROTOCOL_VERSION: Self = Self(0x84);
    /// The broker does not accept this client id.
    pub const CLIENT_IDENTIFIER_NOT_VALID: Self = Self(0x85);
    /// The user name or the password is wrong.
    pub const BAD_USER_NAME_OR_PASSWORD: Self = Self(0x86);
    /// The broker does not allow this device to connect, or not to use this topic.
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    /// The broker is there, but not ready.
    pub const SERVER_UNAVAILABLE: Self = Self(0x88);
    /// Another connection with the same client id has taken the session.
    pub const SESSION_TAKEN_OVER: Self = Self(0x8E);
    /// The broker keeps no retained messages.
    pub const RETAIN_NOT_SUPPORTED: Self = Self(0x9A);
    /// The broker does not do the QoS that was asked for.
    pub const QOS_NOT_SUPPORTED: Self = Self(0x9B);

    pub(super) const MALFORMED_PACKET: Self = Self(0x81);
    pub(super) const PROTOCOL_ERROR: Self = Self(0x82);
    pub(super) const IMPLEMENTATION_SPECIFIC: Self = Self(0x83);
    pub(super) const TOPIC_ALIAS_INVALID: Self = Self(0x94);
    pub(super) const PACKET_TOO_LARGE: Self = Self(0x95);

    /// Whether the code means that something failed.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// The standard's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            0x00 => "success",
            0x01 => "granted QoS 1",
            0x02 => "granted QoS 2",
            0x04 => "disconnect with Will message",
            0x10 => "no matching subscribers",
            0x80 => "unspecified error",
            0x81 => "malformed packet",
            0x82 => "protocol error",
            0x83 => "implementation specific error",
            0x84 => "unsupported protocol version",
            0x85 => "client identifier not valid",
            0x86 => "bad user name or password",
            0x87 => "not authorized",
            0x88 => "server unavailable",
            0x89 => "server busy",
            0x8A => "banned",
            0x8B => "server shutting down",
            0x8C => "bad authentication method",
            0x8D => "keep alive timeout",
            0x8E => "session taken over",
            0x8F => "topic filter invalid",
            0x90 => "topic name invalid",
            0x91 => "packet identifier in use",
            0x92 => "packet identifier not found",
            0x93 => "receive maximum exceeded",
            0x94 => "topic alias invalid",
            0x95 => "packet too large",
            0x96 => "message rate too high",
            0x97 => "quota exceeded",
            0x98 => "administrative action",
            0x99 => "payload format invalid",
            0x9A => "retain not supported",
            0x9B => "QoS not supported",
            0x9C => "use another server",
            0x9D => "server moved",
            0x9E => "shared subscriptions not supported",
            0x9F => "connection rate exceeded",
            0xA0 => "maximum connect time",
            0xA1 => "subscription identifiers not supported",
            0xA2 => "wildcard subscriptions not supported",
            _ => "unknown reason",
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.name(), self.0)
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReasonCode({self})")
    }
}
