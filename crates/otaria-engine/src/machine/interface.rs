//! What goes into the engine and what comes out of it.

use otaria_wire::Sha256Digest;
use otaria_wire::messages::{Desired, EventKind, FailureCode, Job, MAX_TEXT_LEN, Phase};

use super::transitions::StateName;
use crate::backoff::BackoffPolicy;
use crate::time::Duration;

/// Longest text of a failure in bytes. The engine's queue has room for it in every report, so it is shorter than what an event
/// could carry.
pub const FAILURE_TEXT_LEN: usize = 100;

const _: () = assert!(FAILURE_TEXT_LEN <= MAX_TEXT_LEN);

/// What a code alone does not say.
pub type Text = heapless::String<FAILURE_TEXT_LEN>;

/// Why something failed, as the engine is told it. What travels through the code that failed is the code alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The numbered reason.
    pub code: FailureCode,
    /// More for people; may be empty.
    pub text: &'a str,
    /// What the other side has asked for: not to be asked again before this has passed.
    pub retry_after: Option<Duration>,
}

impl From<FailureCode> for Failure<'_> {
    fn from(code: FailureCode) -> Self {
        Self {
            code,
            text: "",
            retry_after: None,
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Waits between tries.
    pub backoff: BackoffPolicy,
    /// A fetch without any progress for so long is stopped and tried again. It lies above the HTTP client's own limits, and
    /// catches what they do not.
    pub stall: Duration,
    /// A single fetch is stopped and tried again after this, progress or not.
    pub fetch: Duration,
    /// Reading the image back is given up after this.
    pub verify: Duration,
    /// The image on trial has proved itself this long after it first had a link, or it is rolled back.
    pub trial_with_network: Duration,
    /// The image on trial has proved itself this long after its boot, or it is rolled back.
    pub trial: Duration,
    /// The image on trial is not confirmed before it has run this long, however well it is: one that crashes after its first
    /// seconds shall do so while that still counts.
    pub soak: Duration,
    /// Between two tries to get any HTTP answer from the package's host.
    pub probe: Duration,
    /// Between two questions about the application's health.
    pub health: Duration,
    /// After an MQTT session is up: time for a newer wish to come in before an older one is taken up again.
    pub grace: Duration,
    /// The same, after the link is up, when no MQTT session comes up.
    pub grace_without_mqtt: Duration,
    /// From the start of one job to the start of the next, at least. Each job costs some records in flash; whoever publishes
    /// wishes without pause must not wear it out.
    pub pace: Duration,
    /// Before a restart: time for the last reports to be acknowledged.
    pub farewell: Duration,
}

impl Policy {
    /// What suits a device on mains power and Wi-Fi.
    pub const DEFAULT: Self = Self {
        backoff: BackoffPolicy::DEFAULT,
        stall: Duration::from_secs(60),
        fetch: Duration::from_secs(6 * 3_600),
        verify: Duration::from_secs(300),
        trial_with_network: Duration::from_secs(300),
        trial: Duration::from_secs(900),
        soak: Duration::from_secs(10),
        probe: Duration::from_secs(10),
        health: Duration::from_secs(1),
        grace: Duration::from_secs(3),
        grace_without_mqtt: Duration::from_secs(60),
        pace: Duration::from_secs(2),
        farewell: Duration::from_secs(5),
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the journal says about a job that this boot goes on with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BootRole {
    /// No trial is open.
    #[default]
    Plain,
    /// The running image is on trial for this job.
    OnTrial(JobRef),
    /// The other slot holds an image whose trial failed only for want of network.
    Inconclusive(JobRef),
}

/// A job as the journal names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRef {
    /// The job.
    pub job: Job,
    /// The wish's URL.
    pub url: heapless::String<512>,
}

impl JobRef {
    /// Whether a wish asks for this job.
    #[must_use]
    pub fn is_for(&self, wish: &Desired) -> bool {
        match &wish.job {
            Some(job) => *job == self.job,
            None => wish.url == self.url,
        }
    }
}

/// What the engine is told when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootFacts {
    /// What the journal says about trials.
    pub role: BootRole,
    /// A job that ended just before this boot: a wish for it is not new.
    pub ended: Option<JobRef>,
    /// A download that was under way.
    pub resume: Option<Desired>,
    /// A final result has not been acknowledged yet.
    pub unacknowledged: bool,
    /// The running image, if it could be identified.
    pub running_image: Option<Sha256Digest>,
    /// Random bits for jitter.
    pub seed: u64,
}

/// The application's opinion of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does its work.
    Healthy,
    /// It cannot say yet.
    Unknown,
    /// It cannot do its work. Ends a trial at once.
    Unhealthy,
}

/// The package is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Its identity.
    pub identity: Sha256Digest,
    /// Plain bytes of the image.
    pub total: u32,
    /// Of these, bytes that are in flash already.
    pub held: u32,
}

