//! The whole server with its packages in a bucket of a store that checks signatures; a simulated device whose own code follows the
//! links, several servers with one bucket, and backups.

#[path = "../common/mod.rs"]
mod common;
mod ears;
#[path = "../common/postgres.rs"]
mod postgres;
#[path = "../common/s3.rs"]
mod s3;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{Broker, Http, Mosquitto, Running, config, exchange, package, wait_for};
use ears::{Log, Operator};
use otaria_package::keys::SigningKey;
use otaria_package::pack::{CodecChoice, Options, TimeStamp, pack};
use otaria_server::model::Status;
use otaria_server::{
    BackupError, BucketUrl, Config, Database, Delivery, Mqtt, PackageStore, backup, restore,
};
use otaria_sim::device::Settings;
use otaria_sim::fleet::{Blueprint, Fleet};
use otaria_sim::images::Stamp;
use otaria_wire::Sha256Digest;
use s3::{BUCKET, S3, SECRET};
use serde_json::json;
use tempfile::TempDir;

const SIZE: usize = 192 * 1024;

fn bucket(s3: &S3) -> PackageStore {
    PackageStore::Bucket(BucketUrl::new(&format!("s3://{BUCKET}"), s3.settings()).unwrap())
}

fn in_bucket(data: &Path, broker: &Broker, s3: &S3, delivery: Delivery) -> Config {
    Config {
        packages: bucket(s3),
        delivery,
        ..config(data, broker)
    }
}

/// Where a package of this digest lies in the bucket.
fn file(s3: &S3, digest: &str) -> std::path::PathBuf {
    s3.file(&format!("{}/{digest}.otaria", &digest[..2]))
}

/// A device with a slow radio, so that something can happen while it downloads.
fn device(key: &SigningKey, broker_port: u16) -> Fleet {
    let keys = [key.public_key().to_sec1()];
    let settings = Settings::new("d1", "otaria-demo", &keys, "127.0.0.1", broker_port).unwrap();
    let image: Arc<[u8]> = Stamp::new("1.0.0").size(SIZE).image().into();
    let mut blueprint = Blueprint::hasty(settings, image, 7);
    blueprint.radio.bits_per_second = 500_000;
    Fleet::start(vec![blueprint]).unwrap()
}

/// All files below a directory that contain `what`.
fn files_with(dir: &Path, what: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, what));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            if bytes
                .windows(what.len())
                .any(|here| here == what.as_bytes())
            {
                found.push(path);
            }
        }
    }
    found
}

/// The device comes by links of the bucket's: the first has ended when it follows it, then its power fails, and the first link after
/// that has ended, too. It goes on where it was, with a link that the server makes for it; and no link is left anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_updated_by_links_through_a_power_cut_and_no_link_is_kept() {
    let log = Log::start();
    let s3 = S3::start().await;
    let data = TempDir::new().unwrap();
    let broker = Broker::Embedded;
    let server = Running::with(in_bucket(data.path(), &broker, &s3, Delivery::LINKS)).await;
    let http = server.http();
    let operator = Operator::listen(server.mqtt(&broker)).await;
    let key = SigningKey::generate().unwrap();
    let fleet = device(&key, server.mqtt(&broker).port());
    common::wait_for_fleet(http, 1).await;

    let image = Stamp::new("1.1.0").size(SIZE).image();
    let stamp = TimeStamp {
        sequence: 2,
        created: 2,
    };
    let options = Options {
        codec: CodecChoice::Stored,
        ..Options::new(stamp)
    };
    let uploaded = http
        .upload(&pack(&image, &key, &options).unwrap().bytes)
        .await;
    s3.refuse_links(1);
    let job = json!({"package": uploaded["digest"], "target": {"device": "d1"}});
    assert_eq!(http.post("/api/v1/jobs", &job).await.0, 201);
    wait_for("a third of it", || async {
        let progress = http.device("d1").await.progress;
        progress.is_some_and(|progress| progress.done > SIZE as u32 / 3)
    })
    .await;
    s3.refuse_links(1);
    fleet.cut_power(0, Duration::from_millis(200));
    http.wait_for_status("d1", Status::Succeeded).await;
    let found = fleet.inspect().await.unwrap();
    let image = Sha256Digest::of(&image);
    assert_eq!(found[0].boots, Some(("1.1.0".to_owned(), image)));

    let seen = s3.seen();
    let by_link: Vec<_> = seen.iter().filter(|seen| seen.by_link()).collect();
    let came: Vec<u16> = by_link.iter().map(|seen| seen.status).collect();
    assert_eq!(came, [403, 200, 403, 206], "{by_link:#?}");
    assert_eq!(by_link[2].range, by_link[3].range);
    assert!(by_link[3].range.starts_with("bytes="));
    let heard = operator.heard();
    let wish = format!("/packages/{}.otaria", uploaded["digest"].as_str().unwrap());
    assert!(heard.contains(&wish), "{heard}");
    let device = http.get("/api/v1/devices/d1").await.1.to_string();
    let jobs = http.get("/api/v1/jobs").await.1.to_string();
    server.shutdown().await;
    let log = log.heard();
    assert!(!log.is_empty());
    for secret in ["X-Amz-", SECRET] {
        for text in [&heard, &device, &jobs, &log] {
            assert!(!text.contains(secret), "{text}");
        }
        let files = files_with(data.path(), secret);
        assert!(files.is_empty(), "{files:?}");
    }
}

