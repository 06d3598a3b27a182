//! Decisions about devices: declare a package, take a declaration back, send a command. Each is one transaction that
//! holds the decision and the messages that carry it out.

use otaria_wire::Sha256Digest;
use otaria_wire::messages::{Command, CommandKind, Desired, MAX_JOB_LEN, WriteJson, to_json};
use otaria_wire::topics::{DeviceId, NameError, Topic};
use otaria_wire::url::Url;

use crate::audit::Action;
use crate::model::{
    Cancelled, Device, Live, NewCommand, NewJob, Package, Published, Sent, Skipped, Status, Target,
};
use crate::query::{Query, QueryError};
use crate::shared::{REDECLARE, Shared};
use crate::store::{NewJobRow, StoreError, Tx};

/// How long a command waits for its device at the broker, unless told otherwise: ten minutes.
const COMMAND_WAITS_S: u32 = 600;
/// Longest that a command may wait: a week.
const COMMAND_WAITS_MAX_S: u32 = 7 * 24 * 60 * 60;

/// Why a decision is not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WishError {
    #[error("there is no package {0} here; upload it first")]
    NoPackage(Sha256Digest),
    #[error(
        "no device '{0}' has reported to this server; check the id, or say that it has yet to come (\"unseen\")"
    )]
    NoDevice(String),
    #[error("{}", empty(.0))]
    EmptyTarget(Target),
    #[error("no device of {target} can take this package: {}", reasons(.skipped))]
    NoneFits {
        target: Target,
        skipped: Vec<Skipped>,
    },
    #[error("a device id is 1 to 40 letters, digits, '_' or '-'")]
    DeviceId(#[from] NameError),
    #[error("a job's name is 1 to {MAX_JOB_LEN} letters, digits, '_', '-' or '.'")]
    JobName,
    #[error("there is a job '{0}' already, for another package or target")]
    JobTaken(String),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the deadline has passed, or comes before the start")]
    Deadline,
    #[error("the package's address {0} is not one that devices can use; check --public-url")]
    Address(String),
    #[error("a command waits at most {COMMAND_WAITS_MAX_S} seconds, and at least one")]
    Expiry,
    #[error("the command is unknown")]
    Command,
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn empty(target: &Target) -> String {
    match target {
        Target::All => "no device has reported to this server yet".to_owned(),
        Target::Device(_) | Target::Group(_) => format!("no device is in {target}"),
        Target::Query(query) => format!("no device that has reported matches '{query}'"),
    }
}

fn reasons(skipped: &[Skipped]) -> String {
    const SHOWN: usize = 3;
    let mut text: Vec<String> = skipped
        .iter()
        .take(SHOWN)
        .map(|skipped| format!("{} {}", skipped.device, skipped.reason))
        .collect();
    if skipped.len() > SHOWN {
        text.push(format!("and {} more", skipped.len() - SHOWN));
    }
    text.join("; ")
}

impl Shared {
    /// Declares a package for devices.
    pub(crate) async fn publish(&self, request: &NewJob, now: i64) -> Result<Published, WishError> {
        let package = self
            .store
            .package(&request.package)
            .await?
            .ok_or(WishError::NoPackage(request.package))?;
        let id = match &request.job {
            Some(name) => job_name(name)?,
            None => crate::id::random(),
        };
        if request
            .deadline
            .is_some_and(|deadline| deadline <= request.not_before.unwrap_or(now).max(now))
        {
            return Err(WishError::Deadline);
        }
        if let Target::Query(query) = &request.target {
            query.parse::<Query>()?;
        }
        if let Some(published) = self.published_before(request, &id).await? {
            return Ok(published);
        }
        let url = self.package_url(&package.digest);
        let payload = declaration(&Declared {
            job: &id,
            url: &url,
            version: &package.version,
            image_sha256: package.image_sha256,
            not_before: request.not_before,
            deadline: request.deadline,
        })?;

        let mut tx = self.store.write().await?;
        // Once more, now that nobody else can write: the same request may be under way twice.
        if tx.expected_image(&id).await?.is_some() || tx.is_job_of_rollout(&id).await? {
            return Err(WishError::JobTaken(id));
        }
        let (fit, skipped) = self.targets(&mut tx, request, &package, now).await?;
        let job = NewJobRow {
            id: &id,
            package: &package.digest,
            url: &url,
            target: &request.target,
            not_before: request.not_before,
            deadline: request.deadline,
        };
        tx.add_job(&job, now).await?;
        let mut changes = Vec::new();
        for device in fit {
            for open in tx.open_assignments(&device).await? {
                changes.push((open.job, device.clone()));
            }
            tx.assign(&id, &device, now).await?;
            tx.set_wish(&device, Some(&payload), now).await?;
            tx.send(
                &self.message(&device, Topic::Desired, payload.clone().into_bytes())?,
                now,
            )
            .await?;
            changes.push((id.clone(), device));
        }
        let changes = assignments(&mut tx, &changes).await?;
        let detail = format!("package {} for {}", package.digest, request.target);
        tx.audit(Action::JobPublish, &id, &detail).await?;
        tx.commit().await?;
        self.outbox_ready.notify_one();
        self.tell(changes);
        let job = self
            .store
            .job(&id)
            .await?
            .ok_or(StoreError::Unexpected("jobs"))?;
        Ok(Published { job, skipped })
    }

    /// The same request a second time gets the same answer, so that a client may repeat what it is not sure of.
    async fn published_before(
        &self,
        request: &NewJob,
        id: &str,
    ) -> Result<Option<Published>, WishError> {
        let Some(job) = self.store.job(id).await? else {
            return Ok(None);
        };
        if request.job.is_some() && job.package == request.package && job.target == request.target {
            return Ok(Some(Published {
                job,
                skipped: Vec::new(),
            }));
        }
        Err(WishError::JobTaken(id.to_owned()))
    }

    async fn targets(
        &self,
        tx: &mut Tx,
        request: &NewJob,
        package: &Package,
        now: i64,
    ) -> Result<(Vec<String>, Vec<Skipped>), WishError> {
        if let Target::Device(id) = &request.target {
            DeviceId::new(id)?;
            if request.unseen {
                tx.add_device(id, now).await?;
            } else if !tx.knows(id).await? {
                return Err(WishError::NoDevice(id.clone()));
            }
        }
        let mut fit = Vec::new();
        let mut skipped = Vec::new();
        for chosen in tx.choose(&request.target, now).await? {
            match misfit(&chosen, &package.product, &package.chip) {
                None => fit.push(chosen.id),
                Some(reason) => skipped.push(Skipped {
                    device: chosen.id,
                    reason,
                }),
            }
        }
        match (fit.is_empty(), skipped.is_empty()) {
            (false, _) => Ok((fit, skipped)),
            (true, true) => Err(WishError::EmptyTarget(request.target.clone())),
            (true, false) => Err(WishError::NoneFits {
                target: request.target.clone(),
                skipped,
            }),
        }
    }

    /// Takes back what is declared for a device, stops its download, rolls its trial back.
    pub(crate) async fn cancel(&self, device: &str, now: i64) -> Result<Cancelled, WishError> {
        let mut tx = self.store.write().await?;
        if !tx.knows(device).await? {
            return Err(WishError::NoDevice(device.to_owned()));
        }
        let open = tx.open_assignments(device).await?;
        let mut moved = Vec::new();
        for assignment in &open {
            // A device that never answered has nothing to stop.
            let status = if assignment.status == Status::Pending {
                Status::Cancelled
            } else {
                Status::Cancelling
            };
            tx.set_status(&assignment.job, device, status, now).await?;
            moved.push((assignment.job.clone(), device.to_owned()));
        }
        tx.set_wish(device, None, now).await?;
        tx.send(&self.message(device, Topic::Desired, Vec::new())?, now)
            .await?;
        // An empty wish stops a download; a trial is rolled back only by the command.
        self.command_in(
            &mut tx,
            device,
            CommandKind::Cancel,
            None,
            now + i64::from(COMMAND_WAITS_S),
            now,
        )
        .await?;
        let newest = match open.last() {
            Some(assignment) => tx.assignment(&assignment.job, device).await?,
            None => None,
        };
        let changes = assignments(&mut tx, &moved).await?;
        tx.audit(Action::DeviceCancel, device, "").await?;
        tx.commit().await?;
        self.outbox_ready.notify_one();
        self.tell(changes);
        Ok(Cancelled {
            device: device.to_owned(),
            job: newest.as_ref().map(|assignment| assignment.job.clone()),
            status: newest.map(|assignment| assignment.status),
        })
    }

    /// Forgets a device with all that is kept of it, here and at the broker. One that still runs comes back by itself.
    pub(crate) async fn forget(&self, device: &str, now: i64) -> Result<(), WishError> {
        let mut tx = self.store.write().await?;
        if !tx.knows(device).await? {
            return Err(WishError::NoDevice(device.to_owned()));
        }
        let had_keys = tx.was_told_keys(device).await?;
        tx.remove_device(device).await?;
        tx.audit(Action::DeviceForget, device, "").await?;
        tx.unsend(&self.message(device, Topic::Cmd, Vec::new())?.topic)
            .await?;
        let topics = [Topic::Desired, Topic::Presence, Topic::State];
        for topic in topics.into_iter().chain(had_keys.then_some(Topic::Keys)) {
            tx.send(&self.message(device, topic, Vec::new())?, now)
                .await?;
        }
        tx.commit().await?;
        self.outbox_ready.notify_one();
        self.offer_changed.notify_one();
        Ok(())
    }

    /// Whether devices were told of packages at another address of this server, and still look for them there: how many.
    /// They are told anew when the broker has said what others have declared meanwhile.
    pub(crate) async fn note_address(&self) -> Result<usize, StoreError> {
        let mut tx = self.store.write().await?;
        let moved = self.moved(&mut tx).await?.len();
        if moved > 0 {
            tx.set_note(REDECLARE, Some("")).await?;
            tx.commit().await?;
        }
        Ok(moved)
    }

    /// Puts this server's address into what is declared and not done yet, under the same job.
    pub(crate) async fn follow_address(&self, tx: &mut Tx, now: i64) -> Result<(), StoreError> {
        for (device, job, wish) in self.moved(tx).await? {
            let Ok(payload) = json(&wish) else {
                continue;
            };
            tx.set_job_url(&job, wish.url.as_str()).await?;
            tx.set_wish(&device, Some(&payload), now).await?;
            if let Ok(message) = self.message(&device, Topic::Desired, payload.into_bytes()) {
                tx.send(&message, now).await?;
            }
        }
        Ok(())
    }

    /// Device, job, and the wish as it would be now, for each whose package was elsewhere when it was declared.
    async fn moved(&self, tx: &mut Tx) -> Result<Vec<(String, String, Desired)>, StoreError> {
        let mut moved = Vec::new();
        for (device, wish) in tx.own_wishes().await? {
            let Ok(Some(mut wish)) = Desired::parse(wish.as_bytes()) else {
                continue;
            };
            let Some(job) = wish.job.as_ref().map(|job| job.as_str().to_owned()) else {
                continue;
            };
            let Some(package) = tx.package_of(&job).await? else {
                continue;
            };
            let url = self.package_url(&package);
            let done = tx
                .assignment(&job, &device)
                .await?
                .is_none_or(|assignment| assignment.status == Status::Succeeded);
            if done || wish.url.as_str() == url {
                continue;
            }
            let Ok(url) = heapless::String::try_from(url.as_str()) else {
                tracing::error!("{url} is too long for devices; check --public-url");
                continue;
            };
            wish.url = url;
            moved.push((device, job, wish));
        }
        Ok(moved)
    }

    /// Sends a command to a device.
    pub(crate) async fn command(
        &self,
        device: &str,
        request: &NewCommand,
        now: i64,
    ) -> Result<Sent, WishError> {
        let waits = request.expires_in_s.unwrap_or(COMMAND_WAITS_S);
        if waits == 0 || waits > COMMAND_WAITS_MAX_S {
            return Err(WishError::Expiry);
        }
        let expires_at = now + i64::from(waits);
        let mut tx = self.store.write().await?;
        if !tx.knows(device).await? {
            return Err(WishError::NoDevice(device.to_owned()));
        }
        let id = self
            .command_in(&mut tx, device, request.cmd, request.lines, expires_at, now)
            .await?;
        // A word and numbers: writing them as JSON cannot fail.
        let detail = serde_json::to_string(request).unwrap_or_default();
        tx.audit(Action::DeviceCommand, device, &detail).await?;
        tx.commit().await?;
        self.outbox_ready.notify_one();
        Ok(Sent { id, expires_at })
    }

    async fn command_in(
        &self,
        tx: &mut Tx,
        device: &str,
        cmd: CommandKind,
        lines: Option<u16>,
        expires_at: i64,
        now: i64,
    ) -> Result<String, WishError> {
        if cmd == CommandKind::Unknown {
            return Err(WishError::Command);
        }
        let name = crate::id::random();
        let id = heapless::String::try_from(name.as_str()).map_err(|_| WishError::Command)?;
        let payload = json(&Command { id, cmd, lines })?;
        let mut message = self.message(device, Topic::Cmd, payload.into_bytes())?;
        message.expires_at = Some(expires_at);
        tx.send(&message, now).await?;
        Ok(name)
    }
}

/// Why a device cannot take a package, as far as it is known. The device itself has the last word.
pub(crate) fn misfit(device: &Device, product: &str, chip: &str) -> Option<String> {
    let state = device.state.as_ref()?;
    if state.product.as_str() != product {
        return Some(format!(
            "is a '{}', the package is for '{product}'",
            state.product.as_str()
        ));
    }
    (state.chip.as_str() != chip)
        .then(|| format!("has a chip {}, the package is for {chip}", state.chip))
}

fn job_name(name: &str) -> Result<String, WishError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > MAX_JOB_LEN || !name.bytes().all(allowed) {
        return Err(WishError::JobName);
    }
    Ok(name.to_owned())
}

