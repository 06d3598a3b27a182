//! The same tests on the other database.

use std::process::Command;

use super::*;

/// All of these tests once more, in a process whose benches use PostgreSQL.
#[test]
fn everything_holds_on_postgresql_too() {
    if std::env::var_os(postgres::ASKED).is_some() || postgres::cluster().is_none() {
        return;
    }
    let again = Command::new(std::env::current_exe().unwrap())
        .args([
            "tests::",
            "--skip",
            "rollout::tests",
            "--skip",
            "query::tests",
        ])
        .env(postgres::ASKED, "postgres")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{said}");
    let result = said.lines().find(|line| line.starts_with("test result"));
    println!("{}", result.unwrap_or_default());
}

#[tokio::test]
async fn a_nul_that_a_device_sends_keeps_nothing_from_being_stored() {
    let bench = Bench::new().await;
    let package = bench.upload(package("1.1.0")).await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let job = bench.publish(&package, json!("all")).await.job.id;
    let mut failed = event(1, 1, &job, "failed");
    failed["text"] = json!("a\0b");
    bench.report("d1", "event", &failed).await;
    let text = bench.device("d1").await.assignment.unwrap().text.unwrap();
    assert!(text.starts_with('a') && text.ends_with('b'), "{text:?}");
}

#[tokio::test]
async fn who_writes_waits_for_whoever_writes_already() {
    let bench = Bench::new().await;
    let mut first = bench.shared.store.write().await.unwrap();
    first.set_note("n", Some("first")).await.unwrap();
    let waits = async {
        let mut second = bench.shared.store.write().await.unwrap();
        second.note("n").await.unwrap()
    };
    let mut waits = std::pin::pin!(waits);
    let soon = tokio::time::timeout(std::time::Duration::from_millis(300), &mut waits).await;
    assert!(soon.is_err(), "two write at once");
    first.commit().await.unwrap();
    assert_eq!(waits.await.as_deref(), Some("first"));
}

#[tokio::test]
async fn a_database_that_speaks_no_tls_is_refused_with_a_word_what_to_do() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let plain = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut client, _) = listener.accept().await.unwrap();
        // The request for TLS is eight bytes, and N says no (PostgreSQL, "Message Flow", SSL).
        client.read_exact(&mut [0; 8]).await.unwrap();
        client.write_all(b"N").await.unwrap();
    });
    let url = format!("postgres://o:p@{address}/o?sslmode=require");
    let dir = TempDir::new().unwrap();
    let opened = Store::open(&Database::Postgres(url.parse().unwrap()), dir.path()).await;
    plain.await.unwrap();
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("sslmode=disable"), "{error}");
}
