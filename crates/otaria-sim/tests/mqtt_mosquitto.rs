//! The device's MQTT session against Mosquitto, with another client at the other end.

mod servers;

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::task::Poll;
use core::time::Duration;
use std::collections::VecDeque;
use std::fs;
use std::process::Command;

use otaria_device::mqtt::{
    Inbound, Mailbox, MqttConfig, MqttError, MqttSession, Outbound, Outgoing, PublishError,
};
use otaria_device::net::{LinkError, PlainTcp};
use otaria_sim::flash::Busy;
use otaria_sim::real::{RealClock, RealNetwork};
use otaria_wire::topics::Topics;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
use servers::{Server, mosquitto};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// The device's end of the session. What it is told can be awaited.
struct Notes {
    out: RefCell<VecDeque<(Outgoing, Vec<u8>)>>,
    told: mpsc::UnboundedSender<Told>,
    ready: tokio::sync::Notify,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Connected(bool),
    Disconnected(MqttError),
    Received(Inbound, String, bool),
    Oversized(u32),
    Acknowledged(Inbound),
    Delivered(u32),
    Refused(u32, PublishError),
}

impl Notes {
    fn new() -> (Notes, mpsc::UnboundedReceiver<Told>) {
        let (told, telling) = mpsc::unbounded_channel();
        let notes = Notes {
            out: RefCell::default(),
            told,
            ready: tokio::sync::Notify::new(),
        };
        (notes, telling)
    }

    fn put(&self, topic: Outbound, qos1: bool, token: u32, payload: impl AsRef<[u8]>) {
        let payload = payload.as_ref().to_vec();
        let message = Outgoing {
            topic,
            len: payload.len(),
            qos1,
            retain: topic == Outbound::State,
            token,
        };
        self.out.borrow_mut().push_back((message, payload));
        self.ready.notify_one();
    }

    fn tell(&self, told: Told) {
        // Nobody may be listening any more.
        let _ = self.told.send(told);
    }
}

impl Mailbox for Notes {
    fn connected(&self, session_present: bool) {
        self.tell(Told::Connected(session_present));
    }

    fn disconnected(&self, why: &MqttError) {
        self.tell(Told::Disconnected(*why));
    }

    fn received(&self, topic: Inbound, payload: &[u8], retained: bool) {
        let payload = String::from_utf8_lossy(payload).into_owned();
        self.tell(Told::Received(topic, payload, retained));
    }

    fn oversized(&self, _: Inbound, len: u32, _: bool) {
        self.tell(Told::Oversized(len));
    }

    fn acknowledged(&self, topic: Inbound) {
        self.tell(Told::Acknowledged(topic));
    }

    fn take(&self, buf: &mut [u8]) -> Option<Outgoing> {
        let (message, payload) = self.out.borrow_mut().pop_front()?;
        buf[..payload.len()].copy_from_slice(&payload);
        Some(message)
    }

    fn delivered(&self, token: u32) {
        self.tell(Told::Delivered(token));
    }

    fn refused(&self, token: u32, why: &PublishError) {
        self.tell(Told::Refused(token, *why));
    }

