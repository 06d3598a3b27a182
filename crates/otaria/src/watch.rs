//! Following jobs as they happen: bars for people, one JSON object a line for programs.

use std::collections::BTreeMap;

use otaria_server::model::{Assignment, Live, Status};

use crate::Context;
use crate::bars::Bars;
use crate::client::Client;
use crate::timing::seconds;

/// Follows a job until no device has anything left to do; how many devices ended how.
pub(crate) fn job(
    ctx: &Context,
    client: &Client,
    job: &str,
) -> anyhow::Result<BTreeMap<Status, u64>> {
    // The stream first: what happens between the two questions is then seen twice, not never.
    let mut stream = client.stream(None, Some(job))?;
    let mut watched = Watched::new(ctx, client.job_devices(job)?);
    while watched.open() > 0 {
        let Some(live) = stream.next() else {
            anyhow::bail!("the server ended the stream; is it shutting down?")
        };
        let live = live?;
        ctx.output.json_line(&live)?;
        match live {
            Live::Assignment(assignment) => watched.moved(&assignment),
            Live::Progress { device, progress } => {
                watched
                    .bars
                    .progress(&device, progress.done, progress.total);
            }
            Live::Resync {} => client
                .job_devices(job)?
                .iter()
                .for_each(|assignment| watched.moved(assignment)),
            Live::Presence { .. } | Live::State { .. } | Live::Event(_) | Live::Log(_) => {}
        }
    }
    watched.bars.finish();
    let mut counts = BTreeMap::new();
    for status in watched.devices.values() {
        *counts.entry(*status).or_default() += 1;
    }
    Ok(counts)
}

/// Follows everything until the server, or the person, has enough.
pub(crate) fn everything(ctx: &Context, client: &Client) -> anyhow::Result<()> {
    let assignments = || -> anyhow::Result<Vec<Assignment>> {
        let devices = client.devices(None, None)?.into_iter();
        Ok(devices.filter_map(|device| device.assignment).collect())
    };
    let stream = client.stream(None, None)?;
    let mut watched = Watched::new(ctx, assignments()?);
    for live in stream {
        let live = live?;
        ctx.output.listed_json(&live)?;
        match live {
            Live::Assignment(assignment) => watched.moved(&assignment),
            Live::Progress { device, progress } => {
                watched
                    .bars
                    .progress(&device, progress.done, progress.total);
            }
            Live::Presence {
                device,
                online: false,
            } => watched.bars.note(format_args!("{device} is gone")),
            Live::Resync {} => assignments()?
                .iter()
                .for_each(|assignment| watched.moved(assignment)),
            Live::Presence { .. } | Live::State { .. } | Live::Event(_) | Live::Log(_) => {}
        }
    }
    watched.bars.finish();
    Ok(())
}

/// The devices of what is followed.
struct Watched {
    bars: Bars,
    devices: BTreeMap<String, Status>,
}

impl Watched {
    fn new(ctx: &Context, assignments: Vec<Assignment>) -> Self {
        let bars = Bars::new(
            ctx.output,
            assignments
                .iter()
                .map(|assignment| assignment.device.as_str()),
        );
        let mut watched = Watched {
            bars,
            devices: BTreeMap::new(),
        };
        for assignment in &assignments {
            watched.moved(assignment);
        }
        watched
    }

    fn moved(&mut self, assignment: &Assignment) {
        let device = &assignment.device;
        self.devices.insert(device.clone(), assignment.status);
        if let Some(progress) = &assignment.progress {
            self.bars.progress(device, progress.done, progress.total);
        }
        let reason = assignment
            .reason
            .as_deref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let ended = assignment.status.is_final();
        let took = assignment
            .timing
            .filter(|_| ended)
            .map(|timing| format!(", took {}", seconds(timing.total_ms)))
            .unwrap_or_default();
        let message = format!("{} {}{reason}{took}", assignment.version, assignment.status);
        self.bars.message(device, message, ended);
    }

    fn open(&self) -> usize {
        self.devices
            .values()
            .filter(|status| !status.is_final())
            .count()
    }
}
