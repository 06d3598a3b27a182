//! What a rollout does next. Pure: no store, no clock; the same input gives the same decisions.
//!
//! A device's stages, and what moves it:
//!
//! ```text
//! waiting ──offer──► offered ──accepted──► working ──activated──► rebooting ──trial──► trial ──confirmed──► confirmed
//!    ▲                  │ answers not,        │ takes too long,       │ vanished           │ rolled back,       │
//!    │                  │ refused             │ failed                │                    │ no end             │ runs another
//!    │                  ▼                     ▼                       ▼                    ▼                    ▼ image
//!    └──── tries left ──┴─────────────────────┴──────── failure ──────┴────────────────────┴────────────────────┘
//!                                                          └──── no tries left ──► failed ──(confirms after all)──► confirmed
//! ```
//!
//! A device that is not connected is offered nothing; it keeps waiting, and neither its wave nor the halt test counts it.
//! One that falls asleep with an offer it has not answered is called back, and keeps waiting.

use std::collections::BTreeMap;

use super::halt::{self, Outcome};
use super::window;
use crate::model::{Gate, RolloutAction, RolloutSpec, RolloutState, Stage, Status};

/// Where there is something to call back: later the device's own guard decides.
const EARLY: &[Stage] = &[Stage::Offered, Stage::Working];
/// How far ahead of the allowed rate offers may run, in milliseconds: what is decided at once.
const BURST_MS: i64 = 1000;

/// A rollout, without its devices.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Course {
    pub(crate) spec: RolloutSpec,
    /// Length of the package.
    pub(crate) size: u64,
    pub(crate) state: RolloutState,
    pub(crate) reason: Option<String>,
    /// The wave under way.
    pub(crate) wave: usize,
    /// How many waves there are.
    pub(crate) waves: usize,
    /// Since when this wave's gate is reached.
    pub(crate) gate_since: Option<i64>,
    /// This wave's gate is approved.
    pub(crate) approved: bool,
    /// An operator has gone on although this wave's gate could not be reached.
    pub(crate) waived: bool,
    /// Bandwidth is spoken for until then, in milliseconds.
    pub(crate) paced_until_ms: i64,
    /// Share of tries that fail with a good release.
    pub(crate) baseline: f64,
}

/// A device of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) device: String,
    pub(crate) wave: usize,
    /// Its hardware revision, as the halt test groups them.
    pub(crate) stratum: String,
    pub(crate) stage: Stage,
    /// When it came to this stage.
    pub(crate) since: i64,
    /// Since when it is connected, if it is.
    pub(crate) awake_since: Option<i64>,
    /// Offers so far; the newest has this number.
    pub(crate) offers: u32,
    pub(crate) failures: u32,
    /// Not offered before this time.
    pub(crate) not_before: i64,
    pub(crate) why: Option<String>,
}

/// What is known of a member's device now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) online: bool,
    /// Its time zone, as it is tagged.
    pub(crate) tz: Option<String>,
    /// How far the newest offer is.
    pub(crate) status: Option<Status>,
    /// The newest event of that offer was `activated`.
    pub(crate) activated: bool,
    /// Why that offer failed, by the device's word.
    pub(crate) code: Option<String>,
    /// Whether it runs the expected image, confirmed; none: it has not said what it runs since it
    /// confirmed, or the image is on trial.
    pub(crate) runs_expected: Option<bool>,
    /// The newest offer is the newest job of the device.
    pub(crate) is_newest: bool,
}

/// What has to be done, beside storing what has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Declare the package for the device, under a job with the number of [`Member::offers`].
    Offer { member: usize },
    /// Take that declaration back.
    Withdraw { member: usize },
    /// A try has ended.
    Ended { member: usize, outcome: Outcome },
}

