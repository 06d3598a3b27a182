//! Two servers on one PostgreSQL and one Mosquitto, behind an nginx that asks the one and, if that is gone, the other. Devices are
//! simulated; one server is killed in the middle of a rollout.

mod common;
#[path = "common/postgres.rs"]
mod postgres;
mod victim;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Http, Mosquitto, free_port, servers, wait_for, wait_for_fleet};
use otaria_package::keys::SigningKey;
use otaria_package::pack::{Options, TimeStamp, pack};
use otaria_server::model::{Page, ReceivedEvent, Rollout, RolloutDevice, RolloutState, Stage};
use otaria_server::{
    Access, Config, Database, Mqtt, PackageStore, RunningServer, Server, StartError, Taken,
};
use otaria_sim::device::Settings;
use otaria_sim::fleet::{Blueprint, Fleet};
use otaria_sim::images::Stamp;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use victim::{Share, Victim, connected};

const DEVICES: usize = 60;
/// Far longer than it takes.
const LIMIT: Duration = Duration::from_secs(300);

/// Not a test of its own: the servers for the others.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_is_killed() {
    victim::serve_if_asked().await;
}

/// Two servers that work together, and what they share.
struct Pair {
    first: Victim,
    second: Victim,
    broker: Mosquitto,
    _entrance: servers::Server,
    _dir: tempfile::TempDir,
}

