//! Tables of what is believed, and what an adversary of each kind gets.

use std::vec::Vec;

use proptest::prelude::*;

use super::sntp::{PACKET_LEN, Question, SntpError};
use super::*;
use crate::board::{Duration, Instant};

/// 1 January 2027, and a year.
const NOW: u64 = 1_798_761_600;
const YEAR: u64 = 365 * 24 * 60 * 60;

const fn at(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

#[test]
fn certificates_are_judged_by_the_latest_of_floor_build_and_learned_time() {
    let known = |seconds| ValidityTime {
        seconds,
        is_known: true,
    };
    let or_later = |seconds| ValidityTime {
        seconds,
        is_known: false,
    };
    for (floor, built, learned, judged) in [
        (0, 0, None, or_later(0)),
        (5, 3, None, or_later(5)),
        (3, 5, None, or_later(5)),
        (3, 5, Some(9), known(9)),
        (9, 9, Some(9), known(9)),
        // A clock that is behind what is certain is wrong: it tells nothing.
        (3, 5, Some(4), or_later(5)),
        (5, 3, Some(4), or_later(5)),
        (5, 3, Some(0), or_later(5)),
        (u64::MAX, 0, Some(7), or_later(u64::MAX)),
    ] {
        let time = validity_time(floor, built, learned);
        assert_eq!(time, judged, "{floor} {built} {learned:?}");
    }
}

#[test]
fn what_has_run_out_is_refused_in_any_case_and_what_begins_later_only_if_the_time_is_known() {
    let known = validity_time(0, 0, Some(100));
    let floor_alone = validity_time(100, 0, None);
    for (not_before, not_after, by_known, by_floor) in [
        (0, 99, Err(NotValid::Expired), Err(NotValid::Expired)),
        (0, 100, Ok(()), Ok(())),
        (100, 200, Ok(()), Ok(())),
        (101, 200, Err(NotValid::NotYet), Ok(())),
    ] {
        assert_eq!(known.check(not_before, not_after), by_known);
        assert_eq!(floor_alone.check(not_before, not_after), by_floor);
    }
}

#[test]
fn small_differences_never_set_the_clock_back() {
    let mut clock = WallClock::new();
    assert_eq!(clock.unix_time(at(5)), None);
    assert_eq!(clock.learn(at(5), NOW), Learned::Taken);
    for (secs, answer, shown) in [
        (10, NOW + 5, NOW + 5),
        (20, NOW + 20, NOW + 20),
        (30, NOW + 22, NOW + 30),
        (40, NOW + 40, NOW + 40),
    ] {
        assert_eq!(clock.learn(at(secs), answer), Learned::Taken);
        assert_eq!(clock.unix_time(at(secs)), Some(shown));
    }
}

#[test]
fn a_lying_time_server_is_put_right_by_two_answers_that_agree() {
    let mut clock = WallClock::new();
    let lie = NOW + 13 * YEAR;
    assert_eq!(clock.learn(at(1), lie), Learned::Taken);
    assert_eq!(clock.learn(at(100), NOW + 100), Learned::Doubted);
    assert_eq!(clock.unix_time(at(100)), Some(lie + 99));
    // Two liars that contradict each other get nothing.
    assert_eq!(clock.learn(at(200), NOW + 2 * YEAR), Learned::Doubted);
    assert_eq!(clock.learn(at(300), NOW + 300), Learned::Doubted);
    assert_eq!(clock.learn(at(400), NOW + 401), Learned::Taken);
    assert_eq!(clock.unix_time(at(400)), Some(NOW + 401));
}

#[test]
fn a_clock_that_is_right_is_not_moved_by_one_answer() {
    let mut clock = WallClock::new();
    clock.learn(at(1), NOW);
    for lie in [NOW + YEAR, NOW - 60, NOW + 13 * YEAR] {
        assert_eq!(clock.learn(at(2), lie), Learned::Doubted);
        assert_eq!(clock.unix_time(at(2)), Some(NOW + 1));
        assert_eq!(clock.learn(at(3), NOW + 2), Learned::Taken);
    }
}

#[test]
fn nothing_before_the_floor_is_believed_or_shown() {
    let mut clock = WallClock::new();
    clock.raise_floor(NOW);
    assert_eq!(clock.learn(at(1), NOW - 1), Learned::BeforeFloor);
    assert_eq!(clock.learn(at(2), 0), Learned::BeforeFloor);
    assert_eq!(clock.unix_time(at(2)), None);
    clock.set(at(3), NOW - YEAR);
    assert_eq!(clock.unix_time(at(3)), Some(NOW));
    clock.raise_floor(BUILT);
    assert_eq!(clock.floor(), NOW);
}

/// A board's clock, with everything that may touch it.
struct Board {
    wall: core::cell::RefCell<WallClock>,
}

impl crate::board::Clock for Board {
    fn now(&self) -> Instant {
        at(100)
    }

    async fn sleep_until(&self, _: Instant) {}

    fn unix_time(&self) -> Option<u64> {
        self.wall.borrow().unix_time(at(100))
    }

    fn time_floor(&self) -> u64 {
        self.wall.borrow().floor()
    }

    fn raise_time_floor(&self, to: u64) {
        self.wall.borrow_mut().raise_floor(to);
    }
}

/// The rule for what goes into flash: neither the time server nor the signer alone moves it into the future.
#[test]
fn the_floor_rises_only_to_a_signed_moment_that_has_passed_by_the_learned_time() {
    let year_2040 = NOW + 13 * YEAR;
    for (learned, signed, floor) in [
        (None, NOW, BUILT),
        (Some(NOW), NOW - 60, NOW - 60),
        (Some(NOW), NOW, NOW),
        // The signer's clock is wrong.
        (Some(NOW), NOW + 1, BUILT),
        (Some(NOW), year_2040, BUILT),
        // The time server lies: what is signed is still no later than it is.
        (Some(year_2040), NOW, NOW),
        (Some(NOW), 0, BUILT),
    ] {
        let board = Board {
            wall: WallClock::new().into(),
        };
        if let Some(learned) = learned {
            board.wall.borrow_mut().learn(at(100), learned);
        }
        witness(&&board, signed);
        assert_eq!(board.time_floor(), floor, "{learned:?} {signed}");
    }
}

/// An answer as `ntpd` gives it to this question, at second `ntp` since 1900.
fn answer(question: &Question, ntp: u32) -> [u8; PACKET_LEN] {
    let mut packet = [0; PACKET_LEN];
    packet[..4].copy_from_slice(&[0x24, 2, 3, 0xE9]);
    packet[24..32].copy_from_slice(&question.encode()[40..]);
    packet[40..44].copy_from_slice(&ntp.to_be_bytes());
    packet
}

#[test]
fn the_question_is_these_bytes() {
    let mut expected = [0; PACKET_LEN];
    expected[0] = 0x23;
    expected[40..].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(Question::new(0x0102_0304_0506_0708).encode(), expected);
}

#[test]
fn timestamps_of_both_eras_are_read() {
    let question = Question::new(7);
    for (ntp, unix) in [
        (3_913_056_000, 1_704_067_200),
        // 28 November 2026; the last second of era 0, in February 2036; the first ones of era 1.
        (4_004_812_800, 1_795_824_000),
        (u32::MAX, 2_085_978_495),
        (1, 2_085_978_497),
        (3_913_055_999, 5_999_034_495),
    ] {
        assert_eq!(question.answer(&answer(&question, ntp)), Ok(unix), "{ntp}");
    }
    // What is not in the first 48 bytes is not looked at.
    let long = [&answer(&question, u32::MAX)[..], &[0xFF; 20]].concat();
    assert_eq!(question.answer(&long), Ok(2_085_978_495));
}

#[test]
fn what_is_no_answer_to_this_question_is_passed_over_and_a_kiss_of_death_is_known() {
    let question = Question::new(0x1122_3344_5566_7788);
    let with = |change: &dyn Fn(&mut [u8; PACKET_LEN])| {
        let mut packet = answer(&question, 4_004_812_800);
        change(&mut packet);
        question.answer(&packet)
    };
    let kiss = |code: &[u8; 4]| {
        with(&|packet| {
            packet[1] = 0;
            packet[12..16].copy_from_slice(code);
        })
    };
    assert_eq!(kiss(b"DENY"), Err(SntpError::Denied));
    assert_eq!(kiss(b"RSTR"), Err(SntpError::Denied));
    assert_eq!(kiss(b"RATE"), Err(SntpError::TooOften));
    assert_eq!(kiss(b"INIT"), Err(SntpError::Unsynchronised));
    for (head, expected) in [
        (0x24, None),
        (0x1C, None),
        (0x64, None),
        (0xE4, Some(SntpError::Unsynchronised)),
        // Client, broadcast, other versions.
        (0x23, Some(SntpError::NotAnAnswer)),
        (0x25, Some(SntpError::NotAnAnswer)),
        (0x14, Some(SntpError::NotAnAnswer)),
        (0x2C, Some(SntpError::NotAnAnswer)),
    ] {
        let read = with(&|packet| packet[0] = head);
        assert_eq!(read.err(), expected, "{head:#x}");
    }
    for stratum in [16, 17, 255] {
        let read = with(&|packet| packet[1] = stratum);
        assert_eq!(read, Err(SntpError::Unsynchronised));
    }
    let unset = with(&|packet| packet[40..].fill(0));
    assert_eq!(unset, Err(SntpError::Unsynchronised));
    // A kiss of death from somebody who has not seen the question.
    let blind = with(&|packet| {
        packet[1] = 0;
        packet[12..16].copy_from_slice(b"DENY");
        packet[31] ^= 1;
    });
    assert_eq!(blind, Err(SntpError::NotAnAnswer));
    assert_eq!(question.answer(&[0; 47]), Err(SntpError::NotAnAnswer));
    assert_eq!(question.answer(&[]), Err(SntpError::NotAnAnswer));
}

/// Ends each question with the outcome that `answers` gives for the server; the servers in turn, and the waits before them.
fn asked(
    servers: usize,
    times: usize,
    answers: impl Fn(usize) -> Outcome,
) -> (Vec<usize>, Vec<u64>) {
    let mut sntp = Sntp::new(servers, 42, Instant::ZERO);
    let (mut now, mut who, mut waits) = (Instant::ZERO, Vec::new(), Vec::new());
    for _ in 0..times {
        let Some((due, server)) = sntp.next() else {
            break;
        };
        waits.push((due - now).as_secs());
        who.push(server);
        now = due;
        sntp.question();
        sntp.ended(now, answers(server));
    }
    (who, waits)
}

#[test]
fn servers_are_asked_in_turn_and_rounds_without_success_are_spaced_out_to_an_hour() {
    let (who, waits) = asked(2, 24, |_| Outcome::Silence);
    assert!(who.chunks(2).all(|round| round == [0, 1]), "{who:?}");
    assert!(waits[0] < 4);
    let pauses: Vec<u64> = waits[2..].iter().step_by(2).copied().collect();
    for (round, pause) in pauses.iter().enumerate() {
        let least = (30 << round.min(10)).min(3_600);
        assert!((least..=least * 3 / 2).contains(pause), "{pauses:?}");
    }
    assert!(waits[3..].iter().step_by(2).all(|wait| *wait <= 3));
}

#[test]
fn a_server_that_answers_is_asked_again_after_hours() {
    let (who, waits) = asked(3, 5, |server| match server {
        0 => Outcome::Silence,
        _ => Outcome::Answered(Learned::Taken),
    });
    assert_eq!(who, [0, 1, 1, 1, 1]);
    assert!(
        waits[2..]
            .iter()
            .all(|wait| (14_400..=16_200).contains(wait))
    );
}

#[test]
fn who_does_not_want_to_be_asked_is_not_and_who_wants_less_waits() {
    let denied = Outcome::Refused(SntpError::Denied);
    let (who, _) = asked(2, 9, |server| match server {
        0 => denied,
        _ => Outcome::Silence,
    });
    assert_eq!(who, [0, 1, 1, 1, 1, 1, 1, 1, 1]);
    let (who, _) = asked(2, 9, |_| denied);
    assert_eq!(who, [0, 1], "nobody is left");
    let (_, waits) = asked(1, 9, |_| Outcome::Refused(SntpError::TooOften));
    assert!(waits[1..].iter().all(|wait| *wait >= 3_600), "{waits:?}");
    assert_eq!(asked(0, 9, |_| denied).0, []);
}

#[test]
fn a_doubted_time_is_asked_after_elsewhere_and_not_at_once() {
    let (who, waits) = asked(2, 5, |_| Outcome::Answered(Learned::Doubted));
    assert_eq!(who, [0, 1, 0, 1, 0]);
    assert!(waits[1..].iter().all(|wait| (64..=96).contains(wait)));
}

#[test]
fn questions_and_ports_differ_between_devices_and_from_each_other() {
    let of = |seed| {
        let mut sntp = Sntp::new(1, seed, Instant::ZERO);
        (0..100).map(|_| sntp.question()).collect::<Vec<_>>()
    };
    let all = [of(1), of(2)].concat();
    for (index, (question, port)) in all.iter().enumerate() {
        assert!(*port >= 49_152);
        assert!(all[..index].iter().all(|(other, _)| other != question));
    }
}

proptest! {
    #[test]
    fn any_datagram_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), random: u64) {
        let question = Question::new(random);
        if let Ok(unix) = question.answer(&bytes) {
            prop_assert!(unix >= 1_704_067_200);
        }
    }

    /// Whatever servers say, and in whatever order: the clock goes back only for two answers in a row that agree.
    #[test]
    fn the_clock_shows_nothing_below_the_floor_whatever_is_answered(
        answers in proptest::collection::vec((0..1_000u64, BUILT - 100..BUILT + 1_000_000), 1..40),
    ) {
        let mut clock = WallClock::new();
        let mut now = Instant::ZERO;
        let mut before = 0;
        for (wait, answer) in answers {
            now += Duration::from_secs(wait);
            let learned = clock.learn(now, answer);
            let shown = clock.unix_time(now);
            prop_assert!(shown.is_none_or(|shown| shown >= BUILT));
            if learned != Learned::Taken || shown != Some(answer) {
                prop_assert!(shown.unwrap_or(before) >= before);
            }
            before = shown.unwrap_or(before);
        }
    }
}
