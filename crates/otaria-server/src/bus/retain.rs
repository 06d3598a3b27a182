//! One retained message, and the broker's answer: how a wish is declared without a server.

use std::sync::Arc;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{DisconnectReasonCode, Packet, PubAck, PubAckReason};
use rumqttc::v5::{AsyncClient, Event};

use super::link::{LinkError, options, tunnel, why};
use super::{BrokerUrl, Connector, Way};
use crate::config::BrokerTls;
use crate::trust::PkiError;

/// Why a message is not at the broker.
#[derive(Debug, thiserror::Error)]
pub enum RetainError {
    /// The files for TLS.
    #[error(transparent)]
    Tls(#[from] PkiError),
    /// The broker cannot be reached, or the connection ended before its answer.
    #[error("cannot publish at {0}: {1}")]
    Connection(BrokerUrl, String),
    /// The broker ended the connection and said why.
    #[error("{0} disconnected: {1:?}")]
    Disconnected(BrokerUrl, DisconnectReasonCode),
    /// The broker did not take the message.
    #[error(
        "{broker} refuses the wish ({reason:?}): check that {} may publish on {topic}", who(.broker)
    )]
    Refused {
        /// The broker.
        broker: BrokerUrl,
        /// What it said.
        reason: PubAckReason,
        /// Where it should have been.
        topic: String,
    },
}

fn who(broker: &BrokerUrl) -> String {
    match &broker.login {
        Some((user, _)) => format!("the user '{user}'"),
        None => "a client without a log-in".to_owned(),
    }
}

/// Publishes a retained message and waits for its acknowledgement, without a limit of time.
///
/// # Errors
/// See [`RetainError`].
pub async fn retain(
    broker: &BrokerUrl,
    tls: &BrokerTls,
    topic: &str,
    payload: String,
) -> Result<(), RetainError> {
    let cannot = |error: LinkError| RetainError::Connection(broker.clone(), error.to_string());
    let tls = match broker.tls {
        true => Some(Arc::new(Connector::new(broker, tls)?)),
        false => None,
    };
    let way = Way {
        broker: broker.clone(),
        tls,
        client_id: format!("otaria-publish-{}", std::process::id()),
        will: None,
    };
    let tunnel = tunnel(&way).map_err(cannot)?;
    let mut options = options(&way, tunnel.as_ref());
    // Nobody comes back to this session.
    options
        .set_clean_start(true)
        .set_session_expiry_interval(None);
    let (client, mut events) = AsyncClient::new(options, 4);
    client
        .try_publish(topic, QoS::AtLeastOnce, true, payload)
        .map_err(|_| cannot(LinkError::Full))?;
    loop {
        let polled = events.poll().await;
        // Mosquitto ends a connection on which it has refused something: its answer may lie behind the end.
        for event in polled.iter().chain(&events.state.events) {
            match event {
                Event::Incoming(Packet::PubAck(answer)) => return accepted(broker, topic, answer),
                Event::Incoming(Packet::Disconnect(why)) => {
                    let broker = broker.clone();
                    return Err(RetainError::Disconnected(broker, why.reason_code));
                }
                Event::Incoming(_) | Event::Outgoing(_) => {}
            }
        }
        if let Err(error) = polled {
            return Err(cannot(why(tunnel.as_ref(), error)));
        }
    }
}

fn accepted(broker: &BrokerUrl, topic: &str, answer: &PubAck) -> Result<(), RetainError> {
    match answer.reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
        reason => Err(RetainError::Refused {
            broker: broker.clone(),
            reason,
            topic: topic.to_owned(),
        }),
    }
}
