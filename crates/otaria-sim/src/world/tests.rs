use core::cell::RefCell;
use core::time::Duration;
use std::rc::Rc;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use otaria_device::board::{Clock, Instant};

use super::*;
use crate::flash::Busy;

const MS: Duration = Duration::from_millis(1);

/// A shared list of what happened.
#[derive(Clone, Default)]
struct Trace(Rc<RefCell<Vec<String>>>);

impl Trace {
    fn note(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

#[test]
fn a_sleep_ends_at_its_moment_and_costs_no_real_time() {
    let world = World::new(0);
    let year = Duration::from_secs(365 * 24 * 3600);
    world.block_on(world.sleep(year));
    assert_eq!(world.now(), year);
    world.block_on(world.sleep_until(Duration::ZERO));
    assert_eq!(world.now(), year, "a moment that has passed is now");
}

#[test]
fn timers_of_the_same_moment_fire_in_the_order_in_which_they_were_set() {
    let world = World::new(0);
    let trace = Trace::default();
    for name in ["a", "b", "c"] {
        let (handle, trace) = (world.handle(), trace.clone());
        world.spawn(name, async move {
            handle.sleep(5 * MS).await;
            trace.note(name);
        });
    }
    let called = trace.clone();
    world.at(5 * MS, move || called.note("call"));
    world.run_until(5 * MS);
    assert_eq!(
        trace.take(),
        ["call", "a", "b", "c"],
        "the call was set before the tasks were first polled"
    );
}

#[test]
fn run_until_stops_at_its_end_and_leaves_later_timers() {
    let world = World::new(0);
    let trace = Trace::default();
    let (handle, noted) = (world.handle(), trace.clone());
    world.spawn("ticks", async move {
        loop {
            handle.sleep(10 * MS).await;
            noted.note(format!("{:?}", handle.now()));
        }
    });
    world.run_until(25 * MS);
    assert_eq!(world.now(), 25 * MS);
    assert_eq!(trace.take(), ["10ms", "20ms"]);
    world.run_for(5 * MS);
    assert_eq!(trace.take(), ["30ms"]);
}

#[test]
fn run_while_ends_when_the_condition_is_false_or_nothing_is_left() {
    let world = World::new(0);
    let handle = world.handle();
    world.spawn("three naps", async move {
        for _ in 0..3 {
            handle.sleep(MS).await;
        }
    });
    assert!(world.run_while(|| world.now() < 2 * MS));
    assert_eq!(world.now(), 2 * MS);
    assert!(!world.run_while(|| true), "the world has come to rest");
    assert_eq!((world.now(), world.task_count()), (3 * MS, 0));
}

#[test]
fn a_task_hands_its_output_to_whoever_joins_it() {
    let world = World::new(0);
    let handle = world.handle();
    let task = world.spawn("answer", async move {
        handle.sleep(MS).await;
        42
    });
    assert!(!task.is_finished());
    assert_eq!(world.block_on(task), 42);
}

#[test]
fn an_aborted_task_is_dropped_where_it_stands() {
    let world = World::new(0);
    let trace = Trace::default();
    struct NoteDrop(Trace);
    impl Drop for NoteDrop {
        fn drop(&mut self) {
            self.0.note("dropped");
        }
    }
    let (handle, guard, noted) = (world.handle(), NoteDrop(trace.clone()), trace.clone());
    let task = world.spawn("sleeper", async move {
        let _guard = guard;
        handle.sleep(10 * MS).await;
        noted.note("woke");
    });
    world.run_until(5 * MS);
    task.abort();
    assert_eq!(trace.take(), ["dropped"]);
    world.run_until(20 * MS);
    assert!(trace.take().is_empty());
    assert!(!task.is_finished());
}

#[test]
fn a_task_may_abort_itself_and_start_others() {
    let world = World::new(0);
    let trace = Trace::default();
    let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
    let (handle, me, noted) = (world.handle(), own.clone(), trace.clone());
    let task = world.spawn("phoenix", async move {
        let child = noted.clone();
        handle.spawn("child", async move { child.note("child ran") });
        if let Some(task) = me.take() {
            task.abort();
        }
        yield_now().await;
        noted.note("never");
    });
    own.replace(Some(task));
    world.run_until(MS);
    assert_eq!(trace.take(), ["child ran"]);
    assert_eq!(world.task_count(), 0);
}

#[test]
fn dropping_the_world_drops_its_tasks() {
    let alive = Rc::new(());
    let world = World::new(0);
    let (held, handle) = (alive.clone(), world.handle());
    world.spawn("holder", async move {
        handle.sleep(Duration::MAX).await;
        drop(held);
    });
    world.run_until(MS);
    assert_eq!(Rc::strong_count(&alive), 2);
    drop(world);
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn a_timeout_that_is_not_needed_is_taken_back() {
    let world = World::new(0);
    let handle = world.handle();
    let result = world.block_on(select(
        handle.sleep(MS),
        handle.sleep(Duration::from_secs(60)),
    ));
    assert!(matches!(result, Either::First(())));
    assert!(!world.run_while(|| true));
    assert_eq!(world.now(), MS, "nothing waits for the minute any more");
}

#[test]
#[should_panic(expected = "deadlock at 0ns; waiting: stuck")]
fn waiting_for_what_cannot_happen_is_a_named_deadlock() {
    let world = World::new(0);
    world.spawn("stuck", core::future::pending::<()>());
    world.block_on(core::future::pending::<()>());
}

#[test]
fn block_on_until_gives_up_at_its_end() {
    let world = World::new(0);
    let handle = world.handle();
    assert_eq!(world.block_on_until(5 * MS, handle.sleep(10 * MS)), None);
    assert_eq!(
        world.block_on_until(20 * MS, handle.sleep(10 * MS)),
        Some(())
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let world = World::new(seed);
        let trace = Trace::default();
        for task in 0..20 {
            let (handle, noted, mut rng) = (world.handle(), trace.clone(), world.fork_rng());
            world.spawn(format!("task {task}"), async move {
                for _ in 0..20 {
                    handle.sleep(Duration::from_nanos(rng.u64(..50))).await;
                    noted.note(format!("{:?} {task}", handle.now()));
                    if rng.bool() {
                        yield_now().await;
                    }
                }
            });
        }
        world.run_while(|| true);
        trace.take()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn worlds_in_other_threads_do_not_disturb_each_other() {
    let run = || {
        let world = World::new(9);
        world.block_on(async {
            let mut sum = 0u64;
            for _ in 0..1000 {
                world.sleep(MS).await;
                sum = sum.wrapping_add(world.random_u64());
            }
            (world.now(), sum)
        })
    };
    let here = run();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(run)).collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), here);
    }
}

#[test]
fn ten_thousand_sleepers_fit_into_one_world() {
    let world = World::new(0);
    let tasks: Vec<_> = (0..10_000u32)
        .map(|i| {
            let handle = world.handle();
            world.spawn("sleeper", async move {
                handle.sleep(MS * (i % 100)).await;
                1
            })
        })
        .collect();
    let sum = world.block_on(async {
        let mut sum = 0;
        for task in tasks {
            sum += task.await;
        }
        sum
    });
    assert_eq!((sum, world.now()), (10_000, 99 * MS));
}

#[test]
fn a_device_clock_starts_at_its_boot() {
    let world = World::new(0);
    world.run_until(Duration::from_secs(100));
    let clock = SimClock::boot(world.handle(), Busy::default()).with_unix_time(1_800_000_000);
    assert_eq!(clock.now(), Instant::ZERO);
    world.block_on(clock.sleep_until(Instant::from_millis(1_500)));
    assert_eq!(clock.now(), Instant::from_millis(1_500));
    assert_eq!(world.now(), Duration::from_millis(101_500));
    assert_eq!(clock.unix_time(), Some(1_800_000_101));
    assert_eq!(
        SimClock::boot(world.handle(), Busy::default()).unix_time(),
        None
    );
}

#[test]
fn a_sleep_on_a_device_clock_can_be_cancelled() {
    let world = World::new(0);
    let clock = SimClock::boot(world.handle(), Busy::default());
    world.block_on(select(
        clock.sleep_until(Instant::from_secs(9)),
        clock.sleep_until(Instant::from_secs(1)),
    ));
    assert!(!world.run_while(|| true));
    assert_eq!(clock.now(), Instant::from_secs(1));
}

#[test]
fn the_device_stands_still_while_its_flash_is_busy() {
    let world = World::new(0);
    let busy = Busy::default();
    let clock = SimClock::boot(world.handle(), busy.clone());
    let trace = Trace::default();
    let (handle, noted, account) = (world.handle(), trace.clone(), busy.clone());
    let device = async {
        let eraser = async {
            account.charge(150 * MS);
            trace.note(format!("erased at {}", clock.now()));
            yield_now().await;
            trace.note(format!("goes on at {}", clock.now()));
        };
        let ticker = async {
            for _ in 0..3 {
                clock.sleep_until(clock.now() + (20 * MS).into()).await;
                trace.note(format!("tick at {}", clock.now()));
            }
        };
        join(ticker, eraser).await;
    };
    world.block_on(paced(busy, move |time| handle.sleep(time), device));
    assert_eq!(
        noted.take(),
        [
            "erased at 0.150s",
            "tick at 0.150s",
            "goes on at 0.150s",
            "tick at 0.170s",
            "tick at 0.190s",
        ]
    );
    assert_eq!(world.now(), 190 * MS);
}

#[test]
fn whoever_is_outside_sees_that_the_flash_is_busy() {
    let world = World::new(0);
    let busy = Busy::default();
    let (handle, account) = (world.handle(), busy.clone());
    world.spawn(
        "device",
        paced(busy.clone(), move |time| handle.sleep(time), async move {
            account.charge(45 * MS);
            yield_now().await;
        }),
    );
    world.run_until(44 * MS);
    assert!(busy.is_busy());
    world.run_until(46 * MS);
    assert!(!busy.is_busy());
}
