//! Power cuts at every flash operation, in a release build.

use anyhow::Result;

use crate::process::{cargo, run};

/// Every cut point, every kind of cut, both bootloaders, and a second cut during recovery.
pub(crate) fn exhaustive() -> Result<()> {
    sweep("exhaustive")
}

/// A spread of cut points that fits into every run of the tests.
pub(crate) fn short() -> Result<()> {
    sweep("short")
}

fn sweep(extent: &str) -> Result<()> {
    let mut sweep = cargo(&[
        "test",
        "--release",
        "--locked",
        "--package",
        "otaria-sim",
        "--test",
        "power_cuts",
        "--",
        "--nocapture",
    ]);
    sweep.env("OTARIA_SWEEP", extent);
    run(sweep)
}