/// Both servers give out what one of them has taken.
#[tokio::test(flavor = "multi_thread")]
async fn servers_with_one_database_share_a_bucket() {
    let (Some(cluster), Some(mosquitto)) = (postgres::cluster(), Mosquitto::start("")) else {
        return;
    };
    let database = cluster.database("bucket");
    let mqtt = mosquitto.address;
    let broker = Broker::Mosquitto(mosquitto);
    let s3 = S3::start().await;
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = async |data: &TempDir, delivery| {
        let config = Config {
            database: Database::Postgres(database.parse().unwrap()),
            mqtt: Mqtt::External(mqtt.into()),
            public_url: Some("http://ota.test".to_owned()),
            ..in_bucket(data.path(), &broker, &s3, delivery)
        };
        Running::with(config).await
    };
    let first_server = server(&first, Delivery::Stream).await;
    let second_server = server(&second, Delivery::LINKS).await;
    for (taker, giver) in [
        (&first_server, &second_server),
        (&second_server, &first_server),
    ] {
        let version = format!("1.1.{}", taker.http().address().port());
        let bytes = package(&version);
        let uploaded = taker.http().upload(&bytes).await;
        let digest = uploaded["digest"].as_str().unwrap();
        let path = format!("/packages/{digest}.otaria");
        let answer = exchange(giver.http().address(), "GET", &path, "", b"").await;
        let got = match answer.header("location") {
            "" => (answer.status, answer.body),
            link => {
                assert_eq!(answer.status, 307);
                Http::fetch(link, None).await
            }
        };
        assert!(got == (200, bytes), "{}", got.0);
    }
    first_server.shutdown().await;
    second_server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_leaves_packages_in_the_bucket_and_says_so_if_one_is_not_there() {
    let s3 = S3::start().await;
    let (data, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let broker = Broker::Embedded;
    let server = Running::with(in_bucket(data.path(), &broker, &s3, Delivery::Stream)).await;
    let bytes = package("1.1.0");
    let digest = server.http().upload(&bytes).await["digest"].clone();
    let digest = digest.as_str().unwrap();
    let to = kept.path().join("backup");
    let made = backup(data.path(), &bucket(&s3), &to).await.unwrap();
    server.shutdown().await;
    assert_eq!(made.bucket.as_deref(), Some("s3://packages"));
    let files: Vec<_> = made.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["otaria.db"]);
    assert!(files_with(&to, SECRET).is_empty(), "the key is not in it");

    let again = kept.path().join("data");
    assert_eq!(restore(&to, &again, &Database::File).await.unwrap(), made);
    let server = Running::with(in_bucket(&again, &broker, &s3, Delivery::Stream)).await;
    let url = format!(
        "http://{}/packages/{digest}.otaria",
        server.http().address()
    );
    assert!(Http::fetch(&url, None).await == (200, bytes));
    server.shutdown().await;

    std::fs::remove_file(file(&s3, digest)).unwrap();
    let to = kept.path().join("another");
    let error = backup(data.path(), &bucket(&s3), &to).await.unwrap_err();
    assert!(matches!(error, BackupError::Bucket(..)), "{error}");
    assert!(error.to_string().contains(digest) && !to.exists());
}
