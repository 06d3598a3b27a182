//! How a job's status on a device follows from what the device reports. Pure: no store, no clock.
//!
//! Success has one source (DESIGN 6): the device runs the expected image and no trial is open. A `confirmed` event
//! alone says that something was confirmed, not what; the state message says what runs.

use otaria_wire::Sha256Digest;
use otaria_wire::messages::{Event, EventKind, FailureCode, Phase, State};

use crate::model::Status;

/// What a device runs, by its newest state message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// The image.
    pub(crate) image: Sha256Digest,
    /// Whether it has yet to prove itself.
    pub(crate) on_trial: bool,
}

impl Running {
    /// Whether this is the expected image, and no trial of it is open (DESIGN 6).
    pub(crate) fn has_confirmed(&self, expected: &Sha256Digest) -> bool {
        self.image == *expected && !self.on_trial
    }
}

impl From<&State> for Running {
    fn from(state: &State) -> Self {
        Self {
            image: state.image_sha256,
            on_trial: state.trial.is_some(),
        }
    }
}

/// The status after an event of this job. The caller has checked that the event is newer than the last one.
pub(crate) fn after_event(
    now: Status,
    event: &Event,
    running: Option<Running>,
    expected: &Sha256Digest,
) -> Status {
    let retries = event.retry_in_s.is_some();
    let on_request = event.failure() == Some(FailureCode::Cancelled);
    match event.event {
        EventKind::Accepted
        | EventKind::Resumed
        | EventKind::Downloaded
        | EventKind::Verified
        | EventKind::Activated => moved(now, Status::Running),
        EventKind::Retrying => moved(now, Status::Retrying),
        EventKind::TrialStarted => moved(now, Status::Trial),
        EventKind::Confirmed => match running {
            // The state message may lag behind and still show the trial.
            Some(running) if running.image == *expected => Status::Succeeded,
            Some(_) | None => moved(now, Status::Trial),
        },
        EventKind::AlreadyRunning => match running {
            Some(running) if running.has_confirmed(expected) => Status::Succeeded,
            Some(_) | None => moved(now, Status::Running),
        },
        EventKind::RolledBack if on_request => Status::Cancelled,
        EventKind::RolledBack if retries => Status::Retrying,
        EventKind::RolledBack => Status::RolledBack,
        EventKind::Failed | EventKind::Refused if on_request => ended(now, Status::Cancelled),
        EventKind::Failed | EventKind::Refused if retries => moved(now, Status::Retrying),
        EventKind::Failed => ended(now, Status::Failed),
        EventKind::Refused => ended(now, Status::Refused),
        EventKind::Cancelled => ended(now, Status::Cancelled),
        EventKind::Superseded => ended(now, Status::Superseded),
        EventKind::Unknown => now,
    }
}

/// The status of the device's newest job after a state message.
///
/// State and progress are not numbered, and may come after an event that the device sent later. So they never take
/// back an end, nor a trial; only an event, which is known to be newer, does.
pub(crate) fn after_state(
    now: Status,
    job: &str,
    state: &State,
    expected: &Sha256Digest,
) -> Status {
    if state.image_sha256 == *expected {
        return match now {
            // Somebody else decided about these; that the image runs is no merit of this job.
            Status::Cancelled | Status::Superseded => now,
            _ if state.trial.is_none() => Status::Succeeded,
            Status::Pending | Status::Running | Status::Retrying => Status::Trial,
            Status::Trial
            | Status::Cancelling
            | Status::Succeeded
            | Status::RolledBack
            | Status::Failed
            | Status::Refused => now,
        };
    }
    let idle = state.phase == Phase::Idle && state.job.as_ref().is_none_or(|named| named != job);
    if now == Status::Cancelling && idle {
        Status::Cancelled
    } else {
        now
    }
}

/// The status after a progress report of this job; see [`after_state`] on lateness.
pub(crate) fn after_progress(now: Status, phase: Phase) -> Status {
    let works = match phase {
        Phase::Checking
        | Phase::Downloading
        | Phase::Verifying
        | Phase::Activating
        | Phase::Rebooting => true,
        Phase::Trial | Phase::Idle | Phase::Unknown => false,
    };
    match now {
        Status::Pending | Status::Retrying if works => Status::Running,
        Status::Pending
        | Status::Running
        | Status::Retrying
        | Status::Trial
        | Status::Cancelling
        | Status::Succeeded
        | Status::RolledBack
        | Status::Failed
        | Status::Refused
        | Status::Cancelled
        | Status::Superseded => now,
    }
}

/// A step on the way. It does not take back what was decided here, nor a success; it does take back a failure, since
/// a device goes on trying while the wish stands.
fn moved(now: Status, to: Status) -> Status {
    match now {
        Status::Pending
        | Status::Running
        | Status::Retrying
        | Status::Trial
        | Status::RolledBack
        | Status::Failed
        | Status::Refused => to,
        Status::Cancelling | Status::Succeeded | Status::Cancelled | Status::Superseded => now,
    }
}

