//! Devices as the page shows them.

use askama::Template;
use otaria_wire::messages::Phase;

use crate::model::{Device, Group, Status};

/// The page.
#[derive(Template)]
#[template(path = "overview.html")]
pub(super) struct Overview {
    pub(super) known: u64,
    pub(super) online: u64,
    pub(super) broker_connected: bool,
    pub(super) groups: Vec<Group>,
    /// The group that is shown; empty for all.
    pub(super) group: String,
    pub(super) rows: Vec<Row>,
    pub(super) next: Option<String>,
    /// This is not the first page.
    pub(super) further: bool,
    /// Nobody has to log in.
    pub(super) open: bool,
    /// Who is logged in with this browser.
    pub(super) leave: Option<Leave>,
}

/// What logging out takes.
pub(super) struct Leave {
    pub(super) user: String,
    pub(super) csrf: String,
}

/// One device.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) online: bool,
    pub(super) product: String,
    pub(super) version: String,
    pub(super) seen: String,
    /// The job's status in words; a dash without a job.
    pub(super) status: String,
    /// For colour: `good`, `bad`, `busy` or nothing.
    pub(super) tone: &'static str,
    /// Why, and what version is wanted.
    pub(super) detail: String,
    /// Percent done while something is being done.
    pub(super) percent: Option<u8>,
}

impl Row {
    pub(super) fn new(device: &Device, now: i64) -> Self {
        let state = device.state.as_ref();
        let trial = state.is_some_and(|state| state.trial.is_some());
        let version = state.map_or("–", |state| state.version.as_str());
        let status = device
            .assignment
            .as_ref()
            .map(|assignment| assignment.status);
        Self {
            id: device.id.clone(),
            online: device.online,
            product: state.map_or("–", |state| state.product.as_str()).to_owned(),
            version: if trial {
                format!("{version} (on trial)")
            } else {
                version.to_owned()
            },
            seen: ago(device.last_seen, now),
            status: status.map_or_else(|| "–".to_owned(), |status| status.to_string()),
            tone: status.map_or("", tone),
            detail: detail(device),
            percent: percent(device),
        }
    }
}

fn tone(status: Status) -> &'static str {
    match status {
        Status::Succeeded => "good",
        Status::RolledBack | Status::Failed | Status::Refused => "bad",
        Status::Running | Status::Retrying | Status::Trial | Status::Cancelling => "busy",
        Status::Pending | Status::Cancelled | Status::Superseded => "",
    }
}

fn detail(device: &Device) -> String {
    let Some(assignment) = &device.assignment else {
        return String::new();
    };
    let mut parts = vec![format!("to {}", assignment.version)];
    parts.extend(
        assignment
            .reason
            .as_ref()
            .map(|reason| reason.replace('_', " ")),
    );
    parts.extend(assignment.text.clone());
    parts.join(" · ")
}

fn percent(device: &Device) -> Option<u8> {
    let open = device
        .assignment
        .as_ref()
        .is_none_or(|assignment| !assignment.status.is_final());
    let progress = device.progress.as_ref().filter(|_| open)?;
    let busy = match progress.phase {
        Phase::Checking | Phase::Downloading | Phase::Verifying | Phase::Activating => true,
        Phase::Idle | Phase::Rebooting | Phase::Trial | Phase::Unknown => false,
    };
    if !busy || progress.total == 0 {
        return None;
    }
    let percent = u64::from(progress.done) * 100 / u64::from(progress.total);
    u8::try_from(percent.min(100)).ok()
}

fn ago(then: Option<i64>, now: i64) -> String {
    let Some(then) = then else {
        return "never".to_owned();
    };
    match (now - then).max(0) {
        0..=4 => "now".to_owned(),
        seconds @ 5..=119 => format!("{seconds} s ago"),
        seconds @ 120..=7199 => format!("{} min ago", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_tell_them() {
        for (then, text) in [
            (None, "never"),
            (Some(1_000_000), "now"),
            (Some(1_000_010), "now"),
            (Some(999_940), "60 s ago"),
            (Some(999_000), "16 min ago"),
            (Some(990_000), "2 h ago"),
            (Some(0), "11 days ago"),
        ] {
            assert_eq!(ago(then, 1_000_000), text);
        }
    }
}