/// What happens to the engine: inputs, and completions of actions. Each action that was asked for gets exactly one completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The link is up, or down.
    Link(bool),
    /// The MQTT session is up, or down.
    Mqtt(bool),
    /// The wall clock is known: unix seconds.
    UnixTime(u64),
    /// A declaration of the wanted firmware came in.
    Wish {
        /// `None`: nothing is wanted.
        wish: Option<&'a Desired>,
        /// It was published just now, not stored by the broker: somebody wants it looked at again even if it is an old one.
        fresh: bool,
    },
    /// The command to cancel.
    Cancel,
    /// A message came in that is not taken.
    Refused(FailureCode),
    /// The broker acknowledged the final result.
    Delivered,
    /// All reports but final ones have been handed over.
    Flushed,

    /// [`Action::Fetch`] goes on: the header is admitted.
    Admitted(Admitted),
    /// [`Action::Fetch`] goes on: so many plain bytes are in flash.
    Progress(u32),
    /// [`Action::Fetch`] is complete.
    Fetched(Result<(), Failure<'a>>),
    /// [`Action::Fetch`] is complete: the package's image runs already.
    AlreadyRunning,
    /// [`Action::Verify`] is complete.
    Verified(Result<(), Failure<'a>>),
    /// [`Action::Stop`] is complete: the fetch or the verification will not complete any more.
    Stopped,
    /// [`Action::Activate`] is complete. After an error no trial record is open.
    Activated(Result<(), Failure<'a>>),
    /// [`Action::Probe`] is complete: whether an HTTP status line came.
    Probed(bool),
    /// [`Action::CheckHealth`] is complete.
    Health(Health),
    /// [`Action::Confirm`] is complete.
    Confirmed(Result<(), FailureCode>),
    /// [`Action::RollBack`] is complete, for better or worse; the guard goes on after the restart.
    RolledBack,
    /// [`Action::Reactivate`] is complete. After an error the record is as it was.
    Reactivated(Result<(), FailureCode>),
    /// [`Action::Close`] is complete.
    Closed,
}

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish this, in order. A final one goes to the journal first and stays there until it is acknowledged. No completion
    /// but [`Event::Delivered`] for a final one.
    Report(Report),
    /// Fetch the package of [`super::Engine::job`], or the rest of it.
    Fetch,
    /// Read the image back from flash and check it.
    Verify,
    /// Stop the fetch or the verification that is under way.
    Stop,
    /// Write the trial record, then select the new slot.
    Activate,
    /// Restart. Nothing comes back.
    Reboot,
    /// Get any HTTP status line from the package's host.
    Probe,
    /// Ask the application how it is.
    CheckHealth,
    /// Confirm the running image; the report goes to the journal with it.
    Confirm(Report),
    /// End the trial: write the stage and the reason, erase the entry.
    RollBack(FailureCode),
    /// Read the image on trial back, open its trial again and select it.
    Reactivate,
    /// Close the record of the inconclusive trial; with a code, keep its package away from its job first.
    Close(Option<FailureCode>),
}

/// A step of a job, for the `event` topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its number within the boot.
    pub n: u32,
    /// What happened.
    pub kind: EventKind,
    /// The job; `None` if the header has not named it yet.
    pub job: Option<Job>,
    /// Why.
    pub code: Option<FailureCode>,
    /// More for people; may be empty.
    pub text: Text,
    /// When the next try is due.
    pub retry_in: Option<Duration>,
    /// The package that must not come again under this job.
    pub quarantine: Option<Sha256Digest>,
    /// It is about a message that was not taken, and about no job: whatever is under way goes on.
    pub of_message: bool,
}

impl Report {
    /// A report that says nothing but this.
    pub(super) fn new(n: u32, kind: EventKind) -> Self {
        Self {
            n,
            kind,
            job: None,
            code: None,
            text: Text::new(),
            retry_in: None,
            quarantine: None,
            of_message: false,
        }
    }

    /// Whether it has to survive a power cut until the broker has it. `already_running` is final too, but is simply said again;
    /// and what was refused without even becoming a job must not wear the flash, as often as somebody sends it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.ends_job() && self.kind != EventKind::AlreadyRunning
    }

    /// Whether it is the last report of its job.
    #[must_use]
    pub fn ends_job(&self) -> bool {
        self.kind.is_final() && !self.of_message
    }
}

/// What the engine is doing, for state and progress messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'e> {
    /// The state.
    pub state: StateName,
    /// The phase, as reported.
    pub phase: Phase,
    /// The job, once it has a name.
    pub job: Option<&'e Job>,
    /// Plain bytes in flash.
    pub done: u32,
    /// Plain bytes in all; 0 while they are not known.
    pub total: u32,
}
