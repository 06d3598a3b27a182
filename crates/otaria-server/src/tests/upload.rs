use otaria_package::testing::{Material, Target};

use super::*;
use crate::clock::now_ms;

fn files(bench: &Bench) -> Vec<String> {
    let mut names: Vec<String> = walk(&bench.dir.path().join("packages"));
    names.sort();
    names
}

fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(walk(&path));
        } else {
            names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    names
}

#[tokio::test]
async fn a_package_is_verified_and_kept_under_its_hash() {
    let bench = Bench::new().await;
    let bytes = package("1.1.0");
    let first = bench.try_upload(bytes.clone()).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    let uploaded: Package = first.json();
    assert_eq!(uploaded.digest, Sha256Digest::of(&bytes));
    assert_eq!(uploaded.size, bytes.len() as u64);
    assert_eq!(
        (uploaded.version.as_str(), uploaded.chip.as_str()),
        ("1.1.0", "esp32c3")
    );
    assert_eq!(
        uploaded.url,
        format!("http://ota.test:8080/packages/{}.otaria", uploaded.digest)
    );
    assert_eq!(files(&bench), [format!("{}.otaria", uploaded.digest)]);

    let again = bench.try_upload(bytes).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.json::<Package>(), uploaded);
    assert_eq!(files(&bench).len(), 1);

    let found: Package = bench
        .get(&format!("/api/v1/packages/{}", uploaded.digest))
        .await
        .json();
    assert_eq!(found, uploaded);
    let list: crate::model::Page<Package> = bench.get("/api/v1/packages").await.json();
    assert_eq!(list.items, [uploaded]);
}

#[tokio::test]
async fn an_encrypted_package_is_taken_as_it_is_and_listed_as_one() {
    let bench = Bench::new().await;
    let bytes = package_with("1.1.0", |options| {
        let keys = (0..2).map(|_| SigningKey::generate().unwrap().public_key());
        options.encrypt_to = keys.collect();
    });
    let uploaded = bench.upload(bytes.clone()).await;
    assert_eq!(
        (uploaded.recipients, uploaded.chip.as_str()),
        (2, "esp32c3")
    );
    let plain = bench.upload(package("1.0.0")).await;
    assert_eq!(plain.recipients, 0);
    let list: crate::model::Page<Package> = bench.get("/api/v1/packages").await.json();
    let recipients: Vec<u16> = list
        .items
        .iter()
        .map(|package| package.recipients)
        .collect();
    assert_eq!(recipients.iter().sum::<u16>(), 2, "{recipients:?}");

    let kept = bench
        .dir
        .path()
        .join("packages")
        .join(&uploaded.digest.to_hex()[..2]);
    let kept = std::fs::read(kept.join(format!("{}.otaria", uploaded.digest))).unwrap();
    assert!(
        kept == bytes,
        "something else is kept than what was uploaded"
    );
}

#[tokio::test]
async fn what_no_device_would_take_is_refused_with_the_devices_own_code() {
    let bench = Bench::new().await;
    let image = Stamp::new("1.1.0")
        .secure_version(2)
        .size(48 * 1024)
        .image();
    let stranger = SigningKey::generate().unwrap();
    let target = Target {
        security_floor: 1,
        ..Target::default()
    };
    let material = Material {
        image: &image,
        key: &KEY,
        stranger: &stranger,
        recipient: &SigningKey::generate().unwrap().public_key(),
        target,
    };
    let mut refused = 0;
    for bad in material.bad_packages().unwrap() {
        let reply = bench.try_upload(bad.bytes).await;
        // The server holds no keys, and is no device: whose signature it is and whom it fits it cannot judge.
        let trusts = ["unknown_key", "bad_signature"].contains(&bad.code.name());
        if bad.only_device || trusts {
            continue;
        }
        assert_eq!(
            reply.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{}: {reply:?}",
            bad.name
        );
        assert_eq!(reply.problem(), bad.code.name(), "{}", bad.name);
        refused += 1;
    }
    assert!(refused >= 20, "only {refused} were for the server to judge");
}

#[tokio::test]
async fn nothing_stays_of_an_upload_that_is_refused_or_breaks_off() {
    let bench = Bench::new().await;
    assert_eq!(
        bench.try_upload(b"not a package".to_vec()).await.problem(),
        "not_a_package"
    );
    let mut truncated = package("1.1.0");
    truncated.pop();
    let truncated = bench.try_upload(truncated).await;
    assert_eq!(truncated.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(truncated.json::<Problem>().detail.contains("truncated"));
    let too_large = bench
        .try_upload(vec![0; MAX_PACKAGE_LEN as usize + 1])
        .await;
    assert_eq!(
        (too_large.status, too_large.problem().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
    );

    let pieces = [
        Ok(Bytes::from(package("1.1.0"))),
        Err(std::io::Error::other("the client has gone")),
    ];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let headers = [("content-type", "application/octet-stream")];
    let broken = bench
        .send(Method::POST, "/api/v1/packages", &headers, body)
        .await;
    assert_eq!(broken.problem(), "bad_request");
    assert_eq!(files(&bench), Vec::<String>::new());
}

#[tokio::test]
async fn a_sequence_more_than_a_day_ahead_is_refused() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let bench = Bench::new().await;
    let ahead = package_with("1.1.0", |options| {
        options.sequence = now_ms() + DAY_MS + 60_000;
    });
    assert_eq!(bench.try_upload(ahead).await.problem(), "sequence_ahead");
    let just_so = package_with("1.1.0", |options| {
        options.sequence = now_ms() + DAY_MS - 60_000;
    });
    bench.upload(just_so).await;
}

#[tokio::test]
async fn an_upload_must_say_what_it_is() {
    let bench = Bench::new().await;
    let reply = bench
        .send(Method::POST, "/api/v1/packages", &[], package("1.1.0"))
        .await;
    assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(reply.problem(), "content_type");
}

#[tokio::test]
async fn what_earlier_uploads_left_behind_is_removed_at_start() {
    let bench = Bench::new().await;
    std::fs::write(
        bench.dir.path().join("packages/incoming/half"),
        b"half a package",
    )
    .unwrap();
    assert_eq!(files(&bench), ["half"]);
    let bench = bench.restarted().await;
    assert_eq!(files(&bench), Vec::<String>::new());
}

#[tokio::test]
async fn an_upload_that_tells_a_length_too_large_is_refused_before_it_is_sent() {
    let bench = Bench::new().await;
    let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
    let len = (MAX_PACKAGE_LEN + 1).to_string();
    let headers = [
        ("content-type", "application/octet-stream"),
        ("content-length", len.as_str()),
        ("expect", "100-continue"),
    ];
    let path = "/api/v1/packages";
    let reply = bench.send(Method::POST, path, &headers, Body::from_stream(never));
    let reply = tokio::time::timeout(std::time::Duration::from_secs(60), reply)
        .await
        .expect("an answer without the package");
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{reply:?}");
}
