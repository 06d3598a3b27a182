//! Where the passphrase of a signing key comes from: a file, the environment, or the terminal; never an argument,
//! which every process on the machine could read.

use std::env;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use otaria_package::keyfile::PrivateKeyFile;
use otaria_package::keys::SigningKey;
use zeroize::Zeroizing;

const VARIABLE: &str = "OTARIA_PASSPHRASE";

/// The arguments that every command with a private key has.
#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// Read the key's passphrase from this file (its first line) instead of OTARIA_PASSPHRASE or the terminal.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// Opens a private key, and asks for a passphrase only if it needs one.
    pub(crate) fn open(&self, file: &PrivateKeyFile) -> anyhow::Result<SigningKey> {
        if !file.needs_passphrase() {
            return Ok(file.open(None)?);
        }
        let passphrase = match self.given()? {
            Some(passphrase) => passphrase,
            None => ask("Passphrase of the signing key: ")?,
        };
        Ok(file.open(Some(&passphrase))?)
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
        if let Some(path) = &self.passphrase_file {
            let text = fs::read_to_string(path)
                .map(Zeroizing::new)
                .with_context(|| format!("cannot read the passphrase file {}", path.display()))?;
            return Ok(Some(Zeroizing::new(
                text.lines().next().unwrap_or_default().to_owned(),
            )));
        }
        match env::var(VARIABLE) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => bail!("{VARIABLE} is not UTF-8"),
        }
    }
}

fn ask(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        bail!(
            "a passphrase is needed and there is no terminal to ask on; give --passphrase-file or set {VARIABLE}"
        );
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .context("cannot read the passphrase")
}
