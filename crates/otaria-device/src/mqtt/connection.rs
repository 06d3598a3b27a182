//! One connection to the broker: the only place here that reads, writes and waits.

use core::convert::Infallible;
use core::future::pending;

use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use embedded_io_async::{ErrorKind, Read, Write};

use super::codec::encode::{self, Filter, PUBLISH_HEAD_MAX, PublishHead, Will};
use super::codec::{ConnAck, Oversized, Packet, Received, Receiver};
use super::flow::{ANSWER, Flow, Presence, Reply, disconnected};
use super::mailbox::{Inbound, Mailbox};
use super::names::Names;
use super::outbox::{Again, Allowed, Outbox};
use super::{Awaited, MqttConfig, MqttError, MqttSession, ReasonCode};
use crate::board::{Clock, Duration, Instant};
use crate::net::{Connect, Link, LinkError, Target};

/// For name look-up, TCP and TLS together.
const OPENING: Duration = Duration::from_secs(15);
/// For a packet to be taken over by the network.
const SENDING: Duration = Duration::from_secs(20);
/// For the last packet of a connection that is given up.
const CLOSING: Duration = Duration::from_secs(2);
/// Seconds that the broker keeps the session after the connection is gone.
const SESSION_EXPIRY: u32 = 3_600;
/// How many messages the broker may send before it has to wait for acknowledgements.
const RECEIVE_MAXIMUM: u16 = 4;

const ONLINE: &[u8] = br#"{"online":true}"#;
const OFFLINE: &[u8] = br#"{"online":false}"#;

/// An open connection that the broker has accepted.
pub(super) struct Connection<'s, S, K, M> {
    link: Link<'s, S, K>,
    clock: &'s K,
    mailbox: &'s M,
    names: Names<'s>,
    receiver: &'s mut Receiver,
    outbox: &'s mut Outbox,
    flow: Flow,
}

/// What to do about the packet that was received last.
enum Step {
    /// There is none that is whole.
    Idle,
    Reply(Reply),
}

