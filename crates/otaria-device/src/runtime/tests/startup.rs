//! What a boot makes of what it finds: the table of the guard's decisions, seen from the runtime.

use core::cell::RefCell;

use otaria_engine::guard::{ActivateAs, GuardDecision};
use otaria_engine::machine::BootRole;
use otaria_engine::slot::Slot;
use otaria_wire::Sha256Digest;
use otaria_wire::journal::{
    Confirmed, Download, PendingReport, Quarantine, TrialCounters, TrialStage, TrialTarget,
};
use otaria_wire::messages::{Desired, Event, EventKind, FailureCode, InstallId, Timing};
use otaria_wire::partitions::DEFAULT_4MB;

use crate::board::{Board, Duration, Instant, ResetReason};
use crate::install::Stores;
use crate::runtime::running::RunningImage;
use crate::runtime::startup::{Start, Startup};
use crate::storage::test_flash::TestFlash;
use crate::storage::trial;

const OLD: Sha256Digest = Sha256Digest([1; 32]);
const NEW: Sha256Digest = Sha256Digest([2; 32]);
const IDENTITY: Sha256Digest = Sha256Digest([3; 32]);

/// Where the time went before the trial.
const TIMING: Timing = Timing {
    connect_ms: 1,
    tls_ms: 2,
    receive_ms: 3,
    erase_ms: 4,
    write_ms: 5,
    verify_ms: 6,
    total_ms: 700,
    bytes: 8,
    heap_min: 9,
    rssi: Some(-60),
    confirm_ms: None,
    reconnects: Some(1),
};

struct TestBoard;

impl Board for TestBoard {
    fn reset(&mut self) {}
    fn reset_reason(&self) -> ResetReason {
        ResetReason::PowerOn
    }
    fn random_u64(&mut self) -> u64 {
        4
    }
    fn running_slot(&self) -> Option<Slot> {
        None
    }
    fn chip_id(&self) -> u16 {
        5
    }
    fn chip_revision(&self) -> u16 {
        4
    }
    fn arm_watchdog(&mut self, _: Duration) {}
    fn feed_watchdog(&mut self) {}
    fn disarm_watchdog(&mut self) {}
    fn link_up(&self) -> bool {
        true
    }
}

/// A device in flash.
struct Device {
    flash: RefCell<TestFlash>,
}

impl Device {
    /// `ota_0` runs and is selected.
    fn new() -> Self {
        let device = Self {
            flash: RefCell::new(TestFlash::new(1024)),
        };
        device.select(Slot::Ota0, ActivateAs::Confirmed);
        device.put(&confirmed(Slot::Ota0, OLD, 10));
        device
    }

    fn stores(&self, running: Slot) -> Stores<'_, TestFlash> {
        Stores::open(&self.flash, &DEFAULT_4MB, Some(running)).unwrap()
    }

    fn select(&self, slot: Slot, state: ActivateAs) {
        self.stores(Slot::Ota0)
            .otadata
            .borrow_mut()
            .activate(slot, state)
            .unwrap();
    }

    fn selected(&self) -> Option<Slot> {
        self.stores(Slot::Ota0)
            .otadata
            .borrow_mut()
            .read()
            .unwrap()
            .selected_slot()
    }

    fn put<T: otaria_wire::journal::Record>(&self, record: &T) {
        self.stores(Slot::Ota0)
            .journal
            .borrow_mut()
            .append(0, record)
            .unwrap();
    }

    fn get<T: otaria_wire::journal::Record>(&self) -> Option<T> {
        self.stores(Slot::Ota0)
            .journal
            .borrow_mut()
            .latest(0)
            .unwrap()
    }

    /// A trial in `ota_1`.
    fn trial(&self, stage: TrialStage, code: Option<FailureCode>, reactivations: u8) {
        self.put(&TrialTarget {
            slot: 1,
            image_sha256: NEW,
            identity: IDENTITY,
            sequence: 11,
            security_version: 0,
            job: "job".try_into().unwrap(),
            url: "http://h/p".try_into().unwrap(),
            created: 12,
            timing: Some(TIMING),
        });
        self.put(&TrialCounters {
            identity8: IDENTITY.first8(),
            stage,
            boots: 1,
            crashes: 3,
            reactivations,
            code: code.map_or(0, FailureCode::number),
        });
    }

    fn stage(&self) -> Option<TrialStage> {
        let stores = self.stores(Slot::Ota0);
        let record = trial::load(&mut stores.journal.borrow_mut()).unwrap();
        record.map(|record| record.counters.stage)
    }

    /// The guard, and then the start of the runtime.
    fn boot(&self, running: Slot) -> (GuardDecision, Start) {
        let stores = self.stores(running);
        let report = stores.guard(ResetReason::PowerOn).unwrap();
        let image = match running {
            Slot::Ota0 => OLD,
            Slot::Ota1 => NEW,
        };
        let running = RunningImage {
            image_sha256: Some(image),
            ..RunningImage::default()
        };
        let startup = Startup {
            stores: &stores,
            log: None,
            report: &report,
            now: Instant::ZERO,
        };
        (report.decision, startup.run(&mut TestBoard, running))
    }
}

