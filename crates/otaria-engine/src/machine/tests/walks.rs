//! Random walks: whatever happens in whatever order, the engine keeps its promises.

use std::vec::Vec;

use otaria_wire::Sha256Digest;
use otaria_wire::messages::{Desired, FailureCode};
use proptest::prelude::*;

use super::super::{Action, Admitted, BootFacts, BootRole, Engine, Event, Failure, Health, Policy};
use super::bench::{IDENTITY, TOTAL, job, wish};
use crate::machine::transitions::StateName;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// An engine, and a world around it that answers by chance.
struct World {
    engine: Engine,
    now: Instant,
    rng: Rng,
    /// Actions without their completion.
    open: Vec<Action>,
    /// The last verification succeeded and nothing was fetched since.
    verified: bool,
    link: bool,
    mqtt: bool,
    rebooted: bool,
    unacknowledged: bool,
}

const CODES: [FailureCode; 12] = [
    FailureCode::Connect,
    FailureCode::NoNetwork,
    FailureCode::EarlyClose,
    FailureCode::HttpStatus,
    FailureCode::ContentChanged,
    FailureCode::TableHash,
    FailureCode::BlockHash,
    FailureCode::WrongProduct,
    FailureCode::Quarantined,
    FailureCode::FlashWrite,
    FailureCode::ImageHash,
    FailureCode::OtadataWrite,
];

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let role = match rng.next() % 4 {
            0 => BootRole::OnTrial(job("trial")),
            1 => BootRole::Inconclusive(job("trial")),
            _ => BootRole::Plain,
        };
        let facts = BootFacts {
            role,
            ended: (rng.next().is_multiple_of(4)).then(|| job("b")),
            resume: (rng.next().is_multiple_of(4)).then(|| wish("a")),
            unacknowledged: rng.next().is_multiple_of(4),
            running_image: (rng.next().is_multiple_of(2)).then_some(Sha256Digest([9; 32])),
            seed,
        };
        Self {
            unacknowledged: facts.unacknowledged,
            engine: Engine::new(Instant::ZERO, Policy::DEFAULT, facts),
            now: Instant::ZERO,
            rng,
            open: Vec::new(),
            verified: false,
            link: false,
            mqtt: false,
            rebooted: false,
        }
    }

    fn pick(&mut self, of: u64) -> u64 {
        self.rng.next() % of
    }

    fn tell(&mut self, event: Event<'_>) {
        self.engine.handle(self.now, event);
    }

    fn code(&mut self) -> FailureCode {
        CODES[self.pick(CODES.len() as u64) as usize]
    }

    /// Takes everything that the engine wants, and checks it.
    fn collect(&mut self) {
        for _ in 0..100 {
            let Some(action) = self.engine.next_action(self.now) else {
                return;
            };
            match &action {
                Action::Report(report) => {
                    assert_ne!(
                        report.code,
                        Some(FailureCode::LogicBug),
                        "{:?}",
                        self.engine
                    );
                    self.unacknowledged |= report.is_kept();
                    continue;
                }
                Action::Activate => {
                    assert!(self.verified, "activation without a verified image");
                    self.verified = false;
                }
                Action::Fetch => self.verified = false,
                Action::Reboot => {
                    self.rebooted = true;
                    continue;
                }
                Action::Stop => {
                    let running = |open: &Action| matches!(open, Action::Fetch | Action::Verify);
                    assert!(
                        self.open.iter().any(running),
                        "nothing to stop: {:?}",
                        self.open
                    );
                    self.open.retain(|open| !running(open));
                    self.open.push(Action::Stop);
                    continue;
                }
                Action::Verify
                | Action::Probe
                | Action::CheckHealth
                | Action::Confirm(_)
                | Action::RollBack(_)
                | Action::Reactivate
                | Action::Close(_) => {}
            }
            assert!(
                !self.open.contains(&action),
                "{action:?} is asked for twice"
            );
            self.open.push(action);
        }
        panic!("the engine never stops wanting things");
    }

    /// Completes one open action, well or by chance.
    fn complete(&mut self, well: bool) {
        if self.open.is_empty() {
            return;
        }
        let at = self.pick(self.open.len() as u64) as usize;
        let chance = if well { 0 } else { self.pick(8) };
        match self.open.swap_remove(at) {
            Action::Fetch => match chance {
                0..=2 => {
                    if self.engine.status().state == StateName::Checking {
                        let held = self.pick(u64::from(TOTAL)) as u32;
                        self.tell(Event::Admitted(Admitted {
                            identity: IDENTITY,
                            total: TOTAL,
                            held,
                        }));
                    }
                    self.tell(Event::Progress(TOTAL));
                    self.tell(Event::Fetched(Ok(())));
                }
                3 => self.tell(Event::AlreadyRunning),
                // It goes on.
                4 | 5 => {
                    self.tell(Event::Admitted(Admitted {
                        identity: IDENTITY,
                        total: TOTAL,
                        held: 0,
                    }));
                    self.open.push(Action::Fetch);
                }
                6 => {
                    self.tell(Event::Admitted(Admitted {
                        identity: IDENTITY,
                        total: TOTAL,
                        held: 0,
                    }));
                    let code = self.code();
                    self.tell(Event::Fetched(Err(code.into())));
                }
                _ => {
                    let code = self.code();
                    self.tell(Event::Fetched(Err(code.into())));
                }
            },
            Action::Verify => {
                let result = if chance < 6 {
                    Ok(())
                } else {
                    Err(self.code().into())
                };
                self.verified = result.is_ok();
                self.tell(Event::Verified(result));
            }
            Action::Stop => self.tell(Event::Stopped),
            Action::Activate => {
                let result = if chance < 6 {
                    Ok(())
                } else {
                    Err(self.code().into())
                };
                self.tell(Event::Activated(result));
            }
            Action::Probe => self.tell(Event::Probed(chance < 4)),
            Action::CheckHealth => self.tell(Event::Health(match chance {
                0..=4 => Health::Healthy,
                5 | 6 => Health::Unknown,
                _ => Health::Unhealthy,
            })),
            Action::Confirm(_) => {
                let result = if chance < 6 { Ok(()) } else { Err(self.code()) };
                self.tell(Event::Confirmed(result));
            }
            Action::RollBack(_) => self.tell(Event::RolledBack),
            Action::Reactivate => {
                let result = if chance < 6 {
                    Ok(())
                } else {
                    Err(FailureCode::TrialImageLost)
                };
                self.tell(Event::Reactivated(result));
            }
            Action::Close(_) => self.tell(Event::Closed),
            Action::Report(_) | Action::Reboot => unreachable!("they have no completion"),
        }
    }

    fn input(&mut self) {
        match self.pick(14) {
            0 => {
                self.link = !self.link;
                self.tell(Event::Link(self.link));
            }
            1 => {
                self.mqtt = !self.mqtt;
                self.tell(Event::Mqtt(self.mqtt));
            }
            2 => {
                let unix = 1_000_000 + self.now.as_secs();
                self.tell(Event::UnixTime(unix));
            }
            3 => self.tell(Event::Wish {
                wish: None,
                fresh: true,
            }),
            4 => self.tell(Event::Cancel),
            5 => {
                self.unacknowledged = false;
                self.tell(Event::Delivered);
            }
            6 => self.tell(Event::Flushed),
            7 => self.tell(Event::Refused(FailureCode::MessageMalformed)),
            _ => {
                let name = ["a", "b", "trial"][self.pick(3) as usize];
                let mut wish = wish(name);
                match self.pick(8) {
                    0 => wish.not_before = Some(1_000_000 + self.now.as_secs() + self.pick(2_000)),
                    1 => wish.deadline = Some(1_000_000 + self.now.as_secs() + self.pick(2_000)),
                    2 => wish.image_sha256 = Some(Sha256Digest([9; 32])),
                    3 => wish.job = None,
                    4 => wish.url = "http://mirror/".try_into().unwrap(),
                    _ => {}
                }
                let fresh = self.pick(2) == 0;
                self.tell(Event::Wish {
                    wish: Some(&wish),
                    fresh,
                });
            }
        }
    }

    fn pass_time(&mut self) {
        match self.engine.poll_at(self.now) {
            Some(at) if self.pick(3) > 0 => self.now = self.now.max(at),
            Some(_) | None => {
                let millis = self.pick(20_000);
                self.now += Duration::from_millis(millis);
            }
        }
    }

    /// Power and link are stable, everything works: the device comes to rest, or restarts into the new image.
    fn calm(&mut self) {
        self.link = true;
        self.mqtt = true;
        self.tell(Event::Link(true));
        self.tell(Event::Mqtt(true));
        let unix = 1_000_000 + self.now.as_secs();
        self.tell(Event::UnixTime(unix));
        for _ in 0..500 {
            self.collect();
            if self.rebooted {
                return;
            }
            if !self.open.is_empty() {
                self.complete(true);
                continue;
            }
            self.unacknowledged = false;
            self.tell(Event::Delivered);
            self.tell(Event::Flushed);
            self.collect();
            if !self.open.is_empty() || self.rebooted {
                continue;
            }
            match self.engine.poll_at(self.now) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    assert_eq!(
                        self.engine.status().state,
                        StateName::Idle,
                        "{:?}",
                        self.engine
                    );
                    return;
                }
            }
        }
        panic!("never comes to rest: {:?}", self.engine);
    }

    /// If nothing is open, the engine waits for time, or for something that only the world can bring.
    fn check_waiting(&self) {
        if !self.open.is_empty() || self.rebooted || self.engine.poll_at(self.now).is_some() {
            return;
        }
        match self.engine.status().state {
            // No wish, one that is done with, or no link, or a result that is not acknowledged.
            StateName::Idle | StateName::Inconclusive => {}
            StateName::Backoff => assert!(!self.link, "{:?}", self.engine),
            state => panic!("{state:?} waits for nothing: {:?}", self.engine),
        }
    }
}

