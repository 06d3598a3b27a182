//! An MQTT 5 broker for virtual time: retained messages, persistent sessions, Last Will, QoS 0 and 1.
//!
//! The packets are encoded and decoded by `rumqttc`'s codec, so that the device's own codec is checked against another one.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use embedded_io_async::{Read, Write};
use rumqttc::v5::mqttbytes::QoS;

use super::{Bell, broker_session};
use crate::world::Handle;

/// One application message that passed through the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When it came in, in virtual time.
    pub at: Duration,
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Whether the sender asked for it to be retained.
    pub retain: bool,
    /// Whether the sender marked it as a repetition.
    pub dup: bool,
    /// Whether it came with QoS 1.
    pub acknowledged: bool,
}

impl Message {
    /// The payload as text, for tests that look into JSON.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap_or("(no UTF-8)")
    }
}

/// What the broker keeps for a client between its connections.
#[derive(Default)]
pub(super) struct Session {
    pub(super) filters: Vec<String>,
    /// Messages that wait for the client, or for its PUBACK.
    pub(super) queue: VecDeque<Queued>,
    pub(super) next_packet_id: u16,
    /// The connection that serves this session now; a higher number takes it over.
    pub(super) connection: Option<u64>,
    pub(super) bell: Rc<Bell>,
}

/// A message on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) retain: bool,
    /// The packet identifier under which it was sent at least once.
    pub(super) sent_as: Option<u16>,
    /// Sent in the present connection.
    pub(super) in_flight: bool,
}

/// What a broker keeps in its store: retained messages, sessions and what waits in them. Plain data, that another broker in
/// another world or thread can go on with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Store {
    retained: BTreeMap<String, Vec<u8>>,
    sessions: BTreeMap<String, StoredSession>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct StoredSession {
    filters: Vec<String>,
    queue: VecDeque<Queued>,
    next_packet_id: u16,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) retained: BTreeMap<String, Vec<u8>>,
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) log: Vec<Message>,
    pub(super) next_connection: u64,
    /// Counts up when all connections are to be dropped.
    pub(super) generation: u64,
}

/// The broker. Clones are handles to the same one.
#[derive(Clone)]
pub struct Broker {
    world: Handle,
    pub(super) state: Rc<RefCell<State>>,
}

impl Broker {
    /// A broker without clients or messages.
    pub fn new(world: Handle) -> Self {
        Broker {
            world,
            state: Rc::default(),
        }
    }

    /// A broker that goes on with the store of another one.
    pub fn with_store(world: Handle, store: &Store) -> Self {
        let sessions = store.sessions.iter().map(|(client, stored)| {
            let session = Session {
                filters: stored.filters.clone(),
                queue: stored.queue.clone(),
                next_packet_id: stored.next_packet_id,
                ..Session::default()
            };
            (client.clone(), session)
        });
        let state = State {
            retained: store.retained.clone(),
            sessions: sessions.collect(),
            ..State::default()
        };
        Broker {
            world,
            state: Rc::new(RefCell::new(state)),
        }
    }

    /// What the broker would still know after a restart.
    pub fn store(&self) -> Store {
        let state = self.state.borrow();
        let sessions = state.sessions.iter().map(|(client, session)| {
            let stored = StoredSession {
                filters: session.filters.clone(),
                queue: session.queue.clone(),
                next_packet_id: session.next_packet_id,
            };
            (client.clone(), stored)
        });
        Store {
            retained: state.retained.clone(),
            sessions: sessions.collect(),
        }
    }

    /// Serves one connection until it ends. The caller accepts connections and spawns this for each.
    pub async fn serve<C: Read + Write>(&self, connection: C) {
        broker_session::serve(self, connection).await;
    }

    /// Publishes as an operator would. An empty retained payload takes the retained message away.
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, retain: bool) {
        self.route(topic, payload.as_ref(), retain);
    }

    /// What came in from clients so far, in order.
    pub fn log(&self) -> Vec<Message> {
        self.state.borrow().log.clone()
    }

    /// How many messages came in from clients so far.
    pub fn message_count(&self) -> usize {
        self.state.borrow().log.len()
    }

    /// What came in from clients on topics that end with `suffix`, in order.
    pub fn received(&self, suffix: &str) -> Vec<Message> {
        let state = self.state.borrow();
        state
            .log
            .iter()
            .filter(|message| message.topic.ends_with(suffix))
            .cloned()
            .collect()
    }

    /// The retained message of a topic.
    pub fn retained(&self, topic: &str) -> Option<Vec<u8>> {
        self.state.borrow().retained.get(topic).cloned()
    }

    /// Drops all connections. Retained messages survive, as they do on a broker with a store; sessions survive only if asked for.
    pub fn restart(&self, keep_sessions: bool) {
        let mut state = self.state.borrow_mut();
        state.generation += 1;
        for session in state.sessions.values_mut() {
            session.connection = None;
            session.bell.signal(());
        }
        if !keep_sessions {
            state.sessions.clear();
        }
    }

    /// Whether a client of this name is connected now.
    pub fn is_connected(&self, client: &str) -> bool {
        let state = self.state.borrow();
        state
            .sessions
            .get(client)
            .is_some_and(|session| session.connection.is_some())
    }

    pub(super) fn now(&self) -> Duration {
        self.world.now()
    }

    pub(super) fn world(&self) -> &Handle {
        &self.world
    }

    /// Keeps a message if it is retained, and queues it for everyone who subscribed.
    pub(super) fn route(&self, topic: &str, payload: &[u8], retain: bool) {
        let mut state = self.state.borrow_mut();
        if retain {
            match payload.is_empty() {
                true => state.retained.remove(topic),
                false => state.retained.insert(topic.to_owned(), payload.to_owned()),
            };
        }
        for session in state.sessions.values_mut() {
            if session.filters.iter().any(|filter| matches(filter, topic)) {
                session.enqueue(topic, payload, false);
            }
        }
    }

    /// A message from a client.
    pub(super) fn accept(&self, topic: &str, payload: &[u8], qos: QoS, retain: bool, dup: bool) {
        self.state.borrow_mut().log.push(Message {
            at: self.now(),
            topic: topic.to_owned(),
            payload: payload.to_owned(),
            retain,
            dup,
            acknowledged: qos == QoS::AtLeastOnce,
        });
        self.route(topic, payload, retain);
    }
}

impl Session {
    pub(super) fn enqueue(&mut self, topic: &str, payload: &[u8], retain: bool) {
        self.queue.push_back(Queued {
            topic: topic.to_owned(),
            payload: payload.to_owned(),
            retain,
            sent_as: None,
            in_flight: false,
        });
        self.bell.signal(());
    }

    pub(super) fn take_packet_id(&mut self) -> u16 {
        self.next_packet_id = self.next_packet_id.checked_add(1).unwrap_or(1);
        self.next_packet_id
    }
}

/// MQTT 5, section 4.7: `+` stands for one level, `#` for the rest.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(found)) if level == found => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn filters_match_whole_levels() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/+/c", "a/b/c", true),
            ("a/#", "a/b/c", true),
            ("a/#", "a", true),
            ("#", "a/b", true),
            ("a/b/c", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
