//! A device as Home Assistant sees it: the messages about it. Pure.
//!
//! Checked against the schemas of Home Assistant 2026.2 (`homeassistant/components/mqtt`: `update.py`, `schemas.py`,
//! `abbreviations.py`): of a state that has a key too many, or a text that is null, it drops everything; a key that is missing keeps
//! its value.

use otaria_wire::messages::Phase;
use serde_json::{Value, json};

use crate::model::{Device, Package, Status};
use crate::shared::Shared;
use crate::store::NewMessage;

/// What is published to install.
pub(super) const INSTALL: &str = "install";
/// Whether something is there.
const ONLINE: &str = "online";
pub(super) const OFFLINE: &str = "offline";
/// Longest release summary; Home Assistant keeps no more (`update/__init__.py`, `release_summary`).
const SUMMARY_LEN: usize = 255;

/// A device, the newest package that fits it, and where all of it is.
pub(super) struct Entity {
    root: String,
    page: String,
    device: Device,
    newest: Option<Package>,
}

impl Entity {
    pub(super) fn new(shared: &Shared, device: Device, newest: Option<Package>) -> Self {
        Self {
            root: shared.root.clone(),
            page: shared.public_url.clone(),
            device,
            newest,
        }
    }

    /// The newest package, if the device does not run it and its order of releases leads there.
    pub(super) fn newer(&self) -> Option<&Package> {
        let state = self.device.state.as_ref()?;
        self.newest.as_ref().filter(|package| {
            package.sequence > state.sequence && package.image_sha256 != state.image_sha256
        })
    }

    /// Whether a job is on its way.
    pub(super) fn is_updating(&self) -> bool {
        match self.device.assignment.as_ref().map(|newest| newest.status) {
            Some(Status::Pending | Status::Running | Status::Retrying | Status::Trial) => true,
            Some(
                Status::Cancelling
                | Status::Succeeded
                | Status::RolledBack
                | Status::Failed
                | Status::Refused
                | Status::Cancelled
                | Status::Superseded,
            )
            | None => false,
        }
    }

    /// The device and its entity, for discovery.
    pub(super) fn announcement(&self) -> NewMessage {
        let id = &self.device.id;
        let unique = unique(id);
        let mut device = json!({
            "ids": [unique], "name": id, "mf": "Otaria", "cu": self.page,
        });
        if let (Some(state), Some(fields)) = (&self.device.state, device.as_object_mut()) {
            fields.insert("mdl".into(), state.product.as_str().into());
            fields.insert("mdl_id".into(), state.chip.as_str().into());
            fields.insert("sw".into(), state.version.as_str().into());
            let (major, minor) = (state.chip_rev / 100, state.chip_rev % 100);
            fields.insert("hw".into(), format!("{major}.{minor}").into());
        }
        let config = json!({
            "dev": device,
            "o": {"name": "Otaria", "sw": env!("CARGO_PKG_VERSION")},
            "avty": [{"t": own_availability(&self.root)}, {"t": self.topic("availability")}],
            "avty_mode": "all",
            "cmps": {"firmware": {
                "p": "update", "uniq_id": format!("{unique}_firmware"), "name": "Firmware",
                "dev_cla": "firmware", "ent_cat": "config", "stat_t": self.topic("state"),
                "cmd_t": self.topic(INSTALL), "pl_inst": INSTALL,
            }},
            "qos": 1,
        });
        retained(config_topic(id), config.to_string())
    }

    /// Whether the device is there, and how far it is.
    pub(super) fn news(&self) -> [NewMessage; 2] {
        [
            retained(
                self.topic("availability"),
                availability(self.device.online).to_owned(),
            ),
            retained(self.topic("state"), self.state().to_string()),
        ]
    }

    fn state(&self) -> Value {
        let Some(state) = &self.device.state else {
            return json!({});
        };
        let installed = state.version.as_str();
        let offered = self.offered().unwrap_or(installed);
        json!({
            "installed_version": installed,
            "latest_version": offered,
            "title": state.product.as_str(),
            "release_summary": self.summary(),
            "in_progress": self.is_updating(),
            "update_percentage": self.percentage(),
        })
    }

    /// The version that the device is on its way to, else the one that it could have.
    fn offered(&self) -> Option<&str> {
        let way = self.device.assignment.as_ref();
        let way = way.filter(|_| self.is_updating());
        way.map(|assignment| assignment.version.as_str())
            .or_else(|| self.newer().map(|package| package.version.as_str()))
    }

    /// Why the last try came to nothing, as long as it is still to be had.
    fn summary(&self) -> String {
        let failed = self.device.assignment.as_ref().filter(|assignment| {
            matches!(
                assignment.status,
                Status::Failed | Status::Refused | Status::RolledBack | Status::Retrying
            )
        });
        let Some(failed) = failed else {
            return String::new();
        };
        let why = failed.reason.as_deref().unwrap_or("no reason given");
        let mut text = format!("{}: {}, {why}", failed.version, failed.status);
        if let Some(more) = failed.text.as_deref().filter(|text| !text.is_empty()) {
            text = format!("{text} ({more})");
        }
        text.chars().take(SUMMARY_LEN).collect()
    }

    /// How much of the download is done, from 0 to 100; none while there is no telling.
    fn percentage(&self) -> Option<u64> {
        let progress = self.device.progress.as_ref()?;
        let downloads = progress.phase == Phase::Downloading && progress.total > 0;
        let percentage = u64::from(progress.done) * 100 / u64::from(progress.total.max(1));
        (self.is_updating() && downloads).then_some(percentage.min(100))
    }

    fn topic(&self, leaf: &str) -> String {
        topic(&self.root, &self.device.id, leaf)
    }
}

/// Takes a device out of Home Assistant.
pub(super) fn gone(root: &str, device: &str) -> [NewMessage; 3] {
    [
        config_topic(device),
        topic(root, device, "availability"),
        topic(root, device, "state"),
    ]
    .map(|topic| retained(topic, String::new()))
}

/// Where all devices are told to install.
pub(super) fn install_filter(root: &str) -> String {
    topic(root, "+", INSTALL)
}

/// Which device is told to install.
pub(super) fn to_install<'a>(root: &str, topic: &'a str) -> Option<&'a str> {
    topic
        .strip_prefix(root)?
        .strip_prefix("/home-assistant/")?
        .strip_suffix(INSTALL)?
        .strip_suffix('/')
}

/// Where this server says whether it is there.
pub(super) fn own_availability(root: &str) -> String {
    format!("{root}/home-assistant/availability")
}

pub(super) fn availability(yes: bool) -> &'static str {
    if yes { ONLINE } else { OFFLINE }
}

pub(super) fn retained(topic: String, payload: String) -> NewMessage {
    NewMessage {
        topic,
        payload: payload.into_bytes(),
        retain: true,
        expires_at: None,
    }
}

fn topic(root: &str, device: &str, leaf: &str) -> String {
    format!("{root}/home-assistant/{device}/{leaf}")
}

/// A device's id has only characters that discovery takes: letters, digits, `_` and `-`.
fn config_topic(device: &str) -> String {
    format!("homeassistant/device/{}/config", unique(device))
}

fn unique(device: &str) -> String {
    format!("otaria_{device}")
}
