//! A subscriber of its own, so that the demo's verdict does not rest on what the server believes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use otaria_server::BrokerUrl;
use otaria_wire::messages::{Event, EventKind, Progress, State};
use otaria_wire::topics::{self, DEFAULT_ROOT, Topic};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{AsyncClient, EventLoop, Incoming, MqttOptions};
use tokio::sync::watch;

/// What one device has said.
#[derive(Clone, Debug, Default)]
pub(super) struct Testimony {
    /// Its latest state.
    pub(super) state: Option<State>,
    /// Its latest progress.
    pub(super) progress: Option<Progress>,
    /// Its events, in order, each once.
    pub(super) events: Vec<Event>,
}

impl Testimony {
    /// The events of a job.
    pub(super) fn of_job<'a>(&'a self, job: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events
            .iter()
            .filter(move |event| event.job.as_deref() == Some(job))
    }

    /// The event that ended a job, if it has ended.
    pub(super) fn end_of<'a>(&'a self, job: &'a str) -> Option<&'a Event> {
        self.of_job(job).find(|event| event.event.is_final())
    }

    /// Whether something happened in a job.
    pub(super) fn saw(&self, job: &str, kind: EventKind) -> bool {
        self.of_job(job).any(|event| event.event == kind)
    }
}

type Testimonies = BTreeMap<String, Testimony>;

/// The subscriber. Dropping it ends its task.
pub(super) struct Witness {
    seen: Arc<Mutex<Testimonies>>,
    changed: watch::Receiver<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Witness {
    /// Connects, and returns when everything that devices say from now on is heard.
    pub(super) async fn subscribe(broker: &BrokerUrl) -> anyhow::Result<Self> {
        let mut options = MqttOptions::new("otaria-demo-witness", broker.host.clone(), broker.port);
        options.set_keep_alive(Duration::from_secs(30));
        let (client, mut events) = AsyncClient::new(options, 64);
        for topic in [Topic::Event, Topic::State, Topic::Progress] {
            client
                .subscribe(
                    topics::filter(DEFAULT_ROOT, topic)?.as_str(),
                    QoS::AtLeastOnce,
                )
                .await?;
        }
        let mut granted = 0;
        while granted < 3 {
            if let rumqttc::v5::Event::Incoming(Packet::SubAck(_)) = events.poll().await? {
                granted += 1;
            }
        }
        let seen = Arc::new(Mutex::new(Testimonies::new()));
        let (change, changed) = watch::channel(0);
        let task = tokio::spawn(listen(client, events, seen.clone(), change));
        Ok(Witness {
            seen,
            changed,
            task,
        })
    }

    /// What `device` has said so far.
    pub(super) fn testimony(&self, device: &str) -> Testimony {
        lock(&self.seen).get(device).cloned().unwrap_or_default()
    }

    /// Waits until `enough` says so, looking again whenever a device has said something. `false` if `limit` comes first.
    pub(super) async fn wait(
        &self,
        limit: Duration,
        mut enough: impl FnMut(&Testimonies) -> bool,
    ) -> bool {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                changed.mark_unchanged();
                if enough(&lock(&self.seen)) {
                    return true;
                }
                if changed.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(limit, waiting).await.unwrap_or(false)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `client` is held so that the event loop's channel stays open.
async fn listen(
    client: AsyncClient,
    mut events: EventLoop,
    seen: Arc<Mutex<Testimonies>>,
    change: watch::Sender<u64>,
) {
    let _client = client;
    loop {
        match events.poll().await {
            Ok(rumqttc::v5::Event::Incoming(Incoming::Publish(publish))) => {
                note(&mut lock(&seen), &publish);
                change.send_modify(|count| *count += 1);
            }
            Ok(_) => {}
            // The event loop connects again by itself.
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

fn note(seen: &mut Testimonies, publish: &Publish) {
    let Some((device, topic)) = std::str::from_utf8(&publish.topic)
        .ok()
        .and_then(|name| topics::parse(DEFAULT_ROOT, name))
    else {
        return;
    };
    let testimony = seen.entry(device.to_owned()).or_default();
    match topic {
        Topic::Event => {
            if let Ok(event) = serde_json::from_slice::<Event>(&publish.payload)
                && !testimony.events.iter().any(|old| {
                    (old.install, old.boot, old.n) == (event.install, event.boot, event.n)
                })
            {
                testimony.events.push(event);
            }
        }
        Topic::State => {
            testimony.state = serde_json::from_slice(&publish.payload)
                .ok()
                .or(testimony.state.take());
        }
        Topic::Progress => testimony.progress = serde_json::from_slice(&publish.payload).ok(),
        Topic::Desired | Topic::Cmd | Topic::Keys | Topic::Presence | Topic::Log => {}
    }
}

fn lock(seen: &Mutex<Testimonies>) -> MutexGuard<'_, Testimonies> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
