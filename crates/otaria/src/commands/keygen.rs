//! `otaria keygen`: a new signing key.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use otaria_package::files::Existing;
use otaria_package::keyfile::KeyPairPaths;
use otaria_package::keys::SigningKey;
use serde::Serialize;

use crate::Context;
use crate::passphrase::PassphraseArgs;

/// Make a signing key: NAME.pem (private) and NAME.pub.pem.
///
/// Devices take only packages signed by a key in their settings. The private key stays with whoever releases
/// firmware; it is encrypted with a passphrase unless --no-passphrase is given. Both files are ordinary PEM (PKCS#8
/// and SPKI) that OpenSSL and other tools read.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria keygen
  otaria keygen --out keys/release
  otaria keygen --out ci/key --passphrase-file /run/secrets/passphrase
  otaria keygen --out /tmp/try --no-passphrase")]
pub(crate) struct Keygen {
    /// Where to write: DIR/NAME makes DIR/NAME.pem and DIR/NAME.pub.pem.
    #[arg(long, value_name = "DIR/NAME", default_value = "otaria")]
    out: PathBuf,

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
        let key = SigningKey::generate()?;
        paths.write(&key, passphrase.as_ref().map(|p| p.as_str()), existing)?;
        let public = key.public_key();
        ctx.output.result(&Made {
            encrypted: passphrase.is_some(),
            key_id: public.key_id().to_string(),
            public_point: public.to_sec1_hex(),
            private_file: paths.private,
            public_file: paths.public,
        })
    }
}

#[derive(Serialize)]
struct Made {
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
        writeln!(f, "for devices   {}", self.public_point)?;
        writeln!(f)?;
        write!(
            f,
            "Keep a copy of the private key in a safe place: without it no update can be signed for these devices."
        )
    }
}
