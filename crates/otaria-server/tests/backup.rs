//! A backup of a server at work, put back.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Broker, FakeDevice, Running, package, wait_for};
use otaria_server::{BackupError, Database, PackageStore, backup, restore};
use serde_json::json;
use tempfile::TempDir;

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_a_backup_is_in_it_while_the_server_works_on() {
    let (data, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Running::start(data.path(), &Broker::Embedded).await;
    let http = server.http();
    let before = http.upload(&package("1.1.0")).await;
    let device = FakeDevice::connect(server.mqtt(&Broker::Embedded), "d1").await;
    device.presence(true).await;
    device.event(1, 1, "j", "retrying").await;
    wait_for("the device", || async {
        http.get("/api/v1/devices/d1/events").await.1["items"][0]["n"] == 1
    })
    .await;
    let tls = data.path().join("tls/deep");
    std::fs::create_dir_all(&tls).unwrap();
    std::fs::write(tls.join("ca.key"), "secret").unwrap();

    // Reports and uploads go on all the time.
    let ended = Arc::new(AtomicBool::new(false));
    let busy = tokio::spawn({
        let ended = Arc::clone(&ended);
        async move {
            let mut n = 1;
            while !ended.load(Ordering::Relaxed) {
                n += 1;
                device.event(1, n, "j", "retrying").await;
                if n % 20 == 0 {
                    http.upload(&package(&format!("2.0.{n}"))).await;
                }
            }
            n
        }
    });
    let to = kept.path().join("backup");
    let mut manifests = Vec::new();
    for n in 0..5 {
        let to = kept.path().join(format!("backup-{n}"));
        manifests.push(backup(data.path(), &PackageStore::Own, &to).await.unwrap());
    }
    let last = backup(data.path(), &PackageStore::Own, &to).await.unwrap();
    ended.store(true, Ordering::Relaxed);
    let reported = busy.await.unwrap();
    server.shutdown().await;
    assert!(reported > 5, "{reported} reports are no work");
    assert!(last.files.len() >= manifests[0].files.len());

    let again = kept.path().join("data");
    assert_eq!(restore(&to, &again, &Database::File).await.unwrap(), last);
    assert_eq!(
        std::fs::read_to_string(again.join("tls/deep/ca.key")).unwrap(),
        "secret"
    );
    #[cfg(unix)]
    for file in ["otaria.db", "tls/deep/ca.key"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(again.join(file)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
    }
    let server = Running::start(&again, &Broker::Embedded).await;
    let http = server.http();
    let events = http.get("/api/v1/devices/d1/events?limit=1000").await.1;
    let numbers: Vec<u64> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|event| event["n"].as_u64().unwrap())
        .collect();
    let whole: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, whole, "the database is of one moment");
    let packages = http.get("/api/v1/packages?limit=1000").await.1;
    let packages = packages["items"].as_array().unwrap();
    assert!(packages.iter().any(|it| it["digest"] == before["digest"]));
    for package in packages {
        let digest = package["digest"].as_str().unwrap();
        let (status, _) = http.get(&format!("/packages/{digest}.otaria")).await;
        assert_eq!(status, 200, "{package}");
    }
    // And it works on.
    let request = json!({"package": before["digest"], "target": {"device": "d1"}});
    assert_eq!(http.post("/api/v1/jobs", &request).await.0, 201);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_replaced_and_nothing_damaged_is_restored() {
    let (data, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let empty = kept.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let to = kept.path().join("backup");
    let none = backup(&empty, &PackageStore::Own, &to).await.unwrap_err();
    assert!(matches!(none, BackupError::NoDatabase(_)), "{none}");
    assert!(!to.exists());

    let server = Running::start(data.path(), &Broker::Embedded).await;
    let digest = server.http().upload(&package("1.1.0")).await["digest"].clone();
    server.shutdown().await;
    backup(data.path(), &PackageStore::Own, &to).await.unwrap();
    for (what, error) in [
        (
            "a backup",
            backup(data.path(), &PackageStore::Own, &to).await,
        ),
        (
            "a server's data",
            restore(&to, data.path(), &Database::File).await,
        ),
    ] {
        assert!(matches!(error, Err(BackupError::Exists(_))), "{what}");
    }

    let digest = digest.as_str().unwrap();
    let file = to.join(format!("packages/{}/{digest}.otaria", &digest[..2]));
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    bad[1000] ^= 1;
    std::fs::write(&file, bad).unwrap();
    let error = restore(&to, &empty, &Database::File).await.unwrap_err();
    assert!(matches!(error, BackupError::Damaged(_)), "{error}");
    std::fs::write(&file, good).unwrap();

    let manifest = to.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("otaria.db", "../otaria.db")).unwrap();
    let error = restore(&to, &empty, &Database::File).await.unwrap_err();
    assert!(matches!(error, BackupError::Manifest(..)), "{error}");
    assert!(is_empty(&empty), "what failed left nothing");
    std::fs::write(&manifest, text).unwrap();
    restore(&to, &empty, &Database::File).await.unwrap();
}
