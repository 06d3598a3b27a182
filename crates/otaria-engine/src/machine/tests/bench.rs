//! An engine on a bench: what it wants is looked at, what happens is said by hand.

use std::string::{String, ToString};
use std::vec::Vec;

use otaria_wire::Sha256Digest;
use otaria_wire::messages::{Desired, EventKind, FailureCode};

use super::super::{
    Action, Admitted, BootFacts, BootRole, Engine, Event, Health, JobRef, Policy, Report,
};
use crate::time::{Duration, Instant};

pub(super) const IDENTITY: Sha256Digest = Sha256Digest([7; 32]);
pub(super) const TOTAL: u32 = 100_000;

pub(super) struct Bench {
    pub(super) engine: Engine,
    pub(super) now: Instant,
    /// All reports so far.
    pub(super) reports: Vec<Report>,
}

/// A wish for a job at an address of its own.
pub(super) fn wish(job: &str) -> Desired {
    Desired {
        job: Some(job.try_into().unwrap()),
        url: ("http://h/".to_string() + job).as_str().try_into().unwrap(),
        ..Desired::default()
    }
}

pub(super) fn job(name: &str) -> JobRef {
    let wish = wish(name);
    JobRef {
        job: wish.job.unwrap(),
        url: wish.url,
    }
}

pub(super) fn fails(code: FailureCode) -> Event<'static> {
    Event::Fetched(Err(code.into()))
}

impl Bench {
    pub(super) fn boot(facts: BootFacts) -> Self {
        Self {
            engine: Engine::new(
                Instant::ZERO,
                Policy::DEFAULT,
                BootFacts { seed: 1, ..facts },
            ),
            now: Instant::ZERO,
            reports: Vec::new(),
        }
    }

    /// A device with network and broker, and nothing to do.
    pub(super) fn online() -> Self {
        let mut bench = Self::boot(BootFacts::default());
        bench.tell(Event::Link(true));
        bench.tell(Event::Mqtt(true));
        bench
    }

    pub(super) fn on_trial() -> Self {
        Self::boot(BootFacts {
            role: BootRole::OnTrial(job("trial")),
            ..BootFacts::default()
        })
    }

    /// The same, after the time that the image has to run in any case.
    pub(super) fn soaked() -> Self {
        let mut bench = Self::on_trial();
        bench.pass(Policy::DEFAULT.soak);
        bench
    }

    pub(super) fn inconclusive() -> Self {
        Self::boot(BootFacts {
            role: BootRole::Inconclusive(job("trial")),
            ..BootFacts::default()
        })
    }

    /// A device whose package is being downloaded.
    pub(super) fn downloading() -> Self {
        let mut bench = Self::online();
        bench.wish(&wish("a"));
        bench.expect(Action::Fetch);
        bench.admit(0);
        bench
    }

    /// A device that has just read its image back.
    pub(super) fn verifying() -> Self {
        let mut bench = Self::downloading();
        bench.tell(Event::Fetched(Ok(())));
        bench.expect(Action::Verify);
        bench
    }

    pub(super) fn tell(&mut self, event: Event<'_>) {
        self.engine.handle(self.now, event);
    }

    /// The broker had this wish stored.
    pub(super) fn wish(&mut self, wish: &Desired) {
        self.tell(Event::Wish {
            wish: Some(wish),
            fresh: false,
        });
    }

    /// Somebody published this wish just now.
    pub(super) fn fresh_wish(&mut self, wish: &Desired) {
        self.tell(Event::Wish {
            wish: Some(wish),
            fresh: true,
        });
    }

    pub(super) fn withdraw(&mut self) {
        self.tell(Event::Wish {
            wish: None,
            fresh: true,
        });
    }

    pub(super) fn admit(&mut self, held: u32) {
        self.tell(Event::Admitted(Admitted {
            identity: IDENTITY,
            total: TOTAL,
            held,
        }));
    }

    /// What the engine wants next, reports set aside.
    pub(super) fn next(&mut self) -> Option<Action> {
        loop {
            match self.engine.next_action(self.now) {
                Some(Action::Report(report)) => {
                    if let Some(last) = self.reports.last() {
                        assert!(report.n > last.n, "{report:?} after {last:?}");
                    }
                    self.reports.push(report);
                }
                other => return other,
            }
        }
    }

    pub(super) fn expect(&mut self, action: Action) {
        let next = self.next();
        assert_eq!(next, Some(action), "reports: {:?}", self.events());
    }

    /// The next job begins, at the pace that jobs have.
    pub(super) fn expect_next_job(&mut self) {
        self.pass(Policy::DEFAULT.pace);
        self.expect(Action::Fetch);
    }

    pub(super) fn expect_nothing(&mut self) {
        assert_eq!(self.next(), None, "reports: {:?}", self.events());
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Lets the time pass to which the engine wants to be woken; says how much that was.
    pub(super) fn wait(&mut self) -> Duration {
        let at = self
            .engine
            .poll_at(self.now)
            .expect("the engine waits for time");
        let waited = at - self.now;
        self.now = self.now.max(at);
        waited
    }

    /// The names of all events so far.
    pub(super) fn events(&mut self) -> Vec<String> {
        self.reports
            .iter()
            .map(|report| match report.code {
                Some(code) => std::format!("{} {code}", report.kind.name()),
                None => report.kind.name().to_string(),
            })
            .collect()
    }

    pub(super) fn expect_events(&mut self, expected: &[&str]) {
        self.next();
        assert_eq!(self.events(), expected);
    }

    pub(super) fn last(&self) -> &Report {
        self.reports.last().expect("something was reported")
    }

    /// Asked for its health, the application says this.
    pub(super) fn answer_health(&mut self, health: Health) {
        self.expect(Action::CheckHealth);
        self.tell(Event::Health(health));
    }

    pub(super) fn confirmed_report(&mut self) -> Report {
        match self.next() {
            Some(Action::Confirm(report)) => {
                assert_eq!(report.kind, EventKind::Confirmed);
                report
            }
            other => panic!("{other:?}"),
        }
    }
}
