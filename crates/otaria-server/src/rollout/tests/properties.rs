//! What holds whatever devices and operators do: [`Lab::check`] after every step, and that it comes to an end.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Move {
    Says(usize, Status),
    Activates(usize),
    Wakes(usize),
    Sleeps(usize),
    Act(RolloutAction),
    Time(i64),
}

fn moves(devices: usize) -> impl Strategy<Value = Vec<Move>> {
    let status = prop::sample::select(Status::ALL.to_vec());
    let action = prop::sample::select(vec![
        RolloutAction::Pause,
        RolloutAction::Resume,
        RolloutAction::Resume,
        RolloutAction::Approve,
        RolloutAction::RetryFailed,
    ]);
    prop::collection::vec(
        prop_oneof![
            8 => (0..devices, status).prop_map(|(device, status)| Move::Says(device, status)),
            2 => (0..devices).prop_map(Move::Activates),
            1 => (0..devices).prop_map(Move::Wakes),
            1 => (0..devices).prop_map(Move::Sleeps),
            1 => action.prop_map(Move::Act),
            4 => prop_oneof![1_i64..5, 100_i64..10_000].prop_map(Move::Time),
        ],
        0..120,
    )
}

fn lab(concurrent: u32, retries: u32, test: bool) -> Lab {
    Lab::new(&[2, 3, 0, 7], |spec| {
        spec.limits.concurrent = concurrent;
        spec.limits.retries = retries;
        spec.limits.retry_after = seconds(30);
        spec.waves[1].gate.soak = seconds(100);
        spec.waves[1].gate.approve = true;
        spec.halt.test = test;
        spec.halt.failures = test.then_some(6);
    })
}

fn play(lab: &mut Lab, moves: Vec<Move>) {
    for one in moves {
        match one {
            // A device speaks of what it was offered, and of nothing else.
            Move::Says(device, status) if lab.seen[device].status.is_some() => {
                lab.says(device, status);
            }
            Move::Says(..) => {}
            Move::Activates(device) if lab.seen[device].status.is_some() => {
                lab.says(device, Status::Running);
                lab.seen[device].activated = true;
            }
            Move::Activates(_) => {}
            Move::Wakes(device) => lab.seen[device].online = true,
            Move::Sleeps(device) => lab.seen[device].online = false,
            Move::Act(action) => drop(lab.act(action)),
            Move::Time(seconds) => {
                lab.step(seconds);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nobody_is_offered_it_twice_at_once_nor_too_many_nor_out_of_turn_nor_after_a_halt(
        moves in moves(12), concurrent in 1_u32..6, retries in 0_u32..3, test in any::<bool>()
    ) {
        play(&mut lab(concurrent, retries, test), moves);
    }

    #[test]
    fn once_devices_are_awake_and_well_every_rollout_comes_to_its_end(
        moves in moves(12), concurrent in 1_u32..6, retries in 0_u32..3
    ) {
        let mut lab = lab(concurrent, retries, false);
        play(&mut lab, moves);
        for _ in 0..200 {
            let _ = lab.act(RolloutAction::Resume);
            let _ = lab.act(RolloutAction::Approve);
            for device in 0..lab.seen.len() {
                lab.seen[device].online = true;
                if lab.stage(device).is_in_flight() {
                    lab.says(device, Status::Succeeded);
                }
            }
            lab.step(60);
        }
        prop_assert_eq!(lab.course.state, RolloutState::Done);
    }

    #[test]
    fn a_step_with_nothing_new_decides_nothing_new(moves in moves(12), concurrent in 1_u32..6) {
        let mut lab = lab(concurrent, 1, true);
        play(&mut lab, moves);
        lab.step(0);
        let (course, members) = (lab.course.clone(), lab.members.clone());
        // What was decided is in what is stored: deciding again from it, as after a restart, adds nothing.
        lab.step(0);
        prop_assert_eq!(lab.course, course);
        prop_assert_eq!(lab.members, members);
    }
}
