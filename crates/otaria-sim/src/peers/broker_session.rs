//! One connection of a client to the [`Broker`].

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use embassy_futures::select::{Either3, select3};
use embedded_io_async::{Read, Write};
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Filter, LastWill, Packet, PingResp, PubAck, Publish, SubAck,
    SubscribeReasonCode, UnsubAck, UnsubAckReason,
};
use rumqttc::v5::mqttbytes::{Error, QoS};

use super::Bell;
use super::broker::Broker;

const MAX_PACKET: u32 = 64 * 1024;

/// How a connection came to its end: MQTT 5, section 3.1.2.5 says when the will is published.
#[derive(PartialEq, Eq)]
enum End {
    /// DISCONNECT with reason 0: the will is thrown away.
    Goodbye,
    /// Anything else: the will is published.
    Lost,
    /// Another connection serves the session now, or the broker restarts.
    TakenOver,
}

struct Connection<'b, C> {
    broker: &'b Broker,
    stream: C,
    input: BytesMut,
    client: String,
    number: u64,
    keep_alive: Option<Duration>,
    bell: Rc<Bell>,
}

/// Runs a connection from CONNECT to its end.
pub(super) async fn serve<C: Read + Write>(broker: &Broker, stream: C) {
    let mut connection = Connection {
        broker,
        stream,
        input: BytesMut::new(),
        client: String::new(),
        number: 0,
        keep_alive: None,
        bell: Rc::default(),
    };
    let Some((clean_start, expires, will)) = connection.connect().await else {
        return;
    };
    if connection.greet(clean_start).await.is_none() {
        return;
    }
    let end = connection.converse().await;
    if end != End::TakenOver {
        connection.leave(expires);
    }
    if let (End::Lost, Some(will)) = (end, will) {
        let topic = String::from_utf8_lossy(&will.topic).into_owned();
        broker.accept(&topic, &will.message, will.qos, will.retain, false);
    }
}

