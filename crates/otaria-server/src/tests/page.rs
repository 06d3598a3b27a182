use super::*;

#[tokio::test]
async fn the_page_is_readable_without_javascript() {
    let bench = Bench::new().await;
    let empty = bench.get("/").await;
    assert!(
        std::str::from_utf8(&empty.body)
            .unwrap()
            .contains("No device has reported yet")
    );

    bench.device_runs("pump-7", &other_image(), "1.0.0").await;
    let package = bench.upload(package("1.1.0")).await;
    let job = bench.publish(&package, json!("all")).await.job.id;
    let progress = json!({"job": job, "phase": "downloading", "done": 42, "total": 100, "rate": 5});
    bench.report("pump-7", "progress", &progress).await;
    let reply = bench.get("/").await;
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    let html = std::str::from_utf8(&reply.body).unwrap();
    for expected in [
        "pump-7",
        "1.0.0",
        "running",
        "to 1.1.0",
        "42 %",
        "value=\"42\"",
        "<noscript>",
    ] {
        assert!(html.contains(expected), "{expected} is missing in\n{html}");
    }
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere_and_allows_nothing() {
    let bench = Bench::new().await;
    let reply = bench.get("/").await;
    assert!(
        reply
            .header("content-security-policy")
            .starts_with("default-src 'none'")
    );
    let html = std::str::from_utf8(&reply.body).unwrap();
    for foreign in ["http://", "https://", " style=", "onclick", "<script>"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    for (path, kind) in [
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ] {
        assert!(html.contains(path), "{path} is not used");
        let asset = bench.get(path).await;
        assert_eq!(
            (asset.status, asset.header("content-type")),
            (StatusCode::OK, kind),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_devices_report_is_text_on_the_page_and_never_markup() {
    let bench = Bench::new().await;
    let hostile = "<script>alert(1)</script>";
    bench
        .report(
            "d1",
            "state",
            &state("d1", &other_image(), hostile, None, "idle"),
        )
        .await;
    let html = bench.get("/").await;
    let html = std::str::from_utf8(&html.body).unwrap();
    assert!(!html.contains(hostile));
    assert!(html.contains("alert(1)"), "shown, but harmless");
}

#[tokio::test]
async fn long_lists_go_over_several_pages_and_groups_can_be_chosen() {
    let bench = Bench::new().await;
    let mut tx = bench.shared.store.write().await.unwrap();
    for n in 0..201 {
        tx.add_device(&format!("d{n:03}"), NOW).await.unwrap();
    }
    tx.set_groups("d007", &["lab".to_owned()]).await.unwrap();
    tx.commit().await.unwrap();
    let html = bench.get("/").await;
    let html = std::str::from_utf8(&html.body).unwrap();
    assert!(html.contains("/?after=d199") && !html.contains("d200"));
    let second = bench.get("/?after=d199").await;
    assert!(std::str::from_utf8(&second.body).unwrap().contains("d200"));
    let group = bench.get("/?group=lab").await;
    let group = std::str::from_utf8(&group.body).unwrap();
    assert!(group.contains("d007") && !group.contains("d008"));
}