impl Pair {
    async fn start(name: &str) -> Option<Self> {
        let database = postgres::cluster()?.database(name);
        let broker = Mosquitto::start("")?;
        let (first, second) = (free_port(), free_port());
        let entrance = servers::nginx(
            &[],
            &format!(
                "location / {{ proxy_pass http://{first}; error_page 502 = @second; }}
                 location @second {{ proxy_pass http://{second}; }}"
            ),
        )?;
        let dir = tempfile::tempdir().unwrap();
        let share = Share {
            database,
            packages: dir.path().join("packages"),
            public_url: format!("http://127.0.0.1:{}", entrance.port),
        };
        let start = |name: &str, http: SocketAddr| {
            Victim::sharing(&dir.path().join(name), broker.address, http, &share)
        };
        let pair = Self {
            first: start("first", first),
            second: start("second", second),
            broker,
            _entrance: entrance,
            _dir: dir,
        };
        connected(&pair.first.http).await;
        connected(&pair.second.http).await;
        Some(pair)
    }
}

fn fleet(key: &SigningKey, broker: SocketAddr) -> Fleet {
    let image: Arc<[u8]> = Stamp::new("1.0.0").size(48 * 1024).image().into();
    let keys = [key.public_key().to_sec1()];
    let blueprints = (0..DEVICES).map(|n| {
        let id = format!("d{n}");
        let settings = Settings::new(&id, "otaria-demo", &keys, "127.0.0.1", broker.port());
        Blueprint::hasty(settings.unwrap(), image.clone(), n as u64 + 1)
    });
    Fleet::start(blueprints.collect()).unwrap()
}

async fn get<T: DeserializeOwned>(http: &Http, path: &str) -> T {
    let (status, answer) = http.get(path).await;
    assert_eq!(status, 200, "{path}: {answer}");
    serde_json::from_value(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_on_when_the_server_that_leads_it_is_killed_and_nothing_is_lost_or_doubled()
{
    let Some(pair) = Pair::start("killed").await else {
        return;
    };
    let key = SigningKey::generate().unwrap();
    let fleet = fleet(&key, pair.broker.address);
    let second = pair.second.http;
    wait_for_fleet(second, DEVICES).await;

    let image = Stamp::new("1.1.0").size(48 * 1024).image();
    let options = Options::new(TimeStamp {
        sequence: 2000,
        created: 1,
    });
    let package = pack(&image, &key, &options).unwrap();
    // To the server that stays: what the first one serves, it has from here.
    let uploaded = second.upload(&package.bytes).await;
    let spec = json!({
        "name": "r1", "package": uploaded["digest"], "target": "version < 1.1",
        "waves": [{"name": "canary", "count": 6, "gate": {"confirmed": 100}}, {"percent": 50}, {}],
        "limits": {"concurrent": 20, "retries": 0},
    });
    let (status, made) = second.post("/api/v1/rollouts", &spec).await;
    assert_eq!(status, 201, "{made}");

    let rollout = async || get::<Rollout>(&second, "/api/v1/rollouts/r1").await;
    let begun = Instant::now();
    let mut first = Some(pair.first);
    loop {
        let now = rollout().await;
        if now.state != RolloutState::Running {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "{now:?}");
        let confirmed = now.total.confirmed;
        if confirmed >= DEVICES as u64 / 4
            && let Some(first) = first.take()
        {
            println!("killed with {confirmed} of {DEVICES} confirmed");
            first.kill();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(first.is_none(), "it was done before anybody was killed");
    println!("done after {:?}", begun.elapsed());

    let rollout = rollout().await;
    assert_eq!(
        (rollout.state, rollout.total.confirmed),
        (RolloutState::Done, DEVICES as u64),
        "{rollout:?}"
    );
    let devices: Page<RolloutDevice> = get(&second, "/api/v1/rollouts/r1/devices?limit=1000").await;
    for device in &devices.items {
        assert_eq!(
            (device.stage, device.offers, device.failures),
            (Stage::Confirmed, 1, 0),
            "{device:?}"
        );
        every_event_is_there(&second, &device.device).await;
    }
    for (n, found) in fleet.inspect().await.unwrap().iter().enumerate() {
        let boots = found.boots.as_ref().map(|(version, _)| version.as_str());
        assert_eq!((boots, found.on_trial), (Some("1.1.0"), false), "d{n}");
        // One update is one start with the old image and one with the new.
        assert_eq!(found.starts.len(), 2, "d{n}: {:?}", found.starts);
    }
}

/// Devices number what they report, by boot: no number is missing, and the last is that of the end.
async fn every_event_is_there(http: &Http, device: &str) {
    let mut boots: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let path = format!("/api/v1/devices/{device}/events?limit=1000");
    let confirmed = || async {
        let page: Page<ReceivedEvent> = get(http, &path).await;
        let ends = |event: &ReceivedEvent| event.event.event.name() == "confirmed";
        page.items.iter().any(ends)
    };
    // The rollout goes by the state; the event may come a moment later.
    wait_for("the last event", confirmed).await;
    let page: Page<ReceivedEvent> = get(http, &path).await;
    for event in page.items {
        boots
            .entry(event.event.boot)
            .or_default()
            .push(event.event.n);
    }
    for (boot, numbers) in &mut boots {
        numbers.sort_unstable();
        let first = numbers[0];
        let all: Vec<u32> = (first..first + numbers.len() as u32).collect();
        assert_eq!(*numbers, all, "{device}, boot {boot}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_slept_while_another_went_on_does_no_harm_when_it_wakes() {
    let Some(pair) = Pair::start("slept").await else {
        return;
    };
    let (first, second) = (&pair.first, pair.second.http);
    let digest = second.upload(&common::package("1.1.0")).await["digest"].clone();
    let mut device = common::FakeDevice::connect(pair.broker.address, "d1").await;
    device.presence(true).await;
    device.event(1, 1, "j", "retrying").await;
    let events = async || {
        let page: Page<ReceivedEvent> = get(&second, "/api/v1/devices/d1/events?limit=1000").await;
        page.items.len()
    };
    wait_for("the device", || async {
        second.get("/api/v1/devices/d1").await.0 == 200
    })
    .await;

    first.sleep();
    for n in 2..=40 {
        device.event(1, n, "j", "retrying").await;
    }
    // Those on the sleeper's way, too, once it has lost its leases.
    wait_for("all events", || async { events().await == 40 }).await;
    let request = |job: &str| json!({"package": digest, "target": {"device": "d1"}, "job": job});
    assert_eq!(second.post("/api/v1/jobs", &request("j1")).await.0, 201);
    let job = |wish: &[u8]| -> String {
        let wish: serde_json::Value = serde_json::from_slice(wish).unwrap();
        wish["job"].as_str().unwrap().to_owned()
    };
    assert_eq!(job(&device.next("desired").await.payload), "j1");

    first.wake();
    connected(&first.http).await;
    assert_eq!(first.http.post("/api/v1/jobs", &request("j2")).await.0, 201);
    for n in 41..=60 {
        device.event(1, n, "j", "retrying").await;
    }
    wait_for("the rest", || async { events().await == 60 }).await;
    second.wait_until_sent().await;
    let wishes = device.all("desired").await;
    let last = wishes.last().map(|wish| job(&wish.payload));
    assert_eq!(last.as_deref(), Some("j2"), "an older wish came after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_one_server_sees_what_the_other_was_told() {
    let Some(pair) = Pair::start("watched").await else {
        return;
    };
    for (watched, n) in [(&pair.first, 1_u32), (&pair.second, 2)] {
        let stream = Http::open_stream(watched.http.address()).await;
        let device = common::FakeDevice::connect(pair.broker.address, &format!("w{n}")).await;
        device.presence(true).await;
        // Enough that each lane, and so each server, gets some.
        for event in 1..=20 {
            device.event(1, event, "j", "retrying").await;
        }
        let mut lines = BufReader::new(stream).lines();
        let mut seen = 0;
        let all = async {
            while seen < 20 {
                let line = lines
                    .next_line()
                    .await
                    .unwrap()
                    .expect("the stream goes on");
                seen += usize::from(line == "event: event");
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), all).await;
        assert!(waited.is_ok(), "{seen} of 20 events at server {n}");
        drop(device);
    }
}

/// A server in this process.
async fn start(data: &Path, share: &Share, mqtt: Mqtt) -> Result<RunningServer, StartError> {
    let config = Config {
        access: Access::Open,
        http: "127.0.0.1:0".parse().unwrap(),
        database: Database::Postgres(share.database.parse().unwrap()),
        packages: PackageStore::Directory(share.packages.clone()),
        public_url: Some(share.public_url.clone()),
        mqtt,
        ..Config::new(data)
    };
    Server::start(config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_its_own_broker_has_a_database_to_itself_until_it_dies() {
    let (Some(cluster), Some(broker)) = (postgres::cluster(), Mosquitto::start("")) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let share = Share {
        database: cluster.database("alone"),
        packages: dir.path().join("packages"),
        public_url: "http://ota.test".to_owned(),
    };
    let own = || Mqtt::Embedded {
        listen: "127.0.0.1:0".parse().unwrap(),
    };
    let outside = || Mqtt::External(format!("mqtt://{}", broker.address).parse().unwrap());
    let next = dir.path().join("next");
    let taken = |started: Result<RunningServer, StartError>| match started {
        Err(StartError::Taken(taken)) => taken,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it has started beside another one"),
    };

    let first = Victim::alone(&dir.path().join("first"), &share);
    assert_eq!(taken(start(&next, &share, own()).await), Taken::ByOthers);
    let refused = taken(start(&next, &share, outside()).await);
    assert_eq!(refused, Taken::ByOneAlone);

    // Nobody gives its lease up; whoever comes waits for its end.
    first.kill();
    let killed = Instant::now();
    let running = start(&next, &share, own()).await.unwrap();
    assert!(killed.elapsed() < Duration::from_secs(15), "{killed:?}");
    running.shutdown().await;

    // After an end in good order nobody waits.
    let ended = Instant::now();
    let others = Victim::sharing(&dir.path().join("o"), broker.address, free_port(), &share);
    assert!(ended.elapsed() < Duration::from_secs(8), "{ended:?}");
    connected(&others.http).await;
    assert_eq!(taken(start(&next, &share, own()).await), Taken::ByOthers);

    // One that sleeps for longer than its lease lasts, and finds its place taken when it wakes.
    others.sleep();
    let running = start(&next, &share, own()).await.unwrap();
    running.connected().await;
    others.wake();
    let soon = tokio::time::timeout(Duration::from_secs(8), running.taken()).await;
    assert!(soon.is_err(), "the one that slept has taken it back");
    running.shutdown().await;
}
