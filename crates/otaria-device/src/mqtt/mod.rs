//! The session with the MQTT broker: it connects, stays connected, and carries messages between broker and device.
//!
//! MQTT 5.0. The device's id is the client id; the broker keeps the session for an hour, so that what is sent to the device
//! while it restarts is not lost. `presence` is this module's own: `{"online":true}` on connecting, `{"online":false}` as Last
//! Will, both retained. Everything else comes from and goes to a [`Mailbox`].
//!
//! | the broker | ends in |
//! |---|---|
//! | refuses, redirects, or speaks only MQTT 3 | a named [`MqttError`], a pause, a new attempt |
//! | falls silent at any moment | the same: every wait has its limit |
//! | sends garbage, or packets at the wrong moment | DISCONNECT with the reason, then the same |
//! | sends a message too large to receive | the message is acknowledged, reported and dropped |
//! | sends without pause | messages out and pings still go, one packet in between |
//! | accepts, but drops what it accepted | every QoS 1 message is kept until its PUBACK, also over reconnects |
//! | lets another client take the session | a pause of minutes |
//!
//! The pause doubles from one second to a minute, with jitter; only a connection that lasted brings it down again.

mod codec;
mod connection;
mod conversation;
mod error;
mod flow;
mod mailbox;
mod outbox;
mod reason;
mod retry;
#[cfg(test)]
mod tests;

use otaria_wire::topics::Topics;

use crate::board::Clock;
use crate::net::Connect;

pub use error::{Awaited, MqttError};
pub use mailbox::{Inbound, Mailbox, Outbound, Outgoing, PublishError};
pub use outbox::PAYLOAD_MAX;
pub use reason::ReasonCode;

use codec::Receiver;
use outbox::Outbox;
use retry::Retry;

/// Where the broker is and how to present oneself to it.
#[derive(Clone, Copy, Debug)]
pub struct MqttConfig<'a> {
    /// Name or address of the broker.
    pub host: &'a str,
    /// Its port: usually 1883, or 8883 with TLS.
    pub port: u16,
    /// Whether to use TLS.
    pub tls: bool,
    /// User name, if the broker asks for one.
    pub user_name: Option<&'a str>,
    /// Password, if the broker asks for one.
    pub password: Option<&'a [u8]>,
    /// The device's topics, and with them its id.
    pub topics: &'a Topics,
    /// Seconds of silence after which either side gives the other up, roughly. 0 means [`MqttConfig::KEEP_ALIVE`]. A broker
    /// may prescribe less.
    pub keep_alive: u16,
}

impl<'a> MqttConfig<'a> {
    /// The keep alive unless configured otherwise, in seconds.
    pub const KEEP_ALIVE: u16 = 60;

    /// A broker without TLS, user name and password.
    #[must_use]
    pub const fn new(host: &'a str, port: u16, topics: &'a Topics) -> Self {
        Self {
            host,
            port,
            tls: false,
            user_name: None,
            password: None,
            topics,
            keep_alive: Self::KEEP_ALIVE,
        }
    }

    const fn keep_alive(&self) -> u16 {
        match self.keep_alive {
            0 => Self::KEEP_ALIVE,
            secs => secs,
        }
    }
}

/// What the broker is known to take; tried until it says otherwise.
#[derive(Clone, Copy, Debug)]
struct WillForm {
    qos1: bool,
    retain: bool,
}

/// The session with the broker. It owns all buffers; see [`run`](Self::run).
pub struct MqttSession<'a> {
    config: MqttConfig<'a>,
    retry: Retry,
    will: WillForm,
    outbox: Outbox,
    receiver: Receiver,
}

impl<'a> MqttSession<'a> {
    /// A session that has not been connected yet. `seed` (from the board's random numbers) spreads the reconnects of a fleet.
    #[must_use]
    pub const fn new(config: MqttConfig<'a>, seed: u64) -> Self {
        Self {
            config,
            retry: Retry::new(seed),
            will: WillForm {
                qos1: true,
                retain: true,
            },
            outbox: Outbox::new(),
            receiver: Receiver::new(),
        }
    }

    /// Connects, and connects again whenever the connection is gone, for ever.
    ///
    /// May be dropped at any time, which closes the connection without a word (the broker publishes the Last Will, and
    /// [`Mailbox::disconnected`] is not called). Run again, it connects at once, and sends what had not been acknowledged.
    pub async fn run<C: Connect, K: Clock, M: Mailbox>(
        &mut self,
        connector: &C,
        clock: &K,
        mailbox: &M,
    ) -> ! {
        loop {
            let (why, lasted) = connection::run(self, connector, clock, mailbox).await;
            match why {
                MqttError::Refused(ReasonCode::RETAIN_NOT_SUPPORTED) => self.will.retain = false,
                MqttError::Refused(ReasonCode::QOS_NOT_SUPPORTED) => self.will.qos1 = false,
                _ => {}
            }
            mailbox.disconnected(&why);
            let pause = self.retry.pause(&why, lasted);
            clock.sleep_until(clock.now() + pause).await;
        }
    }
}