    async fn outgoing_ready(&self) {
        let mut notified = core::pin::pin!(self.ready.notified());
        poll_fn(|cx| {
            if self.out.borrow().is_empty() {
                notified.as_mut().poll(cx)
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }
}

/// What differs from the usual settings.
#[derive(Clone, Copy)]
struct Settings {
    login: Option<(&'static str, &'static [u8])>,
    /// 0: the usual one.
    keep_alive: u16,
}

const USUAL: Settings = Settings {
    login: None,
    keep_alive: 0,
};

/// Runs `test` beside a device's session with `broker`, for a minute at most.
fn run(
    broker: &mut Server,
    settings: Settings,
    test: impl AsyncFnOnce(&mut Server, &Notes, &mut mpsc::UnboundedReceiver<Told>),
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (notes, mut told) = Notes::new();
    let port = broker.port;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let topics = Topics::new("otaria", "d1").unwrap();
        let config = MqttConfig {
            user_name: settings.login.map(|(name, _)| name),
            password: settings.login.map(|(_, password)| password),
            keep_alive: settings.keep_alive,
            ..MqttConfig::new("127.0.0.1", port, &topics)
        };
        let mut session = MqttSession::new(config, 1);
        let clock = RealClock::boot(Busy::default());
        let tcp = PlainTcp::new(&RealNetwork);
        tokio::select! {
            _ = session.run(&tcp, &clock, &notes) => {}
            () = test(broker, &notes, &mut told) => {}
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("hangs"),
        }
    });
}

/// What is told next.
async fn next(told: &mut mpsc::UnboundedReceiver<Told>) -> Told {
    told.recv().await.unwrap()
}

async fn until(told: &mut mpsc::UnboundedReceiver<Told>, wanted: &Told) {
    while next(told).await != *wanted {}
}

/// Another client: it publishes, and hears what the device says.
struct Operator {
    client: AsyncClient,
    heard: mpsc::UnboundedReceiver<(String, String, bool)>,
    /// One for each message that the broker has taken.
    taken: mpsc::UnboundedReceiver<()>,
}

impl Operator {
    async fn connect(port: u16) -> Operator {
        let mut options = MqttOptions::new("operator", "127.0.0.1", port);
        options.set_max_packet_size(Some(1_000_000));
        let (client, mut events) = AsyncClient::new(options, 10);
        client
            .subscribe("otaria/v1/d1/#", QoS::AtLeastOnce)
            .await
            .unwrap();
        let (hear, heard) = mpsc::unbounded_channel();
        let (take, taken) = mpsc::unbounded_channel();
        let (subscribed, mut ready) = mpsc::unbounded_channel();
        tokio::task::spawn_local(async move {
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Incoming::Publish(publish)) => {
                        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                        let text = String::from_utf8_lossy(&publish.payload).into_owned();
                        let leaf = topic.rsplit('/').next().unwrap().to_string();
                        let _ = hear.send((leaf, text, publish.retain));
                    }
                    Event::Incoming(Incoming::PubAck(_)) => {
                        let _ = take.send(());
                    }
                    Event::Incoming(Incoming::SubAck(_)) => {
                        let _ = subscribed.send(());
                    }
                    _ => {}
                }
            }
        });
        ready.recv().await.unwrap();
        Operator {
            client,
            heard,
            taken,
        }
    }

    /// Publishes, and returns when the broker has it.
    async fn publish(&mut self, leaf: &str, payload: impl AsRef<[u8]>, retain: bool) {
        let topic = format!("otaria/v1/d1/{leaf}");
        let payload = payload.as_ref().to_vec();
        self.client
            .publish(topic, QoS::AtLeastOnce, retain, payload)
            .await
            .unwrap();
        self.taken.recv().await.unwrap();
    }

    /// The next message on that topic.
    async fn hear(&mut self, wanted: &str) -> (String, bool) {
        loop {
            let (leaf, text, retained) = self.heard.recv().await.unwrap();
            if leaf == wanted {
                return (text, retained);
            }
        }
    }
}

const OPEN: &str = "allow_anonymous true";

#[test]
fn messages_go_both_ways() {
    let Some(mut broker) = mosquitto(OPEN) else {
        return;
    };
    run(&mut broker, USUAL, async |broker, notes, told| {
        let mut operator = Operator::connect(broker.port).await;
        assert_eq!(next(told).await, Told::Connected(false));
        assert_eq!(operator.hear("presence").await.0, "{\"online\":true}");
        operator.publish("desired", "http://h/app", true).await;
        let wish = Told::Received(Inbound::Desired, "http://h/app".into(), false);
        assert_eq!(next(told).await, wish, "published just now");
        assert_eq!(next(told).await, Told::Acknowledged(Inbound::Desired));
        operator.publish("cmd", "{}", false).await;
        let command = Told::Received(Inbound::Command, "{}".into(), false);
        assert_eq!(next(told).await, command);
        assert_eq!(next(told).await, Told::Acknowledged(Inbound::Command));
        for (topic, leaf, qos1) in [
            (Outbound::State, "state", true),
            (Outbound::Progress, "progress", false),
            (Outbound::Event, "event", true),
            (Outbound::Log, "log", true),
        ] {
            notes.put(topic, qos1, 7, leaf.repeat(120));
            assert_eq!(operator.hear(leaf).await.0, leaf.repeat(120));
            if qos1 {
                assert_eq!(next(told).await, Told::Delivered(7));
            }
        }
    });
}

