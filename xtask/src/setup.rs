//! Installs what the tests need and a fresh machine lacks, or says by name what it could not install.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, command, output, run, succeeds};

/// The chip family that CI builds device code for.
pub(crate) const DEVICE_TARGET: &str = "riscv32imc-unknown-none-elf";

/// Programs that tests talk to, and the Debian packages that hold them.
const PROGRAMS: &[(&str, &str)] = &[
    ("mosquitto", "mosquitto"),
    ("mosquitto_pub", "mosquitto-clients"),
    ("softhsm2-util", "softhsm2"),
    ("nginx", "nginx-light"),
    // Of `postgresql-common`: the server itself is not on the path.
    ("pg_createcluster", "postgresql"),
    ("openssl", "openssl"),
    ("curl", "curl"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("g++", "g++"),
    ("qemu-system-riscv32", "qemu-system-misc"),
    ("python3", "python3"),
];

/// Python packages that tests compare with: Espressif's image tool and NVS generator, an independent cryptography library, what
/// Home Assistant checks messages with, the schemas of CycloneDX, a validator of OpenAPI documents, Prometheus's own reader of metrics, and
/// the library with which receivers of webhooks check them.
const PYTHON_PACKAGES: &[&str] = &[
    "esptool==5.6.0",
    "esp-idf-nvs-partition-gen==0.3.0",
    "cryptography==50.0.2",
    "voluptuous==0.15.2",
    "cyclonedx-python-lib[json-validation]==11.12.0",
    "openapi-spec-validator==0.9.0",
    "prometheus-client==0.26.0",
    "standardwebhooks==1.1.0",
];

/// What is wrong with a page for whoever cannot see or point; this package holds axe-core 4.12.
const AXE: &str = "axe-playwright-python==0.1.8";

/// Home Assistant, of which the tests read the schemas. It runs on a newer Python than Debian's, so it is not installed.
const HOME_ASSISTANT: &str = "homeassistant==2026.2.3";

/// What the tests are told about the machine.
pub(crate) struct Machine {
    /// A Python that has [`PYTHON_PACKAGES`].
    pub(crate) python: PathBuf,
    /// The package of [`HOME_ASSISTANT`].
    pub(crate) home_assistant: PathBuf,
    /// The script of [`AXE`].
    pub(crate) axe: PathBuf,
}

/// Installs everything; an error lists what is missing and how to get it.
pub(crate) fn prepare() -> Result<Machine> {
    add_device_target()?;
    add_components()?;
    install_programs()?;
    let python = python_environment()?;
    Ok(Machine {
        home_assistant: wheel(&python, HOME_ASSISTANT)?,
        axe: axe(&python)?,
        python,
    })
}

fn add_device_target() -> Result<()> {
    let installed = output(command("rustup", &["target", "list", "--installed"]))
        .context("the tests build for ESP32-C3 and need rustup (https://rustup.rs)")?;
    if installed.lines().any(|line| line == DEVICE_TARGET) {
        return Ok(());
    }
    run(command("rustup", &["target", "add", DEVICE_TARGET]))
}

/// rustup's minimal profile, which many build machines have, lacks these.
fn add_components() -> Result<()> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !succeeds(cargo(&[subcommand, "--version"])) {
            run(command("rustup", &["component", "add", component]))?;
        }
    }
    Ok(())
}

/// Whether a program is found; servers live in `/usr/sbin`, which is not on every user's path.
fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

fn missing_packages(is_installed: impl Fn(&str) -> bool, has_venv: bool) -> Vec<&'static str> {
    PROGRAMS
        .iter()
        .filter(|(program, _)| !is_installed(program))
        .map(|(_, package)| *package)
        .chain((!has_venv).then_some("python3-venv"))
        .collect()
}

