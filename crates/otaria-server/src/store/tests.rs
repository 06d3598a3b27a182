//! A database that any earlier version has left behind is brought up to date with all that is in it, in SQLite and in PostgreSQL.

use tempfile::TempDir;

use super::schema::MIGRATIONS;
use super::{Store, TransferError};
use crate::config::Database;
use crate::model::Stage;
use crate::tests::postgres;

const NOW: i64 = 1_800_000_000;
const DIGEST: &str = "\
    1111111111111111111111111111111111111111111111111111111111111111";

/// Rows that a version could have written, each with the migration from which on it could.
const ROWS: &[(i64, &str)] = &[
    (
        1,
        "INSERT INTO meta (key, value) VALUES ('instance', 'name')",
    ),
    (
        1,
        r#"INSERT INTO devices (id, first_seen, last_seen, online, state, product, chip, job, wish, wish_at, wish_is_ours) VALUES ('d1', 1, 2, TRUE,
        '{"device":"d1","product":"demo","version":"1.0.0","image_sha256":"1111111111111111111111111111111111111111111111111111111111111111","sequence":1,"security_version":0,"chip":"esp32c3","chip_rev":4,"slot":0,"trial":null,"reset":"software","boot":1,"uptime_s":1,"heap_free":1,"heap_min":1,"rssi":-60,"ip":"10.0.0.7","bootloader_rollback":null,"job":null,"phase":"idle"}',
        'demo', 'esp32c3', 'j1', '{"job":"j1","url":"http://h/x"}', 3, TRUE)"#,
    ),
    (
        1,
        "INSERT INTO device_groups (group_name, device_id) VALUES ('g', 'd1')",
    ),
    (
        1,
        "INSERT INTO installs (device_id, install, boot, n, first_seen) VALUES ('d1', '00000000000000aa', 1, 2, 1)",
    ),
    (
        1,
        "INSERT INTO packages (digest, size, identity, image_sha256, image_len, product, version, chip, sequence, security_version, key_id, created, \
         uploaded_at) VALUES ('1111111111111111111111111111111111111111111111111111111111111111', 9, \
         '1111111111111111111111111111111111111111111111111111111111111111', '1111111111111111111111111111111111111111111111111111111111111111', 5, \
         'demo', '1.1.0', 'esp32c3', 7, 0, 'k', 1, 2)",
    ),
    (
        1,
        "INSERT INTO jobs (id, package, url, target, created_at) VALUES ('j1', \
         '1111111111111111111111111111111111111111111111111111111111111111', 'http://h/x', '\"all\"', 3)",
    ),
    (
        1,
        "INSERT INTO assignments (job_id, device_id, status, event, updated_at) VALUES ('j1', 'd1', 'running', 'accepted', 4)",
    ),
    (
        1,
        r#"INSERT INTO events (device_id, install, boot, n, received_at, event) VALUES ('d1', '00000000000000aa', 1, 2, 5,
        '{"install":"00000000000000aa","boot":1,"n":2,"job":"j1","event":"accepted"}')"#,
    ),
    (
        1,
        r#"INSERT INTO logs (device_id, install, boot, n, received_at, line) VALUES ('d1', '00000000000000aa', 1, 3, 6,
        '{"n":3,"boot":1,"t_ms":1,"level":"info","text":"hello"}')"#,
    ),
    (
        1,
        "INSERT INTO outbox (topic, payload, retain, created_at) VALUES ('t', '', TRUE, 7)",
    ),
    (
        2,
        "INSERT INTO users (name, role, password, created_at) VALUES ('ann', 'admin', 'x', 1)",
    ),
    (
        2,
        "INSERT INTO sessions (hash, user_name, expires_at) VALUES ('h', 'ann', 1900000000)",
    ),
    (
        2,
        "INSERT INTO certificates (serial, device_id, issued_at, not_after) VALUES ('s1', 'd1', 1, 2)",
    ),
    (
        3,
        "INSERT INTO device_tags (device_id, name, value) VALUES ('d1', 'site', 'berlin')",
    ),
    (
        3,
        "INSERT INTO group_queries (name, query) VALUES ('q', 'tag:site=berlin')",
    ),
    (
        3,
        "INSERT INTO update_steps (job_id, device_id, n, at, status) VALUES ('j1', 'd1', 1, 3, 'pending')",
    ),
    (
        3,
        "INSERT INTO device_samples (device_id, at, boot, reset, version, heap_free, heap_min) VALUES ('d1', 1, 1, 'software', '1.0.0', 1, 1)",
    ),
    (
        4,
        "INSERT INTO key_epochs (product, epoch, record, uploaded_at) VALUES ('demo', 3, 'r', 1)",
    ),
    (
        7,
        r#"INSERT INTO rollouts (id, package, spec, state, wave, waves, approved, waived, paced_until_ms, baseline, counted_from, created_at, updated_at)
        VALUES ('r1', '1111111111111111111111111111111111111111111111111111111111111111',
        '{"name":"r1","package":"1111111111111111111111111111111111111111111111111111111111111111","target":"version < 2","waves":[{}]}',
        'running', 0, 1, FALSE, FALSE, 0, 0.5, 0, 1, 1)"#,
    ),
    (
        7,
        "INSERT INTO rollout_devices (rollout_id, device_id, n, wave, stratum, stage, since, offers, failures, not_before) VALUES ('r1', 'd1', 0, 0, \
         's', 'offered', 1, 1, 0, 0)",
    ),
    (
        7,
        "INSERT INTO rollout_outcomes (rollout_id, device_id, at, stratum) VALUES ('r1', 'd1', 1, 's')",
    ),
    (10, "UPDATE devices SET version = '1.0.0' WHERE id = 'd1'"),
];

