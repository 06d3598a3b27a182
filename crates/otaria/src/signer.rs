//! Who signs, as the command line names it: a key file, or a program that has the key.

use std::path::{Path, PathBuf};

use clap::Args;
use otaria_package::keyfile::{self, PrivateKeyFile};
use otaria_package::signer::{Program, Signer};

use crate::output::UsageError;
use crate::passphrase::PassphraseArgs;

/// The arguments for keys that are not in a file.
#[derive(Debug, Default, Args)]
pub(crate) struct ElsewhereArgs {
    /// Let a program sign, such as a client of an HSM or of a key service: the shell runs it, it gets the 32 bytes of the
    /// SHA-256 on standard input (in hex in OTARIA_DIGEST) and writes r || s, as 64 bytes or 128 hexadecimal digits.
    #[arg(long, value_name = "COMMAND", requires = "public_key")]
    sign_with: Option<String>,

    /// The public half (NAME.pub.pem) of the key that the program signs with.
    #[arg(long, value_name = "FILE", requires = "sign_with")]
    public_key: Option<PathBuf>,
}

/// Somebody who signs, before anybody was asked for a passphrase.
pub(crate) enum Unopened {
    /// A key file.
    File(Box<PrivateKeyFile>),
    /// A program.
    Program(Program),
}

impl ElsewhereArgs {
    /// Looks at what is named; `option` is the one that names a key file.
    pub(crate) fn or_file(&self, file: Option<&Path>, option: &str) -> anyhow::Result<Unopened> {
        match (file, &self.sign_with, &self.public_key) {
            (Some(file), None, _) => Ok(Unopened::File(Box::new(PrivateKeyFile::read(file)?))),
            (None, Some(command), Some(public_key)) => Ok(Unopened::Program(Program {
                command: command.clone(),
                public_key: keyfile::read_public(public_key)?,
            })),
            _ => Err(UsageError(format!(
                "say who signs: either {option} FILE, or --sign-with COMMAND and --public-key FILE"
            ))
            .into()),
        }
    }
}

impl Unopened {
    /// Somebody who signs.
    pub(crate) fn open(self, passphrase: &PassphraseArgs) -> anyhow::Result<Box<dyn Signer>> {
        Ok(match self {
            Self::File(file) => Box::new(passphrase.open(&file)?),
            Self::Program(program) => Box::new(program),
        })
    }
}
