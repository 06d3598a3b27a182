//! What happens to brokers, and to devices in their care.

use crate::row::*;
use crate::stage::{DEVICE, MINUTE, SECOND, Stage};
use embedded_io_async::Write;
use embedded_nal_async::TcpConnect;
use otaria_sim::net::HostConfig;
use otaria_wire::messages::EventKind;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        done(
            "the broker restarts, and keeps its sessions",
            |stage| stage.broker.restart(true),
            2..=3,
        ),
        done(
            "the broker restarts, and has lost its sessions",
            |stage| stage.broker.restart(false),
            2..=3,
        ),
        done(
            "the broker restarts in the middle of a download, and has lost its sessions",
            |stage| {
                downloading(stage);
                stage.broker.restart(false);
            },
            2..=4,
        ),
        done(
            "the broker restarts every two seconds during the update",
            |stage| {
                stage.wish("app", "/app.otaria");
                for number in 0..30 {
                    stage.world.run_for(2 * SECOND);
                    stage.broker.restart(number % 2 == 0);
                }
            },
            5..=35,
        ),
        done(
            "all connections are reset in the middle of a download",
            |stage| {
                downloading(stage);
                stage.host.reset_connections();
            },
            2..=4,
        ),
        done(
            "the broker cannot be reached for two minutes in the middle of a download",
            |stage| {
                downloading(stage);
                stage.broker_host.set_black_hole(true);
                stage.world.run_for(2 * MINUTE);
                stage.broker_host.set_black_hole(false);
            },
            2..=4,
        ),
        done(
            "the broker's name is unknown for two minutes",
            |stage| {
                stage.net.forget_name("broker");
                stage.broker.restart(true);
                stage.world.run_for(2 * MINUTE);
                stage.net.name("broker", stage.broker_host.addr());
            },
            2..=3,
        ),
        Row {
            // The rival's eighteen, and the device's: it comes back after minutes.
            connections: 20..=30,
            ..done("another device with the same id", rival, 0..=0)
        },
    ]
}

/// Runs until the download is under way.
fn downloading(stage: &Stage) {
    stage.wish("app", "/app.otaria");
    let begun = |stage: &Stage| stage.has("app", EventKind::Accepted, None);
    assert!(stage.run_until(MINUTE, begun), "{}", stage.story());
}

/// Somebody connects under the device's id every ten seconds, for three minutes, and acknowledges nothing.
fn rival(stage: &Stage) {
    let host = stage
        .net
        .host("rival", [10, 0, 0, 8].into(), HostConfig::device());
    let broker = (stage.broker_host.addr(), 1883).into();
    let world = stage.world.handle();
    stage.world.spawn("rival", async move {
        let id = DEVICE.as_bytes();
        let connect = [
            &[0x10, 18 + id.len() as u8, 0, 4][..],
            b"MQTT",
            &[5, 0, 0, 60, 5, 0x11, 0, 0, 0x0E, 0x10, 0, id.len() as u8],
            id,
        ]
        .concat();
        for _ in 0..18 {
            if let Ok(mut stream) = host.connect(broker).await {
                let _ = stream.write_all(&connect).await;
                world.sleep(10 * SECOND).await;
            }
        }
    });
}
