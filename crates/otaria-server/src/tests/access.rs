//! Who gets in, and who does not.

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Bench, NOW, Reply, other_image, package};
use crate::access::{admin_at_start, secret};
use crate::clock;
use crate::config::{Access, Downloads};
use crate::model::{MadeToken, Role, Scope, Token};
use crate::trust::Peer;

const PASSWORD: &str = "correct horse battery";

impl Bench {
    /// A server with log-in and a user of each role, whose password is [`PASSWORD`].
    pub(super) async fn locked() -> Self {
        let mut bench = Self::at(TempDir::new().unwrap(), true).await;
        bench.reopen(Access::LogIn, Downloads::Anybody);
        let hash = bench.shared.passwords.hash(PASSWORD).await;
        let mut tx = bench.shared.store.write().await.unwrap();
        for role in Role::ALL {
            tx.add_user(role.name(), role, &hash, 1).await.unwrap();
        }
        tx.commit().await.unwrap();
        bench
    }

    pub(super) async fn log_in(&self, user: &str, password: &str) -> Reply {
        self.post(
            "/api/v1/login",
            &json!({"user": user, "password": password}),
        )
        .await
    }

    pub(super) async fn token(&self, user: &str) -> String {
        let reply = self.log_in(user, PASSWORD).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        reply.json::<MadeToken>().secret.reveal().to_owned()
    }

