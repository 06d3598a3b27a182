//! Where the passphrase of a private key comes from: a file, the environment, or the terminal; never an argument,
//! which every process on the machine could read.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use otaria_package::keyfile::PrivateKeyFile;
use otaria_package::keys::{DecryptionKey, SigningKey};
use zeroize::Zeroizing;

use crate::secret;

const VARIABLE: &str = "OTARIA_PASSPHRASE";

/// The arguments that every command with a private key has.
#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// Read the key's passphrase from this file (its first line) instead of OTARIA_PASSPHRASE or the terminal.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// Opens a private key for signing, and asks for a passphrase only if it needs one.
    pub(crate) fn open(&self, file: &PrivateKeyFile) -> anyhow::Result<SigningKey> {
        let passphrase = self.of(file, "Passphrase of the signing key: ")?;
        Ok(file.open(passphrase.as_ref().map(|text| text.as_str()))?)
    }

    /// The same for decryption.
    pub(crate) fn open_decryption(&self, file: &PrivateKeyFile) -> anyhow::Result<DecryptionKey> {
        let passphrase = self.of(file, "Passphrase of the decryption key: ")?;
        Ok(file.open_decryption(passphrase.as_ref().map(|text| text.as_str()))?)
    }

    /// The passphrase of a key that needs one.
    fn of(&self, file: &PrivateKeyFile, prompt: &str) -> anyhow::Result<Option<Zeroizing<String>>> {
        if !file.needs_passphrase() {
            return Ok(None);
        }
        match self.given()? {
            Some(passphrase) => Ok(Some(passphrase)),
            None => ask(prompt).map(Some),
        }
    }

    /// A passphrase for a new key; typed twice when it is typed.
    pub(crate) fn choose(&self) -> anyhow::Result<Zeroizing<String>> {
        let passphrase = match self.given()? {
            Some(passphrase) => passphrase,
            None => {
                let first = ask("New passphrase: ")?;
                if *first != *ask("The same again: ")? {
                    bail!("the two passphrases differ; nothing was written");
                }
                first
            }
        };
        if passphrase.is_empty() {
            bail!("the passphrase is empty; to store the key without one, say --no-passphrase");
        }
        Ok(passphrase)
    }

    fn given(&self) -> anyhow::Result<Option<Zeroizing<String>>> {
        match &self.passphrase_file {
            Some(path) => secret::from_file(path, "passphrase").map(Some),
            None => secret::from_variable(VARIABLE),
        }
    }
}

fn ask(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    secret::ask(
        prompt,
        &format!(
            "a passphrase is needed and there is no terminal to ask on; give --passphrase-file or set {VARIABLE}"
        ),
    )
}
