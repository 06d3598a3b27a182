//! What an image is made of, as a CycloneDX 1.6 document (ECMA-424): `app.cdx.json`.
//!
//! `cargo tree` is asked which crates these very features bring for this target, `cargo metadata` for what the crates say of
//! themselves, and `Cargo.lock` for their checksums. (A tool that reads `cargo metadata` alone lists what any member of the
//! workspace could want.) There is no serial number and no time in it: the same build makes the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use otaria_wire::Sha256Digest;
use serde_json::{Value, json};

use super::{Chip, FirmwareArgs, build};
use crate::process::{cargo, command, output};

/// Crates of the language, which are not in `Cargo.lock`: they come with the toolchain.
const TOOLCHAIN: &[&str] = &["alloc", "compiler_builtins", "core"];

/// A crate's name and version. In one build, no crate is there from two places.
type Package = (String, String);

/// The document for the image `app`. `owners` are the crates that the size report found code or data of, by the names that they
/// have in Rust.
///
/// # Errors
/// One of `owners` is in no list of cargo's: then the document would not be true.
pub(super) fn make<'o>(
    args: &FirmwareArgs,
    app: &[u8],
    owners: impl Iterator<Item = &'o str>,
) -> Result<Vec<u8>> {
    let all = Tree::of(args, "normal,build")?;
    let in_image = Tree::of(args, "normal,no-proc-macro")?;
    let facts = Facts::read(args)?;
    let mut components = Vec::new();
    let mut dependencies = vec![json!({ "ref": "app", "dependsOn": [reference(&all.root)] })];
    for (package, needs) in &all.edges {
        let is_in = in_image.edges.contains_key(package);
        components.push(facts.component(package, is_in, args.chip)?);
        let needs: Vec<String> = needs.iter().map(reference).collect();
        dependencies.push(json!({ "ref": reference(package), "dependsOn": needs }));
    }
    let rust = rust_version()?;
    for name in TOOLCHAIN {
        components.push(json!({
            "type": "library",
            "bom-ref": reference(&((*name).to_owned(), rust.clone())),
            "name": name,
            "version": rust,
            "description": "comes with the Rust toolchain",
            "scope": "required",
            "licenses": [{ "expression": "MIT OR Apache-2.0" }],
        }));
    }
    let missing = missing(&in_image, owners);
    ensure!(
        missing.is_empty(),
        "code in the image belongs to crates that `cargo tree` does not name: {}",
        missing.join(", ")
    );
    let name = args.product.as_deref().unwrap_or(&all.root.0);
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "firmware",
                "bom-ref": "app",
                "name": name,
                "version": args.version.as_deref().unwrap_or(&all.root.1),
                "hashes": [sha256(&Sha256Digest::of(app).to_string())],
            },
            "properties": [
                { "name": "otaria:chip", "value": args.chip.name() },
                { "name": "otaria:features", "value": build::features(args)? },
                { "name": "otaria:target", "value": args.chip.target() },
            ],
        },
        "components": components,
        "dependencies": dependencies,
    });
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

/// The crates with code in the image that cargo does not name, which must be none.
fn missing<'o>(tree: &Tree, owners: impl Iterator<Item = &'o str>) -> Vec<String> {
    let known: BTreeSet<String> = (tree.edges.keys())
        .map(|(name, _)| name.replace('-', "_"))
        .chain(TOOLCHAIN.iter().map(|name| (*name).to_owned()))
        .collect();
    owners
        // What is in brackets is no crate, nor is what the compiler makes by itself; `a::b` is a part of one.
        .filter(|owner| !owner.starts_with('(') && *owner != "__rustc")
        .map(|owner| owner.split_once("::").map_or(owner, |(krate, _)| krate))
        .filter(|owner| !known.contains(*owner))
        .map(str::to_owned)
        .collect()
}

/// The crates of a build, and what each of them needs.
struct Tree {
    root: Package,
    edges: BTreeMap<Package, BTreeSet<Package>>,
}

impl Tree {
    /// Along `kinds` of edges, as `cargo tree` names them.
    fn of(args: &FirmwareArgs, kinds: &str) -> Result<Self> {
        let mut tree = build::base(args.chip, "tree")?;
        tree.args(["--features", &build::features(args)?, "--edges", kinds]);
        tree.args(["--prefix", "depth", "--format", "{p}"]);
        Self::parse(&output(tree)?)
    }

