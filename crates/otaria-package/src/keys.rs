//! Keys on P-256, for signing (ECDSA) and for encryption (HPKE), as PKCS#8 and SPKI PEM that OpenSSL and every language's
//! crypto library read.
//!
//! A device knows a key by its *key id*, the first 8 bytes of SHA-256 of the uncompressed public point, and is given
//! that point (65 bytes, SEC1) in its settings.

use std::fmt;

use otaria_wire::Sha256Digest;
use otaria_wire::package::{KeyId, SIGNATURE_LEN, SignatureError, VerifySignature};
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::elliptic_curve::Generate as _;
use pkcs8::der::pem;
use pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    LineEnding,
};
use zeroize::Zeroizing;

const LABEL_PLAIN: &str = "PRIVATE KEY";
const LABEL_ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const LABEL_PUBLIC: &str = "PUBLIC KEY";

/// Length of an uncompressed P-256 point: 0x04, x, y.
pub const PUBLIC_POINT_LEN: usize = 65;

/// Why a key could not be read or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not PEM at all.
    #[error("not a key in PEM form (a line \"-----BEGIN …-----\" was expected)")]
    NotPem,
    /// A public key was given where the private one is needed.
    #[error(
        "this is a public key; signing needs the private key made with it (`otaria keygen` writes NAME.pem beside NAME.pub.pem)"
    )]
    IsPublic,
    /// A private key was given where the public one is enough.
    #[error(
        "this is a private key; give the public one (NAME.pub.pem), and keep the private key where it signs"
    )]
    IsPrivate,
    /// OpenSSL's old container for EC keys.
    #[error(
        "this is an EC key in its old form (\"EC PRIVATE KEY\"); convert it with `openssl pkcs8 -topk8 -in OLD.pem -out NEW.pem`"
    )]
    OldForm,
    /// Some other PEM object.
    #[error("this PEM file holds a \"{0}\", not a key")]
    OtherLabel(String),
    /// PEM, but of another algorithm or curve, or damaged.
    #[error("not a P-256 key, or damaged; make one with `otaria keygen`")]
    NotP256,
    /// The key is encrypted and no passphrase was given.
    #[error("the key is encrypted and needs its passphrase")]
    PassphraseNeeded,
    /// The passphrase does not open the key.
    #[error("the passphrase does not open this key")]
    WrongPassphrase,
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// The operating system's random number generator failed.
    #[error("the operating system gave no random numbers")]
    NoRandomness,
}

/// A private key that signs packages. It is wiped from memory when dropped and never printed.
#[derive(Clone)]
pub struct SigningKey(p256::ecdsa::SigningKey);

impl SigningKey {
    /// Makes a new key from the operating system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let key = p256::ecdsa::SigningKey::try_generate().map_err(|_| KeyError::NoRandomness)?;
        Ok(Self(key))
    }

    /// Reads a private key from PKCS#8 PEM. `passphrase` is only looked at when the key is encrypted.
    pub fn from_pem(text: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        Ok(Self(secret_from_pem(text, passphrase)?.into()))
    }

    /// The private scalar, as a device's settings hold it.
    pub fn to_scalar(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// Whether a PEM text holds a private key, and whether that needs a passphrase.
    pub fn needs_passphrase(text: &str) -> Result<bool, KeyError> {
        Ok(private_label(text)? == Protection::Passphrase)
    }

    /// Signs a message: r || s. Deterministic (RFC 6979), so the same package is the same bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: p256::ecdsa::Signature = self.0.sign(message);
        signature.to_bytes().into()
    }

    /// The same of a message whose SHA-256 is known.
    pub fn sign_digest(&self, digest: &Sha256Digest) -> [u8; 64] {
        let signature: p256::ecdsa::Signature = self
            .0
            .sign_prehash(&digest.0)
            .expect("a SHA-256 digest is long enough for P-256");
        signature.to_bytes().into()
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }
}

impl PrivateKey for SigningKey {
    fn secret(&self) -> p256::SecretKey {
        p256::SecretKey::from(&self.0)
    }
}

/// A private key that encrypted packages are opened with: one of a device, or one that all devices of a product have. It is wiped
/// from memory when dropped and never printed.
#[derive(Clone)]
pub struct DecryptionKey(p256::SecretKey);

impl DecryptionKey {
    /// Makes a new key from the operating system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let key = p256::SecretKey::try_generate().map_err(|_| KeyError::NoRandomness)?;
        Ok(Self(key))
    }

    /// Reads a private key from PKCS#8 PEM. `passphrase` is only looked at when the key is encrypted.
    pub fn from_pem(text: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        secret_from_pem(text, passphrase).map(Self)
    }

    /// What packages name it by.
    pub fn key_id(&self) -> KeyId {
        self.public_key().key_id()
    }

    /// The scalar, big-endian, as a device's settings hold it.
    pub fn to_scalar(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }
}

impl PrivateKey for DecryptionKey {
    fn secret(&self) -> p256::SecretKey {
        self.0.clone()
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecryptionKey({})", self.key_id())
    }
}