impl<'s, S: Read + Write, K: Clock, M: Mailbox> Connection<'s, S, K, M> {
    /// Connects to the broker, and sends the subscriptions when it has accepted the session.
    pub(super) async fn open<C: Connect<Connection<'s> = S>>(
        session: &'s mut MqttSession<'_>,
        connector: &'s C,
        clock: &'s K,
        mailbox: &'s M,
    ) -> Result<Self, MqttError> {
        let MqttSession {
            config,
            will,
            outbox,
            receiver,
            ..
        } = session;
        let config: &'s MqttConfig<'_> = config;
        let names = Names(config.topics);
        let target = Target {
            host: config.host,
            port: config.port,
            tls: config.tls,
        };
        let deadline = clock.now() + OPENING;
        let stream = connector.connect(clock, deadline, &target).await?;
        let mut link = Link::new(stream, clock);

        let keep_alive = match config.keep_alive {
            0 => MqttConfig::KEEP_ALIVE,
            secs => secs,
        };
        let connect = encode::Connect {
            client_id: config.topics.device().as_str(),
            keep_alive,
            session_expiry: SESSION_EXPIRY,
            receive_maximum: RECEIVE_MAXIMUM,
            user_name: config.user_name,
            password: config.password,
            will: Will {
                topic: &names.presence(),
                payload: OFFLINE,
                qos1: will.qos1,
                retain: will.retain,
            },
        };
        let packet =
            encode::connect(receiver.idle_buffer(), &connect).ok_or(MqttError::Settings)?;
        link.send(packet, clock.now() + SENDING).await?;

        let connack = await_connack(&mut link, receiver, clock.now() + ANSWER).await;
        let connack = match connack {
            Ok(connack) if connack.reason.is_error() => match connack.reason {
                ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => return Err(MqttError::NotV5),
                reason => return Err(MqttError::Refused(reason)),
            },
            Ok(connack) => connack,
            Err(why) => {
                say_goodbye(&mut link, clock, &why).await;
                return Err(why);
            }
        };
        let flow = Flow::new(clock.now(), &connack, keep_alive);
        will.qos1 = flow.qos1;
        will.retain = flow.retain;
        if !connack.session_present {
            outbox.session_lost();
        }
        Ok(Self {
            link,
            clock,
            mailbox,
            names,
            receiver,
            outbox,
            flow,
        })
    }

    /// Carries messages until the connection fails.
    pub(super) async fn serve(&mut self) -> MqttError {
        match self.converse().await {
            Ok(never) => match never {},
            Err(why) => why,
        }
    }

    /// Tells the broker why this device hangs up, if that is the broker's fault.
    pub(super) async fn close(&mut self, why: &MqttError) {
        say_goodbye(&mut self.link, self.clock, why).await;
    }

    async fn converse(&mut self) -> Result<Infallible, MqttError> {
        self.subscribe().await?;
        loop {
            // Each round does one of each: so neither a flood from the broker nor a full mailbox keeps the other waiting.
            if self.flow.on_time(self.clock.now())? {
                self.send_now(&encode::PINGREQ).await?;
            }
            let more = self.publish().await?;
            match self.receive()? {
                Step::Reply(reply) => {
                    self.reply(reply).await?;
                    yield_now().await;
                }
                Step::Idle if more => yield_now().await,
                Step::Idle => self.wait().await?,
            }
        }
    }

    async fn subscribe(&mut self) -> Result<(), MqttError> {
        // Three names of 128 bytes at most, and what is around them.
        let mut buf = [0; 448];
        let id = self.outbox.fresh_id(self.flow.ids());
        let names = self.names.filters();
        let filters = names.each_ref().map(|(topic, name)| Filter {
            topic: name,
            retain_as_published: *topic == Inbound::Command,
        });
        let packet = encode::subscribe(&mut buf, id, &filters)
            .filter(|packet| packet.len() as u64 <= u64::from(self.flow.packet_max))
            .ok_or(MqttError::Settings)?;
        self.flow.subscribing(self.clock.now(), id);
        self.link.send(packet, self.clock.now() + SENDING).await?;
        self.flow.sent(self.clock.now());
        Ok(())
    }

    /// Sends the next message, if there is one and it may be sent. `true`: come again soon.
    async fn publish(&mut self) -> Result<bool, MqttError> {
        if !self.flow.may_publish() {
            return Ok(false);
        }
        // What an earlier connection left comes first; it is older.
        if self.flow.presence == Presence::Due && !self.outbox.is_kept() {
            self.publish_presence().await?;
            return Ok(true);
        }
        let allowed = Allowed {
            packet_max: self.flow.packet_max,
            qos1: self.flow.qos1,
            retain: self.flow.retain,
        };
        let ready = match self
            .outbox
            .next(&self.names, &allowed, self.flow.ids(), self.mailbox)
        {
            Ok(Some(ready)) => ready,
            Ok(None) => return Ok(false),
            Err(Again) => return Ok(true),
        };
        let now = self.clock.now();
        if let Some(id) = ready.id {
            self.flow.publishing(now, id);
        }
        self.link.send(ready.bytes, now + SENDING).await?;
        self.flow.sent(self.clock.now());
        if let Some(token) = ready.delivers {
            self.outbox.finish();
            self.mailbox.delivered(token);
        }
        Ok(true)
    }

    async fn publish_presence(&mut self) -> Result<(), MqttError> {
        let id = self
            .flow
            .qos1
            .then(|| self.outbox.fresh_id(self.flow.ids()));
        let topic = self.names.presence();
        let head = PublishHead {
            topic: &topic,
            retain: self.flow.retain,
            id,
            dup: false,
        };
        let mut buf = [0; PUBLISH_HEAD_MAX + ONLINE.len()];
        let (room, payload) = buf
            .split_at_mut_checked(PUBLISH_HEAD_MAX)
            .ok_or(MqttError::Settings)?;
        payload.copy_from_slice(ONLINE);
        let packet = encode::publish_head(room, &head, ONLINE.len())
            .and_then(|len| buf.get(PUBLISH_HEAD_MAX - len..))
            .filter(|packet| packet.len() as u64 <= u64::from(self.flow.packet_max))
            .ok_or(MqttError::Settings)?;
        let now = self.clock.now();
        self.flow.presence_sent(now, id);
        self.link.send(packet, now + SENDING).await?;
        self.flow.sent(self.clock.now());
        Ok(())
    }

    /// Deals with the next packet that is whole.
    fn receive(&mut self) -> Result<Step, MqttError> {
        let now = self.clock.now();
        let Some((received, total)) = self.receiver.next()? else {
            return Ok(Step::Idle);
        };
        let reply = match received {
            Received::Packet(packet) => {
                self.flow
                    .on_packet(now, &packet, &self.names, self.outbox, self.mailbox)?
            }
            Received::Oversized(Oversized { publish, len }) => {
                self.flow
                    .on_oversized(now, &publish, len, &self.names, self.mailbox)
            }
        };
        self.receiver.consume(total);
        Ok(Step::Reply(reply))
    }

    async fn reply(&mut self, reply: Reply) -> Result<(), MqttError> {
        match reply {
            Reply::Nothing => {}
            Reply::PubAck(id, topic) => {
                self.send_now(&encode::puback(id)).await?;
                if let Some(topic) = topic {
                    self.mailbox.acknowledged(topic);
                }
            }
            Reply::RefuseQos2(id) => {
                // With this the broker forgets the message; hanging up alone would bring it again and again.
                let refusal = encode::pubrec(id, ReasonCode::IMPLEMENTATION_SPECIFIC);
                self.send_now(&refusal).await?;
                return Err(MqttError::Qos2);
            }
        }
        Ok(())
    }

    /// Waits until bytes come in, something is to be sent, or time is up for something.
    async fn wait(&mut self) -> Result<(), MqttError> {
        let may_publish = self.flow.may_publish();
        let mailbox = self.mailbox;
        let outgoing = async {
            if may_publish {
                mailbox.outgoing_ready().await;
            } else {
                pending::<()>().await;
            }
        };
        let until = self.flow.poll_at();
        let skipping = self.receiver.is_skipping();
        let reading = self.link.read(self.receiver.space(), until);
        match select(reading, outgoing).await {
            Either::First(Ok(0)) => Err(LinkError::Closed.into()),
            Either::First(Ok(n)) => {
                self.receiver.filled(n);
                if skipping {
                    self.flow.skipped(self.clock.now());
                }
                Ok(())
            }
            Either::First(Err(LinkError::Timeout)) | Either::Second(()) => Ok(()),
            Either::First(Err(error)) => Err(error.into()),
        }
    }

    async fn send_now(&mut self, packet: &[u8]) -> Result<(), MqttError> {
        self.link.send(packet, self.clock.now() + SENDING).await?;
        self.flow.sent(self.clock.now());
        Ok(())
    }
}