/// A database as a version with so many migrations has left it.
async fn left_by(version: usize, database: &Database, data: &TempDir) {
    let store = Store::open_at(database, data.path(), version)
        .await
        .unwrap();
    for (_, row) in ROWS.iter().filter(|(from, _)| *from <= version as i64) {
        assert_eq!(store.tamper(row).await.unwrap(), 1, "{row}");
    }
    store.close().await;
}

/// What is in it, read as this version reads.
async fn is_read(version: usize, store: &Store) {
    let device = store.device("d1", NOW).await.unwrap().unwrap();
    assert!(device.online && device.state.is_some() && device.wish.is_some());
    assert_eq!(device.groups, ["g"]);
    let assignment = device.assignment.unwrap();
    assert_eq!(
        (assignment.job.as_str(), assignment.version.as_str()),
        ("j1", "1.1.0")
    );
    let counts = store.version_counts(10).await.unwrap();
    assert_eq!(counts, [("demo".to_owned(), "1.0.0".to_owned(), 1)]);
    assert_eq!(store.events("d1", None, 10).await.unwrap().items.len(), 1);
    assert_eq!(
        store.log_lines("d1", None, 10).await.unwrap().items.len(),
        1
    );
    assert_eq!(store.job("j1").await.unwrap().unwrap().counts.len(), 1);
    let package = store.package(&DIGEST.parse().unwrap()).await.unwrap();
    assert_eq!(package.unwrap().recipients, 0);
    assert_eq!(store.outbox_len().await.unwrap(), 1);
    assert_eq!(store.instance().await.unwrap(), "name");
    if version >= 2 {
        assert_eq!(store.users().await.unwrap().len(), 1);
        assert!(store.session("h", NOW).await.unwrap().is_some());
        assert_eq!(store.certificates("d1").await.unwrap().len(), 1);
    }
    if version >= 3 {
        assert_eq!(device.tags["site"], "berlin");
        assert_eq!(device.matched_groups, ["q"]);
        assert_eq!(
            store.updates("d1", None, 10).await.unwrap().items[0]
                .steps
                .len(),
            1
        );
        assert_eq!(store.samples("d1").await.unwrap().len(), 1);
    }
    if version >= 4 {
        assert_eq!(store.key_epochs().await.unwrap()[0].epoch, 3);
    }
    if version >= 7 {
        let rollout = store.rollout("r1").await.unwrap().unwrap();
        assert_eq!(rollout.course.baseline.to_bits(), 0.5_f64.to_bits());
        assert_eq!(rollout.members[0].stage, Stage::Offered);
        assert_eq!(rollout.outcomes.len(), 1);
    }
}

async fn each_earlier_version(database: impl Fn(usize) -> Database) {
    for version in 1..=MIGRATIONS.len() {
        let data = TempDir::new().unwrap();
        let database = database(version);
        left_by(version, &database, &data).await;
        let store = Store::open(&database, data.path()).await.unwrap();
        is_read(version, &store).await;
        store.close().await;
    }
}

#[tokio::test]
async fn what_every_earlier_version_left_in_a_file_is_read() {
    each_earlier_version(|_| Database::File).await;
}

#[tokio::test]
async fn what_every_earlier_version_left_in_postgresql_is_read() {
    let Some(cluster) = postgres::cluster() else {
        return;
    };
    each_earlier_version(|version| {
        let url = cluster.database(&format!("version_{version}"));
        Database::Postgres(url.parse().unwrap())
    })
    .await;
}

