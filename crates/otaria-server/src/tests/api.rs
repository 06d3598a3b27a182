use super::*;
use crate::model::{
    Assignment, Cancelled, Group, Health, Job, Page, ReceivedEvent, ReceivedLine, Sent, Status,
    Target,
};

fn payloads(rows: &[OutboxRow]) -> Vec<(String, Value)> {
    rows.iter()
        .map(|row| {
            let payload = &row.message.payload;
            let json = if payload.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(payload).unwrap()
            };
            (row.message.topic.clone(), json)
        })
        .collect()
}

#[tokio::test]
async fn devices_are_listed_page_by_page_and_by_group() {
    let bench = Bench::new().await;
    for id in ["d3", "d1", "d2"] {
        bench.device_runs(id, &other_image(), "1.0.0").await;
    }
    let page: Page<Device> = bench.get("/api/v1/devices?limit=2").await.json();
    assert_eq!(
        page.items
            .iter()
            .map(|device| device.id.as_str())
            .collect::<Vec<_>>(),
        ["d1", "d2"]
    );
    let next = page.next.unwrap();
    let page: Page<Device> = bench
        .get(&format!("/api/v1/devices?limit=2&cursor={next}"))
        .await
        .json();
    assert_eq!(
        page.items
            .iter()
            .map(|device| device.id.as_str())
            .collect::<Vec<_>>(),
        ["d3"]
    );
    assert_eq!(page.next, None);

    for (id, groups) in [("d1", json!(["lab", "north"])), ("d3", json!(["lab"]))] {
        let headers = [("content-type", "application/json")];
        let body = json!({"groups": groups}).to_string();
        let reply = bench
            .send(
                Method::PUT,
                &format!("/api/v1/devices/{id}/groups"),
                &headers,
                body,
            )
            .await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    }
    let page: Page<Device> = bench.get("/api/v1/devices?group=lab").await.json();
    assert_eq!(
        page.items
            .iter()
            .map(|device| device.id.as_str())
            .collect::<Vec<_>>(),
        ["d1", "d3"]
    );
    assert_eq!(page.items[0].groups, ["lab", "north"]);
    let groups = bench
        .get("/api/v1/groups")
        .await
        .json::<Page<Group>>()
        .items;
    let groups: Vec<(&str, u64)> = groups
        .iter()
        .map(|group| (group.name.as_str(), group.devices))
        .collect();
    assert_eq!(groups, [("lab", 2), ("north", 1)]);
}

#[tokio::test]
async fn publishing_declares_the_package_to_the_device() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let package = bench.upload(package("1.1.0")).await;
    let published = bench.publish(&package, json!({"device": "d1"})).await;
    let job = &published.job;
    assert_eq!(job.version, "1.1.0");
    assert_eq!(
        (job.total(), job.count(Status::Pending), job.ended()),
        (1, 1, 0)
    );

    let rows = bench.outbox().await;
    assert_eq!(rows.len(), 1);
    assert!(rows[0].message.retain && rows[0].message.expires_at.is_none());
    let (topic, payload) = payloads(&rows).remove(0);
    assert_eq!(topic, "otaria/v1/d1/desired");
    assert_eq!(
        payload,
        json!({"job": job.id, "url": package.url, "version": "1.1.0", "image_sha256": package.image_sha256})
    );

    let device = bench.device("d1").await;
    let wish = device.wish.unwrap();
    assert_eq!(
        (wish.job.as_deref(), wish.url.as_str()),
        (Some(job.id.as_str()), package.url.as_str())
    );
    let assignment = device.assignment.unwrap();
    assert_eq!(
        (assignment.status, assignment.version.as_str()),
        (Status::Pending, "1.1.0")
    );
    let devices: Page<Assignment> = bench
        .get(&format!("/api/v1/jobs/{}/devices", job.id))
        .await
        .json();
    assert_eq!(devices.items, [assignment]);
    assert_eq!(
        bench
            .get(&format!("/api/v1/jobs/{}", job.id))
            .await
            .json::<Job>(),
        *job
    );
    assert_eq!(
        bench.get("/api/v1/jobs").await.json::<Page<Job>>().items,
        std::slice::from_ref(job)
    );
}

