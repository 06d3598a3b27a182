//! The audit trail: who changed what, when, from where. Each entry is written in the transaction that makes the change, so
//! that neither exists without the other.
//!
//! Entries are a chain. Integers are big-endian; a text is its length as `u32` and its bytes in UTF-8, one that is missing is
//! the length 0xFFFFFFFF alone:
//!
//! ```text
//! hash = SHA-256("otaria audit v1\0" || hash of the entry before (zeros before the first) || n u64 || at i64
//!                || by || user || token || from || action || object || outcome || detail)
//! ```
//! The database also holds the newest entry's number and hash, and those of the last one that was removed for its age, so an
//! entry that is changed, removed or put between shows, at either end too. Whoever can write the whole database can make
//! another chain; that shows to whoever has noted the head of the old one (`otaria audit verify --head`).

use std::net::IpAddr;

use otaria_wire::{Sha256Digest, Sha256Hasher};

use crate::access::Caller;
use crate::model::{ActorKind, AuditEnd, AuditEntry};

const DOMAIN: &[u8] = b"otaria audit v1\0";

/// What can be done. The names are stored, so they are appended to and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A request that would have changed something, refused.
    Request,
    LogIn,
    LogOut,
    UserAdd,
    UserPassword,
    UserRemove,
    TokenCreate,
    TokenRevoke,
    PackageUpload,
    JobPublish,
    DeviceCancel,
    DeviceCommand,
    DeviceForget,
    DeviceGroups,
    DeviceTags,
    DeviceNote,
    GroupSet,
    GroupRemove,
    KeysPublish,
    KeysForget,
    CertificateIssue,
    DeviceCutOff,
    RolloutCreate,
    /// What an operator tells a rollout.
    RolloutAct,
    /// What a rollout comes to by itself.
    RolloutState,
    WebhookAdd,
    WebhookRemove,
    WebhookTest,
    /// Entries are removed for their age.
    AuditPrune,
}

impl Action {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::LogIn => "login",
            Self::LogOut => "logout",
            Self::UserAdd => "user.add",
            Self::UserPassword => "user.password",
            Self::UserRemove => "user.remove",
            Self::TokenCreate => "token.create",
            Self::TokenRevoke => "token.revoke",
            Self::PackageUpload => "package.upload",
            Self::JobPublish => "job.publish",
            Self::DeviceCancel => "device.cancel",
            Self::DeviceCommand => "device.command",
            Self::DeviceForget => "device.forget",
            Self::DeviceGroups => "device.groups",
            Self::DeviceTags => "device.tags",
            Self::DeviceNote => "device.note",
            Self::GroupSet => "group.set",
            Self::GroupRemove => "group.remove",
            Self::KeysPublish => "keys.publish",
            Self::KeysForget => "keys.forget",
            Self::CertificateIssue => "certificate.issue",
            Self::DeviceCutOff => "device.cut_off",
            Self::RolloutCreate => "rollout.create",
            Self::RolloutAct => "rollout.act",
            Self::RolloutState => "rollout.state",
            Self::WebhookAdd => "webhook.add",
            Self::WebhookRemove => "webhook.remove",
            Self::WebhookTest => "webhook.test",
            Self::AuditPrune => "audit.prune",
        }
    }
}

/// On whose behalf something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) by: ActorKind,
    pub(crate) user: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) from: Option<IpAddr>,
}

tokio::task_local! {
    static ORIGIN: Origin;
}

impl Origin {
    /// Somebody without a name here.
    pub(crate) fn unnamed(by: ActorKind) -> Self {
        Self {
            by,
            user: None,
            token: None,
            from: None,
        }
    }

    /// Whoever has sent a request.
    pub(crate) fn of(caller: Option<&Caller>, from: Option<IpAddr>) -> Self {
        let user = caller.and_then(|caller| caller.user.clone());
        let token = caller.and_then(|caller| caller.token.clone());
        let by = match (&user, &token) {
            (_, Some(_)) => ActorKind::Token,
            (Some(_), None) => ActorKind::User,
            (None, None) => ActorKind::Anybody,
        };
        Self {
            by,
            user,
            token,
            from,
        }
    }

    /// Does something on this behalf. Set where a request is let in, so that no handler can forget it, or name another; what
    /// is done outside is the system's.
    pub(crate) async fn scope<F: Future>(self, what: F) -> F::Output {
        ORIGIN.scope(self, what).await
    }

    /// On whose behalf this task works.
    pub(crate) fn current() -> Self {
        ORIGIN
            .try_with(Clone::clone)
            .unwrap_or_else(|_| Self::unnamed(ActorKind::System))
    }
}

/// The first place where the trail is not as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An entry is not there.
    #[error("entry {0} is missing")]
    Missing(u64),
    /// An entry does not follow from the one before.
    #[error("entry {0} is not what was written there")]
    Changed(u64),
    /// An entry has a number that was not given out.
    #[error("entry {0} was not written by this server")]
    Surplus(u64),
}

