//! Power cuts at every flash operation, in a release build.

use anyhow::Result;

use crate::process::{cargo, run};

/// Every cut point, every kind of cut, both bootloaders, and a second cut during recovery; prints how many cuts it made. The
/// tests make a short sweep of the same kind.
pub(crate) fn exhaustive() -> Result<()> {
    let test = ["test", "--release", "--locked", "--package", "otaria-sim"];
    let sweeps = [
        "--test",
        "power_cuts",
        "--test",
        "storage_power_cuts",
        "--test",
        "bootloader_power_cuts",
    ];
    let mut sweep = cargo(&[&test[..], &sweeps, &["--", "--nocapture"]].concat());
    sweep.env("OTARIA_SWEEP", "exhaustive");
    run(sweep)
}
