use super::*;

/// What a browser sends with a click.
const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

impl Bench {
    async fn page(&self, path: &str) -> String {
        let reply = self.get(path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {reply:?}");
        assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
        String::from_utf8(reply.body.to_vec()).unwrap()
    }
}

#[tokio::test]
async fn the_pages_are_readable_without_javascript() {
    let bench = Bench::new().await;
    assert!(bench.page("/").await.contains("No device has reported yet"));

    bench.device_runs("pump-7", &other_image(), "1.0.0").await;
    let package = bench.upload(package("1.1.0")).await;
    let job = bench.publish(&package, json!("all")).await.job.id;
    let progress = json!({"job": job, "phase": "downloading", "done": 42, "total": 100, "rate": 5});
    bench.report("pump-7", "progress", &progress).await;
    for (path, expected) in [
        (
            "/",
            [
                "pump-7",
                "1.0.0",
                "running",
                "to 1.1.0",
                "42 %",
                "<noscript>",
            ],
        ),
        (
            "/devices/pump-7",
            [
                "pump-7",
                "esp32c3",
                "10.0.0.7",
                "value=\"42\"",
                "downloading",
                "<noscript>",
            ],
        ),
        (
            "/packages",
            [
                "otaria-demo",
                "1.1.0",
                "esp32c3",
                "not encrypted",
                "Sequence",
                "inspect",
            ],
        ),
    ] {
        let html = bench.page(path).await;
        for expected in expected {
            assert!(html.contains(expected), "{expected} is missing in\n{html}");
        }
    }
    assert!(bench.page("/rollouts").await.contains("No rollout yet"));
    assert!(bench.page("/keys").await.contains("No key record here"));
}

#[tokio::test]
async fn pages_need_nothing_from_elsewhere_and_allow_nothing() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    for path in [
        "/",
        "/devices/d1",
        "/rollouts",
        "/rollouts/new",
        "/packages",
        "/keys",
        "/login",
    ] {
        let reply = bench.get(path).await;
        let policy = reply.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        let html = std::str::from_utf8(&reply.body).unwrap();
        for foreign in [
            "http://", "https://", " style=", "onclick", "<script>", "<style",
        ] {
            assert!(!html.contains(foreign), "{foreign} on {path}");
        }
    }
    for (name, kind) in [
        ("app.css", "text/css; charset=utf-8"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("htmx.min.js", "text/javascript; charset=utf-8"),
        ("htmx-ext-sse.min.js", "text/javascript; charset=utf-8"),
        ("favicon.svg", "image/svg+xml"),
    ] {
        let address = crate::page::assets::address(name);
        let asset = bench.get(address).await;
        assert_eq!(
            (asset.status, asset.header("content-type")),
            (StatusCode::OK, kind),
            "{address}"
        );
        assert!(asset.header("cache-control").contains("immutable"));
    }
    assert_eq!(
        bench.get("/assets/000000000000/app.css").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_tag_whose_value_has_spaces_outlives_saving_the_form_as_it_was_shown() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    for _ in 0..2 {
        let form = "tags=site%3DNew+York%2C+indoor&note=";
        bench
            .send(Method::POST, "/devices/d1/registry", &[FORM], form)
            .await;
        let html = bench.page("/devices/d1").await;
        assert!(html.contains(r#"value="indoor, site=New York""#), "{html}");
    }
}

#[tokio::test]
async fn what_devices_report_is_text_on_every_page_and_never_markup() {
    let bench = Bench::new().await;
    let hostile = "<script>alert(1)</script>";
    let state = state("d1", &other_image(), hostile, None, "idle");
    bench.report("d1", "state", &state).await;
    let line = json!({"n": 1, "boot": 1, "t_ms": 5, "level": "info", "text": hostile});
    bench.report("d1", "log", &line).await;
    bench
        .send(
            Method::POST,
            "/devices/d1/registry",
            &[FORM],
            "tags=site%3D%3Cb%3E&note=%3Cscript%3Ealert(1)",
        )
        .await;
    for path in [
        "/",
        "/devices/d1",
        "/?query=%3Cscript%3Ealert(1)%3C/script%3E",
    ] {
        let html = bench.page(path).await;
        assert!(
            !html.contains("<script>") && !html.contains("<b>"),
            "{html}"
        );
        assert!(html.contains("alert(1)"), "shown, but harmless");
    }
}

#[tokio::test]
async fn long_lists_go_over_several_pages_and_queries_choose() {
    let bench = Bench::new().await;
    let mut tx = bench.shared.store.write().await.unwrap();
    for n in 0..101 {
        tx.add_device(&format!("d{n:03}"), NOW).await.unwrap();
    }
    tx.set_groups("d007", &["lab".to_owned()]).await.unwrap();
    tx.commit().await.unwrap();
    let html = bench.page("/").await;
    assert!(html.contains("after=d099") && !html.contains("d100"));
    assert!(bench.page("/?query=&after=d099").await.contains("d100"));
    let group = bench.page("/?query=group:lab").await;
    assert!(group.contains("d007") && !group.contains("d008"));
    assert!(
        bench
            .page("/?query=version+%3C")
            .await
            .contains("role=\"alert\"")
    );
}

#[tokio::test]
async fn a_rollout_is_planned_begun_and_held_with_forms() {
    let bench = Bench::new().await;
    for n in 0..4 {
        bench
            .device_runs(&format!("d{n}"), &other_image(), "1.0.0")
            .await;
    }
    let package = bench.upload(package("1.1.0")).await;
    let form = format!(
        "name=r1&package={}&target=all&canary=1&percent=&confirmed=100&soak=1h&failures=&concurrent=2&retries=0\
         &bandwidth=2MB&from=22%3A00&to=05%3A30&days=Fri%2C+sat&tz=Europe%2FBerlin",
        package.digest
    );
    let post =
        |path: &'static str, form: String| bench.send(Method::POST, path, &[FORM, HTML], form);
    let plan = post("/rollouts/plan", form.clone()).await;
    let html = std::str::from_utf8(&plan.body).unwrap();
    assert!(
        html.contains("Dry run: nothing has changed yet") && html.contains("canary"),
        "{html}"
    );
    assert!(bench.page("/rollouts").await.contains("No rollout yet"));

    let begun = post("/rollouts", form.clone()).await;
    assert_eq!(
        (begun.status, begun.header("location")),
        (StatusCode::SEE_OTHER, "/rollouts/r1")
    );
    let html = bench.page("/rollouts/r1").await;
    assert!(
        html.contains("/rollouts/r1/pause") && !html.contains("/rollouts/r1/resume"),
        "{html}"
    );
    for asked in ["2MB a second", "22:00 to 05:30 (Europe/Berlin), fri, sat"] {
        assert!(html.contains(asked), "{asked}: {html}");
    }
    assert_eq!(
        post("/rollouts/r1/pause", String::new()).await.status,
        StatusCode::SEE_OTHER
    );
    let html = bench.page("/rollouts/r1").await;
    assert!(
        html.contains("paused") && html.contains("/rollouts/r1/resume"),
        "{html}"
    );
    assert!(
        bench
            .page("/rollouts/r1?stage=failed&after=")
            .await
            .contains("No device is at this stage")
    );

    for (right, wrong, says) in [
        ("soak=1h", "soak=soon", "cannot be &#39;soon&#39;"),
        ("2MB", "fast", "cannot be &#39;fast&#39;"),
        ("Fri", "someday", "&#39;someday&#39; is no day"),
        ("to=05%3A30", "to=", "one at which it ends"),
        ("Berlin", "Atlantis", "no time zone"),
    ] {
        let refused = post("/rollouts/plan", form.replace(right, wrong)).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        let html = std::str::from_utf8(&refused.body).unwrap();
        assert!(html.contains(says), "{says}: {html}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_in_words_to_people_and_as_a_document_to_programs() {
    let bench = Bench::new().await;
    let page = bench.send(Method::GET, "/devices/none", &[HTML], "").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(
        std::str::from_utf8(&page.body)
            .unwrap()
            .contains("No such device")
    );
    assert_eq!(bench.get("/devices/none").await.problem(), "no_device");
    let api = bench
        .send(Method::GET, "/api/v1/devices/none", &[HTML], "")
        .await;
    assert_eq!(api.problem(), "no_device");
}