/// Decides. `outcomes` are those that count for the halt rule, oldest first; those of this step are added.
pub(crate) fn step(
    course: &mut Course,
    members: &mut [Member],
    seen: &[Seen],
    outcomes: &mut Vec<Outcome>,
    now_ms: i64,
) -> Vec<Effect> {
    let now = now_ms.div_euclid(1000);
    let mut effects = Vec::new();
    if course.state == RolloutState::Cancelled {
        return effects;
    }
    for (index, (member, seen)) in members.iter_mut().zip(seen).enumerate() {
        let before = effects.len();
        observe(course, member, index, seen, now, &mut effects);
        for effect in effects.iter().skip(before) {
            if let Effect::Ended { outcome, .. } = effect {
                outcomes.push(outcome.clone());
            }
        }
    }
    let unfinished = members.iter().any(|member| !member.stage.is_final());
    if course.state == RolloutState::Done && unfinished {
        course.state = RolloutState::Running;
    }
    if matches!(course.state, RolloutState::Running | RolloutState::Done)
        && let Some(reason) =
            halt::reason(&course.spec.halt, course.baseline, members.len(), outcomes)
    {
        halt(course, members, reason, now, &mut effects);
    }
    while course.state == RolloutState::Running && course.wave + 1 < course.waves {
        match gate(course, members, seen, outcomes, now) {
            Passage::Open => {
                course.wave += 1;
                course.gate_since = None;
                course.approved = false;
                course.waived = false;
            }
            Passage::Closed => break,
            Passage::Never(reason) => halt(course, members, reason, now, &mut effects),
        }
    }
    if course.state == RolloutState::Halted {
        // One whose trial was inconclusive would go on by itself.
        call_all_back(members, EARLY, now, &mut effects);
    }
    if course.state == RolloutState::Running {
        offer(course, members, seen, now_ms, &mut effects);
        if !unfinished {
            course.state = RolloutState::Done;
        }
    }
    effects
}

/// Follows what a device has done, and sees what it has not done in time.
fn observe(
    course: &Course,
    member: &mut Member,
    index: usize,
    seen: &Seen,
    now: i64,
    effects: &mut Vec<Effect>,
) {
    member.awake_since = match (seen.online, member.awake_since) {
        (true, since) => since.or(Some(now)),
        (false, _) => None,
    };
    let enter = |member: &mut Member, stage: Stage| {
        if member.stage != stage {
            member.stage = stage;
            member.since = now;
        }
    };
    match (member.stage, outcome(seen)) {
        (Stage::Waiting, _) => {
            if seen.runs_expected == Some(true) {
                enter(member, Stage::Confirmed);
            }
            return;
        }
        (Stage::Left, _) => return,
        (Stage::Failed, status) => {
            // It was only slow.
            if status == Some(Status::Succeeded) || seen.runs_expected == Some(true) {
                enter(member, Stage::Confirmed);
            }
            return;
        }
        (Stage::Confirmed, status) => {
            // An event and the state message that belongs to it come one after the other; what runs has the last word.
            let fell_back = match seen.runs_expected {
                Some(true) => false,
                Some(false) => {
                    // Of one that is not connected it is perhaps not the newest that it has to say.
                    (seen.is_newest && seen.online) || status == Some(Status::RolledBack)
                }
                None => status == Some(Status::RolledBack),
            };
            if fell_back && member.offers > 0 {
                let why = "fell back after it had confirmed".to_owned();
                fail(course, member, index, why, now, effects);
            }
            return;
        }
        (_, Some(Status::Pending) | None) => {}
        (_, Some(Status::Running)) if seen.activated => enter(member, Stage::Rebooting),
        (_, Some(Status::Running | Status::Retrying)) => enter(member, Stage::Working),
        (_, Some(Status::Trial)) => enter(member, Stage::Trial),
        (_, Some(Status::Succeeded)) => {
            enter(member, Stage::Confirmed);
            member.why = None;
            effects.push(ended(member, index, None));
            return;
        }
        (_, Some(status @ (Status::RolledBack | Status::Failed | Status::Refused))) => {
            let why = seen
                .code
                .clone()
                .unwrap_or_else(|| status.name().to_owned());
            fail(course, member, index, why, now, effects);
            return;
        }
        (_, Some(status @ (Status::Cancelling | Status::Cancelled | Status::Superseded))) => {
            enter(member, Stage::Left);
            member.why = Some(status.to_string());
            return;
        }
    }
    overdue(course, member, index, now, effects);
}

