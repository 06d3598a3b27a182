//! The device's MQTT session over simulated links, with a broker whose codec is another one: nothing that was accepted is lost,
//! whatever happens to link, broker and device.

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::task::{Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;

use otaria_device::board::Network;
use otaria_device::mqtt::{
    Inbound, Mailbox, MqttConfig, MqttError, MqttSession, Outbound, Outgoing, PublishError,
};
use otaria_device::net::PlainTcp;
use otaria_sim::flash::Busy;
use otaria_sim::net::{ConnectionFault, Faulty, Host, HostConfig, LinkConfig, SimNet};
use otaria_sim::peers::broker::Broker;
use otaria_sim::world::{JoinHandle, SimClock, World};
use otaria_wire::topics::Topics;

const SEC: Duration = Duration::from_secs(1);

/// The device's end of the session: it writes everything down.
#[derive(Default)]
struct Notes {
    out: RefCell<VecDeque<(Outgoing, Vec<u8>)>>,
    waker: RefCell<Option<Waker>>,
    delivered: RefCell<Vec<u32>>,
    received: RefCell<Vec<String>>,
    acknowledged: RefCell<usize>,
    oversized: RefCell<Vec<u32>>,
    connected: RefCell<Vec<bool>>,
    errors: RefCell<Vec<MqttError>>,
}

impl Notes {
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
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Mailbox for Notes {
    fn connected(&self, session_present: bool) {
        self.connected.borrow_mut().push(session_present);
    }

    fn disconnected(&self, why: &MqttError) {
        self.errors.borrow_mut().push(*why);
    }

    fn received(&self, topic: Inbound, payload: &[u8], retained: bool) {
        let retained = if retained { " retained" } else { "" };
        let payload = String::from_utf8_lossy(payload);
        let line = format!("{topic}{retained} {payload}");
        self.received.borrow_mut().push(line);
    }

    fn oversized(&self, _: Inbound, len: u32, _: bool) {
        self.oversized.borrow_mut().push(len);
    }

    fn acknowledged(&self, _: Inbound) {
        *self.acknowledged.borrow_mut() += 1;
    }

    fn take(&self, buf: &mut [u8]) -> Option<Outgoing> {
        let (message, payload) = self.out.borrow_mut().pop_front()?;
        buf[..payload.len()].copy_from_slice(&payload);
        Some(message)
    }

    fn delivered(&self, token: u32) {
        self.delivered.borrow_mut().push(token);
    }

    fn refused(&self, token: u32, why: &PublishError) {
        panic!("{token}: {why}");
    }

    fn outgoing_ready(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            if !self.out.borrow().is_empty() {
                return Poll::Ready(());
            }
            self.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
    }
}

/// A device and a broker.
struct Lab {
    world: World,
    device: Host,
    broker_host: Host,
    broker: Broker,
    clock: SimClock,
    notes: Rc<Notes>,
}

impl Lab {
    fn new(device: HostConfig) -> Lab {
        let world = World::new(5);
        let net = SimNet::new(&world);
        let broker_host = net.host("broker.lan", [10, 0, 0, 1].into(), HostConfig::server());
        let device = net.host("device.lan", [10, 0, 0, 2].into(), device);
        let broker = Broker::new(world.handle());
        let mut listener = broker_host.bind(1883).unwrap();
        let (serving, handle) = (broker.clone(), world.handle());
        world.spawn("broker", async move {
            loop {
                let stream = listener.accept().await;
                let broker = serving.clone();
                handle.spawn("connection", async move { broker.serve(stream).await });
            }
        });
        let clock = SimClock::boot(world.handle(), Busy::default());
        Lab {
            world,
            device,
            broker_host,
            broker,
            clock,
            notes: Rc::default(),
        }
    }

    fn wifi() -> Lab {
        Lab::new(HostConfig::device())
    }

    /// Starts the session over `net`.
    fn start(&self, net: impl Network + 'static) -> JoinHandle<()> {
        let (clock, notes) = (self.clock.clone(), self.notes.clone());
        self.world.spawn("session", async move {
            let topics = Topics::new("otaria", "d1").unwrap();
            let mut session = MqttSession::new(MqttConfig::new("broker.lan", 1883, &topics), 3);
            let tcp = PlainTcp::new(&net);
            session.run(&tcp, &clock, &*notes).await;
        })
    }

    fn run(&self, secs: u64) {
        self.world.run_for(Duration::from_secs(secs));
    }

    fn presence(&self) -> Vec<String> {
        let sent = self.broker.received("/presence");
        sent.iter().map(|message| message.text().into()).collect()
    }
}

const ONLINE: &str = r#"{"online":true}"#;
const OFFLINE: &str = r#"{"online":false}"#;

#[test]
fn another_codec_understands_what_the_session_sends_and_the_session_what_it_answers() {
    let lab = Lab::wifi();
    lab.broker
        .publish("otaria/v1/d1/desired", "http://h/app", true);
    lab.start(lab.device.clone());
    lab.notes.put(Outbound::State, true, 1, b"{}");
    lab.notes.put(Outbound::Progress, false, 2, b"{}");
    lab.run(3);
    lab.broker.publish("otaria/v1/d1/cmd", "{}", false);
    lab.run(3);
    assert_eq!(*lab.notes.connected.borrow(), [false]);
    assert_eq!(
        *lab.notes.received.borrow(),
        ["desired retained http://h/app", "cmd {}"]
    );
    assert_eq!(*lab.notes.acknowledged.borrow(), 2);
    assert_eq!(*lab.notes.delivered.borrow(), [1]);
    let log: Vec<_> = lab
        .broker
        .log()
        .iter()
        .map(|message| {
            let leaf = message.topic.rsplit('/').next().unwrap().to_string();
            (leaf, message.retain, message.acknowledged)
        })
        .collect();
    assert_eq!(
        log,
        [
            ("presence".into(), true, true),
            ("state".into(), true, true),
            ("progress".into(), false, false),
        ]
    );
}

#[test]
fn a_session_lives_for_a_day_over_every_kind_of_link() {
    let link = |latency, bits_per_second, loss| LinkConfig {
        latency,
        bits_per_second,
        loss,
        ..LinkConfig::IDEAL
    };
    for (name, link) in [
        ("Wi-Fi", LinkConfig::WIFI),
        ("far away", link(Duration::from_millis(800), 0, 0.0)),
        ("slow", link(Duration::from_millis(50), 9_600, 0.0)),
        ("lossy", link(Duration::from_millis(5), 4_000_000, 0.1)),
    ] {
        let lab = Lab::new(HostConfig {
            link,
            ..HostConfig::device()
        });
        lab.start(lab.device.clone());
        lab.run(30);
        for hour in 0..24 {
            lab.notes.put(Outbound::Event, true, hour, [b'e'; 500]);
            lab.broker.publish("otaria/v1/d1/cmd", "{}", false);
            lab.run(3_600);
        }
        let delivered = lab.notes.delivered.borrow();
        assert_eq!(*delivered, (0..24).collect::<Vec<_>>(), "{name}");
        assert_eq!(lab.notes.received.borrow().len(), 24, "{name}");
        assert_eq!(*lab.notes.errors.borrow(), [], "{name}");
    }
}

#[test]
fn a_broken_link_is_noticed_and_what_was_sent_meanwhile_arrives_after_it() {
    let lab = Lab::wifi();
    lab.start(lab.device.clone());
    lab.run(10);
    lab.device.set_link_up(false);
    lab.notes.put(Outbound::Event, true, 1, b"e");
    lab.broker.publish("otaria/v1/d1/cmd", "{}", false);
    lab.run(300);
    assert!(!lab.notes.errors.borrow().is_empty());
    lab.device.set_link_up(true);
    lab.run(90);
    assert_eq!(*lab.notes.connected.borrow(), [false, true]);
    assert_eq!(*lab.notes.delivered.borrow(), [1]);
    assert_eq!(*lab.notes.received.borrow(), ["cmd {}"]);
    assert_eq!(lab.presence(), [ONLINE, OFFLINE, ONLINE]);
}

#[test]
fn a_silent_broken_link_without_anything_to_send_is_noticed_within_a_minute() {
    let lab = Lab::wifi();
    lab.start(lab.device.clone());
    lab.run(10);
    lab.broker_host.set_black_hole(true);
    lab.run(66);
    let errors = lab.notes.errors.borrow();
    assert!(!errors.is_empty(), "it still believes in the connection");
}

#[test]
fn a_broker_that_restarts_gets_everything_with_and_without_its_sessions() {
    for keep_sessions in [true, false] {
        let lab = Lab::wifi();
        lab.broker
            .publish("otaria/v1/d1/desired", "http://h/app", true);
        lab.start(lab.device.clone());
        for token in 0..50 {
            lab.notes.put(Outbound::Event, true, token, b"e");
            if token % 10 == 5 {
                lab.broker.restart(keep_sessions);
            }
            lab.run(5);
        }
        lab.run(60);
        let delivered = lab.notes.delivered.borrow();
        assert_eq!(*delivered, (0..50).collect::<Vec<_>>());
        let connected = lab.notes.connected.borrow();
        assert_eq!(connected.len(), 6, "{:?}", lab.notes.errors.borrow());
        assert!(
            connected[1..]
                .iter()
                .all(|present| *present == keep_sessions)
        );
        let wishes = lab.notes.received.borrow().len();
        assert_eq!(wishes, 6, "the wish comes with every subscription");
    }
}

#[test]
fn a_device_without_power_is_reported_offline_and_gets_its_commands_when_it_is_back() {
    let lab = Lab::wifi();
    let session = lab.start(lab.device.clone());
    lab.run(10);
    lab.device.power_off();
    session.abort();
    lab.run(100);
    assert_eq!(
        lab.presence(),
        [ONLINE, OFFLINE],
        "after one and a half keep alives"
    );
    lab.broker.publish("otaria/v1/d1/cmd", "{}", false);
    lab.device.power_on();
    lab.start(lab.device.clone());
    lab.run(10);
    assert_eq!(*lab.notes.received.borrow(), ["cmd {}"]);
    assert_eq!(
        lab.broker.retained("otaria/v1/d1/presence").as_deref(),
        Some(ONLINE.as_bytes())
    );
}

#[test]
fn a_device_that_restarts_quickly_takes_its_own_session_over() {
    let lab = Lab::wifi();
    for boot in 0..5 {
        let session = lab.start(lab.device.clone());
        lab.notes.put(Outbound::Event, true, boot, b"e");
        lab.run(5);
        session.abort();
    }
    assert_eq!(*lab.notes.delivered.borrow(), [0, 1, 2, 3, 4]);
    assert_eq!(
        *lab.notes.connected.borrow(),
        [false, true, true, true, true]
    );
}

#[test]
fn two_devices_with_one_id_do_not_fight_even_if_the_broker_does_not_say_what_happens() {
    // This broker closes the older connection without the DISCONNECT that names the reason, as Mosquitto 2.0 does.
    let lab = Lab::wifi();
    lab.start(lab.device.clone());
    lab.start(lab.device.clone());
    lab.run(24 * 3_600);
    let errors = lab.notes.errors.borrow();
    let an_hour = errors.len() / 24;
    assert!((60..180).contains(&an_hour), "{an_hour} takeovers an hour");
}

#[test]
fn a_connection_that_breaks_after_any_byte_loses_nothing() {
    let busy = |lab: &Lab| {
        lab.broker
            .publish("otaria/v1/d1/desired", "http://h/app", true);
        lab.notes.put(Outbound::State, true, 1, b"state");
        lab.notes.put(Outbound::Event, true, 2, b"event");
        lab.notes.put(Outbound::Log, true, 3, b"log");
    };
    let reference = Lab::wifi();
    busy(&reference);
    reference.start(reference.device.clone());
    reference.run(5);
    let (read, written) = (
        reference.device.bytes_received(),
        reference.device.bytes_sent(),
    );
    assert!(read > 50 && written > 200, "{read} {written}");
    let faults = (0..=read)
        .flat_map(|at| {
            [
                ConnectionFault::EndAfter(at),
                ConnectionFault::ResetAfter(at),
                ConnectionFault::SilentAfter(at),
            ]
        })
        .chain((0..=written).map(ConnectionFault::ResetAfterWriting));
    for fault in faults {
        let lab = Lab::wifi();
        busy(&lab);
        let net = Faulty::new(lab.device.clone());
        net.plan(0, fault);
        lab.start(net);
        lab.run(120);
        assert_eq!(*lab.notes.delivered.borrow(), [1, 2, 3], "{fault:?}");
        for (leaf, text) in [("state", "state"), ("event", "event"), ("log", "log")] {
            let got = lab.broker.received(leaf);
            assert!((1..=2).contains(&got.len()), "{fault:?} {leaf}: {got:?}");
            assert!(got.iter().all(|message| message.text() == text));
        }
        let received = lab.notes.received.borrow();
        assert!(!received.is_empty(), "{fault:?}");
        assert!(*lab.notes.acknowledged.borrow() >= 1, "{fault:?}");
        assert!(lab.notes.errors.borrow().len() <= 1, "{fault:?}");
    }
}

#[test]
fn any_flipped_bit_from_the_broker_is_survived() {
    let reference = Lab::wifi();
    reference
        .broker
        .publish("otaria/v1/d1/desired", "http://h/app", true);
    reference.start(reference.device.clone());
    reference.run(5);
    for at in 0..reference.device.bytes_received() {
        for bit in 0..8 {
            let lab = Lab::wifi();
            lab.broker
                .publish("otaria/v1/d1/desired", "http://h/app", true);
            let net = Faulty::new(lab.device.clone());
            net.plan(0, ConnectionFault::Flip { at, mask: 1 << bit });
            lab.start(net);
            lab.notes.put(Outbound::Event, true, 1, b"e");
            // Long enough for the pause after a DISCONNECT that became "session taken over".
            lab.run(400);
            assert_eq!(*lab.notes.delivered.borrow(), [1], "{at} {bit}");
            let errors = lab.notes.errors.borrow();
            assert!(errors.len() <= 1, "{at} {bit}: {errors:?}");
            assert!(!lab.notes.connected.borrow().is_empty(), "{at} {bit}");
        }
    }
}

#[test]
fn a_message_too_large_for_the_device_does_not_stop_the_session() {
    let lab = Lab::wifi();
    lab.start(lab.device.clone());
    lab.run(5);
    lab.broker
        .publish("otaria/v1/d1/desired", [b'x'; 60_000], true);
    lab.broker.publish("otaria/v1/d1/cmd", "{}", false);
    lab.run(20);
    assert_eq!(*lab.notes.oversized.borrow(), [60_001]);
    assert_eq!(*lab.notes.received.borrow(), ["cmd {}"]);
    assert_eq!(*lab.notes.errors.borrow(), []);
}

#[test]
fn ten_thousand_attempts_at_a_dead_broker_cost_no_more_than_one_a_minute() {
    let lab = Lab::wifi();
    let net = Faulty::new(lab.device.clone());
    net.always(ConnectionFault::Refuse);
    lab.start(net);
    lab.run(24 * 3_600);
    let attempts = lab.notes.errors.borrow().len();
    assert!((1_440..3_000).contains(&attempts), "{attempts} in a day");
}

#[test]
fn a_flaky_link_delivers_everything_in_order() {
    let lab = Lab::wifi();
    lab.start(lab.device.clone());
    let mut sent = 0;
    for round in 0..200u64 {
        lab.notes
            .put(Outbound::Event, true, sent, format!("{sent}"));
        sent += 1;
        match round % 4 {
            0 => lab.device.reset_connections(),
            1 => lab.device.set_link_up(false),
            2 => lab.device.set_link_up(true),
            _ => lab.device.stall(7 * SEC),
        }
        lab.run(1 + round % 40);
    }
    lab.device.set_link_up(true);
    lab.run(300);
    assert_eq!(
        *lab.notes.delivered.borrow(),
        (0..sent).collect::<Vec<_>>(),
        "each once, in order"
    );
    let mut texts: Vec<u32> = lab
        .broker
        .received("/event")
        .iter()
        .map(|message| message.text().parse().unwrap())
        .collect();
    texts.dedup();
    assert_eq!(
        texts,
        (0..sent).collect::<Vec<_>>(),
        "repeated, but never out of order"
    );
}
