//! The thin layer between the engine and everything else. Each function here is one transaction, in which the rollout is
//! read, decided about, and written, together with the messages that carry the decisions out.

use std::sync::Arc;
use std::time::Duration;

use otaria_wire::Sha256Digest;
use otaria_wire::topics::Topic;

use super::engine::{self, Course, Effect, Member, NotNow, Seen};
use super::spec::{self, Checked, SpecError};
use super::{halt::Outcome, plan};
use crate::audit::Action;
use crate::model::{
    Device, Live, PackageFacts, Plan, PlanRequest, Rollout, RolloutAction, RolloutSpec,
    RolloutState, Stage, StageCounts, Status, Target, WaveCounts,
};
use crate::shared::Shared;
use crate::store::{Loaded, NewJobRow, StoreError, Tx};
use crate::wishes::{Declared, WishError, assignments, declaration};

/// How often rollouts are looked at, whether or not something was reported.
const EVERY: Duration = Duration::from_secs(1);
/// Every so many looks, rollouts that are done are looked at, too: a device may have fallen back.
const DONE_EVERY: u32 = 30;
/// What a fleet without a past is taken for: of a hundred tries one fails.
const PRIOR: (f64, f64) = (1.0, 100.0);

/// Why a rollout is not made, or not told what it was to be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RolloutError {
    #[error("there is no rollout '{0}' here")]
    None(String),
    #[error("there is a rollout '{0}' already, which is another one; choose another name")]
    Taken(String),
    #[error("there are jobs that are named like those of a rollout '{0}'; choose another name")]
    JobsTaken(String),
    #[error("there is no package {0} here; upload it first")]
    NoPackage(Sha256Digest),
    #[error("the rollout is no more as you have seen it; read it again, and decide anew")]
    Changed,
    #[error("no device that has reported matches '{0}'")]
    EmptyTarget(String),
    #[error("no device that matches can take this package: {0}")]
    NoneFits(String),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    NotNow(#[from] NotNow),
    #[error(transparent)]
    Wish(#[from] WishError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shared {
    /// Who would get what, and when. Changes nothing.
    pub(crate) async fn plan_rollout(
        &self,
        request: PlanRequest,
        now: i64,
    ) -> Result<Plan, RolloutError> {
        let checked = spec::check(request.spec)?;
        let package = match self.package_facts(&checked.spec.package).await? {
            Some(package) => package,
            None => request
                .package
                .ok_or(RolloutError::NoPackage(checked.spec.package))?,
        };
        let devices = self.rollout_target(&checked, now).await?;
        let baseline = self.baseline(&checked.spec).await?;
        Ok(plan::plan(&checked, &devices, &package, baseline, now))
    }

    /// Makes a rollout. The same again changes nothing.
    pub(crate) async fn create_rollout(
        &self,
        spec: RolloutSpec,
        now: i64,
    ) -> Result<Rollout, RolloutError> {
        let checked = spec::check(spec)?;
        let id = checked.spec.name.clone();
        if let Some(there) = self.store.rollout(&id).await? {
            return same(there, &checked);
        }
        let digest = checked.spec.package;
        let package = self
            .package_facts(&digest)
            .await?
            .ok_or(RolloutError::NoPackage(digest))?;
        let devices = self.rollout_target(&checked, now).await?;
        let sorted = plan::sort(&checked, &devices, &package, now);
        let members = members(&sorted.waves, &devices, &package, now);
        if members.is_empty() {
            return Err(match sorted.skipped.first() {
                Some(first) => RolloutError::NoneFits(format!("{} {}", first.device, first.reason)),
                None => RolloutError::EmptyTarget(checked.spec.target.clone()),
            });
        }
        let course = Course {
            size: package.size,
            state: RolloutState::Running,
            reason: None,
            wave: 0,
            waves: checked.spec.waves.len(),
            gate_since: None,
            approved: false,
            waived: false,
            paced_until_ms: 0,
            baseline: self.baseline(&checked.spec).await?,
            spec: checked.spec.clone(),
        };
        let mut tx = self.store.write().await?;
        // Once more, now that nobody else can write.
        if let Some(there) = tx.load_rollout(&id).await? {
            return same(there, &checked);
        }
        if tx.expected_image(&job(&id, 1)).await?.is_some() {
            return Err(RolloutError::JobsTaken(id));
        }
        tx.add_rollout(&id, &digest, &course, &members, now).await?;
        let detail = format!("package {digest} for {}", checked.spec.target);
        tx.audit(Action::RolloutCreate, &id, &detail).await?;
        tx.commit().await?;
        self.rollouts_ready.notify_one();
        self.rollout(&id).await
    }

    /// Carries out an operator's word, if the rollout still is as the operator `wanted` it.
    pub(crate) async fn tell_rollout(
        &self,
        id: &str,
        action: RolloutAction,
        wanted: impl FnOnce(&Rollout) -> bool,
        now: i64,
    ) -> Result<Rollout, RolloutError> {
        let none = || RolloutError::None(id.to_owned());
        let mut tx = self.store.write().await?;
        let loaded = tx.load_rollout(id).await?.ok_or_else(none)?;
        if !wanted(&view(loaded.clone())) {
            return Err(RolloutError::Changed);
        }
        let (mut course, mut members) = (loaded.course.clone(), loaded.members.clone());
        let mut effects = Vec::new();
        let anew = engine::act(&mut course, &mut members, action, now, &mut effects)?;
        if anew {
            tx.count_anew(id).await?;
        }
        let changes = self
            .carry_out(&mut tx, &loaded, &course, &members, &effects, now)
            .await?;
        tx.audit(Action::RolloutAct, id, action.name()).await?;
        tx.commit().await?;
        self.outbox_ready.notify_one();
        self.rollouts_ready.notify_one();
        self.tell(changes);
        self.rollout(id).await
    }

    /// A rollout as it is now.
    pub(crate) async fn rollout(&self, id: &str) -> Result<Rollout, RolloutError> {
        let loaded = self.store.rollout(id).await?;
        loaded
            .map(view)
            .ok_or_else(|| RolloutError::None(id.to_owned()))
    }

    /// Does what has to be done now in all rollouts.
    pub(crate) async fn advance_rollouts(
        &self,
        done_too: bool,
        now_ms: i64,
    ) -> Result<(), RolloutError> {
        let now = now_ms.div_euclid(1000);
        for id in self.store.live_rollouts(done_too, now).await? {
            self.advance_rollout(&id, now_ms).await?;
        }
        Ok(())
    }

    async fn advance_rollout(&self, id: &str, now_ms: i64) -> Result<(), RolloutError> {
        let now = now_ms.div_euclid(1000);
        // A look without the writer's lock: most of the time nothing has to be done.
        let Some(loaded) = self.store.rollout(id).await? else {
            return Ok(());
        };
        let decided = decide(&loaded, now_ms);
        if decided.is_nothing(&loaded) {
            return Ok(());
        }
        let mut tx = self.store.write().await?;
        let Some(loaded) = tx.load_rollout(id).await? else {
            return Ok(());
        };
        let decided = decide(&loaded, now_ms);
        let halted = decided.course.state == RolloutState::Halted
            && loaded.course.state != RolloutState::Halted;
        let changes = self
            .carry_out(
                &mut tx,
                &loaded,
                &decided.course,
                &decided.members,
                &decided.effects,
                now,
            )
            .await?;
        if decided.course.state != loaded.course.state {
            let state = decided.course.state.name();
            let reason = decided.course.reason.as_deref().unwrap_or_default();
            let detail = format!("{state} {reason}");
            tx.audit(Action::RolloutState, id, detail.trim_end())
                .await?;
        }
        tx.commit().await?;
        if halted {
            let reason = decided.course.reason.as_deref().unwrap_or_default();
            tracing::warn!("rollout {id} has halted: {reason}");
        }
        self.outbox_ready.notify_one();
        self.tell(changes);
        Ok(())
    }

    /// Stores decisions, and the messages that carry them out.
    async fn carry_out(
        &self,
        tx: &mut Tx,
        before: &Loaded,
        course: &Course,
        members: &[Member],
        effects: &[Effect],
        now: i64,
    ) -> Result<Vec<Live>, RolloutError> {
        let mut moved = Vec::new();
        for effect in effects {
            match effect {
                Effect::Offer { member } => {
                    let member = &members[*member];
                    let job = job(&before.id, member.offers);
                    for open in tx.open_assignments(&member.device).await? {
                        moved.push((open.job, member.device.clone()));
                    }
                    self.offer(tx, before, course, &member.device, &job, now)
                        .await?;
                    moved.push((job, member.device.clone()));
                }
                Effect::Withdraw { member } => {
                    let member = &members[*member];
                    let job = job(&before.id, member.offers);
                    self.withdraw(tx, &member.device, &job, now).await?;
                    moved.push((job, member.device.clone()));
                }
                Effect::Ended { member, outcome } => {
                    let device = &members[*member].device;
                    tx.add_outcome(&before.id, device, outcome, now).await?;
                }
            }
        }
        tx.save_rollout(before, course, members, now).await?;
        Ok(assignments(tx, &moved).await?)
    }

    /// Declares the package for a device.
    async fn offer(
        &self,
        tx: &mut Tx,
        rollout: &Loaded,
        course: &Course,
        device: &str,
        job: &str,
        now: i64,
    ) -> Result<(), RolloutError> {
        let url = self.package_url(&rollout.package);
        if tx.expected_image(job).await?.is_none() {
            let target = Target::Query(course.spec.target.clone());
            let row = NewJobRow {
                id: job,
                package: &rollout.package,
                url: &url,
                target: &target,
                not_before: None,
                deadline: None,
            };
            tx.add_job(&row, now).await?;
        }
        let payload = declaration(&Declared {
            job,
            url: &url,
            version: &rollout.version,
            image_sha256: rollout.image_sha256,
            not_before: None,
            deadline: None,
        })?;
        tx.assign(job, device, now).await?;
        tx.set_wish(device, Some(&payload), now).await?;
        let message = self
            .message(device, Topic::Desired, payload.into_bytes())
            .map_err(WishError::from)?;
        tx.send(&message, now).await?;
        Ok(())
    }

    /// Takes a declaration back, unless a newer one has replaced it.
    async fn withdraw(
        &self,
        tx: &mut Tx,
        device: &str,
        job: &str,
        now: i64,
    ) -> Result<(), RolloutError> {
        let Some(open) = tx.assignment(job, device).await? else {
            return Ok(());
        };
        let status = match open.status {
            Status::Pending => Status::Cancelled,
            status if status.is_final() => return Ok(()),
            _ => Status::Cancelling,
        };
        tx.set_status(job, device, status, now).await?;
        tx.set_wish(device, None, now).await?;
        let message = self
            .message(device, Topic::Desired, Vec::new())
            .map_err(WishError::from)?;
        tx.send(&message, now).await?;
        Ok(())
    }

    async fn package_facts(
        &self,
        digest: &Sha256Digest,
    ) -> Result<Option<PackageFacts>, StoreError> {
        let package = self.store.package(digest).await?;
        Ok(package.map(|package| PackageFacts {
            size: package.size,
            product: package.product,
            chip: package.chip,
            version: package.version,
            image_sha256: package.image_sha256,
        }))
    }

    async fn rollout_target(&self, checked: &Checked, now: i64) -> Result<Vec<Device>, StoreError> {
        let target = Target::Query(checked.target.to_string());
        self.store.chosen(&target, now).await
    }

    /// What share of tries fails with a good release: as the rollout says, else as the past says.
    async fn baseline(&self, spec: &RolloutSpec) -> Result<f64, StoreError> {
        if let Some(percent) = spec.halt.baseline {
            return Ok(percent / 100.0);
        }
        let (tries, failures) = self.store.past_tries().await?;
        // Counts of tries: far below where a float loses one.
        Ok((failures as f64 + PRIOR.0) / (tries as f64 + PRIOR.1))
    }
}

/// What the engine makes of a rollout.
struct Decided {
    course: Course,
    members: Vec<Member>,
    effects: Vec<Effect>,
}

impl Decided {
    fn is_nothing(&self, loaded: &Loaded) -> bool {
        self.effects.is_empty() && self.course == loaded.course && self.members == loaded.members
    }
}

fn decide(loaded: &Loaded, now_ms: i64) -> Decided {
    let (mut course, mut members) = (loaded.course.clone(), loaded.members.clone());
    let mut outcomes: Vec<Outcome> = loaded.outcomes.clone();
    let effects = engine::step(
        &mut course,
        &mut members,
        &loaded.seen,
        &mut outcomes,
        now_ms,
    );
    Decided {
        course,
        members,
        effects,
    }
}

/// The job of an offer: a name of its own, since a device tries an image that failed again only for a new job.
pub(crate) fn job(rollout: &str, offer: u32) -> String {
    format!("{rollout}.{offer}")
}

fn same(there: Loaded, asked: &Checked) -> Result<Rollout, RolloutError> {
    if there.course.spec == asked.spec {
        Ok(view(there))
    } else {
        Err(RolloutError::Taken(there.id))
    }
}

fn members(
    waves: &[Vec<usize>],
    devices: &[Device],
    package: &PackageFacts,
    now: i64,
) -> Vec<Member> {
    let mut members = Vec::new();
    for (wave, of) in waves.iter().enumerate() {
        for index in of {
            let device = &devices[*index];
            members.push(Member {
                device: device.id.clone(),
                wave,
                stratum: plan::stratum(device),
                stage: match plan::runs(device, package) {
                    Some(true) => Stage::Confirmed,
                    Some(false) | None => Stage::Waiting,
                },
                since: now,
                awake_since: None,
                offers: 0,
                failures: 0,
                not_before: 0,
                why: None,
            });
        }
    }
    members
}

/// A rollout as the API shows it.
pub(crate) fn view(loaded: Loaded) -> Rollout {
    let Loaded {
        id,
        version,
        image_sha256,
        created_at,
        updated_at,
        course,
        members,
        seen,
        ..
    } = loaded;
    let waits_for = engine::waits_for(&course, &members, &seen);
    let mut waves: Vec<WaveCounts> = course
        .spec
        .waves
        .iter()
        .map(|wave| WaveCounts {
            name: wave.name.clone(),
            counts: StageCounts::default(),
        })
        .collect();
    let mut total = StageCounts::default();
    for (member, seen) in members.iter().zip(&seen) {
        count(&mut total, member, seen);
        if let Some(wave) = waves.get_mut(member.wave) {
            count(&mut wave.counts, member, seen);
        }
    }
    Rollout {
        id,
        state: course.state,
        reason: course.reason,
        waits_for,
        version,
        image_sha256,
        wave: u32::try_from(course.wave).unwrap_or(u32::MAX),
        waves,
        total,
        baseline: course.baseline * 100.0,
        created_at,
        updated_at,
        spec: course.spec,
    }
}

fn count(counts: &mut StageCounts, member: &Member, seen: &Seen) {
    counts.devices += 1;
    let of = match member.stage {
        Stage::Waiting if seen.online => &mut counts.waiting,
        Stage::Waiting => &mut counts.asleep,
        Stage::Offered | Stage::Working | Stage::Rebooting | Stage::Trial => &mut counts.in_flight,
        Stage::Confirmed => &mut counts.confirmed,
        Stage::Failed => &mut counts.failed,
        Stage::Left => &mut counts.left,
    };
    *of += 1;
}

/// Looks at the rollouts for as long as the server runs: when something was reported, and once a second.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut looks: u32 = 0;
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => looks = looks.wrapping_add(1),
            // What comes in one go is looked at in one go.
            () = shared.rollouts_ready.notified() => tokio::time::sleep(EVERY / 2).await,
        }
        if !*shared.leads.borrow() {
            continue;
        }
        let now_ms = i64::try_from(crate::clock::now_ms()).unwrap_or(i64::MAX);
        let done_too = looks.is_multiple_of(DONE_EVERY);
        if let Err(error) = shared.advance_rollouts(done_too, now_ms).await {
            tracing::error!("rollouts cannot go on: {error}");
            tokio::time::sleep(EVERY).await;
        }
    }
}
