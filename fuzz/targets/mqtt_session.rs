//! Whatever a broker sends, before or after a good CONNACK, the session neither panics nor goes round in circles.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_device::mqtt::{
    Inbound, Mailbox, MqttConfig, MqttError, MqttSession, Outbound, Outgoing, PublishError,
};
use otaria_device::net::PlainTcp;
use otaria_fuzz::{PATIENCE, Scene};
use otaria_wire::topics::Topics;

/// MQTT 5, section 3.2: no session, success, no properties.
const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];

struct Device;

impl Mailbox for Device {
    fn connected(&self, _: bool) {}
    fn disconnected(&self, _: &MqttError) {}
    fn received(&self, _: Inbound, _: &[u8], _: bool) {}
    fn oversized(&self, _: Inbound, _: u32, _: bool) {}
    fn acknowledged(&self, _: Inbound) {}
    fn take(&self, buf: &mut [u8]) -> Option<Outgoing> {
        buf[0] = b'1';
        Some(Outgoing {
            topic: Outbound::Event,
            len: 1,
            qos1: true,
            retain: false,
            token: 7,
        })
    }
    fn delivered(&self, token: u32) {
        assert_eq!(token, 7);
    }
    fn refused(&self, token: u32, _: &PublishError) {
        assert_eq!(token, 7);
    }
    async fn outgoing_ready(&self) {}
}

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (greeted, piece, bytes) = input;
    let scene = Scene::new(1883, if greeted { CONNACK } else { b"" }, piece, bytes);
    let net = PlainTcp::new(&scene.device);
    let topics = Topics::new("otaria", "fuzz").expect("good names");
    let mut session = MqttSession::new(MqttConfig::new("server", 1883, &topics), 1);
    let ended = scene
        .world
        .block_on_until(PATIENCE, session.run(&net, &scene.clock, &Device));
    assert!(ended.is_none(), "the session never ends");
});
