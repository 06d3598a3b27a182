//! Images that fail: what an update must survive. A build has at most one of these (features `fault-*`), and none by itself.

use alloc::vec::Vec;
use core::future::pending;

use embassy_time::Timer;
use log::warn;

/// How an image fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It panics right behind the boot guard.
    CrashAtStart,
    /// It panics after a minute. Its check of itself takes longer, so it is not confirmed before.
    CrashAfterAMinute,
    /// Its main task never comes back, with interrupts on: only the watchdog helps.
    Hang,
    /// It never says that it is healthy.
    NeverHealthy,
    /// It never joins a network.
    NeverJoins,
    /// It takes memory until there is none.
    HeapExhaustion,
}

/// The fault of this build.
pub const FAULT: Option<Fault> = if cfg!(feature = "fault-crash-at-start") {
    Some(Fault::CrashAtStart)
} else if cfg!(feature = "fault-crash-after-a-minute") {
    Some(Fault::CrashAfterAMinute)
} else if cfg!(feature = "fault-hang") {
    Some(Fault::Hang)
} else if cfg!(feature = "fault-never-healthy") {
    Some(Fault::NeverHealthy)
} else if cfg!(feature = "fault-never-joins") {
    Some(Fault::NeverJoins)
} else if cfg!(feature = "fault-heap-exhaustion") {
    Some(Fault::HeapExhaustion)
} else {
    None
};

/// Seconds until an image crashes that does so after a minute.
const LATE: u64 = if cfg!(feature = "test-timing") { 6 } else { 60 };

impl Fault {
    /// Whether an image with this fault may say that it is healthy. One that is about to die may not: an image is confirmed ten
    /// seconds after it does.
    pub(crate) fn allows_health(fault: Option<Self>) -> bool {
        match fault {
            None | Some(Self::NeverJoins) => true,
            Some(
                Self::CrashAtStart
                | Self::CrashAfterAMinute
                | Self::Hang
                | Self::NeverHealthy
                | Self::HeapExhaustion,
            ) => false,
        }
    }
}

/// Fails, in its time, if this build is to.
#[allow(clippy::panic, reason = "this is what it is for")]
pub(crate) async fn fail() {
    if let Some(fault) = FAULT {
        warn!("this image is built to fail: {fault:?}");
    }
    match FAULT {
        Some(Fault::CrashAtStart) => panic!("this image is built to crash at start"),
        Some(Fault::Hang) => loop {
            core::hint::spin_loop();
        },
        Some(Fault::CrashAfterAMinute) => {
            Timer::after_secs(LATE).await;
            panic!("this image is built to crash after a minute");
        }
        Some(Fault::HeapExhaustion) => {
            Timer::after_secs(5).await;
            let mut taken = Vec::new();
            loop {
                taken.push(Vec::<u8>::with_capacity(1024));
                Timer::after_millis(1).await;
            }
        }
        Some(Fault::NeverHealthy | Fault::NeverJoins) | None => pending().await,
    }
}
