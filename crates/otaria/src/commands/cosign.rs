//! `otaria cosign`: one more signature under a package.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use otaria_package::cosign::Checked;
use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_package::keyfile;
use otaria_package::keys::Keyring;
use otaria_package::read::{self, Trust};
use serde::Serialize;

use crate::Context;
use crate::report::{PackageReport, Rows};
use crate::signer::SignerArgs;

/// Sign a package that another key has signed already: for devices that ask for two signatures.
///
/// The package was made with `otaria package --cosigned`. All of it is checked before anybody is asked to sign it; with --signer,
/// that the first signature is that key's, too. Who co-signs needs the package and a key, and nothing else of whoever made it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria cosign app-1.1.0.otaria --key second.pem --signer first.pub.pem
  otaria cosign app.otaria --sign-with \"my-hsm sign release-2\" --public-key second.pub.pem --out cosigned.otaria")]
pub(crate) struct Cosign {
    /// The package.
    file: PathBuf,

    #[command(flatten)]
    signer: SignerArgs,

    /// The public key (NAME.pub.pem) that has to have signed it first.
    #[arg(long = "signer", value_name = "FILE")]
    first: Option<PathBuf>,

    /// Where to write the package [default: in its place].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Cosign {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let found = self.signer.find()?;
        let package =
            fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        let first = match &self.first {
            Some(path) => Some(Keyring::new([keyfile::read_public(path)?])),
            None => None,
        };
        let trust = first.as_ref().map_or(Trust::Anyone, Trust::Keys);
        let refused = || format!("{} is not co-signed", self.file.display());
        // Before anybody types a passphrase, touches a token, or lets a key service note a signature.
        let checked = Checked::read(&package, trust).with_context(refused)?;
        let signer = self.signer.open(found)?;
        let cosigned = checked.cosign(&*signer).with_context(refused)?;
        // With its co-signature it is whole, and is read as a device reads it; only then it is written.
        let contents = read::read(&cosigned[..], trust).with_context(refused)?;
        let out = self.out.as_ref().unwrap_or(&self.file);
        write_atomically(out, Readers::Umask, Existing::Replace, |file| {
            file.write_all(&cosigned)
        })
        .with_context(|| format!("cannot write {}", out.display()))?;
        ctx.output.result(&Cosigned {
            file: out.clone(),
            cosigners: contents.cosigners.iter().map(ToString::to_string).collect(),
            first_signature_checked: contents.signature_verified,
            package: PackageReport::new(&contents.header),
        })
    }
}

#[derive(Serialize)]
struct Cosigned {
    file: PathBuf,
    cosigners: Vec<String>,
    first_signature_checked: bool,
    #[serde(flatten)]
    package: PackageReport,
}

impl fmt::Display for Cosigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = if self.first_signature_checked {
            "checked"
        } else {
            "not checked: name its key with --signer"
        };
        let rows = Rows::new()
            .row("package", self.file.display().to_string())
            .row("co-signers", self.cosigners.join(", "))
            .row("first one", first);
        self.package.rows(rows).fmt(f)
    }
}
