//! Who signs, as the command line names it: a key file, or a program that has the key.

use std::path::{Path, PathBuf};

use clap::Args;
use otaria_package::keyfile::{self, PrivateKeyFile};
use otaria_package::signer::{Program, Signer};
use otaria_package::token::TokenKey;

use crate::output::UsageError;
use crate::passphrase::PassphraseArgs;
use crate::secret;

const PIN: &str = "OTARIA_PIN";

/// Who signs a package.
#[derive(Debug, Args)]
pub(crate) struct SignerArgs {
    /// The private signing key (NAME.pem from `otaria keygen`).
    #[arg(long, value_name = "FILE", required_unless_present_any = ["sign_with", "pkcs11"], conflicts_with_all = ["sign_with", "pkcs11"])]
    key: Option<PathBuf>,

    #[command(flatten)]
    elsewhere: ElsewhereArgs,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl SignerArgs {
    /// Looks at what is named.
    pub(crate) fn find(&self) -> anyhow::Result<Unopened> {
        self.elsewhere.or_file(self.key.as_deref(), "--key")
    }

    /// Somebody who signs.
    pub(crate) fn open(&self, found: Unopened) -> anyhow::Result<Box<dyn Signer>> {
        found.open(&self.passphrase)
    }
}

/// The arguments for keys that are not in a file.
#[derive(Debug, Default, Args)]
pub(crate) struct ElsewhereArgs {
    /// Let a program sign, such as a client of an HSM or of a key service: the shell runs it, it gets the 32 bytes of the
    /// SHA-256 on standard input (in hex in OTARIA_DIGEST) and writes r || s, as 64 bytes or 128 hexadecimal digits.
    #[arg(long, value_name = "COMMAND", requires = "public_key")]
    sign_with: Option<String>,

    /// Let a PKCS#11 token (HSM, smart card, SoftHSM) sign: the library that leads to it, a .so.
    #[arg(
        long,
        value_name = "FILE",
        requires = "token_key",
        conflicts_with = "sign_with"
    )]
    pkcs11: Option<PathBuf>,

    /// The label of the token.
    #[arg(
        long,
        value_name = "LABEL",
        default_value = "otaria",
        requires = "pkcs11"
    )]
    token_label: String,

    /// The label of the key pair in the token.
    #[arg(long, value_name = "LABEL", requires = "pkcs11")]
    token_key: Option<String>,

    /// Read the token's PIN from this file (its first line) instead of OTARIA_PIN or the terminal.
    #[arg(long, value_name = "FILE", requires = "pkcs11")]
    pin_file: Option<PathBuf>,

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
    /// A token, whose PIN is not known yet.
    Token {
        module: PathBuf,
        token: String,
        key: String,
        pin_file: Option<PathBuf>,
    },
}

impl ElsewhereArgs {
    /// Looks at what is named; `option` is the one that names a key file.
    pub(crate) fn or_file(&self, file: Option<&Path>, option: &str) -> anyhow::Result<Unopened> {
        if let (None, Some(module), Some(key)) = (file, &self.pkcs11, &self.token_key) {
            return Ok(Unopened::Token {
                module: module.clone(),
                token: self.token_label.clone(),
                key: key.clone(),
                pin_file: self.pin_file.clone(),
            });
        }
        match (file, &self.sign_with, &self.public_key) {
            (Some(file), None, _) => Ok(Unopened::File(Box::new(PrivateKeyFile::read(file)?))),
            (None, Some(command), Some(public_key)) => Ok(Unopened::Program(Program {
                command: command.clone(),
                public_key: keyfile::read_public(public_key)?,
            })),
            _ => Err(UsageError(format!(
                "say who signs: {option} FILE, or --sign-with COMMAND with --public-key FILE, or --pkcs11 FILE with --token-key LABEL"
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
            Self::Token {
                module,
                token,
                key,
                pin_file,
            } => {
                let pin = match pin_file {
                    Some(path) => secret::from_file(&path, "PIN")?,
                    None => match secret::from_variable(PIN)? {
                        Some(pin) => pin,
                        None => secret::ask(
                            "PIN of the token: ",
                            &format!(
                                "a PIN is needed and there is no terminal to ask on; give --pin-file or set {PIN}"
                            ),
                        )?,
                    },
                };
                Box::new(TokenKey::open(&module, &token, &key, &pin)?)
            }
        })
    }
}
