//! From `firmware/` to an ELF, the same bytes wherever and whenever it is built.
//!
//! | what could differ | what is done |
//! |---|---|
//! | paths in panic messages and line tables | `--remap-path-prefix` for the workspace, cargo's registry and the toolchain |
//! | hashes that cargo makes of paths (`-C metadata`), which are in symbols and decide their order | this program is the `RUSTC_WRAPPER`, see [`wrap_rustc`] |
//! | time of the build | the app descriptor says 1970, and dependencies get `SOURCE_DATE_EPOCH=0`; what certificates are judged by is the time of the commit |
//! | flags of the environment | `RUSTFLAGS` are replaced; versions are those of `firmware/Cargo.lock` |

use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Chip, Console, FirmwareArgs};
use crate::process::{cargo, command, output, run, succeeds};

/// By this variable the program knows that cargo calls it in place of rustc.
const WRAPPER: &str = "OTARIA_XTASK_IS_RUSTC_WRAPPER";

/// Builds the app for a chip; where its ELF is.
pub(super) fn app(args: &FirmwareArgs) -> Result<PathBuf> {
    let chip = args.chip;
    let features = features(args)?;
    let mut build = base(chip, "build")?;
    build.args(["--release", "--bin", "esp", "--features", &features]);
    let facts = [
        ("OTARIA_VERSION", args.version.clone()),
        ("OTARIA_PRODUCT", args.product.clone()),
        (
            "OTARIA_SECURITY_VERSION",
            Some(args.security_version.to_string()),
        ),
        ("OTARIA_LED", args.led.map(|pin| pin.to_string())),
        ("OTARIA_BUILT", built()),
    ];
    for (name, value) in facts {
        match value {
            Some(value) => build.env(name, value),
            None => build.env_remove(name),
        };
    }
    // Secrets of a shell must not get into an image that is handed on.
    for name in [
        "OTARIA_WIFI_SSID",
        "OTARIA_WIFI_PASSWORD",
        "OTARIA_BROKER",
        "OTARIA_SIGNER",
    ] {
        build.env_remove(name);
    }
    run(build)?;
    Ok(target_folder("firmware")?
        .join(chip.target())
        .join("release/esp"))
}

/// Before this time the image cannot have been there, in unix seconds: the commit's, so that it is the same wherever that is built.
/// Certificates that had run out by then are refused whatever a device's clock says.
fn built() -> Option<String> {
    if let Ok(seconds) = std::env::var("SOURCE_DATE_EPOCH") {
        return Some(seconds);
    }
    let committed = command("git", &["log", "-1", "--format=%ct"])
        .stderr(std::process::Stdio::null())
        .output();
    let committed = committed.ok().filter(|output| output.status.success())?;
    let seconds = String::from_utf8(committed.stdout).ok()?;
    Some(seconds.trim().to_owned()).filter(|seconds| !seconds.is_empty())
}

/// clippy over what `chip` is built from.
pub(super) fn clippy(chip: Chip) -> Result<()> {
    let mut lint = base(chip, "clippy")?;
    let features = features(&FirmwareArgs::plain(chip))?;
    lint.args(["--release", "--bins", "--lib", "--features", &features]);
    lint.args(["--", "-D", "warnings"]);
    run(lint)
}

/// Type-checks the app for an Xtensa chip with an upstream nightly, whose code generator does not get through the core library yet.
pub(super) fn type_check(chip: Chip) -> Result<()> {
    let features = features(&FirmwareArgs::plain(chip))?;
    let mut check = command(
        "cargo",
        &["+nightly", "check", "--locked", "-Zbuild-std=core,alloc"],
    );
    check.args([
        "--package",
        "otaria-app",
        "--bin",
        "esp",
        "--target",
        chip.target(),
        "--no-default-features",
        "--features",
        &features,
    ]);
    check.current_dir("firmware");
    check.env(
        "CARGO_TARGET_DIR",
        target_folder("firmware")?.join("xtensa"),
    );
    check.env("CARGO_ENCODED_RUSTFLAGS", "-Zno-codegen");
    // cargo has set it to the toolchain that this program was built with.
    check.env_remove("RUSTUP_TOOLCHAIN");
    run(check)
}

