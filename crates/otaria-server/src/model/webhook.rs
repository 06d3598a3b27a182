//! Whom the server tells what happens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Secret, UnknownName};

/// What a webhook can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum WebhookEvent {
    /// A rollout was made, goes on, pauses, halts, or ends; `data` has `rollout`, `package`, `state` and `reason`.
    #[serde(rename = "rollout.state")]
    RolloutState,
    /// An update has failed, was rolled back or refused; `data` is the `Assignment`.
    #[serde(rename = "update.failed")]
    UpdateFailed,
    /// The expected image runs, confirmed; `data` is the `Assignment`.
    #[serde(rename = "update.confirmed")]
    UpdateConfirmed,
    /// A device has reported for the first time; `data` has `device`.
    #[serde(rename = "device.appeared")]
    DeviceAppeared,
    /// Somebody wants to know whether this works.
    #[serde(rename = "webhook.test")]
    Test,
}

impl WebhookEvent {
    /// All that can be asked for.
    pub const ALL: [Self; 4] = [
        Self::RolloutState,
        Self::UpdateFailed,
        Self::UpdateConfirmed,
        Self::DeviceAppeared,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::RolloutState => "rollout.state",
            Self::UpdateFailed => "update.failed",
            Self::UpdateConfirmed => "update.confirmed",
            Self::DeviceAppeared => "device.appeared",
            Self::Test => "webhook.test",
        }
    }
}

impl FromStr for WebhookEvent {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let mut all = Self::ALL.into_iter().chain([Self::Test]);
        all.find(|event| event.name() == name).ok_or(UnknownName)
    }
}

impl fmt::Display for WebhookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A webhook to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where messages are sent: `https://…`.
    pub url: String,
    /// What it is told; none: everything.
    #[serde(default)]
    pub events: Vec<WebhookEvent>,
}

/// Somebody who is told what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Its name in addresses.
    pub id: String,
    /// Where messages are sent.
    pub url: String,
    /// What it is told.
    pub events: Vec<WebhookEvent>,
    /// Since when.
    pub created_at: i64,
    /// Messages that it has not taken yet.
    pub waiting: u64,
    /// Messages of the last week that were given up.
    pub given_up: u64,
    /// Why the last try failed, if it did.
    pub reason: Option<String>,
}

/// A webhook that was added just now. Its secret is not to be had again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeWebhook {
    /// What messages are signed with, as Standard Webhooks writes it: `whsec_…`.
    pub secret: Secret,
    /// All else.
    #[serde(flatten)]
    pub webhook: Webhook,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It was not taken yet.
    Waiting,
    /// It was taken.
    Delivered,
    /// It was not taken for so long that it is tried no more.
    GivenUp,
}

impl DeliveryState {
    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let all = [Self::Waiting, Self::Delivered, Self::GivenUp];
        let found = all.into_iter().find(|state| state.name() == name);
        found.ok_or(UnknownName)
    }
}

/// A message to a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// Its `webhook-id`, the same at every try.
    pub message: String,
    /// What it tells.
    pub event: WebhookEvent,
    /// When it happened.
    pub created_at: i64,
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next.
    pub next_at: Option<i64>,
    /// Why the last try failed.
    pub reason: Option<String>,
}