#[test]
fn a_hundred_messages_in_a_row_arrive_in_order() {
    let Some(mut broker) = mosquitto(OPEN) else {
        return;
    };
    run(&mut broker, USUAL, async |broker, notes, told| {
        let mut operator = Operator::connect(broker.port).await;
        for token in 0..100 {
            notes.put(Outbound::Log, true, token, format!("{token}"));
        }
        for token in 0..100 {
            until(told, &Told::Delivered(token)).await;
            assert_eq!(operator.hear("log").await.0, format!("{token}"));
        }
    });
}

/// Runs `act` without a device.
fn operate(broker: &Server, act: impl AsyncFnOnce(&mut Operator)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let minute = Duration::from_secs(60);
        let acting = async { act(&mut Operator::connect(broker.port).await).await };
        tokio::time::timeout(minute, acting).await.expect("hangs");
    });
}

#[test]
fn a_stored_wish_comes_with_every_subscription_and_says_that_it_was_stored() {
    let Some(mut broker) = mosquitto(OPEN) else {
        return;
    };
    operate(&broker, async |operator| {
        operator.publish("desired", "http://h/app", true).await;
    });
    for present in [false, true, true] {
        run(&mut broker, USUAL, async |_, _, told| {
            until(told, &Told::Connected(present)).await;
            let wish = Told::Received(Inbound::Desired, "http://h/app".into(), true);
            until(told, &wish).await;
        });
    }
}

#[test]
fn a_retained_command_is_known_as_one_even_if_it_comes_at_once() {
    let Some(mut broker) = mosquitto(OPEN) else {
        return;
    };
    run(&mut broker, USUAL, async |broker, _, told| {
        let mut operator = Operator::connect(broker.port).await;
        assert_eq!(next(told).await, Told::Connected(false));
        operator.publish("cmd", "{}", true).await;
        let command = Told::Received(Inbound::Command, "{}".into(), true);
        assert_eq!(next(told).await, command);
    });
}

#[test]
fn commands_for_a_device_that_is_away_wait_for_it() {
    let Some(mut broker) = mosquitto(OPEN) else {
        return;
    };
    run(&mut broker, USUAL, async |_, _, told| {
        assert_eq!(next(told).await, Told::Connected(false));
    });
    operate(&broker, async |operator| {
        // The Last Will, stored or just now.
        while operator.hear("presence").await.0 != "{\"online\":false}" {}
        for number in 0..10 {
            operator.publish("cmd", format!("{number}"), false).await;
        }
    });
    run(&mut broker, USUAL, async |_, _, told| {
        for number in 0..10 {
            let command = Told::Received(Inbound::Command, format!("{number}"), false);
            until(told, &command).await;
            until(told, &Told::Acknowledged(Inbound::Command)).await;
        }
    });
}

#[test]
fn a_broker_that_is_killed_is_found_again_and_gets_what_it_missed() {
    let Some(mut broker) = mosquitto(OPEN) else {
        return;
    };
    run(&mut broker, USUAL, async |broker, notes, told| {
        assert_eq!(next(told).await, Told::Connected(false));
        broker.kill();
        notes.put(Outbound::Event, true, 1, "while it was dead");
        assert!(matches!(next(told).await, Told::Disconnected(_)));
        broker.restart();
        let mut operator = Operator::connect(broker.port).await;
        until(told, &Told::Delivered(1)).await;
        assert_eq!(operator.hear("event").await.0, "while it was dead");
    });
}

