//! The project's chores. `cargo xtask test` is the one command that says whether a tree is good.

mod arrows;
mod firmware;
mod fuzz;
mod generated;
mod process;
mod setup;
mod steps;
mod sweep;
mod test;
mod threats;
mod virt;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Otaria's chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that must hold: format, lints, tests, device builds, arrows, licences, docs, sweeps, fuzzing, demo.
    Test {
        /// Exhaustive power-cut sweeps and ten minutes of fuzzing a target.
        #[arg(long)]
        full: bool,
        /// Run only the steps whose name contains this text (repeatable).
        #[arg(long, value_name = "TEXT")]
        only: Vec<String>,
    },
    /// Install what the tests need: rustup targets, Debian packages, Python packages, cargo-deny.
    Setup,
    /// The exhaustive power-cut sweep of DESIGN 7, with its counts.
    Sweep,
    /// Run fuzz targets (all of them unless named).
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Targets to run; all when none is named.
        targets: Vec<String>,
    },
    /// Write the files under docs/ that are generated from code.
    Docs,
    /// Take the pictures of the dashboard under docs/screenshots.
    Screenshots,
    Firmware(firmware::FirmwareArgs),
    Flash(firmware::FlashArgs),
    Virt(virt::VirtArgs),
}

fn main() -> Result<()> {
    firmware::wrap_rustc();
    process::enter_workspace_root()?;
    match Cli::parse().chore {
        Chore::Test { full, only } => test::run_steps(full, &only),
        Chore::Setup => setup::prepare().map(|_| ()),
        Chore::Sweep => sweep::exhaustive(),
        Chore::Fuzz { seconds, targets } => fuzz::run_targets(seconds, &targets),
        Chore::Docs => generated::write(),
        Chore::Screenshots => test::screenshots(),
        Chore::Firmware(args) => firmware::build(&args),
        Chore::Flash(args) => firmware::flash(&args),
        Chore::Virt(args) => virt::start(&args),
    }
}
