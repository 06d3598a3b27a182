//! The audit trail: all that changes something is in it, and nothing is changed in it unnoticed.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Bench, other_image, package};
use crate::audit::{Broken, verify};
use crate::model::{ActorKind, AuditEntry, AuditPage, Outcome};

impl Bench {
    async fn audit(&self) -> AuditPage {
        self.shared.store.audit(None, 1000).await.unwrap()
    }

    /// The newest entry, if the trail is whole.
    async fn last(&self) -> AuditEntry {
        assert_eq!(self.check().await, Ok(()));
        self.audit().await.items.swap_remove(0)
    }

    async fn check(&self) -> Result<(), Broken> {
        let mut page = self.audit().await;
        page.items.reverse();
        verify(page.checkpoint, &page.items, page.head)
    }

    /// Somebody with a tool for databases.
    async fn tamper(&self, sql: &'static str) {
        let changed = self.shared.store.tamper(sql).await.unwrap();
        assert!(changed > 0, "{sql}");
    }
}

#[tokio::test]
async fn each_request_that_changes_something_leaves_one_entry() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let package = bench.upload(package("1.1.0")).await;
    assert_eq!(bench.last().await.action, "package.upload");
    let digest = package.digest;
    let rollout = json!({"name": "r1", "package": digest, "target": "id:d1", "waves": [{}]});
    let job = json!({"package": digest, "target": {"device": "d1"}, "job": "j1"});
    for (method, path, body, action, object) in [
        (
            "PUT",
            "devices/d1/groups",
            json!({"groups": ["a"]}),
            "device.groups",
            "d1",
        ),
        (
            "PATCH",
            "devices/d1/tags",
            json!({"set": {"site": "b"}}),
            "device.tags",
            "d1",
        ),
        (
            "PUT",
            "devices/d1/note",
            json!({"note": "wet"}),
            "device.note",
            "d1",
        ),
        (
            "PUT",
            "groups/old",
            json!({"query": "version < 2"}),
            "group.set",
            "old",
        ),
        ("DELETE", "groups/old", Value::Null, "group.remove", "old"),
        ("POST", "jobs", job, "job.publish", "j1"),
        (
            "POST",
            "devices/d1/commands",
            json!({"cmd": "reboot"}),
            "device.command",
            "d1",
        ),
        (
            "POST",
            "devices/d1/cancel",
            json!({}),
            "device.cancel",
            "d1",
        ),
        ("POST", "rollouts", rollout, "rollout.create", "r1"),
        ("POST", "rollouts/r1/pause", json!({}), "rollout.act", "r1"),
        (
            "DELETE",
            "devices/d1/certificates",
            Value::Null,
            "device.cut_off",
            "d1",
        ),
        ("DELETE", "devices/d1", Value::Null, "device.forget", "d1"),
    ] {
        let before = bench.audit().await.head.n;
        let headers = [("content-type", "application/json")];
        let path = format!("/api/v1/{path}");
        let method = method.parse().unwrap();
        let reply = bench.send(method, &path, &headers, body.to_string()).await;
        assert!(reply.status.is_success(), "{path} {reply:?}");
        let last = bench.last().await;
        assert_eq!(
            (last.action.as_str(), last.object.as_str(), last.n),
            (action, object, before + 1),
            "{path}"
        );
        assert_eq!((last.by, last.outcome), (ActorKind::Anybody, Outcome::Done));
    }
}

#[tokio::test]
async fn what_changes_nothing_leaves_no_entry_on_an_open_server() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    bench.get("/api/v1/devices").await;
    bench.get("/api/v1/audit").await;
    let reply = bench
        .post("/api/v1/devices/nobody/cancel", &json!({}))
        .await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(bench.audit().await.head.n, 0);
}