/// How far the try is. What runs has the last word, so that one look at a device and the next come to the same: whatever was heard
/// of the try, a device that has confirmed the image has done what was wanted, and one that runs something else has not.
fn outcome(seen: &Seen) -> Option<Status> {
    match (seen.status, seen.runs_expected) {
        (Some(Status::Cancelling | Status::Cancelled | Status::Superseded), _) => seen.status,
        (_, Some(true)) => Some(Status::Succeeded),
        (Some(Status::Succeeded), Some(false)) if seen.is_newest && seen.online => {
            Some(Status::RolledBack)
        }
        (status, _) => status,
    }
}

/// Sees what takes too long.
fn overdue(
    course: &Course,
    member: &mut Member,
    index: usize,
    now: i64,
    effects: &mut Vec<Effect>,
) {
    let timeouts = &course.spec.timeouts;
    let (limit, from) = match member.stage {
        Stage::Offered => {
            let awake = member.awake_since.unwrap_or(now);
            (timeouts.start, member.since.max(awake))
        }
        Stage::Working => (timeouts.download, member.since),
        Stage::Rebooting => (timeouts.reboot, member.since),
        Stage::Trial => (timeouts.trial, member.since),
        Stage::Waiting | Stage::Confirmed | Stage::Failed | Stage::Left => return,
    };
    let late = |from: i64| now - from > i64::from(limit.0);
    if member.stage == Stage::Offered && member.awake_since.is_none() && late(member.since) {
        // It sleeps, and holds a place among those that may update at once.
        call_back(member, index, now, effects);
        return;
    }
    if !late(from) {
        return;
    }
    let why = match member.stage {
        Stage::Offered => "no answer to the offer",
        Stage::Working => "the download took too long",
        Stage::Rebooting => "vanished after the restart",
        _ => "the trial did not end",
    };
    // Once the image is activated there is nothing to call back: the device's own guard decides, and may yet confirm.
    if matches!(member.stage, Stage::Offered | Stage::Working) {
        effects.push(Effect::Withdraw { member: index });
    }
    fail(course, member, index, why.to_owned(), now, effects);
}

fn fail(
    course: &Course,
    member: &mut Member,
    index: usize,
    why: String,
    now: i64,
    effects: &mut Vec<Effect>,
) {
    effects.push(ended(member, index, Some(why.clone())));
    member.failures += 1;
    member.why = Some(why);
    member.since = now;
    if member.failures <= course.spec.limits.retries {
        member.stage = Stage::Waiting;
        member.not_before = now + i64::from(course.spec.limits.retry_after.0);
    } else {
        member.stage = Stage::Failed;
    }
}

fn ended(member: &Member, index: usize, failed: Option<String>) -> Effect {
    let outcome = Outcome {
        stratum: member.stratum.clone(),
        failed,
    };
    Effect::Ended {
        member: index,
        outcome,
    }
}

fn call_back(member: &mut Member, index: usize, now: i64, effects: &mut Vec<Effect>) {
    effects.push(Effect::Withdraw { member: index });
    member.stage = Stage::Waiting;
    member.since = now;
}

/// Calls back all that are at one of these stages.
fn call_all_back(members: &mut [Member], stages: &[Stage], now: i64, effects: &mut Vec<Effect>) {
    for (index, member) in members.iter_mut().enumerate() {
        if stages.contains(&member.stage) {
            call_back(member, index, now, effects);
        }
    }
}

/// Stops: whoever has not begun the trial is called back. A trial goes on, since the device's own guard ends it best.
fn halt(
    course: &mut Course,
    members: &mut [Member],
    reason: String,
    now: i64,
    effects: &mut Vec<Effect>,
) {
    course.state = RolloutState::Halted;
    course.reason = Some(reason);
    call_all_back(members, EARLY, now, effects);
}

/// Whether the next wave may begin.
#[derive(Debug, PartialEq, Eq)]
enum Passage {
    Open,
    Closed,
    Never(String),
}

