//! Certificates that OpenSSL made (`testdata`), whole and damaged. Each reason for which one is refused has its case in
//! `otaria-sim/tests/tls`.

mod compared;

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const ROOT: &[u8] = include_bytes!("testdata/root.der");
const SERVER: &[u8] = include_bytes!("testdata/server.der");
const NOW: ValidityTime = ValidityTime {
    seconds: 1_800_000_000,
    is_known: true,
};

/// The list in a Certificate message.
fn list(certificates: &[&[u8]]) -> Vec<u8> {
    let mut list = Vec::new();
    for certificate in certificates {
        list.extend_from_slice(&(certificate.len() as u32).to_be_bytes()[1..]);
        list.extend_from_slice(certificate);
        list.extend_from_slice(&[0, 0]);
    }
    list
}

fn judge(list: &[u8], anchors: &[u8]) -> Result<(), TlsError> {
    let demands = Demands {
        anchors,
        host: "broker.example",
        time: NOW,
    };
    check(&mut Reader::new(list), &demands).map(|_| ())
}

#[test]
fn a_certificate_is_trusted_only_as_it_was_signed() {
    assert_eq!(judge(&list(&[SERVER]), ROOT), Ok(()));
    for at in 0..SERVER.len() {
        assert!(judge(&list(&[&SERVER[..at]]), ROOT).is_err(), "cut at {at}");
        for bit in [0x01, 0x80] {
            let mut changed = SERVER.to_vec();
            changed[at] ^= bit;
            assert!(judge(&list(&[&changed]), ROOT).is_err(), "{bit:#x} at {at}");
        }
    }
    let longer = [SERVER, &[0]].concat();
    assert!(judge(&list(&[&longer]), ROOT).is_err());
}

#[test]
fn an_authority_that_is_damaged_in_the_settings_stands_for_nobody_and_hides_no_other() {
    let cut = &ROOT[..ROOT.len() - 1];
    assert_eq!(
        judge(&list(&[SERVER]), cut),
        Err(TlsError::UnknownAuthority)
    );
    let mut changed = ROOT.to_vec();
    // The version.
    changed[12] ^= 1;
    assert_eq!(
        judge(&list(&[SERVER]), &changed),
        Err(TlsError::UnknownAuthority)
    );
    let both = [&changed[..], ROOT].concat();
    assert_eq!(judge(&list(&[SERVER]), &both), Ok(()));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_trust(
        mut bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..600),
            Just(list(&[SERVER, ROOT])),
            Just(list(&[ROOT, SERVER])),
        ],
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        anchors in prop_oneof![Just(ROOT.to_vec()), proptest::collection::vec(any::<u8>(), 0..300)],
    ) {
        // The first certificate alone decides: changes of what follows may go unnoticed.
        let own = 3 + SERVER.len();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let untouched = bytes.starts_with(&list(&[SERVER])[..own]);
        prop_assert!(judge(&bytes, &anchors).is_err() || untouched);
    }
}