/// The hash of an entry, from all that it holds but its own hash.
pub fn hash(before: &Sha256Digest, entry: &AuditEntry) -> Sha256Digest {
    let mut hasher = Sha256Hasher::new();
    hasher.update(DOMAIN);
    hasher.update(&before.0);
    hasher.update(&entry.n.to_be_bytes());
    hasher.update(&entry.at.to_be_bytes());
    for text in [
        Some(entry.by.name()),
        entry.user.as_deref(),
        entry.token.as_deref(),
        entry.from.as_deref(),
        Some(&entry.action),
        Some(&entry.object),
        Some(entry.outcome.name()),
        Some(&entry.detail),
    ] {
        // No text in an entry comes near this length.
        let len = text.map_or(u32::MAX, |text| {
            u32::try_from(text.len()).unwrap_or(u32::MAX)
        });
        hasher.update(&len.to_be_bytes());
        hasher.update(text.unwrap_or_default().as_bytes());
    }
    hasher.finish()
}

/// Follows the chain from the checkpoint to the head; `entries` are oldest first.
///
/// # Errors
/// [`Broken`] names the first entry that is missing, changed, or too much.
pub fn verify(checkpoint: AuditEnd, entries: &[AuditEntry], head: AuditEnd) -> Result<(), Broken> {
    let mut end = checkpoint;
    for entry in entries {
        let n = end.n.saturating_add(1);
        if entry.n > n {
            return Err(Broken::Missing(n));
        }
        if entry.n < n || entry.n > head.n {
            return Err(Broken::Surplus(entry.n));
        }
        if entry.hash != hash(&end.hash, entry) {
            return Err(Broken::Changed(n));
        }
        end = AuditEnd {
            n,
            hash: entry.hash,
        };
    }
    if end.n < head.n {
        return Err(Broken::Missing(end.n.saturating_add(1)));
    }
    if end != head {
        return Err(Broken::Changed(end.n));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;

    fn chain(len: u64) -> Vec<AuditEntry> {
        let mut before = AuditEnd::default();
        (1..=len)
            .map(|n| {
                let mut entry = AuditEntry {
                    n,
                    at: 1_800_000_000,
                    by: ActorKind::User,
                    user: Some("ada".to_owned()),
                    token: None,
                    from: Some("192.0.2.1".to_owned()),
                    action: Action::DeviceNote.name().to_owned(),
                    object: "pump-7".to_owned(),
                    outcome: Outcome::Done,
                    detail: String::new(),
                    hash: before.hash,
                };
                entry.hash = hash(&before.hash, &entry);
                before = end(&entry);
                entry
            })
            .collect()
    }

    fn end(entry: &AuditEntry) -> AuditEnd {
        AuditEnd {
            n: entry.n,
            hash: entry.hash,
        }
    }

    #[test]
    fn a_chain_is_whole_from_any_checkpoint_of_its_own() {
        let entries = chain(5);
        let head = end(&entries[4]);
        assert_eq!(verify(AuditEnd::default(), &entries, head), Ok(()));
        assert_eq!(verify(end(&entries[1]), &entries[2..], head), Ok(()));
        assert_eq!(verify(head, &[], head), Ok(()));
        assert_eq!(
            verify(end(&entries[1]), &entries[3..], head),
            Err(Broken::Missing(3))
        );
    }

    #[test]
    fn every_field_is_under_the_hash_and_none_runs_into_the_next() {
        let entries = chain(3);
        let head = end(&entries[2]);
        let changes: [fn(&mut AuditEntry); 10] = [
            |entry| entry.at += 1,
            |entry| entry.by = ActorKind::System,
            |entry| entry.user = None,
            |entry| entry.token = Some(String::new()),
            |entry| entry.from = Some("192.0.2.2".to_owned()),
            |entry| entry.action.push('s'),
            |entry| entry.object.push('0'),
            |entry| entry.outcome = Outcome::Refused,
            |entry| entry.detail.push(' '),
            // The same letters, elsewhere.
            |entry| {
                entry.action.push_str("pump");
                entry.object = "-7".to_owned();
            },
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut entries = entries.clone();
            change(&mut entries[1]);
            let found = verify(AuditEnd::default(), &entries, head);
            assert_eq!(found, Err(Broken::Changed(2)), "change {i}");
        }
    }

    #[test]
    fn what_is_removed_repeated_or_added_is_found_at_its_place() {
        let whole = chain(4);
        let head = end(&whole[3]);
        let check = |entries: &[AuditEntry]| verify(AuditEnd::default(), entries, head);
        for gone in 0..4 {
            let mut entries = whole.clone();
            entries.remove(gone);
            assert_eq!(check(&entries), Err(Broken::Missing(gone as u64 + 1)));
        }
        let mut repeated = whole.clone();
        repeated.insert(2, whole[1].clone());
        assert_eq!(check(&repeated), Err(Broken::Surplus(2)));
        assert_eq!(check(&chain(5)), Err(Broken::Surplus(5)));
    }
}
