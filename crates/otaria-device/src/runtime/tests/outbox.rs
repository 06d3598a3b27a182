//! The order in which things are published.

use otaria_wire::messages::{Event, EventKind, InstallId, Phase, Progress};

use crate::board::{Duration, Instant};
use crate::mqtt::Outbound;
use crate::runtime::outbox::{Next, Outbox};

const SECOND: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(5);

fn event(n: u32) -> Event {
    Event {
        install: InstallId(1),
        boot: 1,
        n,
        job: None,
        event: EventKind::Accepted,
        code: None,
        text: None,
        retry_in_s: None,
        timing: None,
    }
}

fn progress(done: u32) -> Progress {
    Progress {
        job: None,
        phase: Phase::Downloading,
        done,
        total: 1_000,
        rate: 0,
    }
}

/// An outbox whose first `state` is out.
fn outbox() -> Outbox {
    let mut outbox = Outbox::new();
    assert_eq!(outbox.next(), Some(Next::State));
    let token = outbox.sending(Instant::ZERO, Outbound::State);
    outbox.done(token);
    outbox
}

/// Sends the next event; its number.
fn deliver(outbox: &mut Outbox) -> u32 {
    let Some(Next::Event(event)) = outbox.next() else {
        panic!("no event")
    };
    let n = event.n;
    let token = outbox.sending(Instant::ZERO, Outbound::Event);
    assert!(outbox.done(token).is_some());
    n
}

#[test]
fn events_go_first_and_in_order() {
    let mut outbox = outbox();
    outbox.state();
    for n in 1..=3 {
        outbox.event(event(n), false);
    }
    assert_eq!(
        [
            deliver(&mut outbox),
            deliver(&mut outbox),
            deliver(&mut outbox)
        ],
        [1, 2, 3]
    );
    assert!(outbox.is_flushed());
    assert_eq!(outbox.next(), Some(Next::State));
}

#[test]
fn an_event_stays_until_its_own_delivery() {
    let mut outbox = outbox();
    outbox.event(event(1), true);
    let token = outbox.sending(Instant::ZERO, Outbound::Event);
    assert_eq!(outbox.done(token.wrapping_sub(1)), None);
    assert!(matches!(outbox.next(), Some(Next::Event(event)) if event.n == 1));
    assert!(outbox.done(token).is_some_and(|delivered| delivered.kept));
    assert_eq!(outbox.done(token), None, "twice");
    assert!(outbox.is_flushed());
}

#[test]
fn when_the_queue_is_full_the_oldest_step_gives_way_but_no_result_and_not_the_one_on_its_way() {
    let mut outbox = outbox();
    outbox.event(event(1), false);
    let token = outbox.sending(Instant::ZERO, Outbound::Event);
    outbox.event(event(2), true);
    for n in 3..20 {
        outbox.event(event(n), false);
    }
    assert!(outbox.done(token).is_some());
    let mut left = std::vec::Vec::new();
    while !outbox.is_flushed() {
        left.push(deliver(&mut outbox));
    }
    assert_eq!(left, [2, 16, 17, 18, 19]);
}

#[test]
fn progress_comes_every_twentieth_or_every_few_seconds_and_never_twice_a_second() {
    let mut outbox = outbox();
    let mut sent = std::vec::Vec::new();
    // 1 of 1000 each 100 ms: slow.
    for tick in 0..200_u32 {
        let now = Instant::from_millis(u64::from(tick) * 100);
        outbox.progress(now, progress(tick), SECOND, EVERY);
        if let Some(Next::Progress(progress)) = outbox.next() {
            sent.push(progress.done);
        }
    }
    assert_eq!(sent, [0, 50, 100, 150]);
    // 30 of 1000 each 100 ms: fast.
    outbox.progress_afresh();
    sent.clear();
    for tick in 0..30_u32 {
        let now = Instant::from_millis(100_000 + u64::from(tick) * 100);
        outbox.progress(now, progress(tick * 30), SECOND, EVERY);
        if let Some(Next::Progress(progress)) = outbox.next() {
            sent.push(progress.done);
        }
    }
    assert_eq!(sent, [0, 300, 600]);
}

#[test]
fn only_the_newest_progress_counts() {
    let mut outbox = outbox();
    outbox.progress(Instant::from_secs(1), progress(100), SECOND, EVERY);
    outbox.progress(Instant::from_secs(10), progress(500), SECOND, EVERY);
    assert!(matches!(outbox.next(), Some(Next::Progress(progress)) if progress.done == 500));
    assert_eq!(outbox.next(), None);
}

#[test]
fn state_comes_again_when_it_is_old() {
    let mut outbox = outbox();
    let every = Duration::from_secs(600);
    assert_eq!(outbox.state_at(every), Some(Instant::from_secs(600)));
    outbox.state_if_older(Instant::from_secs(599), every);
    assert_eq!(outbox.next(), None);
    outbox.state_if_older(Instant::from_secs(600), every);
    assert_eq!(outbox.next(), Some(Next::State));
}
