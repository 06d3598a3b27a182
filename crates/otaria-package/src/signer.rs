//! Who signs: a key in a file, or a program that has one, such as a client of an HSM or of a key service.

use std::io::{self, Write as _};
use std::process::{Command, ExitStatus, Stdio};

use otaria_wire::Sha256Digest;
use otaria_wire::package::SIGNATURE_LEN;

use crate::keys::{PublicKey, SigningKey};

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The program cannot be run.
    #[error("the program that signs, `{program}`, cannot be run")]
    Program {
        /// The command line.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The program says that it failed.
    #[error("the program that signs, `{program}`, ended with {status}; what it said is above")]
    Failed {
        /// The command line.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// What the program wrote is no signature.
    #[error(
        "the program that signs, `{program}`, wrote {len} bytes: expected are r || s in 64 bytes, or in 128 hexadecimal digits \
         (what OpenSSL and key services give is DER, which has to be converted)"
    )]
    Form {
        /// The command line.
        program: String,
        /// How much it wrote.
        len: usize,
    },
    /// A token, or the library that leads to it, fails.
    #[error("the PKCS#11 token does not sign: {0}")]
    Token(String),
    /// The signature is not by the key that was named.
    #[error(
        "the signature is not that of key {key}; is the public key the one of the key that signed?"
    )]
    OtherKey {
        /// Whose it should have been.
        key: otaria_wire::package::KeyId,
    },
}

/// Somebody who signs with ECDSA P-256 and SHA-256.
pub trait Signer {
    /// Whose signatures these are.
    fn public_key(&self) -> PublicKey;

    /// Signs a message's SHA-256: r || s. Nobody has checked yet that it is good; see [`sign`].
    ///
    /// # Errors
    /// See [`SignError`].
    fn sign_digest(&self, digest: &Sha256Digest) -> Result<[u8; SIGNATURE_LEN], SignError>;
}

/// Signs a message, and checks the signature before anybody relies on it.
///
/// # Errors
/// See [`SignError`].
pub fn sign(signer: &dyn Signer, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], SignError> {
    let signature = signer.sign_digest(&Sha256Digest::of(message))?;
    let key = signer.public_key();
    if key.verify(message, &signature) {
        Ok(signature)
    } else {
        Err(SignError::OtherKey { key: key.key_id() })
    }
}

impl Signer for SigningKey {
    fn public_key(&self) -> PublicKey {
        SigningKey::public_key(self)
    }

    fn sign_digest(&self, digest: &Sha256Digest) -> Result<[u8; SIGNATURE_LEN], SignError> {
        Ok(SigningKey::sign_digest(self, digest))
    }
}

/// A program that signs. It is run by the shell, gets the digest's 32 bytes on standard input (and their 64 hexadecimal digits in
/// `OTARIA_DIGEST`), and writes r || s to standard output: 64 bytes, or 128 hexadecimal digits.
#[derive(Clone, Debug)]
pub struct Program {
    /// The command line.
    pub command: String,
    /// The public half of its key.
    pub public_key: PublicKey,
}

impl Signer for Program {
    fn public_key(&self) -> PublicKey {
        self.public_key.clone()
    }

    fn sign_digest(&self, digest: &Sha256Digest) -> Result<[u8; SIGNATURE_LEN], SignError> {
        let failed = |source| SignError::Program {
            program: self.command.clone(),
            source,
        };
        let mut child = shell(&self.command)
            .env("OTARIA_DIGEST", digest.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(&digest.0) {
                // It goes by the variable, and does not read.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                written => written.map_err(failed)?,
            }
        }
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            return Err(SignError::Failed {
                program: self.command.clone(),
                status: output.status,
            });
        }
        signature_of(&output.stdout).ok_or_else(|| SignError::Form {
            program: self.command.clone(),
            len: output.stdout.len(),
        })
    }
}

fn shell(line: &str) -> Command {
    let (program, option) = if cfg!(windows) {
        ("cmd", "/C")
    } else {
        ("sh", "-c")
    };
    let mut command = Command::new(program);
    command.args([option, line]);
    command
}

/// r || s as a program may write it.
fn signature_of(output: &[u8]) -> Option<[u8; SIGNATURE_LEN]> {
    if let Ok(raw) = output.try_into() {
        return Some(raw);
    }
    let (pairs, rest) = output.trim_ascii().as_chunks::<2>();
    let mut signature = [0; SIGNATURE_LEN];
    if pairs.len() != SIGNATURE_LEN || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in signature.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(signature)
}
