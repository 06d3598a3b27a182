//! Texts and keys that must not be seen.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

use zeroize::Zeroize;

/// A password. It is wiped from memory when dropped, and `Debug` shows only whether it is empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret from now on.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever has to send it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "(none)"
        } else {
            "(secret)"
        })
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A key, or other bytes. They are wiped from memory when dropped, and `Debug` does not show them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes<B: Zeroize = Vec<u8>>(B);

/// A private key: a P-256 scalar, big-endian.
pub type SecretKey = SecretBytes<[u8; 32]>;

impl<B: Zeroize> SecretBytes<B> {
    /// Keeps bytes secret from now on.
    #[must_use]
    pub const fn new(bytes: B) -> Self {
        Self(bytes)
    }

    /// The bytes themselves, for whoever works with them.
    #[must_use]
    pub const fn reveal(&self) -> &B {
        &self.0
    }
}

impl<B: Zeroize> fmt::Debug for SecretBytes<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl<B: Zeroize> Drop for SecretBytes<B> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