/// The app's features, all of them: its default ones are off.
pub(super) fn features(args: &FirmwareArgs) -> Result<String> {
    let chip = args.chip;
    let has_usb = !matches!(chip, Chip::Esp32 | Chip::Esp32c2 | Chip::Esp32s2);
    let console = match args.console {
        None if has_usb => "console-auto",
        None | Some(Console::Uart) => "console-uart",
        Some(Console::Usb | Console::Auto) if !has_usb => {
            bail!("{} has no USB-Serial-JTAG; use --console uart", chip.name())
        }
        Some(Console::Usb) => "console-usb",
        Some(Console::Auto) => "console-auto",
    };
    let mut features = format!("{},{console}", chip.name());
    if !args.no_set_up {
        features.push_str(",set-up");
    }
    if !args.no_tls {
        features.push_str(",tls");
    }
    if !args.no_encryption {
        features.push_str(",encryption");
    }
    if let Some(variant) = args.variant {
        features.push_str(",fault-");
        features.push_str(variant.name());
    }
    Ok(features)
}

/// A cargo command over the app for `chip`.
pub(super) fn base(chip: Chip, chore: &str) -> Result<Command> {
    install(chip)?;
    // In the folder, because that is where cargo looks for `.cargo/config.toml`.
    let mut build = cargo(&[
        chore,
        "--locked",
        "--package",
        "otaria-app",
        "--target",
        chip.target(),
        "--no-default-features",
    ]);
    build.current_dir("firmware");
    build.env("CARGO_TARGET_DIR", target_folder("firmware")?);
    build.env("CARGO_ENCODED_RUSTFLAGS", rustflags()?.join("\x1f"));
    build.env_remove("RUSTFLAGS");
    build.env("SOURCE_DATE_EPOCH", "0");
    if chore == "build" {
        build.env("RUSTC_WRAPPER", std::env::current_exe()?);
        build.env(WRAPPER, "1");
    }
    Ok(build)
}

fn install(chip: Chip) -> Result<()> {
    let target = chip.target();
    if chip.is_xtensa() {
        let has_toolchain = succeeds(command("rustc", &["+esp", "--version"]));
        if !has_toolchain {
            bail!(
                "{} is an Xtensa chip: it needs Espressif's toolchain (`cargo install espup --locked && espup install`)",
                chip.name()
            );
        }
        bail!(
            "build for {} by hand, in firmware/: cargo +esp build --release -Zbuild-std=core,alloc --bin esp --target {target} --features {}",
            chip.name(),
            features(&FirmwareArgs::plain(chip))?
        );
    }
    let installed = output(command("rustup", &["target", "list", "--installed"]))
        .context("the firmware needs rustup (https://rustup.rs)")?;
    if installed.lines().any(|line| line == target) {
        return Ok(());
    }
    run(command("rustup", &["target", "add", target]))
}

/// Beside the host's builds, so that neither throws the other's away.
pub(super) fn target_folder(of: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(std::path::absolute(target)?.join(of))
}

fn rustflags() -> Result<Vec<String>> {
    let home = |name: &str, folder: &str| -> Result<PathBuf> {
        let from_env = std::env::var_os(name).map(PathBuf::from);
        let in_home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(folder));
        let path = from_env.or_else(in_home);
        path.with_context(|| format!("neither {name} nor HOME is set"))
    };
    let root = std::env::current_dir()?;
    let sysroot = output(command("rustc", &["--print", "sysroot"]))?;
    // The last that fits wins, so the general ones come first.
    let places = [
        (home("CARGO_HOME", ".cargo")?, "/cargo"),
        (PathBuf::from(sysroot.trim()), "/rust"),
        (target_folder("firmware")?, "/target"),
        (root, "/otaria"),
    ];
    let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    for (place, name) in places {
        let place = place.to_str().context("a path is no UTF-8")?;
        flags.push(format!("--remap-path-prefix={place}={name}"));
    }
    Ok(flags)
}

