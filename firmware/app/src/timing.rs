//! How patient this build is.

use otaria_device::board::Duration;
use otaria_device::settings::Timing;
use otaria_embassy::setup::Limits;

/// What suits a device on mains power and Wi-Fi; with the feature `test-timing` the same in seconds, so that a test sees the end
/// of every trial.
pub const TIMING: Timing = if cfg!(feature = "test-timing") {
    in_seconds(Timing::DEFAULT)
} else {
    Timing::DEFAULT
};

/// How long set-up may take.
pub(crate) const SETUP: Limits = if cfg!(feature = "test-timing") {
    Limits {
        open: embassy_time::Duration::from_secs(40),
        join: embassy_time::Duration::from_secs(5),
    }
} else {
    Limits::DEFAULT
};

const fn in_seconds(usual: Timing) -> Timing {
    let mut timing = usual;
    timing.watchdog = Duration::from_secs(3);
    timing.progress_min = Duration::from_millis(100);
    timing.policy.trial_with_network = Duration::from_secs(12);
    timing.policy.trial = Duration::from_secs(15);
    timing.policy.soak = Duration::from_secs(3);
    timing.policy.probe = Duration::from_secs(2);
    timing.policy.grace = Duration::from_millis(500);
    timing
}