#[tokio::test]
async fn what_is_in_a_file_is_read_in_postgresql_once_it_is_copied_there() {
    let Some(cluster) = postgres::cluster() else {
        return;
    };
    let (version, data) = (MIGRATIONS.len(), TempDir::new().unwrap());
    left_by(version, &Database::File, &data).await;
    let file = Store::open(&Database::File, data.path()).await.unwrap();
    for change in [
        // A number that was given out, and is in use elsewhere perhaps.
        "INSERT INTO outbox (id, topic, payload, retain, created_at) VALUES (70, 't', '', TRUE, 7)",
        "DELETE FROM outbox WHERE id = 70",
    ] {
        assert_eq!(file.tamper(change).await.unwrap(), 1);
    }
    // More than go at once.
    let many = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2500) \
                INSERT INTO logs (device_id, install, boot, n, received_at, line) SELECT 'd1', 'copied', 1, n, 1, '{}' FROM n";
    assert_eq!(file.tamper(many).await.unwrap(), 2500);

    let database = Database::Postgres(cluster.database("copied").parse().unwrap());
    let copy = Store::open(&database, data.path()).await.unwrap();
    copy.copy_from(&file).await.unwrap();
    let logs = "DELETE FROM logs WHERE install = 'copied'";
    assert_eq!(copy.tamper(logs).await.unwrap(), 2500);
    is_read(version, &copy).await;
    let next = "INSERT INTO outbox (topic, payload, retain, created_at) VALUES ('t', '', TRUE, 7)";
    assert_eq!(copy.tamper(next).await.unwrap(), 1);
    let reused = "DELETE FROM outbox WHERE id > 1 AND id <= 70";
    assert_eq!(copy.tamper(reused).await.unwrap(), 0, "a number came twice");

    let again = copy.copy_from(&file).await;
    assert!(
        matches!(again, Err(TransferError::Occupied(_))),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_copy_that_fails_leaves_nothing_and_can_be_made_again() {
    let Some(cluster) = postgres::cluster() else {
        return;
    };
    let data = TempDir::new().unwrap();
    left_by(MIGRATIONS.len(), &Database::File, &data).await;
    let file = Store::open(&Database::File, data.path()).await.unwrap();
    let database = Database::Postgres(cluster.database("not_copied").parse().unwrap());
    let copy = Store::open(&database, data.path()).await.unwrap();
    // The last table, and one that is not known there.
    file.tamper("CREATE TABLE later (id TEXT)").await.unwrap();
    file.tamper("INSERT INTO later (id) VALUES ('1')")
        .await
        .unwrap();
    let failed = copy.copy_from(&file).await;
    assert!(matches!(failed, Err(TransferError::Store(_))), "{failed:?}");
    file.tamper("DROP TABLE later").await.unwrap();
    copy.copy_from(&file).await.unwrap();
    is_read(MIGRATIONS.len(), &copy).await;
}

#[test]
fn migrations_are_numbered_without_a_gap() {
    let numbers: Vec<i64> = MIGRATIONS.iter().map(|(number, ..)| *number).collect();
    let whole: Vec<i64> = (1..=MIGRATIONS.len() as i64).collect();
    assert_eq!(numbers, whole);
}

#[tokio::test]
async fn a_lease_is_one_holders_until_it_runs_out_or_is_given_up() {
    let Some(store) = leases("leases").await else {
        return;
    };
    assert!(store.hold("l", "a", 60.0).await.unwrap());
    assert!(!store.hold("l", "b", 60.0).await.unwrap());
    store.release("l", "b").await.unwrap();
    assert!(
        !store.hold("l", "b", 60.0).await.unwrap(),
        "not b's to give up"
    );
    assert!(
        store.hold("l", "a", 60.0).await.unwrap(),
        "a goes on with it"
    );
    store.release("l", "a").await.unwrap();
    assert!(store.hold("l", "b", -1.0).await.unwrap());
    assert!(store.hold("l", "a", 60.0).await.unwrap(), "b's has run out");
    let mut tx = store.write().await.unwrap();
    assert!(tx.holds("l", "a").await.unwrap());
    assert!(!tx.holds("l", "b").await.unwrap());
    drop(tx);
    assert!(store.hold("server/1", "a", 60.0).await.unwrap());
    assert!(store.hold("server/2", "b", -1.0).await.unwrap());
    assert_eq!(store.held("server/").await.unwrap(), 1, "one has run out");
}

#[tokio::test]
async fn a_lease_that_ran_out_is_nobody_elses_while_its_holder_still_writes() {
    let Some(store) = leases("leases_writing").await else {
        return;
    };
    assert!(store.hold("l", "slow", -1.0).await.unwrap());
    let mut tx = store.write().await.unwrap();
    assert!(tx.holds("l", "slow").await.unwrap());
    let mut taking = std::pin::pin!(store.hold("l", "next", 60.0));
    let soon = std::time::Duration::from_millis(300);
    assert!(tokio::time::timeout(soon, &mut taking).await.is_err());
    tx.commit().await.unwrap();
    assert!(taking.await.unwrap());
    let mut tx = store.write().await.unwrap();
    assert!(
        !tx.holds("l", "slow").await.unwrap(),
        "and then it is too late"
    );
}

/// A store that servers could share.
async fn leases(name: &str) -> Option<Store> {
    let url = postgres::cluster()?.database(name);
    let database = Database::Postgres(url.parse().unwrap());
    let unused = TempDir::new().unwrap();
    let store = Store::open(&database, unused.path()).await.unwrap();
    assert!(store.is_shared());
    Some(store)
}
