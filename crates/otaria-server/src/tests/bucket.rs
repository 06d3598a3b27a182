//! Packages in a bucket of a store that checks signatures.

use std::time::Duration;

use super::s3::{BUCKET, S3, SECRET, settings};
use super::*;
use crate::config::BucketUrl;
use crate::packages::{Bucket, BucketError, OpenError, place};

fn url(settings: Vec<(String, String)>) -> BucketUrl {
    BucketUrl::new(&format!("s3://{BUCKET}/ota"), settings).unwrap()
}

fn bucket(s3: &S3) -> PackageStore {
    PackageStore::Bucket(url(s3.settings()))
}

fn links(seconds: u64) -> Delivery {
    let valid = Duration::from_secs(seconds);
    Delivery::Links { valid }
}

/// Where an object of a package is in the bucket.
fn key(digest: &Sha256Digest) -> String {
    format!("ota/{}", place(digest))
}

/// Follows a link with a client that knows nothing of buckets.
async fn follow(method: &str, link: &str, range: Option<&str>) -> (u16, Vec<u8>) {
    let (method, link) = (method.to_owned(), link.to_owned());
    let range = range.map(str::to_owned);
    let followed = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut request = axum::http::Request::builder().method(&*method).uri(link);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let mut answer = agent.run(request.body(()).unwrap()).unwrap();
        let body = answer.body_mut().read_to_vec().unwrap();
        (answer.status().as_u16(), body)
    });
    followed.await.unwrap()
}

#[tokio::test]
async fn packages_out_of_a_bucket_are_served_as_those_on_disk() {
    let s3 = S3::start().await;
    let bench = async || Bench::keeping(bucket(&s3), Delivery::Stream).await;
    super::download::as_rfc_9110_says(bench().await).await;
    super::download::resumes(bench().await).await;
}

#[tokio::test]
async fn a_package_comes_into_the_bucket_only_when_it_is_verified_and_leaves_nothing_on_disk() {
    let s3 = S3::start().await;
    let bench = Bench::keeping(bucket(&s3), Delivery::Stream).await;
    let good = package("1.1.0");
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    let refused = bench.try_upload(bad.clone()).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!s3.file(&key(&Sha256Digest::of(&bad))).exists());

    let uploaded = bench.upload(good.clone()).await;
    assert_eq!(
        std::fs::read(s3.file(&key(&uploaded.digest))).unwrap(),
        good
    );
    let incoming = bench.dir.path().join("packages/incoming");
    assert_eq!(std::fs::read_dir(incoming).unwrap().count(), 0);

    // Whoever uploads it once more puts right what somebody has done to it.
    std::fs::write(s3.file(&key(&uploaded.digest)), "something else").unwrap();
    bench.upload(good.clone()).await;
    assert_eq!(
        std::fs::read(s3.file(&key(&uploaded.digest))).unwrap(),
        good
    );
}

#[tokio::test]
async fn what_the_bucket_says_that_it_has_and_has_not_is_not_known_to_the_server() {
    let s3 = S3::start().await;
    let bench = Bench::keeping(bucket(&s3), Delivery::Stream).await;
    s3.forget();
    let reply = bench.try_upload(package("1.1.0")).await;
    assert_eq!(
        (reply.status, reply.problem().as_str()),
        (StatusCode::BAD_GATEWAY, "bucket")
    );
    let known: crate::model::Page<Package> = bench.get("/api/v1/packages").await.json();
    assert_eq!(known.items, []);
}

#[tokio::test]
async fn a_file_larger_than_a_part_comes_and_goes_whole() {
    let s3 = S3::start().await;
    let bucket = Bucket::new(url(s3.settings())).unwrap();
    // Two parts, and a third of one byte.
    let bytes: Vec<u8> = (0..16 * 1024 * 1024 + 1_u32)
        .map(|n| (n >> 8) as u8)
        .collect();
    let len = bytes.len() as u64;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, &bytes).unwrap();
    let digest = Sha256Digest::of(&bytes);
    bucket.put(&digest, &file, len).await.unwrap();
    let parts = s3.seen();
    let parts = parts.iter().filter(|seen| seen.uri.contains("partNumber="));
    assert_eq!(parts.count(), 3);

    let got: Vec<Bytes> =
        futures_util::TryStreamExt::try_collect(bucket.read(&digest, len, 0..len).await.unwrap())
            .await
            .unwrap();
    assert!(got.concat() == bytes);
    let cut = bucket.read(&digest, len + 1, 0..len).await.err().unwrap();
    assert!(cut.to_string().contains("instead of"), "{cut}");
}

#[tokio::test]
async fn links_give_the_package_whole_or_in_part_and_end() {
    let s3 = S3::start().await;
    let bench = Bench::keeping(bucket(&s3), links(2)).await;
    let bytes = package("1.1.0");
    let uploaded = bench.upload(bytes.clone()).await;
    let path = format!("/packages/{}.otaria", uploaded.digest);
    let etag = format!("\"{}\"", uploaded.digest);

    let reply = bench.get(&path).await;
    assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert!(reply.body.is_empty());
    let link = reply.header("location").to_owned();
    assert!(!link.contains(SECRET));
    assert_eq!(follow("GET", &link, None).await, (200, bytes.clone()));
    let part = follow("GET", &link, Some("bytes=1000-")).await;
    assert_eq!(part, (206, bytes[1000..].to_vec()));

    // A link is for one method and one object.
    assert_eq!(follow("HEAD", &link, None).await.0, 403);
    let head = bench.send(Method::HEAD, &path, &[], Body::empty()).await;
    assert_eq!(head.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(follow("HEAD", head.header("location"), None).await.0, 200);
    let digest = uploaded.digest.to_string();
    let elsewhere = link.replace(&digest, &other_image().to_string());
    assert_eq!(follow("GET", &elsewhere, None).await.0, 403);

    // What the client has already is not had again.
    let same = [("if-none-match", etag.as_str())];
    let known = bench.send(Method::GET, &path, &same, Body::empty()).await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);

    tokio::time::sleep(Duration::from_millis(3100)).await;
    assert_eq!(follow("GET", &link, None).await.0, 403, "it has ended");
    let again = bench.get(&path).await;
    assert_eq!(follow("GET", again.header("location"), None).await.0, 200);
}

