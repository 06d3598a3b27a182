//! The direction of dependencies between Otaria's own crates, checked with `cargo metadata`.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{cargo, output};

/// Who may depend on whom; what is not listed here is refused.
const ALLOWED: &[(&str, &[&str])] = &[
    ("otaria-wire", &[]),
    ("otaria-engine", &["otaria-wire"]),
    ("otaria-device", &["otaria-wire", "otaria-engine"]),
    ("otaria-boot", &["otaria-wire"]),
    ("otaria-nor", &[]),
    (
        "otaria-sim",
        &[
            "otaria-wire",
            "otaria-engine",
            "otaria-device",
            "otaria-boot",
        ],
    ),
    ("otaria-package", &["otaria-wire"]),
    // The package crate only with the feature `host`, for key files.
    ("otaria-settings", &["otaria-wire", "otaria-package"]),
    ("otaria-server", &["otaria-wire", "otaria-package"]),
    (
        "otaria-qemu",
        &["otaria-wire", "otaria-package", "otaria-settings"],
    ),
    (
        "otaria",
        &[
            "otaria-wire",
            "otaria-server",
            "otaria-package",
            "otaria-settings",
            "otaria-sim",
        ],
    ),
    // xtask renders the state diagram from the engine's own table, and makes firmware images with settings.
    (
        "xtask",
        &[
            "otaria-engine",
            "otaria-package",
            "otaria-settings",
            "otaria-wire",
        ],
    ),
];

/// What tests alone may use beside that.
const ALLOWED_IN_TESTS: &[(&str, &[&str])] = &[
    ("otaria-nor", &["otaria-device", "otaria-wire"]),
    ("otaria-package", &["otaria-sim"]),
    ("otaria-server", &["otaria-sim"]),
    ("otaria-settings", &["otaria-sim"]),
    ("otaria-sim", &["otaria-package"]),
];

/// Fails on any dependency between workspace members that the table does not allow.
pub(crate) fn check() -> Result<()> {
    let text = output(cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--locked",
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is no JSON")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    let names: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if !ALLOWED.iter().any(|(known, _)| *known == name) {
            wrong.push(format!("{name} is not in the table of xtask/src/arrows.rs"));
        }
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            let in_tests = dependency["kind"] == "dev";
            let allowed =
                drawn(ALLOWED, name, target) || (in_tests && drawn(ALLOWED_IN_TESTS, name, target));
            if names.contains(&target) && !allowed {
                wrong.push(format!("{name} -> {target}"));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("arrows that must not be: {}", wrong.join(", "));
    }
    println!("{} crates, every arrow as drawn", names.len());
    Ok(())
}

fn drawn(table: &[(&str, &[&str])], from: &str, to: &str) -> bool {
    table
        .iter()
        .any(|(name, targets)| *name == from && targets.contains(&to))
}