/// A walk of some hundred steps, and then calm.
pub(super) fn walk(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..200 {
        world.collect();
        world.check_waiting();
        if world.rebooted {
            return;
        }
        match world.pick(4) {
            0 => world.input(),
            1 | 2 => world.complete(false),
            _ => world.pass_time(),
        }
    }
    world.calm();
}

/// An event that may come at the wrong moment.
fn any_event() -> impl Strategy<Value = u8> {
    0..24_u8
}

/// A reason that a runtime may give: it knows nothing of the engine's bugs.
fn any_code() -> impl Strategy<Value = FailureCode> {
    proptest::sample::select(FailureCode::ALL)
        .prop_filter("the engine's own", |code| *code != FailureCode::LogicBug)
}

fn tell_any(engine: &mut Engine, now: Instant, which: u8, code: FailureCode) {
    let failed = || Err::<(), Failure<'_>>(code.into());
    let (a, b) = (
        wish("a"),
        Desired {
            job: None,
            ..wish("b")
        },
    );
    let event = match which {
        0 => Event::Link(true),
        1 => Event::Link(false),
        2 => Event::Mqtt(true),
        3 => Event::Mqtt(false),
        4 => Event::UnixTime(u64::MAX),
        5 => Event::Wish {
            wish: Some(&a),
            fresh: true,
        },
        6 => Event::Wish {
            wish: Some(&b),
            fresh: false,
        },
        7 => Event::Wish {
            wish: None,
            fresh: true,
        },
        8 => Event::Cancel,
        9 => Event::Delivered,
        10 => Event::Flushed,
        11 => Event::Admitted(Admitted {
            identity: IDENTITY,
            total: 0,
            held: u32::MAX,
        }),
        12 => Event::Progress(u32::MAX),
        13 => Event::Fetched(Ok(())),
        14 => Event::Fetched(Err(code.into())),
        15 => Event::Verified(failed()),
        16 => Event::Stopped,
        17 => Event::Activated(Ok(())),
        18 => Event::Activated(failed()),
        19 => Event::Probed(true),
        20 => Event::Health(Health::Healthy),
        21 => Event::Confirmed(Ok(())),
        22 => Event::RolledBack,
        _ => Event::Reactivated(Ok(())),
    };
    engine.handle(now, event);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_world_does_the_engine_keeps_its_promises(seed: u64) {
        walk(seed);
    }

    #[test]
    fn events_that_nobody_waits_for_do_no_harm_and_never_activate_an_image(
        events in proptest::collection::vec((any_event(), 0..1_000_000_u64, any_code()), 1..200),
        role in 0..3_u8,
    ) {
        let role = match role {
            0 => BootRole::OnTrial(job("a")),
            1 => BootRole::Inconclusive(job("a")),
            _ => BootRole::Plain,
        };
        let mut engine = Engine::new(Instant::ZERO, Policy::DEFAULT, BootFacts { role, ..BootFacts::default() });
        let mut now = Instant::ZERO;
        for (which, millis, code) in events {
            now += Duration::from_millis(millis);
            tell_any(&mut engine, now, which, code);
            for _ in 0..50 {
                match engine.next_action(now) {
                    None => break,
                    Some(Action::Report(report)) => prop_assert_ne!(report.code, Some(FailureCode::LogicBug)),
                    // No event here says that a verification succeeded.
                    Some(action) => prop_assert_ne!(action, Action::Activate),
                }
            }
        }
    }
}