#[tokio::test]
async fn a_newer_job_supersedes_what_is_open_and_nothing_else() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let first = bench.upload(package("1.1.0")).await;
    let second = bench.upload(package("1.2.0")).await;
    let one = bench.publish(&first, json!({"device": "d1"})).await.job.id;
    bench
        .report("d1", "event", &event(1, 1, &one, "failed"))
        .await;
    let two = bench.publish(&first, json!({"device": "d1"})).await.job.id;
    let three = bench.publish(&second, json!("all")).await.job.id;
    let status = async |job: &str| {
        let page: Page<Assignment> = bench
            .get(&format!("/api/v1/jobs/{job}/devices"))
            .await
            .json();
        page.items[0].status
    };
    assert_eq!(status(&one).await, Status::Failed);
    assert_eq!(status(&two).await, Status::Superseded);
    assert_eq!(status(&three).await, Status::Pending);
    assert_eq!(bench.device("d1").await.assignment.unwrap().job, three);
}

#[tokio::test]
async fn a_group_or_all_leaves_out_devices_that_cannot_take_the_package_and_says_so() {
    let bench = Bench::new().await;
    bench.device_runs("fits", &other_image(), "1.0.0").await;
    let mut pump = state("pump", &other_image(), "1.0.0", None, "idle");
    pump["product"] = json!("pump");
    bench.report("pump", "state", &pump).await;
    let mut s3 = state("s3", &other_image(), "1.0.0", None, "idle");
    s3["chip"] = json!("esp32s3");
    bench.report("s3", "state", &s3).await;
    bench
        .report("silent", "presence", &json!({"online": true}))
        .await;
    let package = bench.upload(package("1.1.0")).await;

    let published = bench.publish(&package, json!("all")).await;
    assert_eq!(
        published.job.total(),
        2,
        "what is not known to be wrong is tried: the device has the last word"
    );
    let skipped: Vec<&str> = published
        .skipped
        .iter()
        .map(|skipped| skipped.device.as_str())
        .collect();
    assert_eq!(skipped, ["pump", "s3"]);

    let alone = bench
        .post(
            "/api/v1/jobs",
            &json!({"package": package.digest, "target": {"device": "pump"}}),
        )
        .await;
    assert_eq!(
        (alone.status, alone.problem().as_str()),
        (StatusCode::CONFLICT, "none_fits")
    );
    assert!(alone.json::<Problem>().detail.contains("is a 'pump'"));
}

#[tokio::test]
async fn a_device_that_has_yet_to_come_is_taken_only_when_said_so() {
    let bench = Bench::new().await;
    let package = bench.upload(package("1.1.0")).await;
    let request = json!({"package": package.digest, "target": {"device": "later"}});
    let reply = bench.post("/api/v1/jobs", &request).await;
    assert_eq!(
        (reply.status, reply.problem().as_str()),
        (StatusCode::NOT_FOUND, "no_device")
    );
    assert!(
        bench.outbox().await.is_empty(),
        "a refused request leaves nothing behind"
    );

    let mut request = request;
    request["unseen"] = json!(true);
    assert_eq!(
        bench.post("/api/v1/jobs", &request).await.status,
        StatusCode::CREATED
    );
    let device = bench.device("later").await;
    assert_eq!((device.last_seen, device.online), (None, false));
    assert_eq!(bench.outbox().await.len(), 1);
}

#[tokio::test]
async fn a_named_job_can_be_asked_for_twice_and_happens_once() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let uploaded = bench.upload(package("1.1.0")).await;
    let request =
        json!({"package": uploaded.digest, "target": {"device": "d1"}, "job": "release-1.1.0"});
    let first: Published = bench.post("/api/v1/jobs", &request).await.json();
    let again: Published = bench.post("/api/v1/jobs", &request).await.json();
    assert_eq!(first.job, again.job);
    assert_eq!(bench.outbox().await.len(), 1);

    let other = bench.upload(package("1.2.0")).await;
    let request =
        json!({"package": other.digest, "target": {"device": "d1"}, "job": "release-1.1.0"});
    let reply = bench.post("/api/v1/jobs", &request).await;
    assert_eq!(
        (reply.status, reply.problem().as_str()),
        (StatusCode::CONFLICT, "job_taken")
    );
}

