//! The set-up access point: its name, its address, its password.
//!
//! # Where the password comes from
//! Nothing that a stranger can see of a device, its name or its MAC address for instance, says anything about the password.
//!
//! | the settings have one | it is | who knows it |
//! |---|---|---|
//! | yes: `otaria provision --setup-password` made it | random, for as long as the settings are there | whoever has the label that it was printed on |
//! | no | random, made by the device for this boot | whoever reads the serial port, and could hand over the network there just as well |
//!
//! It has 60 random bits: whoever records how a telephone joins and tries passwords at leisure needs some hundred thousand years
//! of one graphics card (WPA2 takes 4096 rounds of HMAC for each, IEEE 802.11, J.4.1), so what is entered stays private, too.

use alloc::format;
use alloc::string::String;
use core::net::Ipv4Addr;

use crate::Secret;

/// The device's address in its own network.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 1);

/// Random bytes that a password is made of.
pub const RANDOM_LEN: usize = 12;

/// 32 characters that are not taken for one another.
const ALPHABET: [u8; 32] = *b"abcdefghijkmnpqrstuvwxyz23456789";
/// Characters from one dash to the next.
const GROUP: usize = 4;

/// The access point's name: `otaria-` and the last four letters or digits of the device's id as the chip has it.
#[must_use]
pub fn name(chip_id: &str) -> String {
    let mut letters = chip_id.chars().filter(char::is_ascii_alphanumeric);
    let count = letters.clone().count();
    let last: String = match count.checked_sub(5) {
        Some(skip) => letters.by_ref().skip(skip + 1).collect(),
        None => letters.collect(),
    };
    format!("otaria-{last}")
}

/// A password, such as `k7qm-2xwp-9fhd`. `random` must be of a generator that nobody can predict.
#[must_use]
pub fn password(random: &[u8; RANDOM_LEN]) -> Secret {
    let mut text = String::with_capacity(RANDOM_LEN + RANDOM_LEN / GROUP);
    for (index, byte) in random.iter().enumerate() {
        if index > 0 && index.is_multiple_of(GROUP) {
            text.push('-');
        }
        let letter = ALPHABET.get(usize::from(byte % 32));
        text.extend(letter.map(|letter| char::from(*letter)));
    }
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WifiNetwork;

    #[test]
    fn names_end_with_what_is_on_the_chip() {
        assert_eq!(name("esp32c3-34b4721a9c00"), "otaria-9c00");
        assert_eq!(name("virt-12-34"), "otaria-1234");
        assert_eq!(name("ab"), "otaria-ab");
        assert_eq!(name("abcd"), "otaria-abcd");
        assert_eq!(name("abcde"), "otaria-bcde");
        assert_eq!(name(""), "otaria-");
    }

    #[test]
    fn passwords_are_of_sixty_random_bits_and_wpa2_takes_them() {
        let bytes: [u8; 256] = core::array::from_fn(|byte| byte as u8);
        let mut counts = std::collections::HashMap::new();
        for byte in bytes {
            let password = password(&[byte; RANDOM_LEN]);
            assert!(WifiNetwork::new("otaria-9c00", &password).is_ok());
            assert_eq!(password.len(), 14);
            *counts.entry(password.as_bytes()[0]).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 32);
        assert!(counts.values().all(|count| *count == 8));
        let password = password(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]);
        assert_eq!(password.reveal(), "abcd-efgh-ijk9");
    }
}
