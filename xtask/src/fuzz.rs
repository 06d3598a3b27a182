//! Fuzzing with libFuzzer on stable Rust: coverage without a sanitizer, since the code under test is safe Rust.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, command, output, run};

/// What `cargo fuzz --sanitizer none` passes: coverage counters, and comparisons that guide the mutator.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Ccodegen-units=1";

/// An input that takes longer than this is a hang.
const INPUT_TIMEOUT_S: u32 = 10;

/// Builds the targets and runs each for `seconds`, two at a time.
pub(crate) fn run_targets(seconds: u32, named: &[String]) -> Result<()> {
    // The target is given so that the flags do not reach build scripts and proc macros.
    let host = host_triple()?;
    let arguments = [
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target-dir",
        "fuzz/target",
    ];
    let mut build = cargo(&[&arguments[..], &["--target", &host]].concat());
    build.env("RUSTFLAGS", RUSTFLAGS);
    run(build)?;
    let all = targets()?;
    if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
        bail!("no fuzz target {unknown}; there are {}", all.join(", "));
    }
    let chosen = if named.is_empty() { &all } else { named };
    let folder = Path::new("fuzz/target").join(host).join("release");
    for pair in chosen.chunks(2) {
        let running = pair
            .iter()
            .map(|name| start(&folder, name, seconds))
            .collect::<Result<Vec<_>>>()?;
        for (name, child) in running {
            report(&name, child)?;
        }
    }
    Ok(())
}

type Running = (String, std::process::Child);

fn start(folder: &Path, name: &str, seconds: u32) -> Result<Running> {
    let corpus = format!("fuzz/target/corpus/{name}");
    std::fs::create_dir_all(&corpus)?;
    let seeds = format!("fuzz/seeds/{name}");
    let artifacts = format!("fuzz/artifacts/{name}/");
    std::fs::create_dir_all(&artifacts)?;
    let program = folder.join(name);
    let mut fuzz = command(&program.to_string_lossy(), &[&corpus]);
    if Path::new(&seeds).is_dir() {
        fuzz.arg(&seeds);
    }
    fuzz.arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_TIMEOUT_S}"))
        .arg(format!("-artifact_prefix={artifacts}"))
        .args(["-print_final_stats=1", "-verbosity=0", "-rss_limit_mb=2048"])
        .stderr(std::process::Stdio::piped());
    let child = fuzz
        .spawn()
        .with_context(|| format!("cannot start fuzz target {name}"))?;
    Ok((name.to_owned(), child))
}

fn report(name: &str, child: std::process::Child) -> Result<()> {
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("fuzz target {name} found something:\n{text}");
    }
    let executions = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .with_context(|| format!("fuzz target {name} printed no count of executions"))?;
    println!("{name}: {} executions, no finding", executions.trim());
    Ok(())
}

/// Every file in `fuzz/targets` is a target.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("fuzz/targets")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let stem = path.file_stem().context("a target has no name")?;
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn host_triple() -> Result<String> {
    let version = output(command("rustc", &["--version", "--verbose"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}