/// How far a wave is, as its gate sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Devices that count: neither asleep nor decided about elsewhere.
    pub(crate) awake: usize,
    pub(crate) asleep: usize,
    pub(crate) confirmed: usize,
    pub(crate) failed: usize,
}

impl Standing {
    pub(crate) fn of(members: &[Member], seen: &[Seen], wave: usize) -> Self {
        let mut standing = Self::default();
        for (member, seen) in members.iter().zip(seen) {
            if member.wave != wave {
                continue;
            }
            match member.stage {
                Stage::Left => continue,
                Stage::Waiting if !seen.online => {
                    standing.asleep += 1;
                    continue;
                }
                Stage::Confirmed => standing.confirmed += 1,
                Stage::Failed => standing.failed += 1,
                Stage::Waiting
                | Stage::Offered
                | Stage::Working
                | Stage::Rebooting
                | Stage::Trial => {}
            }
            standing.awake += 1;
        }
        standing
    }

    /// How many have to confirm. At least one: a wave in which nobody did says nothing.
    pub(crate) fn needed(self, gate: &Gate) -> usize {
        let share = (self.awake as f64 * gate.confirmed / 100.0).ceil();
        // A share of a count is a count.
        (share as usize).clamp(1, self.awake.max(1))
    }
}

fn gate(
    course: &mut Course,
    members: &[Member],
    seen: &[Seen],
    outcomes: &[Outcome],
    now: i64,
) -> Passage {
    let Some(wave) = course.spec.waves.get(course.wave) else {
        return Passage::Open;
    };
    let gate = &wave.gate;
    let standing = Standing::of(members, seen, course.wave);
    let nobody = standing.awake == 0 && standing.asleep == 0;
    let needed = standing.needed(gate);
    if !nobody && !course.waived {
        if standing.awake > 0 && standing.awake - standing.failed < needed {
            return Passage::Never(format!(
                "wave '{}': {} of {} devices failed, so that {needed} cannot confirm any more; {}",
                wave.name,
                standing.failed,
                standing.awake,
                halt::summary(outcomes)
            ));
        }
        if standing.confirmed < needed {
            course.gate_since = None;
            return Passage::Closed;
        }
    }
    let since = *course.gate_since.get_or_insert(now);
    let soaked = nobody || now - since >= i64::from(gate.soak.0);
    match soaked && (!gate.approve || course.approved || nobody) {
        true => Passage::Open,
        false => Passage::Closed,
    }
}

fn offer(
    course: &mut Course,
    members: &mut [Member],
    seen: &[Seen],
    now_ms: i64,
    effects: &mut Vec<Effect>,
) {
    let now = now_ms.div_euclid(1000);
    let in_flight = members
        .iter()
        .filter(|member| member.stage.is_in_flight())
        .count();
    let mut free = (course.spec.limits.concurrent as usize).saturating_sub(in_flight);
    // Waves come one after the other; within one, the order in which they were chosen.
    let mut order: Vec<usize> = (0..members.len())
        .filter(|index| members[*index].wave <= course.wave)
        .collect();
    order.sort_by_key(|index| members[*index].wave);
    let mut open: BTreeMap<Option<&str>, bool> = BTreeMap::new();
    for index in order {
        if free == 0 || course.paced_until_ms > now_ms + BURST_MS {
            return;
        }
        let (member, seen) = (&mut members[index], &seen[index]);
        if member.stage != Stage::Waiting || !seen.online || member.not_before > now {
            continue;
        }
        if let Some(window) = &course.spec.window {
            let tz = seen.tz.as_deref();
            let open = open
                .entry(tz)
                .or_insert_with(|| window::is_open(window, tz, now));
            if !*open {
                continue;
            }
        }
        if let Some(rate) = course.spec.limits.bytes_per_second {
            let takes = course.size.saturating_mul(1000) / rate.0.max(1);
            let takes = i64::try_from(takes).unwrap_or(i64::MAX);
            course.paced_until_ms = course.paced_until_ms.max(now_ms).saturating_add(takes);
        }
        member.stage = Stage::Offered;
        member.since = now;
        member.offers += 1;
        effects.push(Effect::Offer { member: index });
        free -= 1;
    }
}

