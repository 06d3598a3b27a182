//! What pages let people change: who may, from which page, and what the audit trail has of it.

use super::*;
use crate::audit::Action;

const FORM: &str = "application/x-www-form-urlencoded";

/// Somebody's browser.
struct Visitor<'a> {
    bench: &'a Bench,
    cookie: String,
    csrf: String,
}

impl Bench {
    async fn visitor(&self, user: &str) -> Visitor<'_> {
        let (cookie, csrf) = self.browser(user).await;
        Visitor {
            bench: self,
            cookie,
            csrf,
        }
    }

    /// Newest first: who, what, to what.
    async fn trail(&self) -> Vec<(String, String, String)> {
        let entries = self.shared.store.audit(None, 100).await.unwrap().items;
        let entries = entries.into_iter();
        entries
            .map(|entry| (entry.user.unwrap_or_default(), entry.action, entry.object))
            .collect()
    }
}

impl Visitor<'_> {
    async fn reads(&self, path: &str) -> Reply {
        let headers = [("cookie", self.cookie.as_str()), ("accept", "text/html")];
        self.bench
            .send(Method::GET, path, &headers, Body::empty())
            .await
    }

    async fn posts(&self, path: &str, kind: &str, body: impl Into<Body>) -> Reply {
        let headers = [
            ("cookie", self.cookie.as_str()),
            ("content-type", kind),
            ("accept", "text/html"),
        ];
        self.bench.send(Method::POST, path, &headers, body).await
    }

    /// Sends the form of `/keys` with this file.
    async fn hands_in(&self, csrf: &str, record: &[u8]) -> Reply {
        let head = format!(
            "--x\r\ncontent-disposition: form-data; name=\"csrf\"\r\n\r\n{csrf}\r\n\
             --x\r\ncontent-disposition: form-data; name=\"record\"; filename=\"keys.bin\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        let body = [head.as_bytes(), record, b"\r\n--x--\r\n"].concat();
        self.posts("/keys", "Multipart/form-data; boundary=x", body)
            .await
    }

    /// Sends a form of one of this session's pages.
    async fn fills(&self, path: &str, fields: &str) -> Reply {
        let body = format!("csrf={}&{fields}", self.csrf);
        self.posts(path, FORM, body).await
    }
}

