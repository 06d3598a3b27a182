//! The server without sockets: requests straight into the router, reports straight into the store.

mod access;
mod again;
mod api;
mod audit;
mod bucket;
mod databases;
mod download;
mod forms;
mod keys;
mod lists;
mod openapi;
mod outbox;
mod page;
#[path = "../../tests/common/postgres.rs"]
pub(crate) mod postgres;
mod probe;
mod problems;
mod registry;
mod reports;
mod rollouts;
#[path = "../../tests/common/s3.rs"]
pub(crate) mod s3;
mod stream;
mod together;
mod upload;
mod webhooks;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use otaria_package::keys::SigningKey;
use otaria_package::pack::{Options, TimeStamp, pack};
use otaria_sim::images::Stamp;
use otaria_wire::Sha256Digest;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::config::{Access, Database, Delivery, Downloads, PackageStore};
use crate::http::router;
use crate::ingest;
use crate::model::{Device, Live, Package, Problem, Published};
use crate::packages::Packages;
use crate::shared::{Entry, Shared};
use crate::store::{OutboxRow, Store};

/// The time in tests that do not care.
const NOW: i64 = 1_800_000_000;
const MAX_PACKAGE_LEN: u64 = 1024 * 1024;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());

/// A server without sockets.
struct Bench {
    shared: Arc<Shared>,
    app: Router,
    dir: TempDir,
}

/// An answer that has been read.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = &self.body[..self.body.len().min(500)];
        write!(
            f,
            "{} {:?} {}",
            self.status,
            self.headers,
            start.escape_ascii()
        )
    }
}

impl Reply {
    fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The kind of problem that it names.
    fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem: Problem = self.json();
        assert_eq!(problem.status, self.status.as_u16());
        assert!(!problem.detail.is_empty() && !problem.title.is_empty());
        problem
            .kind
            .strip_prefix("urn:otaria:problem:")
            .unwrap()
            .to_owned()
    }
}

impl Bench {
    async fn new() -> Self {
        Self::at(TempDir::new().unwrap(), true).await
    }

    async fn at(dir: TempDir, loopback: bool) -> Self {
        Self::with(dir, loopback, "http://ota.test:8080").await
    }

    async fn with(dir: TempDir, loopback: bool, public_url: &str) -> Self {
        let (own, stream) = (PackageStore::Own, Delivery::Stream);
        Self::delivering(dir, loopback, public_url, own, stream).await
    }

    /// With packages kept there, and delivered so.
    async fn keeping(packages: PackageStore, delivery: Delivery) -> Self {
        let dir = TempDir::new().unwrap();
        Self::delivering(dir, true, "http://ota.test:8080", packages, delivery).await
    }

    async fn delivering(
        dir: TempDir,
        loopback: bool,
        public_url: &str,
        packages: PackageStore,
        delivery: Delivery,
    ) -> Self {
        let store = match postgres::database_for(dir.path()) {
            Some(url) => Store::open(&Database::Postgres(url.parse().unwrap()), dir.path()).await,
            None => Store::open(&Database::File, dir.path()).await,
        }
        .unwrap();
        let packages = Packages::open(packages, dir.path(), MAX_PACKAGE_LEN, delivery)
            .await
            .unwrap();
        let shared = Arc::new(Shared::new(
            store,
            packages,
            "otaria".to_owned(),
            public_url.to_owned(),
            Entry {
                loopback,
                access: Access::Open,
                downloads: Downloads::Anybody,
            },
            None,
        ));
        let app = router(Arc::clone(&shared));
        Self { shared, app, dir }
    }

    /// The same server with another door.
    fn reopen(&mut self, access: Access, downloads: Downloads) {
        drop(std::mem::take(&mut self.app));
        let shared = Arc::get_mut(&mut self.shared).expect("nobody else has it");
        shared.entry.access = access;
        shared.entry.downloads = downloads;
        self.app = router(Arc::clone(&self.shared));
    }

    /// The same data after the process has gone without a word.
    async fn restarted(self) -> Self {
        self.restarted_at("http://ota.test:8080").await
    }

