//! The engine in virtual time: no store, no server, no devices.

mod halting;
mod planning;
mod properties;
mod table;

use super::engine::{self, Course, Effect, Member, NotNow, Seen};
use super::halt::Outcome;
use crate::model::{Gate, RolloutAction, RolloutSpec, RolloutState, Seconds, Stage, Status, Wave};

/// A rollout whose devices are played by the test.
struct Lab {
    course: Course,
    members: Vec<Member>,
    seen: Vec<Seen>,
    outcomes: Vec<Outcome>,
    now_ms: i64,
    /// Offers that were made to each device and not ended by it, by us, or by a newer one.
    open: Vec<u32>,
}

fn spec(waves: &[u32], change: impl FnOnce(&mut RolloutSpec)) -> RolloutSpec {
    let mut spec: RolloutSpec = serde_json::from_value(serde_json::json!({
        "name": "r", "package": "00".repeat(32), "target": "all",
    }))
    .unwrap();
    spec.waves = waves
        .iter()
        .map(|count| Wave {
            name: format!("of {count}"),
            count: Some(*count),
            gate: Gate::default(),
            ..Wave::default()
        })
        .collect();
    spec.limits.retries = 0;
    spec.halt.test = false;
    change(&mut spec);
    spec
}

impl Lab {
    /// All devices are connected and run something else.
    fn new(waves: &[u32], change: impl FnOnce(&mut RolloutSpec)) -> Self {
        let spec = spec(waves, change);
        let mut members = Vec::new();
        for (wave, count) in waves.iter().enumerate() {
            for _ in 0..*count {
                members.push(Member {
                    device: format!("d{}", members.len()),
                    wave,
                    stratum: "esp32c3 revision 0.4".to_owned(),
                    stage: Stage::Waiting,
                    since: 0,
                    awake_since: None,
                    offers: 0,
                    failures: 0,
                    not_before: 0,
                    why: None,
                });
            }
        }
        let seen = Seen {
            online: true,
            runs_expected: Some(false),
            ..Seen::default()
        };
        Self {
            course: Course {
                spec,
                size: 1000,
                state: RolloutState::Running,
                reason: None,
                wave: 0,
                waves: waves.len(),
                gate_since: None,
                approved: false,
                waived: false,
                paced_until_ms: 0,
                baseline: 0.01,
            },
            seen: vec![seen; members.len()],
            open: vec![0; members.len()],
            members,
            outcomes: Vec::new(),
            now_ms: 1_000_000_000_000,
        }
    }

    /// One step, `seconds` later. Gives the devices that were offered the package.
    fn step(&mut self, seconds: i64) -> Vec<usize> {
        self.now_ms += seconds * 1000;
        let before = self.course.state;
        let effects = engine::step(
            &mut self.course,
            &mut self.members,
            &self.seen,
            &mut self.outcomes,
            self.now_ms,
        );
        let offered = self.apply(&effects);
        self.check(before, &offered);
        offered
    }

    fn act(&mut self, action: RolloutAction) -> Result<(), NotNow> {
        let mut effects = Vec::new();
        let now = self.now_ms / 1000;
        let anew = engine::act(
            &mut self.course,
            &mut self.members,
            action,
            now,
            &mut effects,
        )?;
        if anew {
            self.outcomes.clear();
        }
        self.apply(&effects);
        Ok(())
    }

    fn apply(&mut self, effects: &[Effect]) -> Vec<usize> {
        let mut offered = Vec::new();
        for effect in effects {
            match effect {
                Effect::Offer { member } => {
                    assert_eq!(
                        self.open[*member], 0,
                        "a device was offered it twice at once"
                    );
                    self.open[*member] += 1;
                    let seen = &mut self.seen[*member];
                    seen.status = Some(Status::Pending);
                    (seen.activated, seen.code, seen.is_newest) = (false, None, true);
                    offered.push(*member);
                }
                Effect::Withdraw { member } => {
                    self.open[*member] = 0;
                    self.seen[*member].status = Some(Status::Cancelled);
                }
                Effect::Ended { member, .. } => self.open[*member] = 0,
            }
        }
        offered
    }

    /// What holds after every step, whatever happened.
    fn check(&self, before: RolloutState, offered: &[usize]) {
        let in_flight = self.count(Stage::is_in_flight);
        let most = self.course.spec.limits.concurrent as usize;
        assert!(in_flight <= most, "{in_flight} at once, and not {most}");
        if !offered.is_empty() {
            assert_eq!(self.course.state, RolloutState::Running);
            assert!(
                !matches!(
                    before,
                    RolloutState::Halted | RolloutState::Cancelled | RolloutState::Paused
                ),
                "a rollout that stands offered something"
            );
        }
        for index in offered {
            assert!(self.seen[*index].online, "a sleeper was offered something");
            assert!(self.members[*index].wave <= self.course.wave, "out of turn");
            assert_eq!(self.members[*index].stage, Stage::Offered);
        }
        if self.course.state == RolloutState::Halted {
            assert!(self.course.reason.is_some(), "halted, and does not say why");
            let early = |stage| matches!(stage, Stage::Offered | Stage::Working);
            assert_eq!(
                self.count(early),
                0,
                "nobody begins in a rollout that halted"
            );
        }
        if self.course.state == RolloutState::Done {
            assert!(self.members.iter().all(|member| member.stage.is_final()));
        }
    }

    fn count(&self, is: impl Fn(Stage) -> bool) -> usize {
        let of = self.members.iter().filter(|member| is(member.stage));
        of.count()
    }

    fn says(&mut self, device: usize, status: Status) {
        self.seen[device].status = Some(status);
        if status == Status::Succeeded {
            self.seen[device].runs_expected = Some(true);
        }
    }

    fn fails(&mut self, device: usize, code: &str) {
        self.seen[device].code = Some(code.to_owned());
        self.says(device, Status::RolledBack);
    }

    /// Everybody who was offered it confirms.
    fn all_confirm(&mut self, offered: &[usize]) {
        for device in offered {
            self.says(*device, Status::Succeeded);
        }
    }

    fn stage(&self, device: usize) -> Stage {
        self.members[device].stage
    }
}

fn seconds(seconds: u32) -> Seconds {
    Seconds(seconds)
}
