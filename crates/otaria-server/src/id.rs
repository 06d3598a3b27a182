//! Names that the server makes up.

/// Crockford's alphabet: no letter that reads like a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Ten random characters (50 bits). Not a secret.
pub(crate) fn random() -> String {
    // Without the system's random numbers nothing here can go on safely.
    let bits = getrandom::u64().expect("the system's random number generator works");
    (0..10)
        .map(|i| char::from(ALPHABET[(bits >> (5 * i)) as usize % ALPHABET.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_differ_and_fit_topics_and_addresses() {
        let (a, b) = (super::random(), super::random());
        assert_ne!(a, b);
        assert!(otaria_wire::topics::DeviceId::new(&a).is_ok());
    }
}
