//! The one test command.

use std::path::PathBuf;

use anyhow::Result;

use crate::process::{cargo, command, run as execute, succeeds};
use crate::setup::{self, DEVICE_TARGET, Machine};
use crate::steps::{Outcome, Steps};
use crate::{arrows, firmware, fuzz, generated, sweep, threats, virt};

/// Crates that run on a chip and must build there without `std`.
const DEVICE_CRATES: &[&str] = &[
    "otaria-wire",
    "otaria-engine",
    "otaria-device",
    "otaria-boot",
    "otaria-nor",
    "otaria-settings",
];

/// Seconds for each fuzz target: a short run that shows the target works, or a long one that looks for findings.
const FUZZ_SHORT: u32 = 8;
const FUZZ_LONG: u32 = 600;

/// Runs every step; `only` keeps those whose name contains one of its texts.
pub(crate) fn run_steps(full: bool, only: &[String]) -> Result<()> {
    let machine = setup::prepare()?;
    let mut steps = Steps::new(only);
    steps.step("format", || passed(format()));
    steps.step("dependency arrows", || passed(arrows::check()));
    steps.step("list of threats", || passed(threats::check()));
    steps.step("clippy", || passed(clippy()));
    steps.step("device builds", || passed(device_builds()));
    steps.step("firmware", || passed(firmware::step(&machine.python, full)));
    steps.step("firmware for Xtensa chips", firmware::xtensa);
    steps.step("tests", || passed(tests(&machine)));
    steps.step("virtual board", || passed(virt::step()));
    steps.step("docs", || passed(docs()));
    steps.step("generated docs are current", || passed(generated::check()));
    steps.step("licences, bans, sources", || {
        passed(deny(&["bans", "licenses", "sources"]))
    });
    steps.step("advisories", advisories);
    if full {
        // Short sweeps are among the tests.
        steps.step("exhaustive power-cut sweep", || passed(sweep::exhaustive()));
    }
    steps.step("fuzz targets", || {
        passed(fuzz::run_targets(
            if full { FUZZ_LONG } else { FUZZ_SHORT },
            &[],
        ))
    });
    steps.step("demo", || passed(demo(full)));
    steps.finish()
}

fn passed(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

fn format() -> Result<()> {
    execute(cargo(&["fmt", "--all", "--check"]))?;
    execute(cargo(&[
        "fmt",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--check",
    ]))
}

fn clippy() -> Result<()> {
    let all = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    execute(cargo(&all))
}

fn device_builds() -> Result<()> {
    let packages = DEVICE_CRATES.iter().flat_map(|name| ["--package", name]);
    let mut build = cargo(&["build", "--locked", "--release", "--target", DEVICE_TARGET]);
    build.args(packages);
    execute(build)
}

/// Unit, property, documentation and end-to-end tests.
fn tests(machine: &Machine) -> Result<()> {
    let mut test = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    test.env("OTARIA_PYTHON", &machine.python);
    test.env("OTARIA_HOME_ASSISTANT", &machine.home_assistant);
    test.env("OTARIA_AXE", &machine.axe);
    // A peer that is missing must fail here, not be skipped: setup has installed it.
    test.env("OTARIA_REQUIRE_PEERS", "1");
    execute(test)
}

/// What the browser's test sees on its way, as pictures.
pub(crate) fn screenshots() -> Result<()> {
    let folder = std::path::absolute("docs/screenshots")?;
    std::fs::create_dir_all(&folder)?;
    let mut test = cargo(&[
        "test",
        "--package",
        "otaria",
        "--locked",
        "--test",
        "dashboard",
    ]);
    test.env("OTARIA_SCREENSHOTS", folder);
    execute(test)
}

fn docs() -> Result<()> {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    execute(doc)
}

/// In every workspace of which something is handed on: each has dependencies of its own.
fn deny(checks: &[&str]) -> Result<()> {
    let program = setup::cargo_deny()?;
    let mut projects = firmware::examples()?;
    projects.extend(["", "firmware"].map(PathBuf::from));
    for project in projects {
        let mut check = command(&program.to_string_lossy(), &["--manifest-path"]);
        check.arg(project.join("Cargo.toml"));
        check.args(["--config", "deny.toml", "check"]).args(checks);
        execute(check)?;
    }
    Ok(())
}

/// The advisory database is a repository; a machine without access to it says so.
fn advisories() -> Result<Outcome> {
    let program = setup::cargo_deny()?;
    let program = program.to_string_lossy();
    if !succeeds(command(&program, &["fetch", "db"])) {
        return Ok(Outcome::Skipped(
            "the RustSec advisory database cannot be reached from this machine".to_owned(),
        ));
    }
    passed(deny(&["advisories"]))
}

/// The README's first command. A release build takes minutes that only the long run has; the program is the same.
fn demo(full: bool) -> Result<()> {
    let profile: &[&str] = if full { &["--release"] } else { &[] };
    execute(cargo(
        &[&["run", "--locked"], profile, &["--", "demo", "--exit"]].concat(),
    ))
}
