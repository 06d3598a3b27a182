//! What devices report, and what others declare, is stored before the embedded broker takes it.
//!
//! A device forgets the final result of an update when its event is acknowledged. With a broker of its own, the server
//! may die together with what was on its way from the one to the other; no session keeps it then. So the broker asks
//! here first, and an acknowledgement means that the report is on disk. Nothing is left for the bus to carry but presence,
//! which wills tell of and no client: a fleet's reports do not queue up for the server, and are read once. It also makes
//! the store the one that knows what is declared: the broker's files may be behind, and are put right from it at the
//! next start.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mqtt5::QoS;
use mqtt5::broker::events::{BrokerEventHandler, ClientPublishEvent, PublishAction};
use otaria_wire::topics::DeviceId;
use tokio::sync::{mpsc, oneshot};

use crate::ingest::{self, IngestError, Report, What};
use crate::shared::Shared;
use crate::store::StoreError;

/// Reports stored in one transaction at most.
const BATCH: usize = 256;
/// Wait before another try when the disk does not take it.
const RETRY: Duration = Duration::from_secs(1);

struct Recording {
    report: Report,
    done: oneshot::Sender<()>,
}

/// Stores reports for the broker.
pub(super) struct Recorder {
    root: String,
    /// The server itself, which stores what it declares before it publishes it.
    server: String,
    queue: mpsc::Sender<Recording>,
}

impl Recorder {
    /// Starts to store what is recorded, until the recorder is dropped.
    pub(super) fn start(shared: Arc<Shared>, server: String) -> Self {
        let (queue, recordings) = mpsc::channel(BATCH);
        let root = shared.root.clone();
        tokio::spawn(store(shared, recordings));
        Self {
            root,
            server,
            queue,
        }
    }

    /// The report to be stored, if it is one. What cannot be read is dropped for good: it will not get better by being
    /// sent again.
    fn read(&self, message: &ClientPublishEvent) -> Option<Report> {
        let report = match ingest::parse(&self.root, &message.topic, &message.payload, false) {
            Ok(report) => report?,
            // Clients may talk to each other as they like.
            Err(IngestError::Topic) => return None,
            Err(error) => {
                tracing::warn!(topic = %message.topic, "message dropped: {error}");
                return None;
            }
        };
        let recorded = match report.what {
            What::Event(_) | What::State(_) | What::Progress(_) | What::Log(_) => true,
            What::Wish(_) => message.retain && *message.client_id != *self.server,
            // In one order with the wills, which do not come this way.
            What::Presence(_) => false,
        };
        recorded.then_some(report)
    }
}

impl BrokerEventHandler for Recorder {
    fn on_client_publish<'a>(
        &'a self,
        message: ClientPublishEvent,
    ) -> Pin<Box<dyn Future<Output = PublishAction> + Send + 'a>> {
        Box::pin(async move {
            if let Some(report) = self.read(&message) {
                let (done, stored) = oneshot::channel();
                let recording = Recording { report, done };
                let recorded = self.queue.send(recording).await.is_ok()
                    && (message.qos == QoS::AtMostOnce || stored.await.is_ok());
                if !recorded {
                    // Nobody stores any more. Unanswered, the device keeps what it has to say.
                    return std::future::pending().await;
                }
            }
            PublishAction::Continue
        })
    }
}

async fn store(shared: Arc<Shared>, mut recordings: mpsc::Receiver<Recording>) {
    let mut batch = Vec::new();
    while recordings.recv_many(&mut batch, BATCH).await > 0 {
        shared.metrics.received.inc_by(batch.len() as u64);
        // Devices wait for their acknowledgement meanwhile, and send again if it takes too long.
        while let Err(error) = store_batch(&shared, &batch).await {
            tracing::error!("reports cannot be stored: {error}; trying again");
            tokio::time::sleep(RETRY).await;
        }
        for recording in batch.drain(..) {
            // The connection may have ended while it waited.
            let _ = recording.done.send(());
        }
    }
}

/// All but progress that the same device's next report replaces: in the same phase of the same job only the newest counts, so
/// a burst costs the database one change.
fn newest<'a>(reports: impl Iterator<Item = &'a Report>) -> impl Iterator<Item = &'a Report> {
    let mut kept: Vec<Option<&Report>> = Vec::new();
    let mut last: HashMap<&DeviceId, usize> = HashMap::new();
    for report in reports {
        if let Some(before) = last.insert(&report.device, kept.len())
            && let Some(What::Progress(old)) = kept[before].map(|report| &report.what)
            && let What::Progress(new) = &report.what
            && (&old.job, old.phase) == (&new.job, new.phase)
        {
            kept[before] = None;
        }
        kept.push(Some(report));
    }
    kept.into_iter().flatten()
}

async fn store_batch(shared: &Shared, batch: &[Recording]) -> Result<(), StoreError> {
    let now = crate::clock::now();
    let mut changes = Vec::new();
    let mut tx = shared.store.write().await?;
    for report in newest(batch.iter().map(|recording| &recording.report)) {
        let never = |_| false;
        changes.extend(shared.apply(&mut tx, report, never, now).await?);
    }
    tx.commit().await?;
    shared.stored(changes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(device: &str, phase: &str, done: u32) -> Report {
        let payload =
            format!(r#"{{"job":"j","phase":"{phase}","done":{done},"total":100,"rate":1}}"#);
        report(device, "progress", &payload)
    }

    fn report(device: &str, leaf: &str, payload: &str) -> Report {
        let topic = format!("otaria/v1/{device}/{leaf}");
        let report = ingest::parse("otaria", &topic, payload.as_bytes(), false);
        report.unwrap().unwrap()
    }

    #[test]
    fn of_progress_in_one_phase_only_the_newest_is_stored() {
        let log = report(
            "a",
            "log",
            r#"{"n":1,"boot":1,"t_ms":5,"level":"info","text":"x"}"#,
        );
        let reports = [
            progress("a", "downloading", 1),
            progress("b", "downloading", 1),
            progress("a", "downloading", 2),
            progress("a", "verifying", 3),
            log,
            progress("a", "verifying", 4),
        ];
        let kept: Vec<&Report> = newest(reports.iter()).collect();
        let without_the_first: Vec<&Report> = reports[1..].iter().collect();
        assert_eq!(
            kept, without_the_first,
            "phases, devices and logs stand between"
        );
    }
}
