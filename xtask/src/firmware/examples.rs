//! The examples: projects of their own, built for ESP32-C3 as their readers build them, in their own folders and with their own
//! settings. They share a target folder, so that what they have in common is compiled once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use otaria_wire::guard::MARKER;

use super::{Chip, build, check, image};
use crate::process::{cargo, run};

/// The chip that they are written for.
const CHIP: Chip = Chip::Esp32c3;

/// Lines that the smallest application with updates may have, blank ones included.
const MINIMAL_LINES: usize = 40;

/// Builds every example, and looks at what came out.
pub(super) fn check_all(python: &Path) -> Result<()> {
    minimal_is_small()?;
    let projects = projects()?;
    ensure!(!projects.is_empty(), "there are no examples");
    for project in &projects {
        check_one(python, project).with_context(|| project.display().to_string())?;
    }
    Ok(())
}

/// The folders under `examples/`.
pub(crate) fn projects() -> Result<Vec<PathBuf>> {
    let mut projects = Vec::new();
    for entry in fs::read_dir("examples").context("examples/")? {
        let folder = entry?.path();
        if folder.join("Cargo.toml").is_file() {
            projects.push(folder);
        }
    }
    projects.sort();
    Ok(projects)
}

fn minimal_is_small() -> Result<()> {
    let file = "examples/minimal/src/main.rs";
    let lines = fs::read_to_string(file).context(file)?.lines().count();
    ensure!(
        lines <= MINIMAL_LINES,
        "{file} has {lines} lines; it may have {MINIMAL_LINES}"
    );
    println!("minimal: {lines} lines");
    Ok(())
}

fn check_one(python: &Path, project: &Path) -> Result<()> {
    let in_project = |arguments: &[&str]| {
        let mut command = cargo(arguments);
        command.current_dir(project);
        // What the project says itself is what counts.
        for name in [
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
        ] {
            command.env_remove(name);
        }
        command.env("CARGO_TARGET_DIR", build::target_folder("examples")?);
        run(command)
    };
    in_project(&["fmt", "--check"])?;
    in_project(&["clippy", "--locked", "--release", "--", "-D", "warnings"])?;
    in_project(&["build", "--locked", "--release"])?;
    let name = project.file_name().unwrap_or_default();
    let elf = build::target_folder("examples")?
        .join(CHIP.target())
        .join("release")
        .join(name);
    let elf = fs::read(&elf).with_context(|| elf.display().to_string())?;
    let made = image::make(&elf, CHIP, None, None)?;
    let name = name.to_string_lossy();
    check::check_with_esptool(python, CHIP, &name, &made.app)?;
    let is_guarded = made.app.windows(MARKER.len()).any(|at| at == MARKER);
    ensure!(is_guarded, "the image has no boot guard");
    println!("{name}: app image of {} bytes", made.app.len());
    Ok(())
}