impl<C: Read + Write> Connection<'_, C> {
    /// The first packet: whether to start clean, whether the session ends with the connection, and the will.
    async fn connect(&mut self) -> Option<(bool, bool, Option<LastWill>)> {
        let Some(Packet::Connect(connect, will, _)) = self.next_packet().await else {
            return None;
        };
        self.client = connect.client_id;
        if connect.keep_alive > 0 {
            // MQTT 5, section 3.1.2.10: one and a half times the keep alive.
            self.keep_alive = Some(Duration::from_millis(u64::from(connect.keep_alive) * 1500));
        }
        let expiry = connect
            .properties
            .and_then(|properties| properties.session_expiry_interval);
        Some((connect.clean_start, expiry.unwrap_or(0) == 0, will))
    }

    /// Takes the session over and answers with CONNACK.
    async fn greet(&mut self, clean_start: bool) -> Option<()> {
        let session_present = {
            let mut state = self.broker.state.borrow_mut();
            state.next_connection += 1;
            self.number = state.next_connection;
            if clean_start && let Some(old) = state.sessions.remove(&self.client) {
                old.bell.signal(());
            }
            let present = state.sessions.contains_key(&self.client);
            let session = state.sessions.entry(self.client.clone()).or_default();
            if session.connection.replace(self.number).is_some() {
                session.bell.signal(());
            }
            session.bell = self.bell.clone();
            for queued in &mut session.queue {
                queued.in_flight = false;
            }
            present
        };
        self.bell.signal(());
        let code = ConnectReturnCode::Success;
        self.send(Packet::ConnAck(ConnAck {
            session_present,
            code,
            properties: None,
        }))
        .await
    }

    async fn converse(&mut self) -> End {
        loop {
            if !self.is_current() {
                return End::TakenOver;
            }
            while let Some(packet) = self.next_queued() {
                if self.send(packet).await.is_none() {
                    return End::Lost;
                }
            }
            match self.decode() {
                Ok(Some(packet)) => match self.handle(packet).await {
                    Some(()) => continue,
                    None => return End::Lost,
                },
                Ok(None) => {}
                Err(end) => return end,
            }
            if let Some(end) = self.wait().await {
                return end;
            }
        }
    }

    /// Waits for bytes, for something to send, or for the keep alive to run out.
    async fn wait(&mut self) -> Option<End> {
        let mut chunk = [0; 2048];
        let silence = async {
            match self.keep_alive {
                Some(limit) => self.broker.world().sleep(limit).await,
                None => core::future::pending().await,
            }
        };
        match select3(self.stream.read(&mut chunk), self.bell.wait(), silence).await {
            Either3::First(Ok(count)) if count > 0 => {
                self.input.extend_from_slice(&chunk[..count]);
                None
            }
            Either3::First(_) | Either3::Third(()) => Some(End::Lost),
            Either3::Second(()) => None,
        }
    }

    async fn handle(&mut self, packet: Packet) -> Option<()> {
        match packet {
            Packet::Publish(publish) => {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                self.broker.accept(
                    &topic,
                    &publish.payload,
                    publish.qos,
                    publish.retain,
                    publish.dup,
                );
                match publish.qos {
                    QoS::AtLeastOnce => {
                        self.send(Packet::PubAck(PubAck::new(publish.pkid, None)))
                            .await
                    }
                    QoS::AtMostOnce | QoS::ExactlyOnce => Some(()),
                }
            }
            Packet::PubAck(ack) => {
                self.with_session(|session| {
                    session
                        .queue
                        .retain(|queued| queued.sent_as != Some(ack.pkid));
                });
                Some(())
            }
            Packet::Subscribe(subscribe) => {
                let codes =
                    vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); subscribe.filters.len()];
                let ack = SubAck {
                    pkid: subscribe.pkid,
                    return_codes: codes,
                    properties: None,
                };
                self.send(Packet::SubAck(ack)).await?;
                self.subscribe(&subscribe.filters);
                Some(())
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.with_session(|session| {
                    session
                        .filters
                        .retain(|filter| !unsubscribe.filters.contains(filter));
                });
                let reasons = vec![UnsubAckReason::Success; unsubscribe.filters.len()];
                let ack = UnsubAck {
                    pkid: unsubscribe.pkid,
                    reasons,
                    properties: None,
                };
                self.send(Packet::UnsubAck(ack)).await
            }
            Packet::PingReq(_) => self.send(Packet::PingResp(PingResp)).await,
            // Anything else is for the other side to send, or QoS 2, which no device of ours uses.
            _ => None,
        }
    }

    fn subscribe(&self, filters: &[Filter]) {
        let mut state = self.broker.state.borrow_mut();
        let retained: Vec<(String, Vec<u8>)> = state
            .retained
            .iter()
            .filter(|(topic, _)| {
                filters
                    .iter()
                    .any(|filter| super::broker::matches(&filter.path, topic))
            })
            .map(|(topic, payload)| (topic.clone(), payload.clone()))
            .collect();
        let Some(session) = state.sessions.get_mut(&self.client) else {
            return;
        };
        for filter in filters {
            if !session.filters.contains(&filter.path) {
                session.filters.push(filter.path.clone());
            }
        }
        for (topic, payload) in retained {
            session.enqueue(&topic, &payload, true);
        }
    }

    /// The next message that was not yet sent in this connection.
    fn next_queued(&self) -> Option<Packet> {
        self.with_session(|session| {
            let index = session.queue.iter().position(|queued| !queued.in_flight)?;
            let fresh = session.take_packet_id();
            let queued = &mut session.queue[index];
            let dup = queued.sent_as.is_some();
            let pkid = *queued.sent_as.get_or_insert(fresh);
            queued.in_flight = true;
            let mut publish = Publish::new(
                queued.topic.clone(),
                QoS::AtLeastOnce,
                queued.payload.clone(),
                None,
            );
            publish.pkid = pkid;
            publish.dup = dup;
            publish.retain = queued.retain;
            Some(Packet::Publish(publish))
        })
        .flatten()
    }

    fn is_current(&self) -> bool {
        self.with_session(|session| session.connection) == Some(Some(self.number))
    }

    fn leave(&self, expires: bool) {
        let mut state = self.broker.state.borrow_mut();
        match expires {
            true => drop(state.sessions.remove(&self.client)),
            false => {
                if let Some(session) = state.sessions.get_mut(&self.client) {
                    session.connection = None;
                }
            }
        }
    }

    fn with_session<T>(&self, act: impl FnOnce(&mut super::broker::Session) -> T) -> Option<T> {
        self.broker
            .state
            .borrow_mut()
            .sessions
            .get_mut(&self.client)
            .map(act)
    }

    /// A whole packet from what has arrived, or `None` if more bytes are needed.
    fn decode(&mut self) -> Result<Option<Packet>, End> {
        const DISCONNECT_WITHOUT_REASON: &[u8] = &[0xE0, 0x00];
        if self.input.starts_with(DISCONNECT_WITHOUT_REASON) {
            return Err(End::Goodbye);
        }
        match Packet::read(&mut self.input, Some(MAX_PACKET)) {
            Ok(Packet::Disconnect(_)) => Err(End::Goodbye),
            Ok(packet) => Ok(Some(packet)),
            Err(Error::InsufficientBytes(_)) => Ok(None),
            Err(_) => Err(End::Lost),
        }
    }

    async fn next_packet(&mut self) -> Option<Packet> {
        loop {
            match self.decode() {
                Ok(Some(packet)) => return Some(packet),
                Ok(None) => {}
                Err(_) => return None,
            }
            let mut chunk = [0; 2048];
            let count = self
                .stream
                .read(&mut chunk)
                .await
                .ok()
                .filter(|count| *count > 0)?;
            self.input.extend_from_slice(&chunk[..count]);
        }
    }

    async fn send(&mut self, packet: Packet) -> Option<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).ok()?;
        self.stream.write_all(&bytes).await.ok()?;
        self.stream.flush().await.ok()
    }
}