impl Reply {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

#[tokio::test]
async fn a_token_made_on_the_page_works_and_is_shown_once() {
    let bench = Bench::locked().await;
    let viewer = bench.visitor("viewer").await;
    let made = viewer
        .fills("/tokens", "name=for+grafana&days=30&scope=read")
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(made.header("cache-control"), "no-store");
    let secret = made.text().split("id=\"secret\">").nth(1).unwrap();
    let secret = secret.split('<').next().unwrap();
    let whoami = bench
        .with_token(secret, Method::GET, "/api/v1/whoami", &json!({}))
        .await;
    assert_eq!(
        whoami.json::<Value>(),
        json!({"user": "viewer", "scopes": ["read"]})
    );

    let list = viewer.reads("/tokens").await;
    assert!(list.text().contains("for grafana") && !list.text().contains(secret));
    let entry = &bench.trail().await[0];
    let created = Action::TokenCreate.name();
    assert_eq!((entry.0.as_str(), entry.1.as_str()), ("viewer", created));

    let revoke = list.text().split("action=\"").find_map(|rest| {
        let path = rest.split('"').next()?;
        path.ends_with("/revoke").then(|| path.to_owned())
    });
    let revoked = viewer.fills(&revoke.unwrap(), "").await;
    assert_eq!(revoked.header("location"), "/tokens");
    let after = bench
        .with_token(secret, Method::GET, "/api/v1/whoami", &json!({}))
        .await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_may_no_more_than_who_makes_it_and_what_was_typed_stays_in_the_form() {
    let bench = Bench::locked().await;
    let viewer = bench.visitor("viewer").await;
    let page = viewer.reads("/tokens").await;
    assert!(page.text().contains("value=\"read\""));
    assert!(
        !page.text().contains("value=\"publish\""),
        "not theirs to give"
    );
    for (fields, status, says) in [
        (
            "name=x&days=30&scope=publish",
            StatusCode::FORBIDDEN,
            "not yours to give",
        ),
        (
            "name=x&days=30",
            StatusCode::BAD_REQUEST,
            "at least one scope",
        ),
        (
            "name=x&days=&scope=read",
            StatusCode::BAD_REQUEST,
            "1 to 3650 days",
        ),
        (
            "name=x&days=soon&scope=read",
            StatusCode::BAD_REQUEST,
            "cannot be &#39;soon&#39;",
        ),
        (
            "name=x&days=30&scope=everything",
            StatusCode::BAD_REQUEST,
            "cannot be &#39;everything&#39;",
        ),
    ] {
        let refused = viewer.fills("/tokens", fields).await;
        assert_eq!(refused.status, status, "{fields}");
        let html = refused.text();
        assert!(
            html.contains(says) && html.contains("value=\"x\""),
            "{html}"
        );
        assert!(!html.contains("id=\"secret\""));
    }
    assert!(viewer.reads("/tokens").await.text().contains("None."));
}

#[tokio::test]
async fn tokens_of_others_are_seen_and_revoked_by_administrators_alone() {
    let bench = Bench::locked().await;
    let (viewer, admin) = (bench.visitor("viewer").await, bench.visitor("admin").await);
    admin
        .fills("/tokens", "name=deploys&days=30&scope=admin")
        .await;
    let of_admin = bench.shared.store.tokens(None).await.unwrap()[0].id.clone();
    assert!(!viewer.reads("/tokens").await.text().contains("deploys"));
    let revoke = format!("/tokens/{of_admin}/revoke");
    assert_eq!(
        viewer.fills(&revoke, "").await.status,
        StatusCode::NOT_FOUND
    );
    viewer
        .fills("/tokens", "name=grafana&days=30&scope=read")
        .await;
    let page = admin.reads("/tokens").await;
    assert!(page.text().contains("grafana") && page.text().contains("deploys"));
    assert_eq!(admin.fills(&revoke, "").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_form_that_is_not_from_this_sessions_page_changes_nothing() {
    let bench = Bench::locked().await;
    let admin = bench.visitor("admin").await;
    let other = bench.visitor("admin").await;
    for csrf in ["", "0000", &other.csrf] {
        let body = format!("csrf={csrf}&name=x&days=30&scope=read");
        let refused = admin.posts("/tokens", FORM, body).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "'{csrf}'");
        assert!(refused.text().contains("not from this session"));
    }
    assert!(bench.shared.store.tokens(None).await.unwrap().is_empty());
    // Without a log-in there is nothing but the door.
    let anybody = bench
        .send(
            Method::POST,
            "/tokens",
            &[("content-type", FORM)],
            "name=x&days=30&scope=read",
        )
        .await;
    assert_eq!(anybody.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_operator_publishes_a_key_record_and_sees_which_devices_go_by_it() {
    let bench = Bench::locked().await;
    for device in ["d1", "d2", "d3"] {
        bench.device_runs(device, &other_image(), "1.0.0").await;
    }
    let operator = bench.visitor("operator").await;
    let first = keys::record(3, "otaria-demo");
    let published = operator.hands_in(&operator.csrf, &first).await;
    assert_eq!(
        (published.status, published.header("location")),
        (StatusCode::SEE_OTHER, "/keys/otaria-demo")
    );
    let trail = bench.trail().await;
    let (who, what, to) = &trail[0];
    let expected = ("operator", Action::KeysPublish.name(), "otaria-demo");
    assert_eq!((who.as_str(), what.as_str(), to.as_str()), expected);

    for (device, epoch) in [("d1", 3), ("d2", 2)] {
        let mut says = state(device, &other_image(), "1.0.0", None, "idle");
        says["keys"] = json!({"epoch": epoch, "threshold": 1, "ids": ["0123456789abcdef"]});
        bench.report(device, "state", &says).await;
    }
    let all = operator.reads("/keys/otaria-demo").await;
    for expected in [
        "d1",
        "d2",
        "d3",
        "epoch 3",
        "epoch 2",
        "no record",
        "<dd id=\"in-force\">1",
    ] {
        assert!(all.text().contains(expected), "{expected}: {}", all.text());
    }
    let behind = operator.reads("/keys/otaria-demo?behind=yes").await;
    assert!(!behind.text().contains("/devices/d1"));
    assert!(behind.text().contains("/devices/d2") && behind.text().contains("/devices/d3"));
    let later = operator.reads("/keys/otaria-demo?after=d2").await;
    assert!(!later.text().contains("/devices/d2") && later.text().contains("/devices/d3"));
    assert_eq!(
        operator.reads("/keys/pump").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_record_that_is_not_taken_is_explained_beside_the_form() {
    let bench = Bench::locked().await;
    let operator = bench.visitor("operator").await;
    operator
        .hands_in(&operator.csrf, &keys::record(3, "a/b?c"))
        .await;
    let page = operator.reads("/keys/a%2Fb%3Fc").await;
    assert_eq!(page.status, StatusCode::OK, "a product's name is any text");
    for (record, status, says) in [
        (
            keys::record(2, "a/b?c"),
            StatusCode::CONFLICT,
            "devices take only a higher one",
        ),
        (b"keys".to_vec(), StatusCode::BAD_REQUEST, "notice bad"),
        (Vec::new(), StatusCode::BAD_REQUEST, "notice bad"),
    ] {
        let refused = operator.hands_in(&operator.csrf, &record).await;
        assert_eq!(refused.status, status);
        let html = refused.text();
        assert!(
            html.contains(says) && html.contains("id=\"publish\""),
            "{html}"
        );
    }
    let no_file = operator.fills("/keys", "record=x").await;
    assert_eq!(no_file.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn who_may_only_look_publishes_no_keys_and_no_foreign_page_does() {
    let bench = Bench::locked().await;
    let record = keys::record(3, "pump");
    let [viewer, operator, admin] = [
        bench.visitor("viewer").await,
        bench.visitor("operator").await,
        bench.visitor("admin").await,
    ];
    let refused = viewer.hands_in(&viewer.csrf, &record).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(
        !viewer
            .reads("/keys")
            .await
            .text()
            .contains("id=\"publish\"")
    );
    for csrf in ["", &admin.csrf] {
        let refused = operator.hands_in(csrf, &record).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    }
    assert!(bench.shared.key_epochs().await.unwrap().is_empty());

    // To forget one is for administrators.
    operator.hands_in(&operator.csrf, &record).await;
    let page = operator.reads("/keys/pump").await;
    assert!(!page.text().contains("/keys/pump/forget"));
    let forget = "/keys/pump/forget";
    assert_eq!(
        operator.fills(forget, "").await.status,
        StatusCode::FORBIDDEN
    );
    assert!(admin.reads("/keys/pump").await.text().contains(forget));
    assert_eq!(admin.fills(forget, "").await.header("location"), "/keys");
    assert!(bench.shared.key_epochs().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_administrator_adds_tests_and_removes_a_webhook() {
    let bench = Bench::locked().await;
    let admin = bench.visitor("admin").await;
    let refused = admin
        .fills(
            "/webhooks",
            "url=http%3A%2F%2F10.0.0.1%2Fhook&event=update.failed",
        )
        .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let html = refused.text();
    assert!(html.contains("notice bad") && html.contains("value=\"http://10.0.0.1/hook\""));
    assert!(html.contains("value=\"update.failed\" checked"), "{html}");
    assert!(html.contains("None."));

    let added = admin
        .fills(
            "/webhooks",
            "url=https%3A%2F%2Fhooks.invalid%2Fhook&event=update.failed",
        )
        .await;
    assert_eq!(added.status, StatusCode::CREATED, "{added:?}");
    assert!(added.text().contains("whsec_"));
    let list = admin.reads("/webhooks").await;
    assert!(list.text().contains("https://hooks.invalid/hook") && !list.text().contains("whsec_"));
    let webhooks = bench.shared.store.webhooks(None, 10).await.unwrap().items;
    assert_eq!(
        webhooks[0].events,
        [crate::model::WebhookEvent::UpdateFailed]
    );

    let page = format!("/webhooks/{}", webhooks[0].id);
    let tested = admin.fills(&format!("{page}/test"), "").await;
    assert_eq!(tested.header("location"), page);
    let shown = admin.reads(&page).await;
    for expected in ["webhook.test", "given up", "hooks.invalid"] {
        assert!(
            shown.text().contains(expected),
            "{expected}: {}",
            shown.text()
        );
    }
    let removed = admin.fills(&format!("{page}/remove"), "").await;
    assert_eq!(removed.header("location"), "/webhooks");
    assert_eq!(admin.reads(&page).await.status, StatusCode::NOT_FOUND);

    let operator = bench.visitor("operator").await;
    for path in ["/webhooks", &page] {
        assert_eq!(operator.reads(path).await.status, StatusCode::FORBIDDEN);
    }
    let refused = operator
        .fills("/webhooks", "url=https%3A%2F%2Fh.invalid")
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(!operator.reads("/").await.text().contains("/webhooks"));
}
