//! An S3-compatible store for tests, in this process: s3s, which checks signatures and when they end. What others wrote, not we.

#![allow(dead_code, reason = "each user of this file uses a part of it")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub(crate) const BUCKET: &str = "packages";
pub(crate) const KEY: &str = "AKTESTKEY";
pub(crate) const SECRET: &str = "a secret that is nowhere else";

/// A request that came in, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    /// Of the head; empty if it has none.
    pub(crate) range: String,
    pub(crate) status: u16,
}

impl Seen {
    /// Whether it came with a link and not with a key.
    pub(crate) fn by_link(&self) -> bool {
        self.uri.contains("X-Amz-Signature=")
    }
}

/// A store with one bucket, on a port of its own.
pub(crate) struct S3 {
    pub(crate) address: SocketAddr,
    dir: TempDir,
    door: Door,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Door {
    service: S3Service,
    seen: Arc<Mutex<Vec<Seen>>>,
    refuse_links: Arc<Mutex<u32>>,
    forgets: Arc<AtomicBool>,
}

impl S3 {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join(BUCKET)).unwrap();
        let files = s3s_fs::FileSystem::new(dir.path()).unwrap();
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let door = Door {
            service: builder.build(),
            seen: Arc::default(),
            refuse_links: Arc::default(),
            forgets: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new()
            .fallback(answer)
            .with_state(door.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            dir,
            door,
            serving,
        }
    }

    /// What the environment of a server says, with this secret.
    pub(crate) fn settings_with(&self, secret: &str) -> Vec<(String, String)> {
        settings(self.address, secret)
    }

    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        self.settings_with(SECRET)
    }

    /// Where an object lies.
    pub(crate) fn file(&self, key: &str) -> PathBuf {
        self.dir.path().join(BUCKET).join(key)
    }

    /// What has come in so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.door.seen.lock().unwrap().clone()
    }

    /// Takes the next requests with links for some that have ended.
    pub(crate) fn refuse_links(&self, count: u32) {
        *self.door.refuse_links.lock().unwrap() = count;
    }

    /// From now on says that it has what it is given, and has not.
    pub(crate) fn forget(&self) {
        self.door.forgets.store(true, Ordering::Relaxed);
    }

    /// Is gone, with all its connections.
    pub(crate) fn stop(self) {
        self.serving.abort();
    }
}

pub(crate) fn settings(address: SocketAddr, secret: &str) -> Vec<(String, String)> {
    [
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
        ("AWS_REGION", "eu-central-1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

async fn answer(State(mut door): State<Door>, request: Request) -> Response {
    let range = request.headers().get("range");
    let mut seen = Seen {
        method: request.method().to_string(),
        uri: request.uri().to_string(),
        range: range.map_or("", |range| range.to_str().unwrap()).to_owned(),
        status: 0,
    };
    let refused = seen.by_link() && {
        let mut left = door.refuse_links.lock().unwrap();
        let refused = *left > 0;
        *left = left.saturating_sub(1);
        refused
    };
    let home = format!("/{BUCKET}/");
    let answer = match refused {
        true => StatusCode::FORBIDDEN.into_response(),
        false if seen.method == "PUT" && door.forgets.load(Ordering::Relaxed) => {
            [("etag", "\"0\"")].into_response()
        }
        // s3s-fs makes a bucket that is not there; Amazon S3 says this.
        false if !seen.uri.starts_with(&home) => {
            let none = "<Error><Code>NoSuchBucket</Code></Error>";
            (StatusCode::NOT_FOUND, none).into_response()
        }
        false => tower::Service::call(&mut door.service, request)
            .await
            .unwrap()
            .map(Body::new),
    };
    seen.status = answer.status().as_u16();
    door.seen.lock().unwrap().push(seen);
    answer
}