    /// Reads lines such as `2heapless v0.9.3`: the depth, the crate, and perhaps where it lies. What was shown before is not gone
    /// into again.
    fn parse(text: &str) -> Result<Self> {
        let mut edges = BTreeMap::<Package, BTreeSet<Package>>::new();
        let mut path: Vec<Package> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let strange = || format!("`cargo tree` says \"{line}\"");
            let digits = line.find(|c: char| !c.is_ascii_digit());
            let (depth, krate) = line.split_at(digits.with_context(strange)?);
            let depth: usize = depth.parse().with_context(strange)?;
            let mut words = krate.split(' ');
            let name = words.next().with_context(strange)?;
            let version = words.next().and_then(|version| version.strip_prefix('v'));
            let package = (name.to_owned(), version.with_context(strange)?.to_owned());
            ensure!(depth <= path.len(), strange());
            path.truncate(depth);
            if let Some(parent) = path.last() {
                edges
                    .entry(parent.clone())
                    .or_default()
                    .insert(package.clone());
            }
            edges.entry(package.clone()).or_default();
            path.push(package);
        }
        let root = path.into_iter().next();
        Ok(Self {
            root: root.context("`cargo tree` names no crate")?,
            edges,
        })
    }
}

/// What is known of all crates that could be built.
struct Facts {
    packages: BTreeMap<Package, Value>,
    checksums: BTreeMap<Package, String>,
}

impl Facts {
    fn read(args: &FirmwareArgs) -> Result<Self> {
        let mut metadata = cargo(&[
            "metadata",
            "--locked",
            "--format-version",
            "1",
            "--manifest-path",
            "app/Cargo.toml",
            "--no-default-features",
            "--features",
            &build::features(args)?,
            "--filter-platform",
            args.chip.target(),
        ]);
        metadata.current_dir("firmware");
        let metadata: Value = serde_json::from_str(&output(metadata)?)?;
        let packages = metadata["packages"].as_array().context("cargo metadata")?;
        let lock = fs::read_to_string("firmware/Cargo.lock").context("firmware/Cargo.lock")?;
        Ok(Self {
            packages: packages
                .iter()
                .map(|package| {
                    (
                        (text(package, "name"), text(package, "version")),
                        package.clone(),
                    )
                })
                .collect(),
            checksums: checksums(&lock),
        })
    }

    /// An entry of the document.
    fn component(&self, package: &Package, in_image: bool, chip: Chip) -> Result<Value> {
        let (name, version) = package;
        let facts = self.packages.get(package);
        let facts =
            facts.with_context(|| format!("cargo metadata does not know {name} {version}"))?;
        let mut component = json!({
            "type": "library",
            "bom-ref": reference(package),
            "name": name,
            "version": version,
            // "excluded" is what builds the image and is not in it: macros, build scripts.
            "scope": if in_image { "required" } else { "excluded" },
        });
        if let Some(licence) = facts["license"].as_str() {
            // Crates that are older than SPDX expressions in cargo have a slash.
            let expression = licence.replace('/', " OR ");
            component["licenses"] = json!([{ "expression": expression }]);
        }
        if let Some(checksum) = self.checksums.get(package) {
            // Of the archive that the registry hands out. What has none is this project's own.
            component["purl"] = json!(format!("pkg:cargo/{name}@{version}"));
            component["hashes"] = json!([sha256(checksum)]);
        }
        if let Some(source) = facts["repository"].as_str() {
            component["externalReferences"] = json!([{ "type": "vcs", "url": source }]);
        }
        let folder = Path::new(facts["manifest_path"].as_str().unwrap_or_default()).parent();
        let mut libraries = Vec::new();
        if in_image && self.checksums.contains_key(package) {
            static_libraries(
                folder.context("a crate without folder")?,
                chip,
                &mut libraries,
            )?;
        }
        if !libraries.is_empty() {
            libraries.sort();
            let libraries: Result<Vec<_>> = libraries
                .iter()
                .map(|file| library(file, package))
                .collect();
            component["components"] = Value::Array(libraries?);
        }
        Ok(component)
    }
}