    /// The same, reached elsewhere.
    async fn restarted_at(self, public_url: &str) -> Self {
        let Self { shared, app, dir } = self;
        drop((shared, app));
        Self::with(dir, true, public_url).await
    }

    async fn raw(&self, request: Request<Body>) -> Response<Body> {
        self.app.clone().oneshot(request).await.unwrap()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.raw(request.body(body.into()).unwrap()).await;
        let (head, body) = response.into_parts();
        Reply {
            status: head.status,
            headers: head.headers,
            body: to_bytes(body, usize::MAX).await.unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(
            Method::POST,
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    async fn device(&self, id: &str) -> Device {
        let reply = self.get(&format!("/api/v1/devices/{id}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        reply.json()
    }

    /// What a device publishes, as if it came from the broker.
    async fn report(&self, device: &str, leaf: &str, payload: &Value) -> Vec<Live> {
        self.message(
            &format!("otaria/v1/{device}/{leaf}"),
            payload.to_string().as_bytes(),
            false,
        )
        .await
    }

    async fn message(&self, topic: &str, payload: &[u8], retained: bool) -> Vec<Live> {
        let report = ingest::parse("otaria", topic, payload, retained)
            .unwrap()
            .expect("a report");
        let mut tx = self.shared.store.write().await.unwrap();
        let never = |_| false;
        let changes = self
            .shared
            .apply(&mut tx, &report, never, NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.shared.tell(changes.clone());
        changes
    }

    /// A device that runs an image and is idle.
    async fn device_runs(&self, device: &str, image: &Sha256Digest, version: &str) {
        self.report(device, "presence", &json!({"online": true}))
            .await;
        self.report(
            device,
            "state",
            &state(device, image, version, None, "idle"),
        )
        .await;
    }

    async fn upload(&self, bytes: Vec<u8>) -> Package {
        let reply = self.try_upload(bytes).await;
        assert!(reply.status.is_success(), "{reply:?}");
        reply.json()
    }

    async fn try_upload(&self, bytes: Vec<u8>) -> Reply {
        self.send(
            Method::POST,
            "/api/v1/packages",
            &[("content-type", "application/octet-stream")],
            bytes,
        )
        .await
    }

    async fn publish(&self, package: &Package, target: Value) -> Published {
        let reply = self
            .post(
                "/api/v1/jobs",
                &json!({"package": package.digest, "target": target}),
            )
            .await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        reply.json()
    }

    /// The broker takes everything that waits.
    async fn all_sent(&self) {
        let ids: Vec<i64> = self.outbox().await.iter().map(|row| row.id).collect();
        let mut tx = self.shared.store.write().await.unwrap();
        tx.sent(&ids).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn outbox(&self) -> Vec<OutboxRow> {
        self.shared.store.outbox(0, 1000).await.unwrap()
    }
}

/// A package of the demo firmware.
fn package(version: &str) -> Vec<u8> {
    package_with(version, |_| {})
}

fn package_with(version: &str, change: impl FnOnce(&mut Options)) -> Vec<u8> {
    let image = Stamp::new(version).size(48 * 1024).image();
    let mut options = Options::new(TimeStamp {
        sequence: 1000,
        created: 1,
    });
    change(&mut options);
    pack(&image, &KEY, &options).unwrap().bytes
}

/// An image that no package here has.
fn other_image() -> Sha256Digest {
    Sha256Digest([0xA5; 32])
}

fn state(
    device: &str,
    image: &Sha256Digest,
    version: &str,
    trial: Option<Value>,
    phase: &str,
) -> Value {
    json!({
        "device": device, "product": "otaria-demo", "version": version, "image_sha256": image, "sequence": 1,
        "security_version": 0, "chip": "esp32c3", "chip_rev": 4, "slot": 0, "trial": trial, "reset": "software",
        "boot": 1, "uptime_s": 1, "heap_free": 100_000, "heap_min": 90_000, "rssi": -60, "ip": "10.0.0.7",
        "bootloader_rollback": null, "job": null, "phase": phase
    })
}

fn event(boot: u32, n: u32, job: &str, kind: &str) -> Value {
    json!({"install": "00000000000000aa", "boot": boot, "n": n, "job": job, "event": kind})
}
