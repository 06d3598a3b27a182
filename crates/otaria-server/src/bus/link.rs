//! One connection to the broker, from CONNECT to its end.
//!
//! Every connection has its own rumqttc client and event loop: nothing that the library keeps over a reconnect (packet
//! ids, unsent requests, collisions) can mix with what the outbox sends again. The event loop runs in a task of its
//! own, since its `poll` must not be cancelled half way.

use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, Filter, Packet, PubAckReason, Publish, PublishProperties,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Way;
use super::tunnel::Tunnel;
use crate::store::OutboxRow;

/// How long the broker keeps the server's session, and what came for it, while the server is down: a day.
const SESSION_EXPIRY_S: u32 = 24 * 60 * 60;
/// How many messages the broker sends before it wants one acknowledged.
const RECEIVE_MAXIMUM: u16 = 512;
/// Largest message that is taken. Devices send at most a few hundred bytes.
const MAX_PACKET_LEN: u32 = 64 * 1024;
/// More than the acknowledgements and publishes that can be under way at once.
const REQUESTS: usize = 4096;
/// Messages that wait for the broker's acknowledgement; the bus hands over fewer. rumqttc sets 216 bytes aside for each, and for
/// 65,535 of them unless it is told.
const INFLIGHT: u16 = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What happened on the connection.
#[derive(Debug)]
pub(crate) enum Happened {
    /// The connection is up.
    Up {
        /// Whether the broker has kept our session.
        session_present: bool,
    },
    /// The broker has answered the subscription; the reasons of those refused.
    Subscribed(Vec<SubscribeReasonCode>),
    /// A message has come.
    Message(Publish),
    /// The oldest publish that was handed over got this packet id.
    Sent(u16),
    /// The broker has answered a publish.
    Acknowledged {
        /// Its packet id.
        packet: u16,
        /// Whether the broker took it.
        reason: PubAckReason,
    },
}

/// Why the connection is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the broker speaks no MQTT 5; version 5.0 is needed")]
    NotV5,
    #[error("the broker refuses the connection: {0:?}")]
    Refused(ConnectReturnCode),
    #[error("{0}")]
    Connection(ConnectionError),
    #[error("too much is under way")]
    Full,
    #[error("the connection's task has ended")]
    Gone,
    #[error("TLS: {0}")]
    Tls(String),
}

/// A connection.
pub(crate) struct Link {
    client: AsyncClient,
    happened: mpsc::Receiver<Result<Happened, LinkError>>,
    task: JoinHandle<()>,
}

impl Link {
    /// Starts to connect.
    pub(crate) fn connect(way: &Way) -> Result<Self, LinkError> {
        let tunnel = tunnel(way)?;
        let (client, events) = AsyncClient::new(options(way, tunnel.as_ref()), REQUESTS);
        let (tell, happened) = mpsc::channel(1024);
        let task = tokio::spawn(poll(events, tell, tunnel));
        Ok(Self {
            client,
            happened,
            task,
        })
    }

    /// The next thing that happens. Can be cancelled.
    pub(crate) async fn next(&mut self) -> Result<Happened, LinkError> {
        self.happened.recv().await.unwrap_or(Err(LinkError::Gone))
    }

    /// What has happened already and was not taken yet.
    pub(crate) fn next_now(&mut self) -> Option<Result<Happened, LinkError>> {
        self.happened.try_recv().ok()
    }

    pub(crate) fn subscribe(&self, filters: Vec<Filter>) -> Result<(), LinkError> {
        self.client
            .try_subscribe_many(filters)
            .map_err(|_| LinkError::Full)
    }

    /// Hands a message over; [`Happened::Sent`] follows in the order of these calls.
    pub(crate) fn publish(
        &self,
        row: &OutboxRow,
        expires_in_s: Option<u32>,
    ) -> Result<(), LinkError> {
        let message = &row.message;
        let properties = PublishProperties {
            message_expiry_interval: expires_in_s,
            ..PublishProperties::default()
        };
        self.client
            .try_publish_with_properties(
                message.topic.clone(),
                QoS::AtLeastOnce,
                message.retain,
                message.payload.clone(),
                properties,
            )
            .map_err(|_| LinkError::Full)
    }

    /// Tells the broker that a message is on disk.
    pub(crate) fn acknowledge(&self, message: &Publish) -> Result<(), LinkError> {
        if message.qos == QoS::AtMostOnce {
            return Ok(());
        }
        self.client.try_ack(message).map_err(|_| LinkError::Full)
    }