/// An end without the new image.
fn ended(now: Status, to: Status) -> Status {
    match now {
        Status::Succeeded => now,
        Status::Superseded if to != Status::Failed => now,
        Status::Pending
        | Status::Running
        | Status::Retrying
        | Status::Trial
        | Status::Cancelling
        | Status::RolledBack
        | Status::Failed
        | Status::Refused
        | Status::Cancelled
        | Status::Superseded => to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: Sha256Digest = Sha256Digest([7; 32]);
    const OTHER: Sha256Digest = Sha256Digest([8; 32]);

    fn event(kind: EventKind) -> Event {
        serde_json::from_value(serde_json::json!({
            "install": "00000000000000aa", "boot": 1, "n": 1, "event": kind.name()
        }))
        .unwrap()
    }

    fn running(image: Sha256Digest, on_trial: bool) -> Option<Running> {
        Some(Running { image, on_trial })
    }

    fn state(image: Sha256Digest, trial: bool, phase: &str) -> State {
        serde_json::from_value(serde_json::json!({
            "device": "d", "product": "p", "version": "1", "image_sha256": image, "sequence": 1,
            "security_version": 0, "chip": "esp32c3", "chip_rev": 3, "slot": 0,
            "trial": trial.then(|| serde_json::json!({"boots": 1, "crashes": 0})), "reset": "software", "boot": 1,
            "uptime_s": 1, "heap_free": 1, "heap_min": 1, "phase": phase
        }))
        .unwrap()
    }

    #[test]
    fn success_needs_the_expected_image() {
        use EventKind::{AlreadyRunning, Confirmed};
        use Status::{Running, Succeeded, Trial};
        for (now, kind, runs, then) in [
            (Trial, Confirmed, running(EXPECTED, true), Succeeded),
            (Trial, Confirmed, running(EXPECTED, false), Succeeded),
            (Trial, Confirmed, running(OTHER, false), Trial),
            (Trial, Confirmed, None, Trial),
            (
                Status::Pending,
                AlreadyRunning,
                running(EXPECTED, false),
                Succeeded,
            ),
            (
                Status::Pending,
                AlreadyRunning,
                running(EXPECTED, true),
                Running,
            ),
            (
                Status::Pending,
                AlreadyRunning,
                running(OTHER, false),
                Running,
            ),
            (Status::Pending, AlreadyRunning, None, Running),
            (
                Status::Superseded,
                Confirmed,
                running(EXPECTED, false),
                Succeeded,
            ),
        ] {
            assert_eq!(
                after_event(now, &event(kind), runs, &EXPECTED),
                then,
                "{now} {kind:?} {runs:?}"
            );
        }
        assert_eq!(
            after_state(
                Status::Trial,
                "j",
                &state(EXPECTED, false, "idle"),
                &EXPECTED
            ),
            Succeeded
        );
        assert_eq!(
            after_state(
                Status::Running,
                "j",
                &state(EXPECTED, true, "trial"),
                &EXPECTED
            ),
            Trial
        );
        assert_eq!(
            after_state(
                Status::Running,
                "j",
                &state(OTHER, false, "idle"),
                &EXPECTED
            ),
            Running
        );
    }

    #[test]
    fn no_step_on_the_way_takes_a_success_back_but_a_roll_back_does() {
        for kind in EventKind::ALL {
            let then = after_event(
                Status::Succeeded,
                &event(kind),
                running(EXPECTED, false),
                &EXPECTED,
            );
            let expected = if kind == EventKind::RolledBack {
                Status::RolledBack
            } else {
                Status::Succeeded
            };
            assert_eq!(then, expected, "{kind:?}");
        }
    }

    #[test]
    fn a_failure_with_another_try_is_no_end() {
        for kind in [EventKind::Failed, EventKind::Refused, EventKind::RolledBack] {
            let mut event = event(kind);
            event.retry_in_s = Some(3600);
            assert_eq!(
                after_event(Status::Running, &event, None, &EXPECTED),
                Status::Retrying,
                "{kind:?}"
            );
        }
        assert_eq!(
            after_event(Status::Failed, &event(EventKind::Resumed), None, &EXPECTED),
            Status::Running
        );
    }

    #[test]
    fn a_cancel_ends_when_the_device_says_so_or_is_idle() {
        let stays = after_event(
            Status::Cancelling,
            &event(EventKind::Downloaded),
            None,
            &EXPECTED,
        );
        assert_eq!(stays, Status::Cancelling);
        assert_eq!(
            after_event(stays, &event(EventKind::Cancelled), None, &EXPECTED),
            Status::Cancelled
        );
        assert_eq!(
            after_state(stays, "j", &state(OTHER, false, "downloading"), &EXPECTED),
            Status::Cancelling
        );
        assert_eq!(
            after_state(stays, "j", &state(OTHER, false, "idle"), &EXPECTED),
            Status::Cancelled
        );
        let mut rolled_back = event(EventKind::RolledBack);
        rolled_back.code = Some(FailureCode::Cancelled.number());
        assert_eq!(
            after_event(stays, &rolled_back, None, &EXPECTED),
            Status::Cancelled
        );
    }

    #[test]
    fn state_and_progress_that_come_late_take_back_no_end_and_no_trial() {
        let trial = state(EXPECTED, true, "trial");
        for ended in [
            Status::RolledBack,
            Status::Failed,
            Status::Refused,
            Status::Succeeded,
        ] {
            assert_eq!(after_state(ended, "j", &trial, &EXPECTED), ended);
            assert_eq!(
                after_state(ended, "j", &state(OTHER, false, "idle"), &EXPECTED),
                ended
            );
            assert_eq!(after_progress(ended, Phase::Downloading), ended);
        }
        assert_eq!(
            after_progress(Status::Trial, Phase::Verifying),
            Status::Trial
        );
        assert_eq!(
            after_progress(Status::Retrying, Phase::Downloading),
            Status::Running
        );
    }

    #[test]
    fn late_reports_of_a_replaced_job_leave_it_replaced() {
        for kind in [
            EventKind::Accepted,
            EventKind::Downloaded,
            EventKind::TrialStarted,
            EventKind::Cancelled,
        ] {
            assert_eq!(
                after_event(Status::Superseded, &event(kind), None, &EXPECTED),
                Status::Superseded,
                "{kind:?}"
            );
        }
    }
}
