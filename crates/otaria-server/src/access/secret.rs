//! Secrets that the server makes, and how it keeps them: as hashes.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::trust::hex;

/// 256 random bits in lower-case hexadecimal. With so many, a plain hash is enough to keep them.
pub(crate) fn random() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).expect("the system's random number generator works");
    Zeroizing::new(hex(&*bytes))
}

/// A password that a person can copy: 100 bits in five groups.
pub(crate) fn password() -> Zeroizing<String> {
    let text = Zeroizing::new(crate::id::random() + &crate::id::random());
    let groups: Vec<&str> = (0..5)
        .map(|group| &text[group * 4..group * 4 + 4])
        .collect();
    Zeroizing::new(groups.join("-"))
}

/// What is stored of a secret.
pub(crate) fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Compares without telling by its duration where they differ.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    #[test]
    fn secrets_are_equal_only_as_a_whole() {
        assert!(super::equal(b"abc", b"abc"));
        for other in [&b""[..], b"ab", b"abd", b"abcd"] {
            assert!(!super::equal(b"abc", other));
        }
        let password = super::password();
        assert_eq!(password.len(), 24, "{password:?}");
        assert_ne!(*password, *super::password());
    }
}