fn install_programs() -> Result<()> {
    // Debian's Python comes without what `venv` needs; another Python may bring it along.
    let has_venv = succeeds(command("python3", &["-c", "import venv, ensurepip"]));
    let missing = missing_packages(is_installed, has_venv);
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install them: apt-get install {}", missing.join(" "));
    if !is_installed("apt-get") {
        bail!("these Debian packages (or their like) are missing; {by_hand}");
    }
    let is_root = output(command("id", &["-u"])).is_ok_and(|id| id.trim() == "0");
    let prefix: &[&str] = match is_root {
        true => &[],
        false if succeeds(command("sudo", &["-n", "true"])) => &["sudo", "-n"],
        false => bail!("neither root nor password-less sudo; {by_hand}"),
    };
    let apt = |arguments: &[&str]| {
        let line = [
            prefix,
            &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"],
            arguments,
        ]
        .concat();
        run(command(line[0], &line[1..]))
    };
    apt(&["update"]).with_context(|| by_hand.clone())?;
    let install = [&["install", "-y", "--no-install-recommends"], &missing[..]].concat();
    apt(&install).with_context(|| by_hand)
}

/// A virtual environment under `target/`, so that nothing is installed into the system's Python.
fn python_environment() -> Result<PathBuf> {
    let folder = Path::new("target/python");
    let python = std::path::absolute(folder.join("bin/python"))?;
    let stamp = folder.join("installed.txt");
    let wanted = PYTHON_PACKAGES.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    let target = folder.to_str().context("path is no UTF-8")?;
    run(command("python3", &["-m", "venv", "--clear", target]))
        .context("the tests need Python 3 with venv (Debian: python3-venv)")?;
    let program = python.to_str().context("path is no UTF-8")?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    run(command(program, &[&pip, PYTHON_PACKAGES].concat()))?;
    std::fs::write(&stamp, wanted)?;
    Ok(python)
}

/// Downloads a package, `name==version`, once, without what it depends on.
fn wheel(python: &Path, package: &str) -> Result<PathBuf> {
    let folder = std::path::absolute("target/wheels")?;
    // As PEP 427 names files.
    let file = package.replace('-', "_").replace("==", "-");
    let wheel = folder.join(format!("{file}-py3-none-any.whl"));
    if !wheel.is_file() {
        let program = python.to_str().context("path is no UTF-8")?;
        let folder = folder.to_str().context("path is no UTF-8")?;
        let mut download = command(program, &["-m", "pip", "download", "--quiet", "--no-deps"]);
        download.args(["--disable-pip-version-check", "--only-binary=:all:"]);
        download.args(["--python-version", "3.14", "--dest", folder, package]);
        run(download)?;
    }
    Ok(wheel)
}

/// The script in the package, as a file.
fn axe(python: &Path) -> Result<PathBuf> {
    let wheel = wheel(python, AXE)?;
    let folder = wheel.with_extension("");
    let script = folder.join("axe_playwright_python/axe.min.js");
    if !script.is_file() {
        let program = python.to_str().context("path is no UTF-8")?;
        let mut unpack = command(program, &["-m", "zipfile", "-e"]);
        unpack.args([&wheel, &folder]);
        run(unpack)?;
    }
    Ok(script)
}

/// Makes `cargo deny` available, building it once if need be.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    if succeeds(cargo(&["deny", "--version"])) {
        return Ok("cargo-deny".into());
    }
    let root = std::path::absolute("target/tools")?;
    let program = root.join("bin/cargo-deny");
    if !program.is_file() {
        let root = root.to_str().context("path is no UTF-8")?;
        let version = ["--version", CARGO_DENY_VERSION];
        let install = [
            "install",
            "--locked",
            "--quiet",
            "--root",
            root,
            "cargo-deny",
        ];
        run(cargo(&[&install[..], &version].concat()))?;
    }
    Ok(program)
}

const CARGO_DENY_VERSION: &str = "0.20.2";

#[cfg(test)]
mod tests {
    use super::missing_packages;

    #[test]
    fn a_machine_without_python_gets_it_with_what_its_environments_need() {
        let missing = missing_packages(|program| program != "python3", false);
        assert_eq!(missing, ["python3", "python3-venv"]);
        assert_eq!(missing_packages(|_| true, false), ["python3-venv"]);
        assert!(missing_packages(|_| true, true).is_empty());
    }
}
