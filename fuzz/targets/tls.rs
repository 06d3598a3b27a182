//! Whatever a server sends in the clear, no connection comes of it, and no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_device::board::Clock;
use otaria_device::net::tls::Tls;
use otaria_device::net::{Connect, PlainTcp, Target};
use otaria_device::settings::TlsConfig;
use otaria_fuzz::{PATIENCE, Scene};
use otaria_sim::device::HostHeap;

/// The header of a record that holds a ServerHello.
const RECORD: &[u8] = &[22, 3, 3];

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (greeted, piece, bytes) = input;
    let scene = Scene::new(443, if greeted { RECORD } else { b"" }, piece, bytes);
    let net = PlainTcp::new(&scene.device);
    let config = TlsConfig {
        anchors: &[0x30, 0],
        ..TlsConfig::default()
    };
    let tls = Tls::new(net, HostHeap::new(48 * 1024, 1), config);
    let target = Target {
        host: "server",
        port: 443,
        tls: true,
    };
    let deadline = scene.clock.now() + PATIENCE.into();
    let opening = tls.connect(&scene.clock, deadline, &target);
    let opened = scene.world.block_on_until(PATIENCE * 2, opening);
    assert!(opened.is_some_and(|opened| opened.is_err()));
});