/// What every build of the firmware has; the same as in `firmware/.cargo/config.toml`.
const FLAGS: &[&str] = &[
    // The linker makes near calls of far ones: a tenth of the image. rustc warns that the feature is not stable.
    "-Ctarget-feature=+relax",
    "--cfg=sha2_backend_soft=\"compact\"",
    // Equal pieces of code are made one, also in what is optimised for speed (esp-radio); never in what lies in RAM.
    "-Cllvm-args=-enable-machine-outliner=always",
    // Nothing is computed in two places so that it need not be computed in a third.
    "-Cllvm-args=-enable-pre=false",
];

/// If cargo calls this program in place of rustc: compiles, and ends the process.
///
/// cargo gives every crate a number, `-C metadata`, made of the folder that it lies in among others. The number is part of every
/// symbol, and the symbols' order decides where functions lie. So it is made anew here, of what does not depend on folders: the
/// crate's name and version, and its flags. (cargo's own file names stay as they are.)
pub(crate) fn wrap_rustc() {
    if std::env::var_os(WRAPPER).is_none() {
        return;
    }
    let mut args = std::env::args_os().skip(1);
    let Some(rustc) = args.next() else { return };
    let args: Vec<OsString> = args.collect();
    let status = Command::new(&rustc).args(without_folders(&args)).status();
    let code = status.ok().and_then(|status| status.code());
    std::process::exit(code.unwrap_or(101));
}

fn without_folders(args: &[OsString]) -> Vec<OsString> {
    let number = number(args);
    args.iter()
        .map(|arg| match arg.to_str() {
            Some(text) if text.starts_with("metadata=") => format!("metadata={number:016x}").into(),
            _ => arg.clone(),
        })
        .collect()
}

fn number(args: &[OsString]) -> u64 {
    // Fixed keys: the same in each run of the same toolchain.
    let mut hasher = DefaultHasher::new();
    for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        std::env::var(name).unwrap_or_default().hash(&mut hasher);
    }
    let mut flags = args.iter().filter_map(|arg| arg.to_str()).peekable();
    while let Some(flag) = flags.next() {
        match flag {
            "--crate-name" | "--crate-type" | "--cfg" | "--target" | "--edition" => {
                (flag, flags.next()).hash(&mut hasher);
            }
            _ if flag.starts_with("opt-level=") => flag.hash(&mut hasher),
            _ => {}
        }
    }
    hasher.finish()
}

/// Copies what the firmware is built from into `folder`, to build it there.
pub(super) fn copy_sources(folder: &Path) -> Result<()> {
    let files = output(command(
        "git",
        &[
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
    ))
    .context("the copy is made of the files that git knows")?;
    for file in files.split('\0').filter(|file| !file.is_empty()) {
        let from = Path::new(file);
        // A file that was deleted and not committed.
        if !from.is_file() {
            continue;
        }
        let to = folder.join(from);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(from, &to).with_context(|| format!("cannot copy {file}"))?;
    }
    Ok(())
}

/// Builds the app of `chip` from the sources in `folder`, which is another one than this; its image, and the list of what is in it.
pub(super) fn app_elsewhere(chip: Chip, folder: &Path) -> Result<[Vec<u8>; 2]> {
    let out = folder.join("out");
    let mut build = Command::new(std::env::current_exe()?);
    build.current_dir(folder);
    build.env("OTARIA_XTASK_ROOT", folder);
    build.env("CARGO_TARGET_DIR", folder.join("target"));
    build.args([
        OsStr::new("firmware"),
        "--chip".as_ref(),
        chip.name().as_ref(),
        "--out".as_ref(),
        out.as_os_str(),
    ]);
    run(build)?;
    let read = |name: &str| std::fs::read(out.join(name));
    Ok([read("app.bin")?, read(super::SBOM)?])
}
