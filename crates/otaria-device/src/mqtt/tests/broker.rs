//! A broker that is a script, and a mailbox that writes down what it is told.

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::task::Poll;
use std::boxed::Box;
use std::collections::VecDeque;
use std::format;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec::Vec;

use otaria_wire::topics::Topics;

use super::super::*;
use crate::board::{Clock, Duration, Instant};
use crate::net::testing::{Dial, FakeClock, FakeNet, Peer, Wire, run};

pub(super) const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];
pub(super) const CONNACK_PRESENT: &[u8] = &[0x20, 3, 1, 0, 0];

/// A packet from the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FromDevice {
    pub(super) first: u8,
    pub(super) body: Vec<u8>,
}

impl FromDevice {
    pub(super) fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// Topic, identifier and payload of a PUBLISH packet.
    pub(super) fn publish(&self) -> (String, Option<u16>, Vec<u8>) {
        assert_eq!(self.kind(), 3);
        let topic_len = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        let (topic, rest) = self.body[2..].split_at(topic_len);
        let topic = String::from_utf8(topic.to_vec()).unwrap();
        let (id, rest) = if self.first & 6 == 0 {
            (None, rest)
        } else {
            (Some(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..])
        };
        assert_eq!(rest[0], 0, "no properties");
        (topic, id, rest[1..].to_vec())
    }

    fn describe(&self) -> String {
        let id = || u16::from_be_bytes([self.body[0], self.body[1]]);
        match self.kind() {
            1 => "CONNECT".to_string(),
            3 => {
                let (topic, id, payload) = self.publish();
                let leaf = topic.rsplit('/').next().unwrap();
                let dup = if self.first & 8 == 0 { "" } else { " dup" };
                let retain = if self.first & 1 == 0 { "" } else { " retain" };
                let qos = if id.is_some() { " qos1" } else { "" };
                format!(
                    "PUBLISH {leaf}{qos}{retain}{dup} {}",
                    String::from_utf8_lossy(&payload)
                )
            }
            4 => format!("PUBACK {}", id()),
            5 => format!("PUBREC {} {:#x}", id(), self.body[2]),
            8 => "SUBSCRIBE".to_string(),
            12 => "PINGREQ".to_string(),
            14 => format!("DISCONNECT {:#x}", self.body.first().unwrap_or(&0)),
            kind => format!("packet of type {kind}"),
        }
    }
}

type Script = Box<dyn FnMut(&FromDevice, &mut Wire) -> bool>;

/// One connection of a broker: what the script does not answer is answered as a good broker does.
pub(super) struct Broker {
    bytes: Vec<u8>,
    script: Script,
    log: Log,
}

pub(super) type Log = Rc<RefCell<Vec<(Instant, String)>>>;

/// What a good broker answers.
pub(super) fn polite(packet: &FromDevice, wire: &mut Wire) {
    match packet.kind() {
        1 => wire.send(CONNACK),
        3 => {
            if let (_, Some(id), _) = packet.publish() {
                wire.send(&[0x40, 2, (id >> 8) as u8, id as u8]);
            }
        }
        8 => wire.send(&[0x90, 6, packet.body[0], packet.body[1], 0, 1, 1, 1]),
        12 => wire.send(&[0xD0, 0]),
        _ => {}
    }
}

impl Peer for Broker {
    fn received(&mut self, bytes: &[u8], wire: &mut Wire) {
        self.bytes.extend_from_slice(bytes);
        while let Some((packet, len)) = split(&self.bytes) {
            self.bytes.drain(..len);
            self.log
                .borrow_mut()
                .push((wire.now(), format!("> {}", packet.describe())));
            if !(self.script)(&packet, wire) {
                polite(&packet, wire);
            }
        }
    }
}

fn split(bytes: &[u8]) -> Option<(FromDevice, usize)> {
    let mut remaining = 0;
    for (i, byte) in bytes.get(1..)?.iter().enumerate() {
        remaining |= usize::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            let body = bytes.get(i + 2..i + 2 + remaining)?.to_vec();
            let first = bytes[0];
            return Some((FromDevice { first, body }, i + 2 + remaining));
        }
    }
    None
}

/// A message from the broker, QoS 1 unless `id` is 0.
pub(super) fn message(leaf: &str, id: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let topic = format!("otaria/v1/d1/{leaf}");
    let mut body = Vec::new();
    body.extend((topic.len() as u16).to_be_bytes());
    body.extend(topic.as_bytes());
    let mut first = 0x30 | flags;
    if id != 0 {
        first |= 2;
        body.extend(id.to_be_bytes());
    }
    body.push(0);
    body.extend(payload);
    packet(first, &body)
}

/// A packet with its remaining length.
pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = std::vec![first];
    let mut rest = body.len();
    loop {
        let byte = (rest & 0x7F) as u8;
        rest >>= 7;
        if rest == 0 {
            packet.push(byte);
            break;
        }
        packet.push(byte | 0x80);
    }
    packet.extend(body);
    packet
}

/// A mailbox that logs.
#[derive(Default)]
pub(super) struct TestBox {
    pub(super) log: Log,
    pub(super) clock: Rc<FakeClock>,
    pub(super) out: RefCell<VecDeque<(Outgoing, Vec<u8>)>>,
    pub(super) last_error: RefCell<Option<MqttError>>,
}

