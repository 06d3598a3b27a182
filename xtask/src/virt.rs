//! The virtual board: builds its firmware, tests it, and starts it by hand.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum as _};

use crate::firmware::Variant;
use crate::process::{cargo, run};
use crate::setup::DEVICE_TARGET;

/// Cargo profile of the virtual board's firmware, see `firmware/Cargo.toml`.
const PROFILE: &str = "virt";

/// Boards that run at the same time in a test.
const THREADS: &str = "2";

/// Builds the firmware in every variant and runs the tests of `crates/otaria-qemu/tests/virtual_board`.
pub(crate) fn step() -> Result<()> {
    let built = std::path::absolute("target/virtual-board")?;
    std::fs::create_dir_all(&built)?;
    loader(&built.join("loader.elf"))?;
    let selftest = ["-p", "otaria-virt", "--example", "selftest"];
    let program = build(&selftest, None)?.join("examples/selftest");
    put(&program, &built.join("selftest.elf"))?;
    let timing = "virt,test-timing";
    for (name, version) in [("a", "1.0.0"), ("b", "1.1.0")] {
        app(timing, version, &built.join(format!("{name}.elf")))?;
    }
    // The tests know their images by these names.
    for fault in Variant::value_variants()
        .iter()
        .map(|variant| variant.name())
    {
        let features = format!("{timing},fault-{fault}");
        app(&features, "1.0.9", &built.join(format!("{fault}.elf")))?;
    }
    let mut test = cargo(&["test", "--locked", "-p", "otaria-qemu", "--test"]);
    test.args([
        "virtual_board",
        "--",
        "--ignored",
        "--test-threads",
        THREADS,
    ]);
    test.env("OTARIA_VIRT_BUILT", built);
    // A peer that is missing must fail here, not be skipped: setup has installed it.
    test.env("OTARIA_REQUIRE_PEERS", "1");
    run(test)
}

/// Start the virtual board: the firmware on QEMU's riscv32 `virt` machine.
#[derive(Args)]
pub(crate) struct VirtArgs {
    /// What the app says its version is.
    #[arg(long, default_value = "1.0.0", value_name = "V")]
    version: String,
    /// Build an app that fails.
    #[arg(long, value_enum)]
    variant: Option<Variant>,
    /// The device's settings, as for `otaria provision`; QEMU's guest finds this computer at 10.0.2.2.
    #[arg(long, value_name = "TOML")]
    settings: Option<PathBuf>,
    /// Make the flash anew, with this app and these settings; else the board goes on with what it has.
    #[arg(long)]
    erase: bool,
    /// With a bootloader that does rollback.
    #[arg(long)]
    rollback: bool,
    /// Trials and watchdogs of seconds instead of minutes.
    #[arg(long)]
    test_timing: bool,
    /// Only make dist/virt/: loader, app, its image for `otaria package`, flash.
    #[arg(long)]
    no_run: bool,
}

/// Builds loader and app, and starts them.
pub(crate) fn start(args: &VirtArgs) -> Result<()> {
    let dist = Path::new("dist/virt");
    std::fs::create_dir_all(dist)?;
    let (program, bootloader) = (dist.join("app.elf"), dist.join("loader.elf"));
    loader(&bootloader)?;
    let mut features = "virt".to_owned();
    if args.test_timing {
        features.push_str(",test-timing");
    }
    if let Some(variant) = args.variant {
        features = format!("{features},fault-{}", variant.name());
    }
    app(&features, &args.version, &program)?;
    let mut qemu = cargo(&["run", "--quiet", "--locked", "-p", "otaria-qemu", "--"]);
    qemu.arg("--loader").arg(&bootloader);
    qemu.arg("--app").arg(&program);
    qemu.arg("--image").arg(dist.join("app.bin"));
    qemu.arg("--flash").arg(dist.join("flash.bin"));
    if let Some(settings) = &args.settings {
        qemu.arg("--settings").arg(settings);
    }
    for (wanted, flag) in [
        (args.erase, "--erase"),
        (args.rollback, "--rollback"),
        (args.no_run, "--no-run"),
    ] {
        if wanted {
            qemu.arg(flag);
        }
    }
    run(qemu)
}

fn loader(to: &Path) -> Result<()> {
    let program = build(&["-p", "otaria-virt-loader"], None)?.join("otaria-virt-loader");
    put(&program, to)
}

fn app(features: &str, version: &str, to: &Path) -> Result<()> {
    let arguments = ["-p", "otaria-app", "--bin", "virt", "--features", features];
    put(&build(&arguments, Some(version))?.join("virt"), to)
}

/// Builds in the firmware's workspace; gives the folder that the programs are in.
fn build(arguments: &[&str], version: Option<&str>) -> Result<PathBuf> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => std::path::absolute(target)?,
        None => std::path::absolute("firmware/target")?,
    };
    let mut build = cargo(&["build", "--quiet", "--locked", "--profile", PROFILE]);
    build.args(["--target", DEVICE_TARGET]).args(arguments);
    // For the settings in firmware/.cargo.
    build.current_dir("firmware");
    build.env("CARGO_TARGET_DIR", &target);
    if let Some(version) = version {
        build.env("OTARIA_VERSION", version);
    }
    run(build)?;
    Ok(target.join(DEVICE_TARGET).join(PROFILE))
}

fn put(program: &Path, to: &Path) -> Result<()> {
    std::fs::copy(program, to)
        .with_context(|| format!("cannot copy {} to {}", program.display(), to.display()))?;
    Ok(())
}