    /// Ends the connection in good order; the broker keeps the session.
    pub(crate) async fn disconnect(mut self) {
        if self.client.try_disconnect().is_ok() {
            let end = async { while self.happened.recv().await.is_some() {} };
            // A broker that does not read any more must not keep the server from ending.
            let _ = tokio::time::timeout(Duration::from_secs(1), end).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(unix)]
pub(super) fn tunnel(way: &Way) -> Result<Option<Tunnel>, LinkError> {
    let open = |to| Tunnel::open(to).map_err(|error| LinkError::Tls(error.to_string()));
    way.tls.clone().map(open).transpose()
}

#[cfg(not(unix))]
pub(super) fn tunnel(way: &Way) -> Result<Option<Tunnel>, LinkError> {
    match way.tls {
        None => Ok(None),
        Some(_) => Err(LinkError::Tls(
            "mqtts:// works on Unix alone; use mqtt:// over a network that you trust".to_owned(),
        )),
    }
}

pub(super) fn options(way: &Way, tunnel: Option<&Tunnel>) -> MqttOptions {
    let broker = &way.broker;
    let mut options = MqttOptions::new(&way.client_id, broker.host.clone(), broker.port);
    #[cfg(unix)]
    if let Some(tunnel) = tunnel {
        let socket = tunnel.socket().display().to_string();
        options = MqttOptions::new(&way.client_id, socket, broker.port);
        options.set_transport(rumqttc::Transport::Unix);
    }
    #[cfg(not(unix))]
    let _ = tunnel;
    if let Some((user, password)) = &broker.login {
        options.set_credentials(user, password);
    }
    if let Some(will) = &way.will {
        options.set_last_will(will.clone());
    }
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_start(false)
        .set_session_expiry_interval(Some(SESSION_EXPIRY_S))
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_outgoing_inflight_upper_limit(INFLIGHT)
        .set_max_packet_size(Some(MAX_PACKET_LEN))
        .set_manual_acks(true)
        .set_connection_timeout(10);
    options
}

/// Runs the event loop until the connection ends or nobody listens any more.
async fn poll(
    mut events: EventLoop,
    tell: mpsc::Sender<Result<Happened, LinkError>>,
    tunnel: Option<Tunnel>,
) {
    loop {
        let happened = match events.poll().await {
            Ok(event) => match translate(event) {
                Some(happened) => Ok(happened),
                None => continue,
            },
            Err(error) => Err(why(tunnel.as_ref(), error)),
        };
        let over = happened.is_err();
        if over {
            // What came just before the end, such as the refusal for which Mosquitto ends a connection.
            for happened in events.state.events.drain(..).filter_map(translate) {
                if tell.send(Ok(happened)).await.is_err() {
                    return;
                }
            }
        }
        if tell.send(happened).await.is_err() || over {
            return;
        }
    }
}

fn translate(event: Event) -> Option<Happened> {
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => Some(Happened::Up {
            session_present: ack.session_present,
        }),
        Event::Incoming(Packet::Publish(publish)) => Some(Happened::Message(publish)),
        Event::Incoming(Packet::PubAck(ack)) => Some(Happened::Acknowledged {
            packet: ack.pkid,
            reason: ack.reason,
        }),
        Event::Incoming(Packet::SubAck(ack)) => Some(Happened::Subscribed(
            ack.return_codes
                .into_iter()
                .filter(|code| !matches!(code, SubscribeReasonCode::Success(_)))
                .collect(),
        )),
        Event::Outgoing(Outgoing::Publish(packet)) => Some(Happened::Sent(packet)),
        Event::Incoming(_) | Event::Outgoing(_) => None,
    }
}

/// Why a connection has ended: there may have been none to speak MQTT on.
pub(super) fn why(tunnel: Option<&Tunnel>, error: ConnectionError) -> LinkError {
    match tunnel.and_then(Tunnel::failure) {
        Some(why) => LinkError::Tls(why.to_owned()),
        None => end(error),
    }
}

fn end(error: ConnectionError) -> LinkError {
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::RefusedProtocolVersion
            | ConnectReturnCode::UnsupportedProtocolVersion,
        ) => LinkError::NotV5,
        ConnectionError::ConnectionRefused(code) => LinkError::Refused(code),
        other => LinkError::Connection(other),
    }
}