impl TestBox {
    fn note(&self, line: String) {
        self.log.borrow_mut().push((self.clock.now(), line));
    }

    /// Queues a message.
    pub(super) fn put(&self, topic: Outbound, qos1: bool, token: u32, payload: &[u8]) {
        let message = Outgoing {
            topic,
            len: payload.len(),
            qos1,
            retain: topic == Outbound::State,
            token,
        };
        self.out.borrow_mut().push_back((message, payload.to_vec()));
    }
}

impl Mailbox for TestBox {
    fn connected(&self, session_present: bool) {
        let how = if session_present { "resumed" } else { "new" };
        self.note(format!("connected {how}"));
    }

    fn disconnected(&self, why: &MqttError) {
        *self.last_error.borrow_mut() = Some(*why);
        assert!(!why.to_string().is_empty());
        self.note(format!("disconnected {why:?}"));
    }

    fn received(&self, topic: Inbound, payload: &[u8], retained: bool) {
        let retained = if retained { " retained" } else { "" };
        let payload = String::from_utf8_lossy(payload);
        self.note(format!("received {topic}{retained} {payload}"));
    }

    fn oversized(&self, topic: Inbound, len: u32, retained: bool) {
        let retained = if retained { " retained" } else { "" };
        self.note(format!("oversized {topic}{retained} {len}"));
    }

    fn acknowledged(&self, topic: Inbound) {
        self.note(format!("acknowledged {topic}"));
    }

    fn take(&self, buf: &mut [u8]) -> Option<Outgoing> {
        let (message, payload) = self.out.borrow_mut().pop_front()?;
        if let Some(buf) = buf.get_mut(..payload.len()) {
            buf.copy_from_slice(&payload);
        }
        Some(message)
    }

    fn delivered(&self, token: u32) {
        self.note(format!("delivered {token}"));
    }

    fn refused(&self, token: u32, why: &PublishError) {
        self.note(format!("refused {token}: {why}"));
    }

    fn outgoing_ready(&self) -> impl Future<Output = ()> {
        poll_fn(|_| {
            if self.out.borrow().is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
    }
}

/// A device, and the brokers that it will meet.
pub(super) struct Bench {
    pub(super) clock: Rc<FakeClock>,
    pub(super) log: Log,
    pub(super) mailbox: Rc<TestBox>,
    pub(super) topics: Topics,
    dials: Vec<Dial>,
    pub(super) dialed: Vec<Instant>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let clock = Rc::new(FakeClock::default());
        let log = Log::default();
        Self {
            mailbox: Rc::new(TestBox {
                log: log.clone(),
                clock: clock.clone(),
                ..TestBox::default()
            }),
            clock,
            log,
            topics: Topics::new("otaria", "d1").unwrap(),
            dials: Vec::new(),
            dialed: Vec::new(),
        }
    }

    /// The next connection is to a broker that answers with `script`; where that returns `false`, politely.
    pub(super) fn broker(
        mut self,
        script: impl FnMut(&FromDevice, &mut Wire) -> bool + 'static,
    ) -> Self {
        self.dials.push(Dial::open(Broker {
            bytes: Vec::new(),
            script: Box::new(script),
            log: self.log.clone(),
        }));
        self
    }

    /// The next connection is to a broker without fault.
    pub(super) fn good_broker(self) -> Self {
        self.broker(|_, _| false)
    }

    pub(super) fn dial(mut self, dial: Dial) -> Self {
        self.dials.push(dial);
        self
    }

    /// Runs the session for `secs` seconds and returns what happened.
    pub(super) fn run(&mut self, secs: u64) -> Vec<String> {
        let topics = self.topics.clone();
        let mut session = MqttSession::new(MqttConfig::new("broker", 1883, &topics), 7);
        self.run_session(&mut session, secs)
    }

    pub(super) fn run_session(&mut self, session: &mut MqttSession<'_>, secs: u64) -> Vec<String> {
        let net = FakeNet::new(&self.clock, self.dials.drain(..));
        let limit = self.clock.now() + Duration::from_secs(secs);
        let clock = self.clock.clone();
        let ran = run(&clock, limit, session.run(&net, &*clock, &*self.mailbox));
        assert!(ran.is_none());
        assert_eq!(
            clock.now(),
            limit,
            "the session waits for something that cannot happen"
        );
        self.dialed = net.dialed.borrow().iter().map(|(at, _)| *at).collect();
        self.lines()
    }

    /// What has happened since the last time.
    pub(super) fn lines(&self) -> Vec<String> {
        self.log
            .borrow_mut()
            .drain(..)
            .map(|(_, line)| line)
            .collect()
    }
}

impl Bench {
    /// Polls the session `polls` times and drops it.
    pub(super) fn run_polls(&mut self, session: &mut MqttSession<'_>, polls: usize) {
        let rest = self.dials.split_off(1);
        let net = FakeNet::new(&self.clock, core::mem::replace(&mut self.dials, rest));
        let mut left = polls;
        let clock = self.clock.clone();
        let mut running = core::pin::pin!(session.run(&net, &*clock, &*self.mailbox));
        let limited = poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            assert!(running.as_mut().poll(cx).is_pending());
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        run(&clock, Instant::MAX, limited);
    }
}