fn confirmed(slot: Slot, image_sha256: Sha256Digest, sequence: u64) -> Confirmed {
    Confirmed {
        slot: slot.index(),
        image_sha256,
        identity: Sha256Digest::ZERO,
        sequence,
        security_version: 0,
    }
}

fn told(start: &Start) -> Option<(EventKind, Option<FailureCode>)> {
    start
        .pending
        .as_ref()
        .map(|event| (event.event, event.failure()))
}

#[test]
fn a_boot_without_a_trial_has_nothing_to_tell() {
    let device = Device::new();
    let (decision, start) = device.boot(Slot::Ota0);
    assert_eq!(decision, GuardDecision::Nothing);
    assert_eq!(
        (start.facts.role, start.pending, start.trial),
        (BootRole::Plain, None, None)
    );
    assert_eq!(start.record.install, InstallId(4));
    assert_eq!(
        device.boot(Slot::Ota0).1.record.install,
        InstallId(4),
        "made once"
    );
}

#[test]
fn an_image_on_trial_starts_as_such() {
    let device = Device::new();
    device.trial(TrialStage::Open, None, 0);
    device.put(&TrialCounters {
        identity8: IDENTITY.first8(),
        stage: TrialStage::Open,
        boots: 0,
        crashes: 0,
        reactivations: 0,
        code: 0,
    });
    device.select(Slot::Ota1, ActivateAs::Trial);
    let (_, start) = device.boot(Slot::Ota1);
    assert!(matches!(start.facts.role, BootRole::OnTrial(job) if job.job == "job"));
    assert_eq!(
        start.trial.map(|trial| (trial.boots, trial.crashes)),
        Some((1, 0))
    );
    assert_eq!(
        device.get::<Confirmed>().unwrap().image_sha256,
        OLD,
        "nothing is taken for confirmed"
    );
    start.times.confirmed(Instant::from_millis(50));
    let timing = Timing {
        total_ms: 750,
        rssi: None,
        confirm_ms: Some(50),
        ..TIMING
    };
    assert_eq!(
        start.times.report(Instant::from_secs(1), None, None),
        Some(timing)
    );
}

#[test]
fn a_trial_that_was_rolled_back_is_quarantined_reported_and_closed() {
    let device = Device::new();
    device.trial(TrialStage::RollingBack, Some(FailureCode::TrialCrashed), 0);
    device.select(Slot::Ota1, ActivateAs::Trial);
    let (decision, start) = device.boot(Slot::Ota0);
    assert_eq!(decision, GuardDecision::FinishRollBack);
    assert_eq!(
        told(&start),
        Some((EventKind::RolledBack, Some(FailureCode::TrialCrashed)))
    );
    let told_of = start.pending.unwrap();
    assert_eq!(told_of.text.as_deref(), Some("1 boots, 3 crashes"));
    assert_eq!(told_of.timing, Some(TIMING), "as far as it is known");
    assert!(start.facts.unacknowledged && start.send_logs);
    assert_eq!(start.facts.ended.unwrap().job, "job");
    assert_eq!(device.stage(), Some(TrialStage::Closed));
    assert_eq!(device.selected(), Some(Slot::Ota0));
    let quarantine = device.get::<Quarantine>().unwrap();
    assert_eq!(
        (quarantine.identity, quarantine.code),
        (IDENTITY, FailureCode::TrialCrashed.number())
    );
    // The next boot tells the same result, until it is delivered, and nothing else.
    let (decision, start) = device.boot(Slot::Ota0);
    assert_eq!(decision, GuardDecision::Nothing);
    assert_eq!(
        told(&start),
        Some((EventKind::RolledBack, Some(FailureCode::TrialCrashed)))
    );
    assert_eq!(start.facts.ended, None);
}

