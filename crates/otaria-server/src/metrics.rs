//! What Prometheus scrapes at `/metrics`.
//!
//! The registry of `prometheus-client` is a value, not a global as with the facade `metrics`: a process may run two servers.
//! What the store knows is counted there when it is asked for, and survives a restart; what passes by is counted here.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mqtt5::broker::sys_topics::BrokerStats;
use prometheus_client::encoding::prometheus_text::{self, encode};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::clock::now;
use crate::http::{Answer, Fault};
use crate::shared::Shared;
use crate::store::Tally;

/// Upper bounds of the buckets of latencies, in seconds.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Names and values of labels.
type Labels<const N: usize> = [(&'static str, String); N];

/// Counters of what passes by.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Family<Labels<3>, Counter>,
    latency: Family<Labels<2>, Histogram, fn() -> Histogram>,
    /// Bytes of packages that were sent.
    pub(crate) download_bytes: Counter,
    /// Messages from devices, and from others for them.
    pub(crate) received: Counter,
    /// Messages that the broker has taken from the server.
    pub(crate) sent: Counter,
    /// The embedded broker's own figures, once it runs.
    pub(crate) broker: OnceLock<Arc<BrokerStats>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            download_bytes: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
            broker: OnceLock::new(),
        }
    }
}

impl Metrics {
    fn answered(&self, method: &Method, route: String, status: u16, seconds: f64) {
        // What a client sends is no label: it could make as many as it likes.
        let method = match *method {
            Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::PATCH
            | Method::DELETE => method.as_str(),
            _ => "other",
        };
        let (method, route) = (("method", method.to_owned()), ("route", route));
        let labels = [
            method.clone(),
            route.clone(),
            ("status", status.to_string()),
        ];
        self.requests.get_or_create(&labels).inc();
        self.latency
            .get_or_create(&[method, route])
            .observe(seconds);
    }

    /// Everything, as one registry.
    fn registry(&self, tally: &Tally, now: i64) -> Registry {
        let mut all = Registry::default();
        if let Some(bytes) = resident_bytes() {
            all.register(
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM",
                gauge(bytes),
            );
        }
        let ours = all.sub_registry_with_prefix("otaria");
        let devices = [("online", tally.online), ("offline", tally.offline)];
        ours.register(
            "devices",
            "Devices, by whether they are connected",
            by("presence", devices),
        );
        let updates = tally.updates.iter();
        ours.register(
            "updates",
            "Jobs on devices, by how far they are",
            by(
                "status",
                updates.map(|(status, count)| (status.name(), *count)),
            ),
        );
        let rollouts = tally.rollouts.iter();
        ours.register(
            "rollouts",
            "Rollouts, by whether they go on",
            by(
                "state",
                rollouts.map(|(state, count)| (state.name(), *count)),
            ),
        );
        ours.register(
            "outbox_messages",
            "Messages that the broker has not taken yet",
            gauge(tally.outbox),
        );
        let age = tally.outbox_since.map_or(0, |since| (now - since).max(0));
        ours.register(
            "outbox_age_seconds",
            "How long the oldest of them has waited",
            ConstGauge::new(age),
        );
        if let Some(broker) = self.broker.get() {
            let (received, sent) = (&broker.publish_received, &broker.publish_sent);
            ours.register(
                "broker_sessions",
                "Connections to the embedded broker, the server's own among them",
                gauge(broker.clients_connected.load(Ordering::Relaxed) as u64),
            );
            ours.register(
                "broker_publishes_received",
                "Messages that clients published at the embedded broker",
                ConstCounter::new(received.load(Ordering::Relaxed)),
            );
            ours.register(
                "broker_publishes_sent",
                "Messages that the embedded broker sent to clients",
                ConstCounter::new(sent.load(Ordering::Relaxed)),
            );
        }
        ours.register(
            "messages_received",
            "Messages of devices, and what others declare, as they are stored",
            self.received.clone(),
        );
        ours.register(
            "messages_sent",
            "MQTT messages that the broker has taken from the server",
            self.sent.clone(),
        );
        ours.register(
            "http_requests",
            "Requests, by route and status",
            self.requests.clone(),
        );
        ours.register(
            "http_request_seconds",
            "From a request to the head of its answer",
            self.latency.clone(),
        );
        ours.register(
            "download_bytes",
            "Bytes of package files sent to devices",
            self.download_bytes.clone(),
        );
        all
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

fn by(
    label: &'static str,
    counts: impl IntoIterator<Item = (&'static str, u64)>,
) -> Family<[(&'static str, &'static str); 1], Gauge> {
    let family: Family<_, Gauge> = Family::default();
    for (value, count) in counts {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        family.get_or_create(&[(label, value)]).set(count);
    }
    family
}

/// What Linux says of this process; nothing elsewhere.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "server", operation_id = "metrics",
    responses((status = OK, body = String, content_type = "text/plain")),
)]
pub(crate) async fn scrape(State(shared): State<Arc<Shared>>) -> Answer<impl IntoResponse> {
    let tally = shared.store.tally().await?;
    let mut text = String::new();
    encode(&mut text, &shared.metrics.registry(&tally, now()))
        .map_err(|error| Fault::internal("the metrics cannot be written", &error))?;
    Ok(([(CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text))
}

/// Counts requests.
pub(crate) async fn count(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    let seconds = began.elapsed().as_secs_f64();
    shared
        .metrics
        .answered(&method, route, response.status().as_u16(), seconds);
    response
}
