//! Who changed what.

use otaria_wire::Sha256Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// What kind of somebody has done something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A user, with a browser's session.
    User,
    /// A token of a user, such as the one that `otaria login` leaves.
    Token,
    /// The server itself: its rollouts, its housekeeping.
    System,
    /// Whoever presses the button in Home Assistant.
    HomeAssistant,
    /// Not known: nobody has logged in, or has to.
    Anybody,
}

impl ActorKind {
    const ALL: [Self; 5] = [
        Self::User,
        Self::Token,
        Self::System,
        Self::HomeAssistant,
        Self::Anybody,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::System => "system",
            Self::HomeAssistant => "home_assistant",
            Self::Anybody => "anybody",
        }
    }
}

impl std::str::FromStr for ActorKind {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or(UnknownName)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done: the entry was written with it or not at all.
    Done,
    /// It was refused, and nothing changed.
    Refused,
}

impl Outcome {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

impl std::str::FromStr for Outcome {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let found = [Self::Done, Self::Refused]
            .into_iter()
            .find(|outcome| outcome.name() == text);
        found.ok_or(UnknownName)
    }
}

/// A name that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this name is not known here")]
pub struct UnknownName;

/// An entry of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its number. The first is 1, and none is left out.
    pub n: u64,
    /// When, by the server's clock.
    pub at: i64,
    /// What kind of somebody.
    pub by: ActorKind,
    /// Whose session or token it was.
    pub user: Option<String>,
    /// The token's id.
    pub token: Option<String>,
    /// The address at the other end of the connection.
    pub from: Option<String>,
    /// What was done, such as `user.add`; docs/SECURITY.md lists all.
    pub action: String,
    /// To what: a device, a user, a rollout; for a request that was refused, its method and path.
    pub object: String,
    /// What came of it.
    pub outcome: Outcome,
    /// What else is worth knowing; may be empty.
    pub detail: String,
    /// SHA-256 over the hash of the entry before and all of the above; see [`audit`](crate::audit).
    #[schema(value_type = schema::Digest)]
    pub hash: Sha256Digest,
}

/// One end of the chain of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEnd {
    /// The number of the entry.
    pub n: u64,
    /// Its hash; zeros for the entry 0, which does not exist.
    #[schema(value_type = schema::Digest)]
    pub hash: Sha256Digest,
}

impl Default for AuditEnd {
    fn default() -> Self {
        Self {
            n: 0,
            hash: Sha256Digest([0; 32]),
        }
    }
}

/// A page of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// The entries, newest first.
    pub items: Vec<AuditEntry>,
    /// Give this as `cursor` to get the next page; `None` on the last.
    pub next: Option<String>,
    /// The newest entry.
    pub head: AuditEnd,
    /// The last entry that was removed for its age: what the oldest one here is chained to.
    pub checkpoint: AuditEnd,
}