/// Libraries in machine code that a crate brings for `chip`, such as the radio's: files `*.a` in a folder `libs`, or in one that
/// is named after the chip.
fn static_libraries(folder: &Path, chip: Chip, found: &mut Vec<PathBuf>) -> Result<()> {
    let is_here = ["libs", chip.name()]
        .iter()
        .any(|name| folder.ends_with(name));
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            static_libraries(&path, chip, found)?;
        } else if is_here && path.extension().is_some_and(|extension| extension == "a") {
            found.push(path);
        }
    }
    Ok(())
}

fn library(file: &Path, (krate, version): &Package) -> Result<Value> {
    let name = file.file_name().context("a library without name")?;
    let name = name.to_string_lossy();
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    Ok(json!({
        "type": "library",
        "bom-ref": format!("{krate}@{version}/{name}"),
        "name": name,
        "version": version,
        "hashes": [sha256(&Sha256Digest::of(&bytes).to_string())],
    }))
}

/// The checksums in a `Cargo.lock`: blocks of lines `name = "..."`, one a crate.
fn checksums(lock: &str) -> BTreeMap<Package, String> {
    let blocks = lock.split("[[package]]").skip(1);
    blocks
        .filter_map(|block| {
            let value = |key: &str| {
                let lines = block.lines().filter_map(|line| line.split_once(" = "));
                let mut values = lines.filter(|(name, _)| *name == key);
                values
                    .next()
                    .map(|(_, value)| value.trim_matches('"').to_owned())
            };
            Some(((value("name")?, value("version")?), value("checksum")?))
        })
        .collect()
}

fn text(package: &Value, key: &str) -> String {
    package[key].as_str().unwrap_or_default().to_owned()
}

fn reference((name, version): &Package) -> String {
    format!("{name}@{version}")
}

fn sha256(digits: &str) -> Value {
    json!({ "alg": "SHA-256", "content": digits })
}

fn rust_version() -> Result<String> {
    let said = output(command("rustc", &["--version"]))?;
    let version = said.split(' ').nth(1);
    Ok(version.context("rustc says no version")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Package, Tree, checksums, missing};

    fn package(name: &str, version: &str) -> Package {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn a_tree_is_read_with_what_is_shown_once_and_what_is_there_twice() {
        let text = "0app v0.1.0 (/otaria/app)\n1a v1.0.0\n2c v2.0.0 (proc-macro)\n1b v0.3.1\n2a v1.0.0 (*)\n2c v1.9.0\n";
        let tree = Tree::parse(text).unwrap();
        let needs = |name, version| -> Vec<Package> {
            let needs = &tree.edges[&package(name, version)];
            needs.iter().cloned().collect()
        };
        assert_eq!(tree.root, package("app", "0.1.0"));
        assert_eq!(
            needs("app", "0.1.0"),
            [package("a", "1.0.0"), package("b", "0.3.1")]
        );
        assert_eq!(needs("a", "1.0.0"), [package("c", "2.0.0")]);
        assert_eq!(
            needs("b", "0.3.1"),
            [package("a", "1.0.0"), package("c", "1.9.0")]
        );
        for strange in ["", "app v1.0.0", "0app", "0app 1.0.0", "1app v1.0.0"] {
            assert!(Tree::parse(strange).is_err(), "{strange}");
        }
    }

    #[test]
    fn code_of_a_crate_that_is_not_named_is_noticed() {
        let tree = Tree::parse("0otaria-app v0.1.0\n1esp-hal v1.0.0\n").unwrap();
        let owners = [
            "otaria_app::part",
            "esp_hal",
            "core",
            "(constants)",
            "__rustc",
            "stowaway",
        ];
        assert_eq!(missing(&tree, owners.into_iter()), ["stowaway"]);
    }

    #[test]
    fn checksums_are_those_of_the_registry() {
        let lock = "version = 4\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n\n\
                    [[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry\"\nchecksum = \"12ab\"\ndependencies = [\n \"b\",\n]\n";
        let found = checksums(lock);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&package("a", "1.0.0")], "12ab");
    }
}
