use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;

use super::*;

/// Reads the next event of a stream: its name and its data.
async fn next(stream: &mut BodyDataStream) -> Option<(String, Value)> {
    let piece = tokio::time::timeout(Duration::from_secs(10), stream.next())
        .await
        .expect("an event in time")?
        .unwrap();
    let text = std::str::from_utf8(&piece).unwrap();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    Some((
        field("event:"),
        serde_json::from_str(&field("data:")).unwrap(),
    ))
}

async fn open(bench: &Bench, query: &str) -> BodyDataStream {
    let request = Request::builder()
        .uri(format!("/api/v1/stream{query}"))
        .body(Body::empty())
        .unwrap();
    let response = bench.raw(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens() {
    let bench = Bench::new().await;
    let mut stream = open(&bench, "").await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    assert_eq!(next(&mut stream).await.unwrap().0, "presence");
    assert_eq!(next(&mut stream).await.unwrap().0, "state");
    let package = bench.upload(package("1.1.0")).await;
    let job = bench.publish(&package, json!("all")).await.job.id;
    let (name, live) = next(&mut stream).await.unwrap();
    assert_eq!(
        (name.as_str(), &live["data"]["status"]),
        ("assignment", &json!("pending"))
    );
    bench
        .report("d1", "event", &event(1, 1, &job, "accepted"))
        .await;
    let (name, live) = next(&mut stream).await.unwrap();
    assert_eq!(
        (name.as_str(), &live["data"]["event"]),
        ("event", &json!("accepted"))
    );
    let (_, live) = next(&mut stream).await.unwrap();
    assert_eq!(live["data"]["status"], "running");
    let live: Live = serde_json::from_value(live).unwrap();
    assert_eq!(live.device(), Some("d1"));
}

#[tokio::test]
async fn a_stream_can_be_of_one_device_or_one_job() {
    let bench = Bench::new().await;
    let package = bench.upload(package("1.1.0")).await;
    for id in ["d1", "d2"] {
        bench.device_runs(id, &other_image(), "1.0.0").await;
    }
    let job = bench
        .publish(&package, json!({"device": "d1"}))
        .await
        .job
        .id;
    let mut of_device = open(&bench, "?device=d2").await;
    let mut of_job = open(&bench, &format!("?job={job}")).await;
    bench
        .report("d1", "presence", &json!({"online": false}))
        .await;
    bench
        .report("d1", "event", &event(1, 1, &job, "accepted"))
        .await;
    bench
        .report("d2", "presence", &json!({"online": false}))
        .await;
    let (name, live) = next(&mut of_device).await.unwrap();
    assert_eq!(
        (name.as_str(), &live["data"]["device"]),
        ("presence", &json!("d2"))
    );
    assert_eq!(next(&mut of_job).await.unwrap().0, "event");
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_to_read_again() {
    let bench = Bench::new().await;
    let mut stream = open(&bench, "").await;
    for n in 0..5000 {
        bench.shared.tell(vec![Live::Presence {
            device: "d1".into(),
            online: n % 2 == 0,
        }]);
    }
    assert_eq!(next(&mut stream).await.unwrap().0, "resync");
}

#[tokio::test]
async fn streams_end_with_the_server() {
    let bench = Bench::new().await;
    let mut stream = open(&bench, "").await;
    bench.shared.stopping.send_replace(true);
    assert_eq!(next(&mut stream).await, None);
}