#[tokio::test]
async fn a_cancel_clears_the_wish_and_tells_the_device() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let package = bench.upload(package("1.1.0")).await;
    let job = bench
        .publish(&package, json!({"device": "d1"}))
        .await
        .job
        .id;
    bench
        .report("d1", "event", &event(1, 1, &job, "accepted"))
        .await;
    let reply = bench.post("/api/v1/devices/d1/cancel", &Value::Null).await;
    let cancelled: Cancelled = reply.json();
    assert_eq!(
        cancelled,
        Cancelled {
            device: "d1".into(),
            job: Some(job.clone()),
            status: Some(Status::Cancelling)
        }
    );
    assert_eq!(bench.device("d1").await.wish, None);

    let rows = bench.outbox().await;
    let sent = payloads(&rows);
    assert_eq!(sent[0], ("otaria/v1/d1/desired".to_owned(), Value::Null));
    assert!(rows[0].message.retain);
    assert_eq!(sent[1].0, "otaria/v1/d1/cmd");
    assert_eq!(sent[1].1["cmd"], "cancel");
    assert!(!rows[1].message.retain && rows[1].message.expires_at.is_some());

    bench
        .report("d1", "event", &event(1, 2, &job, "cancelled"))
        .await;
    assert_eq!(
        bench.device("d1").await.assignment.unwrap().status,
        Status::Cancelled
    );

    let idle: Cancelled = bench
        .post("/api/v1/devices/d1/cancel", &Value::Null)
        .await
        .json();
    assert_eq!((idle.job, idle.status), (None, None));
}

#[tokio::test]
async fn a_job_that_the_device_never_answered_is_cancelled_at_once() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let package = bench.upload(package("1.1.0")).await;
    bench.publish(&package, json!({"device": "d1"})).await;
    let cancelled: Cancelled = bench
        .post("/api/v1/devices/d1/cancel", &Value::Null)
        .await
        .json();
    assert_eq!(cancelled.status, Some(Status::Cancelled));
}

#[tokio::test]
async fn commands_carry_an_id_and_expire() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let body = json!({"cmd": "logs", "lines": 20, "expires_in_s": 60});
    let reply = bench.post("/api/v1/devices/d1/commands", &body).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    let sent: Sent = reply.json();
    let rows = bench.outbox().await;
    assert_eq!(
        payloads(&rows)[0].1,
        json!({"id": sent.id, "cmd": "logs", "lines": 20})
    );
    assert_eq!(rows[0].message.expires_at, Some(sent.expires_at));
    assert!(!rows[0].message.retain, "commands are never retained");
}

#[tokio::test]
async fn bad_requests_are_named() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let digest = bench.upload(package("1.1.0")).await.digest;
    let to_d1 = json!({"device": "d1"});
    let job = |change: Value| {
        let mut request = json!({"package": digest, "target": to_d1});
        for (key, value) in change.as_object().unwrap() {
            request[key] = value.clone();
        }
        ("/api/v1/jobs", request)
    };
    for ((path, body), status, kind) in [
        (job(json!({"package": other_image()})), 404, "not_found"),
        (job(json!({"package": "xyz"})), 422, "bad_request"),
        (
            job(json!({"target": {"device": "nobody"}})),
            404,
            "no_device",
        ),
        (
            job(json!({"target": {"device": "a/b"}, "unseen": true})),
            400,
            "bad_request",
        ),
        (
            job(json!({"target": {"group": "empty"}})),
            409,
            "empty_target",
        ),
        (job(json!({"target": "everything"})), 422, "bad_request"),
        (job(json!({"job": "a b"})), 400, "bad_request"),
        (job(json!({"job": "x".repeat(65)})), 400, "bad_request"),
        (job(json!({"deadline": 1})), 400, "bad_request"),
        (job(json!({"colour": "red"})), 422, "bad_request"),
        (("/api/v1/jobs", json!([])), 422, "bad_request"),
        (
            ("/api/v1/devices/d1/commands", json!({"cmd": "explode"})),
            400,
            "bad_request",
        ),
        (
            (
                "/api/v1/devices/d1/commands",
                json!({"cmd": "reboot", "expires_in_s": 0}),
            ),
            400,
            "bad_request",
        ),
        (
            ("/api/v1/devices/nobody/commands", json!({"cmd": "reboot"})),
            404,
            "no_device",
        ),
        (
            ("/api/v1/devices/nobody/cancel", Value::Null),
            404,
            "no_device",
        ),
        (("/api/v1/nothing", Value::Null), 404, "not_found"),
        (("/api/v1/devices", Value::Null), 405, "method"),
    ] {
        let reply = bench.post(path, &body).await;
        assert_eq!(
            (reply.status.as_u16(), reply.problem().as_str()),
            (status, kind),
            "{path} {body}"
        );
    }
    for (path, status) in [
        ("/api/v1/devices/nobody", 404),
        ("/api/v1/devices/nobody/events", 404),
        ("/api/v1/devices/nobody/logs", 404),
        ("/api/v1/jobs/none", 404),
        ("/api/v1/jobs/none/devices", 404),
        ("/api/v1/devices?limit=0", 400),
        ("/api/v1/devices?limit=1001", 400),
        ("/api/v1/devices?limit=x", 400),
        ("/api/v1/devices/d1/events?cursor=x", 400),
    ] {
        let reply = bench.get(path).await;
        assert_eq!(reply.status.as_u16(), status, "{path}");
        reply.problem();
    }
    let no_type = bench.send(Method::POST, "/api/v1/jobs", &[], "{}").await;
    assert_eq!(
        (no_type.status.as_u16(), no_type.problem().as_str()),
        (415, "content_type")
    );
    assert!(bench.outbox().await.is_empty());
}