#[test]
fn a_cancelled_trial_is_reported_as_cancelled() {
    let device = Device::new();
    device.trial(TrialStage::RollingBack, Some(FailureCode::Cancelled), 0);
    let (_, start) = device.boot(Slot::Ota0);
    assert_eq!(
        told(&start),
        Some((EventKind::Cancelled, Some(FailureCode::Cancelled)))
    );
    assert!(
        device.get::<Quarantine>().is_some(),
        "the stored wish must not bring it back"
    );
}

#[test]
fn a_trial_without_network_waits_three_times_and_is_then_given_up() {
    for reactivations in 0..=3 {
        let device = Device::new();
        device.trial(
            TrialStage::RollingBack,
            Some(FailureCode::TrialNoNetwork),
            reactivations,
        );
        let (_, start) = device.boot(Slot::Ota0);
        if reactivations < 3 {
            assert!(matches!(start.facts.role, BootRole::Inconclusive(_)));
            assert_eq!(device.stage(), Some(TrialStage::Inconclusive));
            assert_eq!((start.pending, device.get::<Quarantine>()), (None, None));
            let (_, again) = device.boot(Slot::Ota0);
            assert!(matches!(again.facts.role, BootRole::Inconclusive(_)));
        } else {
            assert_eq!(
                told(&start),
                Some((EventKind::RolledBack, Some(FailureCode::TrialNoNetwork)))
            );
            assert!(device.get::<Quarantine>().is_some());
        }
    }
}

#[test]
fn a_confirmation_that_was_cut_short_is_finished_and_told_once() {
    let device = Device::new();
    device.trial(TrialStage::Open, None, 0);
    device.select(Slot::Ota1, ActivateAs::Trial);
    device.put(&Confirmed {
        identity: IDENTITY,
        ..confirmed(Slot::Ota1, NEW, 11)
    });
    let (decision, start) = device.boot(Slot::Ota1);
    assert_eq!(decision, GuardDecision::FinishConfirm);
    assert_eq!(told(&start), Some((EventKind::Confirmed, None)));
    assert_eq!(
        start.pending.as_ref().unwrap().timing,
        Some(TIMING),
        "nobody knows when it was confirmed"
    );
    assert_eq!(
        (device.stage(), start.facts.role),
        (Some(TrialStage::Closed), BootRole::Plain)
    );
    assert_eq!(device.get::<Confirmed>().unwrap().identity, IDENTITY);

    // The result was there already, with its own number.
    let device = Device::new();
    device.trial(TrialStage::Open, None, 0);
    device.select(Slot::Ota1, ActivateAs::Trial);
    device.put(&Confirmed {
        identity: IDENTITY,
        ..confirmed(Slot::Ota1, NEW, 11)
    });
    let event = Event {
        install: InstallId(4),
        boot: 70,
        n: 9,
        job: Some("job".try_into().unwrap()),
        event: EventKind::Confirmed,
        code: None,
        text: None,
        retry_in_s: None,
        timing: None,
    };
    device.put(&PendingReport {
        event: Some(event.clone()),
    });
    let (_, start) = device.boot(Slot::Ota1);
    assert_eq!(start.pending, Some(event));
}

#[test]
fn a_confirmed_image_that_no_longer_boots_is_reported_and_its_package_may_come_again() {
    let device = Device::new();
    device.select(Slot::Ota1, ActivateAs::Confirmed);
    device.put(&Confirmed {
        identity: IDENTITY,
        ..confirmed(Slot::Ota1, NEW, 11)
    });
    let (decision, start) = device.boot(Slot::Ota0);
    assert_eq!(decision, GuardDecision::ConfirmedLost);
    assert_eq!(
        told(&start),
        Some((EventKind::RolledBack, Some(FailureCode::BootloaderRefused)))
    );
    let adopted = device.get::<Confirmed>().unwrap();
    assert_eq!(
        (adopted.slot, adopted.image_sha256, adopted.sequence),
        (0, OLD, 10)
    );
    assert_eq!(device.selected(), Some(Slot::Ota0));
}

