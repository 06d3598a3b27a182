//! `otaria verify`: whether a package is what its signer made.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use otaria_package::keyfile::{self, PrivateKeyFile};
use otaria_package::keys::Keyring;
use otaria_package::read::{self, ReadError, Trust};
use serde::Serialize;

use crate::Context;
use crate::output::Negative;
use crate::passphrase::PassphraseArgs;
use crate::report::{PackageReport, Rows, Sizes};

/// Check a package as a device would: signature, every block, the image in it.
///
/// Ends with 0 if the package is good throughout, with 1 and the reason if it is not.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria verify app-1.1.0.otaria --key keys/release.pub.pem
  otaria verify app.otaria --key release.pub.pem --decrypt-key thermostat.pem
  otaria verify app.otaria --key old.pub.pem --key new.pub.pem --json")]
pub(crate) struct Verify {
    /// The package.
    file: PathBuf,

    /// A public key (NAME.pub.pem) that may have signed it; can be given more than once.
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,

    /// A private key (NAME.pem from `otaria keygen --encryption`) that opens an encrypted package; without one, all is checked
    /// but what is inside.
    #[arg(long, value_name = "FILE")]
    decrypt_key: Option<PathBuf>,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl Verify {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let keys = self
            .keys
            .iter()
            .map(|path| keyfile::read_public(path))
            .collect::<Result<Vec<_>, _>>()?;
        let keyring = Keyring::new(keys);
        let decryption = match &self.decrypt_key {
            Some(path) => vec![
                self.passphrase
                    .open_decryption(&PrivateKeyFile::read(path)?)?,
            ],
            None => Vec::new(),
        };
        let file = File::open(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        let read = read::read_into(
            BufReader::new(file),
            Trust::Keys(&keyring),
            &decryption,
            |_| Ok(()),
        );
        match read {
            Ok(contents) => ctx.output.result(&Good {
                valid: true,
                image_checked: contents.image.is_some(),
                sizes: Sizes::new(&contents),
                package: PackageReport::new(&contents.header),
                file: self.file,
            }),
            Err(error @ ReadError::Io { .. }) => {
                Err(error).with_context(|| format!("cannot read {}", self.file.display()))
            }
            Err(error) => {
                let code = error.code();
                let error = anyhow::Error::new(error);
                if !ctx.output.is_json() {
                    return Err(error.context(format!(
                        "{} is refused, as devices would refuse it ({code}, {})",
                        self.file.display(),
                        code.number()
                    )));
                }
                ctx.output.result(&Bad {
                    valid: false,
                    file: self.file,
                    code: code.number(),
                    name: code.name(),
                    reason: format!("{error:#}"),
                })?;
                Err(Negative.into())
            }
        }
    }
}

#[derive(Serialize)]
struct Good {
    valid: bool,
    /// Whether the image was seen: not that of an encrypted package without its key.
    image_checked: bool,
    file: PathBuf,
    #[serde(flatten)]
    sizes: Sizes,
    #[serde(flatten)]
    package: PackageReport,
}

impl fmt::Display for Good {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let good = if self.image_checked {
            "good"
        } else {
            "good as far as it can be seen without --decrypt-key"
        };
        let rows = Rows::new()
            .row("package", format!("{}: {good}", self.file.display()))
            .row("size", self.sizes.describe(&self.package));
        self.package.rows(rows).fmt(f)
    }
}

#[derive(Serialize)]
struct Bad {
    valid: bool,
    file: PathBuf,
    /// The failure code with which a device refuses this package.
    code: u16,
    name: &'static str,
    reason: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.reason)
    }
}