/// An operator's word is not possible now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rollout is {0}: it cannot be told to {word}", word = .1.name())]
pub(crate) struct NotNow(pub(crate) RolloutState, pub(crate) RolloutAction);

/// Carries out an operator's word. Whether outcomes so far stop to count: whoever goes on has seen them.
pub(crate) fn act(
    course: &mut Course,
    members: &mut [Member],
    action: RolloutAction,
    now: i64,
    effects: &mut Vec<Effect>,
) -> Result<bool, NotNow> {
    use RolloutState::{Cancelled, Done, Halted, Paused, Running};
    let refused = NotNow(course.state, action);
    match (action, course.state) {
        (RolloutAction::Pause, Running) => {
            course.state = Paused;
            call_all_back(members, &[Stage::Offered], now, effects);
            Ok(false)
        }
        (RolloutAction::Resume, Paused) => {
            course.state = Running;
            Ok(false)
        }
        (RolloutAction::Resume, Halted) => {
            course.state = Running;
            course.reason = None;
            course.waived = true;
            Ok(true)
        }
        (RolloutAction::Approve, Running | Paused) => {
            course.approved = true;
            Ok(false)
        }
        (RolloutAction::Cancel, Running | Paused | Halted) => {
            course.state = Cancelled;
            call_all_back(members, EARLY, now, effects);
            for member in members.iter_mut().filter(|member| !member.stage.is_final()) {
                member.stage = Stage::Left;
                member.since = now;
                member.why = Some("the rollout was cancelled".to_owned());
            }
            Ok(false)
        }
        (RolloutAction::RetryFailed, Running | Paused | Halted | Done) => {
            for member in members.iter_mut() {
                if member.stage == Stage::Failed {
                    member.stage = Stage::Waiting;
                    member.since = now;
                    member.failures = 0;
                    member.not_before = 0;
                }
            }
            if matches!(course.state, Halted | Done) {
                course.state = Running;
                course.reason = None;
            }
            Ok(true)
        }
        (RolloutAction::Pause, Paused | Halted | Cancelled | Done)
        | (RolloutAction::Resume, Running | Cancelled | Done)
        | (RolloutAction::Approve, Halted | Cancelled | Done)
        | (RolloutAction::Cancel, Cancelled | Done)
        | (RolloutAction::RetryFailed, Cancelled) => Err(refused),
    }
}

/// What has to happen before the rollout goes on, in words.
pub(crate) fn waits_for(course: &Course, members: &[Member], seen: &[Seen]) -> Option<String> {
    match course.state {
        RolloutState::Running => {}
        RolloutState::Paused => return Some("an operator: `resume`".to_owned()),
        RolloutState::Halted => {
            return Some("an operator: `cancel`, or `resume` in spite of it".to_owned());
        }
        RolloutState::Cancelled | RolloutState::Done => return None,
    }
    let last = course.wave + 1 >= course.waves;
    let standing = Standing::of(members, seen, course.wave);
    let gate = course.spec.waves.get(course.wave).map(|wave| &wave.gate);
    match gate {
        Some(gate) if !last => {
            let needed = standing.needed(gate);
            if standing.awake == 0 && standing.asleep > 0 {
                return Some("a device of this wave that wakes up".to_owned());
            }
            if standing.confirmed < needed && !course.waived {
                return Some(format!(
                    "{needed} confirmed devices of this wave, of which {} are",
                    standing.confirmed
                ));
            }
            if gate.approve && !course.approved {
                return Some("an operator: `approve`".to_owned());
            }
            course
                .gate_since
                .map(|since| format!("the soak to end, {} after {since}", gate.soak))
        }
        _ => {
            let open = members.iter().filter(|member| !member.stage.is_final());
            let asleep = members
                .iter()
                .zip(seen)
                .filter(|(member, seen)| member.stage == Stage::Waiting && !seen.online)
                .count();
            Some(format!("{} devices, {asleep} of them asleep", open.count()))
        }
    }
}
