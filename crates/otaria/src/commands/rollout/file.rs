//! A rollout as a TOML file, with its package beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use otaria_package::read::{Trust, read};
use otaria_server::model::{PackageFacts, RolloutSpec};
use otaria_wire::Sha256Digest;
use otaria_wire::esp_image::ChipId;

/// What a file asks for.
pub(super) struct RolloutFile {
    pub(super) spec: RolloutSpec,
    /// Its package, unless the file names it by the digest that the server has it under.
    pub(super) package: Option<LocalPackage>,
}

/// A package that lies here.
pub(super) struct LocalPackage {
    pub(super) path: PathBuf,
    pub(super) digest: Sha256Digest,
    pub(super) facts: PackageFacts,
}

impl RolloutFile {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let broken = || format!("{} cannot be read as a rollout", path.display());
        let mut table: toml::Table = text.parse().with_context(broken)?;
        let Some(named) = table.get("package").and_then(toml::Value::as_str) else {
            bail!(
                "{} names no package: package = \"app-1.2.0.otaria\"",
                path.display()
            );
        };
        let package = match named.parse::<Sha256Digest>() {
            Ok(_) => None,
            // A path is from where the file is.
            Err(_) => {
                let beside = path.parent().unwrap_or(Path::new(""));
                Some(LocalPackage::read(&beside.join(named))?)
            }
        };
        if let Some(package) = &package {
            let digest = package.digest.to_string();
            table.insert("package".to_owned(), digest.into());
        }
        let spec = table.try_into().with_context(broken)?;
        Ok(Self { spec, package })
    }
}

impl LocalPackage {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let contents = read(bytes.as_slice(), Trust::Anyone)
            .with_context(|| format!("{} is no package that devices take", path.display()))?;
        let header = &contents.header;
        Ok(Self {
            digest: Sha256Digest::of(&bytes),
            facts: PackageFacts {
                size: bytes.len() as u64,
                product: header.product.as_str().to_owned(),
                chip: ChipId(header.chip_id).to_string(),
                version: header.version.as_str().to_owned(),
                image_sha256: header.image_sha256,
            },
            path: path.to_owned(),
        })
    }
}
