//! Key files: `NAME.pem` (private, mode 0600) and `NAME.pub.pem`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::files::{Existing, Readers, write_atomically};
use crate::keys::{DecryptionKey, KeyError, PrivateKey, PublicKey, SigningKey};

/// A key file is a few hundred bytes; anything much longer is some other file.
const MAX_KEY_FILE: u64 = 16 * 1024;

/// Why a key file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system said no.
    #[error("cannot {doing} the key file {}", path.display())]
    Io {
        /// "read" or "write".
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there already.
    #[error("{} exists already and is kept: a lost signing key cannot be made again (choose another --out, or --force)", .0.display())]
    Exists(PathBuf),
    /// Somebody else may read the private key.
    #[error("the private key {} can be read by others (mode {mode:04o}); run `chmod 600 {}`, and make a new key if others had access", path.display(), path.display())]
    ReadableByOthers {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is read, but it holds no usable key.
    #[error("cannot use the key file {}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
}

/// The text of a private key file, not opened yet.
pub struct PrivateKeyFile {
    path: PathBuf,
    text: Zeroizing<String>,
    needs_passphrase: bool,
}

impl PrivateKeyFile {
    /// Reads a private key file. On Unix a file with any permission for group or others is refused, encrypted or
    /// not, as `ssh` does.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let (metadata, text) = read_text(path)?;
        let needs_passphrase =
            SigningKey::needs_passphrase(&text).map_err(|source| unusable(path, source))?;
        // After the look inside: for a public key or a stray file, permissions are not the news.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyFileError::ReadableByOthers {
                    path: path.to_owned(),
                    mode,
                });
            }
        }
        Ok(Self {
            path: path.to_owned(),
            text,
            needs_passphrase,
        })
    }

    /// Whether [`open`](Self::open) needs a passphrase.
    pub fn needs_passphrase(&self) -> bool {
        self.needs_passphrase
    }

    /// Opens a key for signing.
    pub fn open(&self, passphrase: Option<&str>) -> Result<SigningKey, KeyFileError> {
        SigningKey::from_pem(&self.text, passphrase).map_err(|source| unusable(&self.path, source))
    }

    /// Opens a key for decryption.
    pub fn open_decryption(&self, passphrase: Option<&str>) -> Result<DecryptionKey, KeyFileError> {
        DecryptionKey::from_pem(&self.text, passphrase)
            .map_err(|source| unusable(&self.path, source))
    }
}

/// Reads a public key file.
pub fn read_public(path: &Path) -> Result<PublicKey, KeyFileError> {
    let (_, text) = read_text(path)?;
    PublicKey::from_pem(&text).map_err(|source| unusable(path, source))
}

fn unusable(path: &Path, source: KeyError) -> KeyFileError {
    KeyFileError::Key {
        path: path.to_owned(),
        source,
    }
}

fn read_text(path: &Path) -> Result<(fs::Metadata, Zeroizing<String>), KeyFileError> {
    let io_error = |source| KeyFileError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(io_error)?;
    let text = read_small(path, &metadata)
        .map_err(io_error)?
        .ok_or_else(|| unusable(path, KeyError::NotPem))?;
    Ok((metadata, text))
}

/// The two files of a key pair, made from one base name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPairPaths {
    /// `NAME.pem`
    pub private: PathBuf,
    /// `NAME.pub.pem`
    pub public: PathBuf,
}

impl KeyPairPaths {
    /// From `DIR/NAME` or `DIR/NAME.pem`.
    pub fn new(base: &Path) -> Self {
        let base = if base.extension().is_some_and(|e| e == "pem") {
            base.with_extension("")
        } else {
            base.to_owned()
        };
        let with = |suffix: &str| {
            let mut name = base.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        Self {
            private: with(".pem"),
            public: with(".pub.pem"),
        }
    }

    /// Refuses files that exist already, before anybody is asked for a passphrase.
    pub fn check(&self, existing: Existing) -> Result<(), KeyFileError> {
        if existing == Existing::Keep {
            for path in [&self.private, &self.public] {
                if fs::symlink_metadata(path).is_ok() {
                    return Err(KeyFileError::Exists(path.clone()));
                }
            }
        }
        Ok(())
    }

    /// Writes both files; the private one encrypted when there is a passphrase, and always with mode 0600.
    pub fn write(
        &self,
        key: &impl PrivateKey,
        passphrase: Option<&str>,
        existing: Existing,
    ) -> Result<(), KeyFileError> {
        // Both are looked at first, so that a refusal leaves neither file rather than one.
        self.check(existing)?;
        let text = key.to_pem(passphrase).map_err(|source| KeyFileError::Key {
            path: self.private.clone(),
            source,
        })?;
        write(&self.private, Readers::Owner, existing, text.as_bytes())?;
        write(
            &self.public,
            Readers::Umask,
            existing,
            key.public_key().to_pem().as_bytes(),
        )
    }
}

fn write(
    path: &Path,
    readers: Readers,
    existing: Existing,
    bytes: &[u8],
) -> Result<(), KeyFileError> {
    write_atomically(path, readers, existing, |out| out.write_all(bytes)).map_err(|source| {
        if source.kind() == io::ErrorKind::AlreadyExists {
            KeyFileError::Exists(path.to_owned())
        } else {
            KeyFileError::Io {
                doing: "write",
                path: path.to_owned(),
                source,
            }
        }
    })
}

/// The file's text, or `None` when it is too long or not text, and so no key.
fn read_small(path: &Path, metadata: &fs::Metadata) -> io::Result<Option<Zeroizing<String>>> {
    if metadata.len() > MAX_KEY_FILE {
        return Ok(None);
    }
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}