#[tokio::test]
async fn an_entry_names_the_user_the_token_and_what_was_refused() {
    let bench = Bench::locked().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    bench.log_in("admin", "something else").await;
    let wrong = bench.last().await;
    assert_eq!(
        (wrong.action.as_str(), wrong.outcome),
        ("login", Outcome::Refused)
    );
    assert_eq!(
        (wrong.by, wrong.object.as_str()),
        (ActorKind::Anybody, "admin")
    );

    let token = bench.token("operator").await;
    let id = token.split('_').nth(1).unwrap().to_owned();
    let made = bench.last().await;
    assert_eq!(
        (made.action.as_str(), made.outcome),
        ("login", Outcome::Done)
    );
    assert!(made.detail.contains(&id) && !made.detail.contains(&token));

    let note = json!({"note": "wet"});
    bench
        .with_token(&token, Method::PUT, "/api/v1/devices/d1/note", &note)
        .await;
    let noted = bench.last().await;
    assert_eq!(
        (noted.by, noted.user.as_deref(), noted.token),
        (ActorKind::Token, Some("operator"), Some(id))
    );

    let path = "/api/v1/users/admin";
    let reply = bench
        .with_token(&token, Method::DELETE, path, &Value::Null)
        .await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    let refused = bench.last().await;
    assert_eq!(refused.object, "DELETE /api/v1/users/admin");
    assert_eq!(
        (refused.outcome, refused.detail.as_str()),
        (Outcome::Refused, "403")
    );
    assert_eq!(refused.user.as_deref(), Some("operator"));

    bench.browser("viewer").await;
    assert_eq!(bench.last().await.object, "viewer");
    let reply = bench
        .with_token(&token, Method::GET, "/api/v1/audit", &Value::Null)
        .await;
    assert_eq!(
        reply.status,
        StatusCode::FORBIDDEN,
        "operators do not read it"
    );
}

#[tokio::test]
async fn a_row_that_is_changed_or_removed_in_the_database_is_found() {
    for (sql, found) in [
        (
            "UPDATE audit SET by_user = 'eve' WHERE n = 2",
            Broken::Changed(2),
        ),
        (
            "UPDATE audit SET hash = (SELECT hash FROM audit WHERE n = 1) WHERE n = 4",
            Broken::Changed(4),
        ),
        ("DELETE FROM audit WHERE n = 1", Broken::Missing(1)),
        ("DELETE FROM audit WHERE n = 3", Broken::Missing(3)),
        ("DELETE FROM audit WHERE n >= 3", Broken::Missing(3)),
        ("DELETE FROM audit", Broken::Missing(1)),
        (
            "UPDATE audit_ends SET n = 2 WHERE name = 'head'",
            Broken::Surplus(3),
        ),
    ] {
        let bench = Bench::new().await;
        for n in 0..4 {
            let query = json!({"query": format!("version < {}", n + 1)});
            let headers = [("content-type", "application/json")];
            let path = "/api/v1/groups/g";
            bench
                .send(Method::PUT, path, &headers, query.to_string())
                .await;
        }
        assert_eq!(bench.check().await, Ok(()));
        bench.tamper(sql).await;
        assert_eq!(bench.check().await, Err(found), "{sql}");
    }
}

#[tokio::test]
async fn the_chain_is_whole_after_old_entries_are_removed() {
    let bench = Bench::new().await;
    for _ in 0..3 {
        bench.upload(package("1.0.0")).await;
    }
    let now = crate::clock::now();
    bench.shared.store.prune_audit(now).await.unwrap();
    assert_eq!(bench.audit().await.items.len(), 3, "nothing is old yet");

    let in_two_years = now + 2 * 365 * 24 * 60 * 60;
    bench.shared.store.prune_audit(in_two_years).await.unwrap();
    bench.upload(package("1.0.0")).await;
    let page = bench.audit().await;
    assert_eq!(
        (page.checkpoint.n, page.head.n, page.items.len()),
        (3, 5, 2)
    );
    assert_eq!(page.items[1].action, "audit.prune");
    assert_eq!(page.items[1].detail, page.checkpoint.hash.to_string());
    assert_eq!(bench.check().await, Ok(()));

    bench
        .tamper("UPDATE audit_ends SET n = 4 WHERE name = 'checkpoint'")
        .await;
    assert_eq!(bench.check().await, Err(Broken::Surplus(4)));
}

#[tokio::test]
async fn pages_of_the_trail_stay_what_they_were_while_it_grows() {
    let bench = Bench::new().await;
    for _ in 0..3 {
        bench.upload(package("1.0.0")).await;
    }
    let numbers = |page: &AuditPage| page.items.iter().map(|entry| entry.n).collect::<Vec<_>>();
    let first: AuditPage = bench.get("/api/v1/audit?limit=2").await.json();
    assert_eq!(numbers(&first), [3, 2]);
    bench.upload(package("1.0.0")).await;
    let path = format!("/api/v1/audit?limit=2&cursor={}", first.next.unwrap());
    let second: AuditPage = bench.get(&path).await.json();
    assert_eq!((numbers(&second), second.next), (vec![1], None));
}