#[tokio::test]
async fn who_may_not_have_a_package_gets_no_link_either() {
    let s3 = S3::start().await;
    let mut bench = Bench::keeping(bucket(&s3), Delivery::LINKS).await;
    let uploaded = bench.upload(package("1.1.0")).await;
    bench.reopen(Access::LogIn, Downloads::Known);
    for digest in [uploaded.digest, other_image()] {
        let reply = bench.get(&format!("/packages/{digest}.otaria")).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reply.header("location"), "");
    }
}

#[tokio::test]
async fn a_cdn_is_asked_by_the_name_in_the_bucket_or_in_the_directory() {
    let cdn = Delivery::Cdn("https://cdn.test/ota".to_owned());
    let s3 = S3::start().await;
    for packages in [bucket(&s3), PackageStore::Own] {
        let bench = Bench::keeping(packages, cdn.clone()).await;
        let uploaded = bench.upload(package("1.1.0")).await;
        let reply = bench
            .get(&format!("/packages/{}.otaria", uploaded.digest))
            .await;
        assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
        let at = format!("https://cdn.test/ota/{}", place(&uploaded.digest));
        assert_eq!(reply.header("location"), at);
        let none = bench
            .get(&format!("/packages/{}.otaria", other_image()))
            .await;
        assert_eq!(none.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_link_that_is_too_long_for_devices_is_not_given_out() {
    let s3 = S3::start().await;
    let mut long = s3.settings();
    long.push(("AWS_SESSION_TOKEN".to_owned(), "t".repeat(1800)));
    let bucket = Bucket::new(url(long)).unwrap();
    let digest = other_image();
    let link = bucket
        .link(Method::GET, &digest, Duration::from_secs(1))
        .await;
    assert_eq!(link.unwrap(), None);
    let bucket = Bucket::new(url(s3.settings())).unwrap();
    let link = bucket
        .link(Method::GET, &digest, Duration::from_secs(1))
        .await;
    assert!(link.unwrap().is_some_and(|link| link.len() < 700));
}

async fn refused(settings: Vec<(String, String)>, name: &str) -> BucketError {
    let dir = TempDir::new().unwrap();
    let url = BucketUrl::new(name, settings).unwrap();
    let store = PackageStore::Bucket(url);
    match Packages::open(store, dir.path(), MAX_PACKAGE_LEN, Delivery::Stream).await {
        Err(OpenError::Bucket(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bucket_that_cannot_be_used_is_named_at_the_start_with_what_to_do() {
    let s3 = S3::start().await;
    let home = format!("s3://{BUCKET}");
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let half = s3
        .settings()
        .into_iter()
        .filter(|(name, _)| name != "AWS_SECRET_ACCESS_KEY");
    for (error, words) in [
        (
            refused(s3.settings_with("wrong"), &home).await,
            "refuses this server (SignatureDoesNotMatch)",
        ),
        (
            refused(s3.settings(), "s3://elsewhere").await,
            "there is no such bucket",
        ),
        (
            refused(settings(nobody, SECRET), &home).await,
            "cannot be reached",
        ),
        (refused(half.collect(), &home).await, "SecretAccessKey"),
    ] {
        let text = error.to_string();
        assert!(text.contains(words) && text.starts_with("s3://"), "{text}");
        assert!(!text.contains(SECRET) && text.len() < 500, "{text}");
    }
}

#[tokio::test]
async fn a_bucket_that_goes_away_fails_what_needs_it_and_nothing_else() {
    let s3 = S3::start().await;
    let bench = Bench::keeping(bucket(&s3), Delivery::Stream).await;
    let uploaded = bench.upload(package("1.1.0")).await;
    let path = format!("/packages/{}.otaria", uploaded.digest);
    bench.shared.broker_connected.send_replace(true);
    assert_eq!(bench.get("/readyz").await.status, StatusCode::OK);

    std::fs::remove_file(s3.file(&key(&uploaded.digest))).unwrap();
    let gone = bench.get(&path).await;
    assert_eq!(gone.status, StatusCode::BAD_GATEWAY);
    assert!(gone.json::<Problem>().detail.contains("upload it again"));

    s3.stop();
    let shared = Arc::clone(&bench.shared);
    let every = Duration::from_millis(20);
    let watch = tokio::spawn(async move { shared.packages.watch(every).await });
    let asked = tokio::time::timeout(Duration::from_secs(20), bench.get(&path));
    let down = asked.await.expect("an answer in time");
    assert_eq!(
        (down.status, down.problem().as_str()),
        (StatusCode::BAD_GATEWAY, "bucket")
    );
    let down = bench.try_upload(package("1.2.0")).await;
    assert_eq!(
        (down.status, down.problem().as_str()),
        (StatusCode::BAD_GATEWAY, "bucket")
    );
    let known: crate::model::Page<Package> = bench.get("/api/v1/packages").await.json();
    assert_eq!(
        known.items,
        [uploaded],
        "nothing is known that is not there"
    );
    let ready = bench.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json::<Value>()["packages"], false);
    watch.abort();
}
