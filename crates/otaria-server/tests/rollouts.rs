//! A rollout to simulated devices, while the server is killed with SIGKILL at random moments. Nothing is lost, nothing is
//! done twice.

mod common;
mod victim;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{free_port, wait_for_fleet};
use otaria_package::keys::SigningKey;
use otaria_package::pack::{Options, TimeStamp, pack};
use otaria_server::audit::verify;
use otaria_server::model::{AuditPage, Page, Rollout, RolloutDevice, RolloutState, Stage, Update};
use otaria_sim::device::Settings;
use otaria_sim::fleet::{Blueprint, Fleet};
use otaria_sim::images::Stamp;
use serde_json::json;
use victim::Victim;

const DEVICES: usize = 200;
/// Chooses the moments, unless `OTARIA_SEED` does; printed when the test fails.
const SEED: u64 = 0x0F1E_E75E;
/// Devices wait longer each time that the server is away: more kills than these only make everybody wait.
const KILLS: usize = 20;
/// Far longer than it takes.
const LIMIT: Duration = Duration::from_secs(600);

/// Not a test of its own: the server for the others.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_is_killed() {
    victim::serve_if_asked().await;
}

fn fleet(key: &SigningKey, port: u16) -> Fleet {
    let image: Arc<[u8]> = Stamp::new("1.0.0").size(48 * 1024).image().into();
    let keys = [key.public_key().to_sec1()];
    let blueprints = (0..DEVICES).map(|n| {
        let id = format!("d{n}");
        let settings = Settings::new(&id, "otaria-demo", &keys, "127.0.0.1", port).unwrap();
        Blueprint::hasty(settings, image.clone(), n as u64 + 1)
    });
    Fleet::start(blueprints.collect()).unwrap()
}

async fn rollout(server: &Victim) -> Rollout {
    let (status, rollout) = server.http.get("/api/v1/rollouts/r1").await;
    assert_eq!(status, 200, "{rollout}");
    serde_json::from_value(rollout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_whose_server_is_killed_at_random_moments_loses_and_doubles_nothing() {
    let seed = std::env::var("OTARIA_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let data = tempfile::tempdir().unwrap();
    let (http, mqtt) = (free_port(), free_port());
    let key = SigningKey::generate().unwrap();
    let mut server = Victim::at(data.path(), http, mqtt);
    let fleet = fleet(&key, mqtt.port());
    wait_for_fleet(server.http, DEVICES).await;

    let image = Stamp::new("1.1.0").size(48 * 1024).image();
    let options = Options::new(TimeStamp {
        sequence: 2000,
        created: 1,
    });
    let package = pack(&image, &key, &options).unwrap();
    let uploaded = server.http.upload(&package.bytes).await;
    let spec = json!({
        "name": "r1", "package": uploaded["digest"], "target": "version < 1.1",
        "waves": [{"name": "canary", "count": 10, "gate": {"confirmed": 100}}, {"percent": 30}, {}],
        "limits": {"concurrent": 50, "retries": 0},
    });
    let (status, made) = server.http.post("/api/v1/rollouts", &spec).await;
    assert_eq!(status, 201, "{made}");

    let begun = Instant::now();
    let mut random = seed;
    let mut kills = 0;
    while rollout(&server).await.state == RolloutState::Running {
        assert!(
            begun.elapsed() < LIMIT,
            "seed {seed:#x}: {:?}",
            rollout(&server).await
        );
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        tokio::time::sleep(Duration::from_millis(500 + (random >> 33) % 3_000)).await;
        if kills == KILLS {
            continue;
        }
        server.kill();
        kills += 1;
        server = Victim::at(data.path(), http, mqtt);
    }
    println!("{kills} kills in {:?}", begun.elapsed());

    let rollout = rollout(&server).await;
    assert_eq!(
        (rollout.state, rollout.total.confirmed),
        (RolloutState::Done, DEVICES as u64),
        "seed {seed:#x}, {kills} kills: {rollout:?}"
    );
    let (_, page) = server
        .http
        .get("/api/v1/rollouts/r1/devices?limit=1000")
        .await;
    let devices: Page<RolloutDevice> = serde_json::from_value(page).unwrap();
    for device in &devices.items {
        assert_eq!(
            (device.stage, device.offers, device.failures),
            (Stage::Confirmed, 1, 0),
            "seed {seed:#x}: {device:?}"
        );
        let (_, page) = server
            .http
            .get(&format!("/api/v1/devices/{}/updates", device.device))
            .await;
        let updates: Page<Update> = serde_json::from_value(page).unwrap();
        assert_eq!(updates.items.len(), 1, "seed {seed:#x}: {updates:?}");
    }
    let (status, page) = server.http.get("/api/v1/audit?limit=1000").await;
    assert_eq!(status, 200, "{page}");
    let mut trail: AuditPage = serde_json::from_value(page).unwrap();
    trail.items.reverse();
    let whole = verify(trail.checkpoint, &trail.items, trail.head);
    assert_eq!(whole, Ok(()), "seed {seed:#x}: the audit trail");
    let did: Vec<_> = trail
        .items
        .iter()
        .map(|entry| (entry.action.as_str(), entry.detail.as_str()))
        .collect();
    for (action, times) in [
        ("package.upload", 1),
        ("rollout.create", 1),
        ("rollout.state", 1),
    ] {
        let found = did.iter().filter(|(name, _)| *name == action).count();
        assert_eq!(found, times, "seed {seed:#x}: {action} in {did:?}");
    }
    assert_eq!(did.last(), Some(&("rollout.state", "done")));
    for (n, found) in fleet.inspect().await.unwrap().iter().enumerate() {
        let boots = found.boots.as_ref().map(|(version, _)| version.as_str());
        assert_eq!(
            (boots, found.on_trial),
            (Some("1.1.0"), false),
            "seed {seed:#x}: d{n}"
        );
    }
    assert!(kills >= 5, "{kills} kills are too few to show anything");
    server.kill();
}