    pub(super) async fn with_token(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Reply {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        self.send(method, path, &headers, body.to_string()).await
    }

    /// A browser's cookie, and the token that its pages hold.
    pub(super) async fn browser(&self, user: &str) -> (String, String) {
        let form = format!("user={user}&password={}", PASSWORD.replace(' ', "+"));
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let reply = self.send(Method::POST, "/login", &headers, form).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{reply:?}");
        let set = reply.header("set-cookie").to_owned();
        assert!(
            set.contains("HttpOnly") && set.contains("SameSite=Lax"),
            "{set}"
        );
        let cookie = set.split(';').next().unwrap().to_owned();
        let page = self
            .send(Method::GET, "/", &[("cookie", &cookie)], Body::empty())
            .await;
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        let csrf = text
            .split("name=\"csrf\" value=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("a page with the session's token");
        (cookie, csrf.to_owned())
    }

    async fn make_token(&self, login: &str, scopes: &[&str], days: u32) -> Reply {
        let asked = json!({"name": "test", "scopes": scopes, "days": days});
        self.with_token(login, Method::POST, "/api/v1/tokens", &asked)
            .await
    }
}

#[tokio::test]
async fn without_a_log_in_there_is_nothing_but_the_door() {
    let bench = Bench::locked().await;
    for path in [
        "/api/v1/devices",
        "/api/v1/health",
        "/api/v1/stream",
        "/api/v1/users",
        "/api/v1/what-is-not-there",
    ] {
        let reply = bench.get(path).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(reply.problem(), "unauthorized");
        assert_eq!(reply.header("www-authenticate"), "Bearer");
    }
    assert_eq!(
        bench.try_upload(package("1.0.0")).await.status,
        StatusCode::UNAUTHORIZED
    );
    let page = bench.get("/").await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert_eq!(page.header("location"), "/login");
    assert_eq!(bench.get("/login").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_mac_or_a_device_id_alone_gets_nothing() {
    let bench = Bench::locked().await;
    for headers in [
        [("x-esp8266-sta-mac", "24:0A:C4:00:00:01")],
        [("x-esp32-sta-mac", "24:0A:C4:00:00:01")],
        [("x-device-id", "pump-1")],
        [("authorization", "Basic cHVtcC0xOnB1bXAtMQ==")],
    ] {
        for path in ["/api/v1/devices/pump-1", "/api/v1/jobs", "/firmware.bin"] {
            let reply = bench.send(Method::GET, path, &headers, Body::empty()).await;
            assert!(
                matches!(
                    reply.status,
                    StatusCode::UNAUTHORIZED | StatusCode::SEE_OTHER
                ),
                "{path} {reply:?}"
            );
        }
    }
}

#[tokio::test]
async fn each_role_does_what_it_may_and_no_more() {
    let bench = Bench::locked().await;
    let device = json!({"groups": ["a"]});
    let user = json!({"name": "new", "role": "viewer", "password": "long enough a password"});
    for (role, publish, operate, admin) in [
        ("viewer", false, false, false),
        ("operator", true, true, false),
        ("admin", true, true, true),
    ] {
        let token = bench.token(role).await;
        let tried = async |method, path, body| {
            let reply = bench.with_token(&token, method, path, body).await;
            if reply.status == StatusCode::FORBIDDEN {
                assert_eq!(reply.problem(), "forbidden", "{role} {path}");
                return false;
            }
            assert_ne!(reply.status, StatusCode::UNAUTHORIZED, "{role} {path}");
            true
        };
        let job = json!({"package": "00", "target": {"all": true}});
        assert!(tried(Method::GET, "/api/v1/devices", &Value::Null).await);
        assert_eq!(
            tried(Method::POST, "/api/v1/jobs", &job).await,
            publish,
            "{role}"
        );
        let groups = "/api/v1/devices/d/groups";
        assert_eq!(tried(Method::PUT, groups, &device).await, operate, "{role}");
        assert_eq!(
            tried(Method::POST, "/api/v1/users", &user).await,
            admin,
            "{role}"
        );
    }
}

#[tokio::test]
async fn a_token_counts_until_it_runs_out_or_is_revoked() {
    let bench = Bench::locked().await;
    let login = bench.token("operator").await;
    let made: MadeToken = bench.make_token(&login, &["read"], 1).await.json();
    let token = made.secret.reveal();
    let devices = async |token: &str| {
        let path = "/api/v1/devices";
        let reply = bench
            .with_token(token, Method::GET, path, &Value::Null)
            .await;
        reply.status
    };
    assert_eq!(devices(token).await, StatusCode::OK);
    // Any other secret under a token's name is none.
    let forged = format!(
        "{}{}",
        &token[..token.len() - 1],
        if token.ends_with('0') { '1' } else { '0' }
    );
    assert_eq!(devices(&forged).await, StatusCode::UNAUTHORIZED);
    for nonsense in ["", "otaria_", "otaria__", "x", &token[..20]] {
        assert_eq!(
            devices(nonsense).await,
            StatusCode::UNAUTHORIZED,
            "{nonsense}"
        );
    }

    let path = format!("/api/v1/tokens/{}", made.token.id);
    let other = bench.token("viewer").await;
    let foreign = bench
        .with_token(&other, Method::DELETE, &path, &Value::Null)
        .await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    let own = bench
        .with_token(&login, Method::DELETE, &path, &Value::Null)
        .await;
    assert_eq!(own.status, StatusCode::NO_CONTENT);
    assert_eq!(devices(token).await, StatusCode::UNAUTHORIZED);

    // One whose time was over a second ago.
    let text = "otaria_past_00";
    let past = Token {
        id: "past".to_owned(),
        user: "operator".to_owned(),
        name: "past".to_owned(),
        scopes: Scope::ALL.to_vec(),
        created_at: 1,
        expires_at: clock::now() - 1,
        last_used_at: None,
    };
    let mut tx = bench.shared.store.write().await.unwrap();
    tx.add_token(&past, &secret::hash(text), false)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(devices(text).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_with_a_small_scope_does_no_more_and_makes_no_other() {
    let bench = Bench::locked().await;
    let admin = bench.token("admin").await;
    let made: MadeToken = bench.make_token(&admin, &["publish"], 1).await.json();
    let narrow = made.secret.reveal();
    let read = bench
        .with_token(narrow, Method::GET, "/api/v1/devices", &Value::Null)
        .await;
    assert_eq!(read.problem(), "forbidden");
    assert!(
        String::from_utf8_lossy(&read.body).contains("'read'"),
        "{read:?}"
    );
    assert_eq!(
        bench.make_token(narrow, &["publish"], 3650).await.problem(),
        "forbidden"
    );
    // Nobody gives what they do not have.
    let viewer = bench.token("viewer").await;
    assert_eq!(
        bench.make_token(&viewer, &["publish"], 1).await.problem(),
        "forbidden"
    );
    for (scopes, days) in [(&[][..], 1), (&["read"], 0), (&["read"], 100_000)] {
        let reply = bench.make_token(&viewer, scopes, days).await;
        assert_eq!(reply.problem(), "bad_request", "{scopes:?} {days}");
    }
}

#[tokio::test]
async fn a_browsers_session_changes_nothing_without_its_csrf_token() {
    let bench = Bench::locked().await;
    let (cookie, csrf) = bench.browser("operator").await;
    let (_, other) = bench.browser("operator").await;
    let put = async |headers: &[(&str, &str)]| {
        let mut all = vec![
            ("cookie", cookie.as_str()),
            ("content-type", "application/json"),
            ("host", "127.0.0.1:8080"),
        ];
        all.extend_from_slice(headers);
        let path = "/api/v1/devices/d/groups";
        let reply = bench.send(Method::PUT, path, &all, "{\"groups\":[]}").await;
        (reply.status, reply)
    };
    let (status, without) = put(&[]).await;
    assert_eq!(
        (status, without.problem().as_str()),
        (StatusCode::FORBIDDEN, "csrf")
    );
    // Another session's is none.
    assert_eq!(
        put(&[("x-csrf-token", &other)]).await.0,
        StatusCode::FORBIDDEN
    );
    // Neither helps a foreign page that has got hold of it.
    let foreign = [
        ("x-csrf-token", csrf.as_str()),
        ("origin", "https://evil.example"),
    ];
    assert_eq!(put(&foreign).await.1.problem(), "foreign_origin");
    let (status, reply) = put(&[("x-csrf-token", &csrf)]).await;
    assert!(
        status != StatusCode::FORBIDDEN && status != StatusCode::UNAUTHORIZED,
        "{reply:?}"
    );
    // Looking needs the cookie alone.
    let devices = bench
        .send(
            Method::GET,
            "/api/v1/devices",
            &[("cookie", &cookie)],
            Body::empty(),
        )
        .await;
    assert_eq!(devices.status, StatusCode::OK);

    let leave = async |csrf: &str| {
        let headers = [
            ("cookie", cookie.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let form = format!("csrf={csrf}");
        bench
            .send(Method::POST, "/logout", &headers, form)
            .await
            .status
    };
    assert_eq!(leave(&other).await, StatusCode::FORBIDDEN);
    assert_eq!(leave(&csrf).await, StatusCode::SEE_OTHER);
    let after = bench
        .send(
            Method::GET,
            "/api/v1/devices",
            &[("cookie", &cookie)],
            Body::empty(),
        )
        .await;
    assert_eq!(after.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn who_hammers_the_log_in_waits_and_others_do_not() {
    let bench = Bench::locked().await;
    let from = async |address: &str, password: &str| {
        let body = json!({"user": "admin", "password": password}).to_string();
        let mut request = Request::post("/api/v1/login")
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        request.extensions_mut().insert(ConnectInfo(Peer {
            address: address.parse().unwrap(),
            identity: None,
        }));
        bench.raw(request).await.status()
    };
    let mut wrong = 0;
    while from("192.0.2.1:1", "wrong").await == StatusCode::UNAUTHORIZED {
        wrong += 1;
        assert!(wrong < 100, "passwords can be tried without an end");
    }
    // Held back: the right password does not help, and another port is the same place.
    assert_eq!(
        from("192.0.2.1:1", PASSWORD).await,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(
        from("192.0.2.1:2", PASSWORD).await,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(from("192.0.2.2:1", PASSWORD).await, StatusCode::CREATED);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let bench = Bench::locked().await;
    let wrong = bench.log_in("admin", "wrong").await;
    let unknown = bench.log_in("nobody", "wrong").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert_eq!((wrong.status, &wrong.body), (unknown.status, &unknown.body));
    assert_eq!(
        bench.log_in("admin", "").await.status,
        StatusCode::UNAUTHORIZED
    );
    // No form can log a browser in for somebody else: it cannot send JSON.
    let form = bench
        .send(
            Method::POST,
            "/api/v1/login",
            &[("content-type", "text/plain")],
            "{}",
        )
        .await;
    assert_eq!(form.problem(), "content_type");
}

#[tokio::test]
async fn another_password_ends_what_the_old_one_has_opened() {
    let bench = Bench::locked().await;
    let login = bench.token("operator").await;
    let program: MadeToken = bench.make_token(&login, &["read"], 1).await.json();
    let (cookie, _) = bench.browser("operator").await;
    let change = |old: &str| json!({"old": old, "new": "another long password"});
    let put = async |body: &Value| {
        let path = "/api/v1/password";
        bench.with_token(&login, Method::PUT, path, body).await
    };
    assert_eq!(put(&change("wrong")).await.status, StatusCode::UNAUTHORIZED);
    let short = json!({"old": PASSWORD, "new": "short"});
    assert_eq!(put(&short).await.problem(), "bad_request");
    assert_eq!(put(&change(PASSWORD)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        put(&change(PASSWORD)).await.status,
        StatusCode::UNAUTHORIZED
    );
    let page = bench
        .send(Method::GET, "/", &[("cookie", &cookie)], Body::empty())
        .await;
    assert_eq!(page.header("location"), "/login");
    // Programs have tokens of their own, which are listed and revoked by name.
    let reply = bench
        .with_token(
            program.secret.reveal(),
            Method::GET,
            "/api/v1/devices",
            &Value::Null,
        )
        .await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(
        bench.log_in("operator", PASSWORD).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_removed_user_is_out_and_the_last_administrator_stays() {
    let bench = Bench::locked().await;
    let (admin, viewer) = (bench.token("admin").await, bench.token("viewer").await);
    let remove = async |name: &str| {
        let path = format!("/api/v1/users/{name}");
        bench
            .with_token(&admin, Method::DELETE, &path, &Value::Null)
            .await
    };
    assert_eq!(remove("viewer").await.status, StatusCode::NO_CONTENT);
    let reply = bench
        .with_token(&viewer, Method::GET, "/api/v1/devices", &Value::Null)
        .await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(remove("viewer").await.status, StatusCode::NOT_FOUND);
    assert_eq!(remove("admin").await.problem(), "last_admin");
    assert_eq!(
        bench.log_in("admin", PASSWORD).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn packages_are_for_anybody_or_for_those_who_are_known() {
    let mut bench = Bench::locked().await;
    let login = bench.token("operator").await;
    let bearer = format!("Bearer {login}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/octet-stream"),
    ];
    let reply = bench
        .send(Method::POST, "/api/v1/packages", &headers, package("1.0.0"))
        .await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    let digest = reply.json::<crate::model::Package>().digest;
    let path = format!("/packages/{digest}.otaria");
    assert_eq!(bench.get(&path).await.status, StatusCode::OK);
    bench.reopen(Access::LogIn, Downloads::Known);
    assert_eq!(bench.get(&path).await.status, StatusCode::UNAUTHORIZED);
    let known = bench
        .send(Method::GET, &path, &headers[..1], Body::empty())
        .await;
    assert_eq!(known.status, StatusCode::OK);
}

#[tokio::test]
async fn the_first_administrator_is_made_once_and_can_be_made_anew() {
    let bench = Bench::at(TempDir::new().unwrap(), true).await;
    let first = admin_at_start(&bench.shared, false, 1)
        .await
        .unwrap()
        .unwrap();
    assert!(
        admin_at_start(&bench.shared, false, 1)
            .await
            .unwrap()
            .is_none()
    );
    let second = admin_at_start(&bench.shared, true, 1)
        .await
        .unwrap()
        .unwrap();
    assert_ne!(first.password, second.password);
    let (_, hash) = bench.shared.store.user("admin").await.unwrap().unwrap();
    assert!(hash.starts_with("$argon2id$"), "{hash}");
    let matches = async |password: &str| {
        bench
            .shared
            .passwords
            .matches(password, Some(hash.clone()))
            .await
    };
    assert!(matches(second.password.reveal()).await);
    assert!(!matches(first.password.reveal()).await);
    // Nothing that is printed for debugging shows them.
    let debug = format!("{first:?} {second:?}");
    for secret in [first.password.reveal(), second.token.secret.reveal()] {
        assert!(!debug.contains(secret), "{debug}");
    }
}

#[tokio::test]
async fn every_answer_tells_browsers_what_they_may_do() {
    let bench = Bench::locked().await;
    for path in [
        "/login",
        "/api/v1/devices",
        "/assets/000000000000/app.js",
        "/packages/x",
        "/nothing",
    ] {
        let reply = bench.get(path).await;
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(reply.header("referrer-policy"), "same-origin", "{path}");
        let policy = reply.header("content-security-policy");
        assert!(
            policy.starts_with("default-src '")
                && !policy.contains("unsafe")
                && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        // Only with TLS, else browsers would not come back without it.
        assert_eq!(reply.header("strict-transport-security"), "", "{path}");
    }
    assert_eq!(
        bench.get("/api/v1/devices").await.header("cache-control"),
        "no-store"
    );
}

#[tokio::test]
async fn a_pages_form_changes_something_only_with_its_own_sessions_token_and_role() {
    let bench = Bench::locked().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let (operator, csrf) = bench.browser("operator").await;
    let (viewer, viewers) = bench.browser("viewer").await;
    let post = async |cookie: &str, csrf: &str| {
        let headers = [
            ("cookie", cookie),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let form = format!("csrf={csrf}&tags=site%3Dlab&note=");
        let path = "/devices/d1/registry";
        bench.send(Method::POST, path, &headers, form).await.status
    };
    assert_eq!(post(&operator, "").await, StatusCode::FORBIDDEN);
    assert_eq!(post(&operator, &viewers).await, StatusCode::FORBIDDEN);
    assert_eq!(post(&viewer, &viewers).await, StatusCode::FORBIDDEN);
    assert!(
        bench
            .shared
            .store
            .device("d1", NOW)
            .await
            .unwrap()
            .unwrap()
            .tags
            .is_empty()
    );
    assert_eq!(post(&operator, &csrf).await, StatusCode::SEE_OTHER);
    let tags = bench
        .shared
        .store
        .device("d1", NOW)
        .await
        .unwrap()
        .unwrap()
        .tags;
    assert_eq!(tags["site"], "lab");

    let seen = async |cookie: &str| {
        let page = bench
            .send(Method::GET, "/devices/d1", &[("cookie", cookie)], "")
            .await;
        String::from_utf8(page.body.to_vec()).unwrap()
    };
    assert!(seen(&operator).await.contains("/devices/d1/command"));
    assert!(
        !seen(&viewer)
            .await
            .contains("method=\"post\" action=\"/devices/")
    );
}