/// Waits for the broker's answer to CONNECT.
async fn await_connack<S: Read + Write, K: Clock>(
    link: &mut Link<'_, S, K>,
    receiver: &mut Receiver,
    deadline: Instant,
) -> Result<ConnAck, MqttError> {
    loop {
        if let Some((received, total)) = receiver.next()? {
            let connack = match received {
                Received::Packet(Packet::ConnAck(connack)) => connack,
                Received::Packet(Packet::Disconnect(reason)) => return Err(disconnected(reason)),
                Received::Packet(packet) => return Err(MqttError::Unexpected(packet.kind())),
                Received::Oversized(_) => return Err(MqttError::Unexpected(3)),
            };
            receiver.consume(total);
            return Ok(connack);
        }
        match link.read(receiver.space(), deadline).await {
            Ok(0) | Err(LinkError::Broken(ErrorKind::ConnectionReset)) => {
                return Err(MqttError::ClosedBeforeConnack);
            }
            Ok(n) => receiver.filled(n),
            Err(LinkError::Timeout) => return Err(MqttError::NoAnswer(Awaited::Connect)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends DISCONNECT, if the broker has to be told something. That may fail: the connection is given up anyway.
async fn say_goodbye<S: Read + Write, K: Clock>(
    link: &mut Link<'_, S, K>,
    clock: &K,
    why: &MqttError,
) {
    if let Some(reason) = why.told_to_the_broker() {
        let packet = encode::disconnect(reason);
        let _ = link.send(&packet, clock.now() + CLOSING).await;
    }
}