#[test]
fn a_failed_image_that_is_all_there_is_runs_on_and_says_so() {
    let device = Device::new();
    device.trial(TrialStage::RollingBack, Some(FailureCode::TrialCrashed), 0);
    let (decision, start) = device.boot(Slot::Ota1);
    assert_eq!(decision, GuardDecision::Stranded);
    assert_eq!(
        told(&start),
        Some((EventKind::Failed, Some(FailureCode::TrialCrashed)))
    );
    assert_eq!(
        (device.stage(), start.facts.role),
        (Some(TrialStage::Closed), BootRole::Plain)
    );
    assert_eq!(device.get::<Confirmed>().unwrap().image_sha256, NEW);
}

#[test]
fn an_image_that_came_over_a_cable_is_taken_as_it_is_and_the_floors_stay() {
    let device = Device::new();
    device.put(&Confirmed {
        security_version: 3,
        ..confirmed(Slot::Ota0, NEW, 1_000)
    });
    device.boot(Slot::Ota0);
    let adopted = device.get::<Confirmed>().unwrap();
    assert_eq!(
        (
            adopted.image_sha256,
            adopted.sequence,
            adopted.security_version
        ),
        (OLD, 999, 3)
    );
    device.boot(Slot::Ota0);
    assert_eq!(device.get::<Confirmed>().unwrap(), adopted, "only once");
}

#[test]
fn a_download_that_was_under_way_is_a_wish() {
    let device = Device::new();
    let download = Download {
        identity: IDENTITY,
        job: "job".try_into().unwrap(),
        url: "http://h/p".try_into().unwrap(),
        etag: heapless::String::new(),
        version: Some("1.2.3".try_into().unwrap()),
        image_sha256: Some(NEW),
        not_before: Some(1_000),
        deadline: Some(2_000),
    };
    device.put(&download);
    let resume = device.boot(Slot::Ota0).1.facts.resume.unwrap();
    let wish = Desired {
        job: Some("job".try_into().unwrap()),
        url: "http://h/p".try_into().unwrap(),
        version: Some("1.2.3".try_into().unwrap()),
        image_sha256: Some(NEW),
        not_before: Some(1_000),
        deadline: Some(2_000),
    };
    assert_eq!(resume, wish);
    // A wish that nobody had looked into yet has no job.
    device.put(&Download {
        job: heapless::String::new(),
        ..download
    });
    assert_eq!(device.boot(Slot::Ota0).1.facts.resume.unwrap().job, None);
}

#[test]
fn a_trial_that_the_guard_could_not_go_on_with_leaves_its_record_open() {
    let device = Device::new();
    device.trial(TrialStage::Open, None, 0);
    device.put(&TrialCounters {
        crashes: 0,
        ..device.get().unwrap()
    });
    let stores = device.stores(Slot::Ota0);
    let mut report = stores.guard(ResetReason::PowerOn).unwrap();
    // As if otadata had refused.
    report.then = crate::guard::Then::Run;
    let running = RunningImage {
        image_sha256: Some(OLD),
        ..RunningImage::default()
    };
    let startup = Startup {
        stores: &stores,
        log: None,
        report: &report,
        now: Instant::ZERO,
    };
    let start = startup.run(&mut TestBoard, running);
    assert_eq!((start.facts.role, start.pending), (BootRole::Plain, None));
    assert_eq!(device.stage(), Some(TrialStage::Open));
}

#[test]
fn a_failed_image_that_could_not_be_rolled_back_is_not_taken_for_a_good_one() {
    let device = Device::new();
    device.trial(TrialStage::RollingBack, Some(FailureCode::TrialCrashed), 0);
    device.select(Slot::Ota1, ActivateAs::Trial);
    let before = device.get::<Confirmed>();
    let stores = device.stores(Slot::Ota1);
    let mut report = stores.guard(ResetReason::Software).unwrap();
    assert_eq!(report.decision, GuardDecision::FinishRollBack);
    // As if otadata had refused.
    report.then = crate::guard::Then::Run;
    let startup = Startup {
        stores: &stores,
        log: None,
        report: &report,
        now: Instant::ZERO,
    };
    let running = RunningImage {
        image_sha256: Some(NEW),
        ..RunningImage::default()
    };
    let start = startup.run(&mut TestBoard, running);
    assert_eq!((start.facts.role, start.pending), (BootRole::Plain, None));
    assert_eq!(device.get::<Confirmed>(), before);
    assert_eq!(
        device.stage(),
        Some(TrialStage::RollingBack),
        "the next boot tries again"
    );
}
