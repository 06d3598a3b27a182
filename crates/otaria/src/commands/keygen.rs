//! `otaria keygen`: a new key, for signing or for encryption.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use otaria_package::files::Existing;
use otaria_package::keyfile::KeyPairPaths;
use otaria_package::keys::{DecryptionKey, PrivateKey, PublicKey, SigningKey};
use serde::Serialize;

use crate::Context;
use crate::passphrase::PassphraseArgs;

/// Make a signing key: NAME.pem (private) and NAME.pub.pem.
///
/// Devices take only packages signed by a key in their settings. The private key stays with whoever releases
/// firmware; it is encrypted with a passphrase unless --no-passphrase is given. Both files are ordinary PEM (PKCS#8
/// and SPKI) that OpenSSL and other tools read.
///
/// With --encryption it is a key that packages can be encrypted to (`otaria package --encrypt-to NAME.pub.pem`): the private
/// half goes into the settings of a device, or of all devices of a product.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria keygen
  otaria keygen --out keys/release
  otaria keygen --out ci/key --passphrase-file /run/secrets/passphrase
  otaria keygen --out /tmp/try --no-passphrase
  otaria keygen --encryption --out keys/thermostat")]
pub(crate) struct Keygen {
    /// Where to write: DIR/NAME makes DIR/NAME.pem and DIR/NAME.pub.pem.
    #[arg(long, value_name = "DIR/NAME", default_value = "otaria")]
    out: PathBuf,

    /// Make a key that packages are encrypted to, instead of one that signs them.
    #[arg(long)]
    encryption: bool,

    /// Do not encrypt the private key; only its file mode (0600) protects it.
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,

    /// Replace files that exist. The old private key is lost for good.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl Keygen {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let paths = KeyPairPaths::new(&self.out);
        let existing = if self.force {
            Existing::Replace
        } else {
            Existing::Keep
        };
        paths.check(existing)?;
        let passphrase = if self.no_passphrase {
            None
        } else {
            Some(self.passphrase.choose()?)
        };
        let protection = passphrase.as_ref().map(|p| p.as_str());
        let public = if self.encryption {
            make(&DecryptionKey::generate()?, &paths, protection, existing)?
        } else {
            make(&SigningKey::generate()?, &paths, protection, existing)?
        };
        ctx.output.result(&Made {
            purpose: if self.encryption {
                "encryption"
            } else {
                "signing"
            },
            encrypted: passphrase.is_some(),
            key_id: public.key_id().to_string(),
            public_point: public.to_sec1_hex(),
            private_file: paths.private,
            public_file: paths.public,
        })
    }
}

/// Writes both halves of a key and gives the public one.
fn make(
    key: &impl PrivateKey,
    paths: &KeyPairPaths,
    passphrase: Option<&str>,
    existing: Existing,
) -> anyhow::Result<PublicKey> {
    paths.write(key, passphrase, existing)?;
    Ok(key.public_key())
}

#[derive(Serialize)]
struct Made {
    /// "signing" or "encryption".
    purpose: &'static str,
    private_file: PathBuf,
    public_file: PathBuf,
    encrypted: bool,
    key_id: String,
    /// SEC1, uncompressed, hex.
    public_point: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protection = if self.encrypted {
            "encrypted"
        } else {
            "not encrypted, mode 0600"
        };
        writeln!(
            f,
            "private key   {} ({protection})",
            self.private_file.display()
        )?;
        writeln!(f, "public key    {}", self.public_file.display())?;
        writeln!(f, "key id        {}", self.key_id)?;
        if self.purpose == "encryption" {
            writeln!(f)?;
            return write!(
                f,
                "The private key goes into the devices' settings, and nowhere else: with it, every package that is encrypted to it \
                 can be read."
            );
        }
        writeln!(f, "for devices   {}", self.public_point)?;
        writeln!(f)?;
        write!(
            f,
            "Keep a copy of the private key in a safe place: without it no update can be signed for these devices."
        )
    }
}