#[test]
fn user_name_and_password_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("passwords");
    // mosquitto_passwd would hash this; a plain file is hashed when it is upgraded by -U.
    fs::write(&file, "d1:secret\n").unwrap();
    let Some(program) = servers::find("mosquitto_passwd") else {
        return;
    };
    let upgraded = Command::new(program).arg("-U").arg(&file).status();
    assert!(upgraded.unwrap().success());
    let config = format!("allow_anonymous false\npassword_file {}", file.display());
    let Some(mut broker) = mosquitto(&config) else {
        return;
    };
    let with = |password| Settings {
        login: Some(("d1", password)),
        ..USUAL
    };
    run(&mut broker, with(b"secret"), async |_, _, told| {
        assert_eq!(next(told).await, Told::Connected(false));
    });
    run(&mut broker, with(b"wrong"), async |_, _, told| {
        let told = next(told).await;
        assert!(
            matches!(told, Told::Disconnected(MqttError::Refused(_))),
            "{told:?}"
        );
    });
    run(&mut broker, USUAL, async |_, _, told| {
        let told = next(told).await;
        assert!(
            matches!(told, Told::Disconnected(MqttError::Refused(_))),
            "{told:?}"
        );
    });
}

#[test]
fn the_brokers_limit_for_packets_is_obeyed() {
    let Some(mut broker) = mosquitto(&format!("{OPEN}\nmax_packet_size 300")) else {
        return;
    };
    run(&mut broker, USUAL, async |_, notes, told| {
        notes.put(Outbound::Log, true, 1, "x".repeat(900));
        notes.put(Outbound::Log, true, 2, "short");
        until(told, &Told::Refused(1, PublishError::TooLarge(300))).await;
        assert_eq!(next(told).await, Told::Delivered(2));
    });
}

#[test]
fn a_message_beyond_the_devices_limit_does_not_end_the_session() {
    let Some(mut broker) = mosquitto(OPEN) else {
        return;
    };
    run(&mut broker, USUAL, async |broker, _, told| {
        let mut operator = Operator::connect(broker.port).await;
        assert_eq!(next(told).await, Told::Connected(false));
        // Mosquitto knows the limit and drops the message by itself.
        operator.publish("cmd", "x".repeat(10_000), false).await;
        operator.publish("cmd", "short", false).await;
        let command = Told::Received(Inbound::Command, "short".into(), false);
        assert_eq!(next(told).await, command);
    });
}

#[test]
fn the_second_device_with_one_id_takes_the_session_of_the_first() {
    let Some(mut broker) = mosquitto(OPEN) else {
        return;
    };
    run(&mut broker, USUAL, async |broker, _, told| {
        assert_eq!(next(told).await, Told::Connected(false));
        let (notes, mut other_told) = Notes::new();
        let topics = Topics::new("otaria", "d1").unwrap();
        let mut other = MqttSession::new(MqttConfig::new("127.0.0.1", broker.port, &topics), 2);
        let clock = RealClock::boot(Busy::default());
        let tcp = PlainTcp::new(&RealNetwork);
        tokio::select! {
            _ = other.run(&tcp, &clock, &notes) => {}
            () = async {
                assert_eq!(next(&mut other_told).await, Told::Connected(true));
                // Version 2.0.11 closes without a word, where the standard asks for a DISCONNECT that says why.
                    let end = next(told).await;
                    let taken_over = Told::Disconnected(MqttError::TakenOver);
                    let closed = Told::Disconnected(MqttError::Link(LinkError::Closed));
                    assert!(end == taken_over || end == closed, "{end:?}");
            } => {}
        }
    });
}

#[test]
fn a_short_keep_alive_is_kept() {
    let Some(mut broker) = mosquitto(OPEN) else {
        return;
    };
    let short = Settings {
        keep_alive: 1,
        ..USUAL
    };
    run(&mut broker, short, async |_, _, told| {
        assert_eq!(next(told).await, Told::Connected(false));
        // Mosquitto drops a client after one and a half keep alives.
        let silence = tokio::time::timeout(Duration::from_secs(4), next(told)).await;
        assert!(silence.is_err(), "{silence:?}");
    });
}