#[tokio::test]
async fn other_sites_pages_cannot_change_anything() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let foreign = [
        ("origin", "https://evil.example"),
        ("host", "127.0.0.1:8080"),
    ];
    let reply = bench
        .send(
            Method::POST,
            "/api/v1/devices/d1/cancel",
            &foreign,
            Body::empty(),
        )
        .await;
    assert_eq!(
        (reply.status, reply.problem().as_str()),
        (StatusCode::FORBIDDEN, "foreign_origin")
    );
    let rebound = [("host", "evil.example:8080")];
    let reply = bench
        .send(Method::GET, "/api/v1/devices", &rebound, Body::empty())
        .await;
    assert_eq!(
        reply.status,
        StatusCode::FORBIDDEN,
        "a local server under a foreign name"
    );
    let own = [
        ("origin", "http://127.0.0.1:8080"),
        ("host", "127.0.0.1:8080"),
    ];
    let reply = bench
        .send(
            Method::POST,
            "/api/v1/devices/d1/cancel",
            &own,
            Body::empty(),
        )
        .await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test]
async fn history_is_read_newest_first() {
    let bench = Bench::new().await;
    for n in 1..=3 {
        bench
            .report("d1", "event", &event(1, n, "j", "accepted"))
            .await;
    }
    for (boot, n) in [(1, 1), (2, 1), (1, 2)] {
        let line = json!({"n": n, "boot": boot, "t_ms": 5, "level": "warn", "text": format!("{boot}.{n}")});
        bench.report("d1", "log", &line).await;
    }
    let page: Page<ReceivedEvent> = bench.get("/api/v1/devices/d1/events?limit=2").await.json();
    assert_eq!(
        page.items
            .iter()
            .map(|event| event.event.n)
            .collect::<Vec<_>>(),
        [3, 2]
    );
    let rest: Page<ReceivedEvent> = bench
        .get(&format!(
            "/api/v1/devices/d1/events?cursor={}",
            page.next.unwrap()
        ))
        .await
        .json();
    assert_eq!(
        rest.items
            .iter()
            .map(|event| event.event.n)
            .collect::<Vec<_>>(),
        [1]
    );

    let page: Page<ReceivedLine> = bench.get("/api/v1/devices/d1/logs?limit=2").await.json();
    let texts = |page: &Page<ReceivedLine>| -> Vec<String> {
        page.items
            .iter()
            .map(|line| line.line.text.as_str().to_owned())
            .collect()
    };
    assert_eq!(
        texts(&page),
        ["2.1", "1.2"],
        "in the order of the device, not of arrival"
    );
    let rest: Page<ReceivedLine> = bench
        .get(&format!(
            "/api/v1/devices/d1/logs?cursor={}",
            page.next.clone().unwrap()
        ))
        .await
        .json();
    assert_eq!(texts(&rest), ["1.1"]);
}

#[tokio::test]
async fn health_says_what_does_not_work() {
    let bench = Bench::new().await;
    let health: Health = bench.get("/api/v1/health").await.json();
    assert!(!health.broker_connected);
    assert_eq!(
        (health.outbox, health.public_url.as_str()),
        (0, "http://ota.test:8080")
    );
}

#[test]
fn targets_are_short_in_json() {
    for (json, target) in [
        (json!({"device": "d"}), Target::Device("d".into())),
        (json!({"group": "g"}), Target::Group("g".into())),
        (json!("all"), Target::All),
    ] {
        assert_eq!(serde_json::to_value(&target).unwrap(), json);
        assert_eq!(serde_json::from_value::<Target>(json).unwrap(), target);
    }
}