/// What is declared for a device.
pub(crate) struct Declared<'a> {
    pub(crate) job: &'a str,
    pub(crate) url: &'a str,
    pub(crate) version: &'a str,
    pub(crate) image_sha256: Sha256Digest,
    pub(crate) not_before: Option<i64>,
    pub(crate) deadline: Option<i64>,
}

/// The payload of `desired`.
pub(crate) fn declaration(declared: &Declared<'_>) -> Result<String, WishError> {
    let address = || WishError::Address(declared.url.to_owned());
    Url::parse(declared.url).map_err(|_| address())?;
    let time = |time: Option<i64>| time.and_then(|time| u64::try_from(time).ok());
    json(&Desired {
        job: Some(heapless::String::try_from(declared.job).map_err(|_| WishError::JobName)?),
        url: heapless::String::try_from(declared.url).map_err(|_| address())?,
        version: heapless::String::try_from(declared.version).ok(),
        image_sha256: Some(declared.image_sha256),
        not_before: time(declared.not_before),
        deadline: time(declared.deadline),
    })
}

fn json(message: &dyn WriteJson) -> Result<String, WishError> {
    let mut buffer = [0; otaria_wire::messages::MAX_MESSAGE_LEN];
    let bytes = to_json(message, &mut buffer).map_err(|_| StoreError::Unexpected("message"))?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

pub(crate) async fn assignments(
    tx: &mut Tx,
    moved: &[(String, String)],
) -> Result<Vec<Live>, StoreError> {
    let mut changes = Vec::with_capacity(moved.len());
    for (job, device) in moved {
        let assignment = tx.assignment(job, device).await?;
        changes.extend(assignment.map(|assignment| Live::Assignment(Box::new(assignment))));
    }
    Ok(changes)
}