/// A private key of either use: what its files need.
pub trait PrivateKey {
    /// The key itself.
    fn secret(&self) -> p256::SecretKey;

    /// Writes the key as PKCS#8 PEM: encrypted (PBES2: scrypt with N 2^14, AES-256-CBC, the strongest that OpenSSL
    /// opens with its defaults) when there is a passphrase.
    fn to_pem(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>, KeyError> {
        let key = self.secret();
        match passphrase {
            Some("") => Err(KeyError::EmptyPassphrase),
            Some(passphrase) => key
                .to_pkcs8_encrypted_pem(passphrase, LineEnding::LF)
                .map_err(|_| KeyError::NoRandomness),
            None => key
                .to_pkcs8_pem(LineEnding::LF)
                .map_err(|_| KeyError::NotP256),
        }
    }

    /// The public half.
    fn public_key(&self) -> PublicKey {
        PublicKey(self.secret().public_key().into())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public_key().key_id())
    }
}

/// A public key: checks packages, or is what they are encrypted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(p256::ecdsa::VerifyingKey);

impl PublicKey {
    /// Reads a public key from SPKI PEM.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        match label(text)? {
            LABEL_PUBLIC => {}
            LABEL_PLAIN | LABEL_ENCRYPTED | "EC PRIVATE KEY" => return Err(KeyError::IsPrivate),
            other => return Err(KeyError::OtherLabel(other.to_owned())),
        }
        p256::ecdsa::VerifyingKey::from_public_key_pem(text.trim())
            .map(Self)
            .map_err(|_| KeyError::NotP256)
    }

    /// Reads a public key from its SEC1 form, as it stands in a device's settings.
    pub fn from_sec1(point: &[u8]) -> Result<Self, KeyError> {
        p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
            .map(Self)
            .map_err(|_| KeyError::NotP256)
    }

    /// Writes the key as SPKI PEM.
    pub fn to_pem(&self) -> String {
        // The encoding has a fixed shape; there is no input that could make it fail.
        self.0
            .to_public_key_pem(LineEnding::LF)
            .expect("a P-256 point always encodes")
    }

    /// The uncompressed point, as a device's settings hold it.
    pub fn to_sec1(&self) -> [u8; PUBLIC_POINT_LEN] {
        let mut bytes = [0; PUBLIC_POINT_LEN];
        bytes.copy_from_slice(self.0.to_sec1_point(false).as_bytes());
        bytes
    }

    /// [`to_sec1`](Self::to_sec1) in lower-case hex.
    pub fn to_sec1_hex(&self) -> String {
        hex(&self.to_sec1())
    }

    /// What a package's header names its signer by.
    pub fn key_id(&self) -> KeyId {
        KeyId::of_public_point(&self.to_sec1())
    }

    /// Whether `signature` (r || s) over `message` is this key's.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        p256::ecdsa::Signature::from_slice(signature)
            .is_ok_and(|s| self.0.verify(message, &s).is_ok())
    }
}

/// The keys that a reader trusts.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<PublicKey>);

impl Keyring {
    /// A keyring with these keys.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self(keys.into_iter().collect())
    }

    /// The ids of all keys.
    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.0.iter().map(PublicKey::key_id)
    }
}

impl VerifySignature for Keyring {
    fn verify(
        &self,
        key_id: &KeyId,
        message: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SignatureError> {
        let key = self
            .0
            .iter()
            .find(|key| key.key_id() == *key_id)
            .ok_or(SignatureError::UnknownKey)?;
        if key.verify(message, signature) {
            Ok(())
        } else {
            Err(SignatureError::BadSignature)
        }
    }
}

fn secret_from_pem(text: &str, passphrase: Option<&str>) -> Result<p256::SecretKey, KeyError> {
    match private_label(text)? {
        Protection::None => {
            p256::SecretKey::from_pkcs8_pem(text.trim()).map_err(|_| KeyError::NotP256)
        }
        Protection::Passphrase => {
            let passphrase = passphrase.ok_or(KeyError::PassphraseNeeded)?;
            p256::SecretKey::from_pkcs8_encrypted_pem(text.trim(), passphrase).map_err(|error| {
                match error {
                    // A wrong passphrase shows as bad padding, or as bytes that are no key.
                    pkcs8::Error::EncryptedPrivateKey(_) | pkcs8::Error::Asn1(_) => {
                        KeyError::WrongPassphrase
                    }
                    _ => KeyError::NotP256,
                }
            })
        }
    }
}

#[derive(PartialEq)]
enum Protection {
    None,
    Passphrase,
}

fn label(text: &str) -> Result<&str, KeyError> {
    pem::decode_label(text.trim().as_bytes()).map_err(|_| KeyError::NotPem)
}

fn private_label(text: &str) -> Result<Protection, KeyError> {
    match label(text)? {
        LABEL_PLAIN => Ok(Protection::None),
        LABEL_ENCRYPTED => Ok(Protection::Passphrase),
        LABEL_PUBLIC => Err(KeyError::IsPublic),
        "EC PRIVATE KEY" | "EC PARAMETERS" => Err(KeyError::OldForm),
        other => Err(KeyError::OtherLabel(other.to_owned())),
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
