use std::vec::Vec;

use otaria_wire::journal::Confirmed;
use otaria_wire::keys::KeySet;
use otaria_wire::package::CoSignature;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};

use super::*;
use crate::storage::region::Region;
use crate::storage::test_flash::{Cut, TestFlash};
use crate::trust::PUBLIC_KEY_LEN;
use otaria_wire::Sha256Digest;

const SECTORS: usize = 4;
const ROOT: u8 = 1;
const STRANGER: u8 = 9;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn point(seed: u8) -> [u8; PUBLIC_KEY_LEN] {
    let point = key(seed).verifying_key().to_sec1_point(false);
    point.as_bytes().try_into().unwrap()
}

fn id(seed: u8) -> KeyId {
    KeyId::of_public_point(&point(seed))
}

fn sign(seed: u8, message: &[u8]) -> [u8; SIGNATURE_LEN] {
    let signature: Signature = key(seed)
        .sign_prehash(&Sha256Digest::of(message).0)
        .unwrap();
    signature.to_bytes().into()
}

fn product(name: &str) -> FixedText<32> {
    FixedText::try_from(name).unwrap()
}

fn set(epoch: u32, keys: &[u8]) -> KeySet {
    KeySet {
        epoch,
        threshold: 1,
        product: product("pump"),
        keys: keys.iter().map(|seed| point(*seed)).collect(),
    }
}

fn signed_by(root: u8, set: &KeySet) -> Vec<u8> {
    let signature = sign(root, &set.signed_message());
    let by = CoSignature {
        key_id: id(root),
        signature: &signature,
    };
    set.sign(&[by]).unwrap().to_vec()
}

fn record(epoch: u32, keys: &[u8]) -> Vec<u8> {
    signed_by(ROOT, &set(epoch, keys))
}

fn roots() -> KeyRing {
    KeyRing::of(&[point(ROOT)]).unwrap()
}

/// What a boot of a device of product "pump" does: the journal and, behind it, the keys.
fn boot<T>(
    flash: &RefCell<TestFlash>,
    roots: &KeyRing,
    act: impl FnOnce(&Trust<'_>, &mut Journal<Region<'_, TestFlash>>) -> T,
) -> T {
    let len = (SECTORS * 4096) as u32;
    let mut journal = Journal::mount(Region::new(flash, 0, len).unwrap()).unwrap();
    let trust = Trust::new(roots, product("pump"));
    let _ = trust.load(&mut journal);
    act(&trust, &mut journal)
}

fn receive<R: NorFlash>(
    trust: &Trust<'_>,
    journal: &mut Journal<R>,
    bytes: &[u8],
) -> Result<bool, KeysError> {
    match trust.examine(journal, bytes)? {
        Some(record) => trust.adopt(journal, &record).map(|()| true),
        None => Ok(false),
    }
}

fn flash() -> RefCell<TestFlash> {
    RefCell::new(TestFlash::new(SECTORS))
}

/// Whether a package of this key would be taken.
fn takes(trust: &Trust<'_>, seed: u8) -> bool {
    trust
        .verify(&id(seed), b"package", &sign(seed, b"package"))
        .is_ok()
}

#[test]
fn the_root_signs_packages_until_a_record_names_others() {
    boot(&flash(), &roots(), |trust, journal| {
        assert!(takes(trust, ROOT) && !takes(trust, 2));
        assert_eq!((trust.epoch(), trust.threshold()), (0, 1));
        assert_eq!(receive(trust, journal, &record(1, &[2, 3])), Ok(true));
        assert!(takes(trust, 2) && takes(trust, 3) && !takes(trust, ROOT));
        assert_eq!(trust.report().ids, [id(2), id(3)]);
    });
}

#[test]
fn a_higher_epoch_revokes_and_a_lower_one_brings_nothing_back() {
    boot(&flash(), &roots(), |trust, journal| {
        receive(trust, journal, &record(1, &[2])).unwrap();
        receive(trust, journal, &record(5, &[3])).unwrap();
        assert!(takes(trust, 3) && !takes(trust, 2));
        let held = 5;
        for (epoch, keys) in [(1, [2]), (4, [2]), (5, [2])] {
            assert_eq!(
                receive(trust, journal, &record(epoch, &keys)),
                Err(KeysError::Epoch {
                    offered: epoch,
                    held
                })
            );
        }
        assert!(takes(trust, 3) && !takes(trust, 2));
    });
}

#[test]
fn the_record_in_force_comes_again_and_changes_nothing() {
    let flash = flash();
    boot(&flash, &roots(), |trust, journal| {
        receive(trust, journal, &record(1, &[2])).unwrap();
    });
    let before = flash.borrow().ops;
    boot(&flash, &roots(), |trust, journal| {
        assert_eq!(receive(trust, journal, &record(1, &[2])), Ok(false));
    });
    assert_eq!(flash.borrow().ops, before);
}

#[test]
fn a_record_is_refused_by_its_name() {
    boot(&flash(), &roots(), |trust, journal| {
        let other_product = KeySet {
            product: product("valve"),
            ..set(1, &[2])
        };
        let mut forged = record(1, &[2]);
        let last = forged.len() - 1;
        forged[last] ^= 1;
        let off_curve = KeySet {
            keys: [[4; PUBLIC_KEY_LEN]].into_iter().collect(),
            ..set(1, &[])
        };
        let rows = [
            (b"{}".to_vec(), FailureCode::KeysMalformed),
            (signed_by(ROOT, &off_curve), FailureCode::KeysMalformed),
            (signed_by(ROOT, &other_product), FailureCode::KeysProduct),
            (
                signed_by(STRANGER, &set(1, &[2])),
                FailureCode::KeysUnknownRoot,
            ),
            (forged, FailureCode::KeysBadSignature),
        ];
        for (bytes, code) in rows {
            let error = receive(trust, journal, &bytes).unwrap_err();
            assert_eq!(error.code(), code);
            assert_eq!(trust.epoch(), 0);
        }
        assert!(takes(trust, ROOT));
    });
}

#[test]
fn a_release_key_makes_no_record_and_what_it_signed_is_none() {
    boot(&flash(), &roots(), |trust, journal| {
        receive(trust, journal, &record(1, &[2])).unwrap();
        assert_eq!(
            receive(trust, journal, &signed_by(2, &set(2, &[3]))),
            Err(KeysError::UnknownRoot)
        );
        // The same bytes, signed as if they were a package: without the domain of key records.
        let next = set(2, &[3]);
        let message = next.signed_message();
        let signature = sign(ROOT, &message[otaria_wire::keys::SIGNATURE_DOMAIN.len()..]);
        let by = CoSignature {
            key_id: id(ROOT),
            signature: &signature,
        };
        assert_eq!(
            receive(trust, journal, &next.sign(&[by]).unwrap()),
            Err(KeysError::BadSignature)
        );
    });
}

#[test]
fn new_root_keys_in_the_settings_do_away_with_the_old_record() {
    let flash = flash();
    boot(&flash, &roots(), |trust, journal| {
        receive(trust, journal, &record(7, &[2])).unwrap();
    });
    let new_roots = KeyRing::of(&[point(8)]).unwrap();
    boot(&flash, &new_roots, |trust, journal| {
        assert!(takes(trust, 8) && !takes(trust, 2));
        // The new root counts its epochs from the start.
        let first = signed_by(8, &set(1, &[3]));
        assert_eq!(receive(trust, journal, &first), Ok(true));
    });
    boot(&flash, &new_roots, |trust, _| assert!(takes(trust, 3)));
}

#[test]
fn a_damaged_record_lets_nobody_sign_until_a_root_key_has_spoken_again() {
    let good = record(7, &[2]);
    let mut bad_signature = good.clone();
    *bad_signature.last_mut().unwrap() ^= 1;
    for damaged in [bad_signature, good[..40].to_vec(), Vec::new()] {
        let flash = flash();
        boot(&flash, &roots(), |trust, journal| {
            receive(trust, journal, &record(6, &[4])).unwrap();
            let record = heapless::Vec::from_slice(&damaged).unwrap();
            journal.append(0, &KeyEpoch { record }).unwrap();
        });
        boot(&flash, &roots(), |trust, journal| {
            let loaded = trust.load(journal).unwrap_err();
            assert!(loaded.is_damage(), "{loaded:?}");
            assert!([ROOT, 2, 4].iter().all(|seed| !takes(trust, *seed)));
            assert_eq!(trust.report().ids, []);
            assert_eq!(receive(trust, journal, &good), Ok(true));
        });
        boot(&flash, &roots(), |trust, _| {
            assert!(takes(trust, 2) && !takes(trust, ROOT) && !takes(trust, 4));
        });
    }
}

#[test]
fn a_cut_anywhere_leaves_the_old_keys_or_the_new_ones() {
    let first = flash();
    boot(&first, &roots(), |trust, journal| {
        receive(trust, journal, &record(1, &[2])).unwrap();
        // So that the next record needs a new sector, too.
        for sequence in 0..24 {
            let confirmed = Confirmed {
                slot: 0,
                image_sha256: Sha256Digest::ZERO,
                identity: Sha256Digest::ZERO,
                sequence,
                security_version: 0,
            };
            journal.append(0, &confirmed).unwrap();
        }
    });
    for cut in [Cut::Before, Cut::Half, Cut::After] {
        for op in 0.. {
            let flash = RefCell::new(first.borrow().clone());
            let done = boot(&flash, &roots(), |trust, journal| {
                flash.borrow_mut().cut_at(op, cut);
                receive(trust, journal, &record(2, &[3])).is_ok()
            });
            flash.borrow_mut().power_on();
            boot(&flash, &roots(), |trust, journal| {
                assert_ne!(takes(trust, 2), takes(trust, 3), "{op} {cut:?}");
                assert!(!done || takes(trust, 3), "{op} {cut:?}");
                // The broker sends again what was not acknowledged.
                let again = receive(trust, journal, &record(2, &[3]));
                assert!(again.is_ok(), "{op} {cut:?}: {again:?}");
                assert!(takes(trust, 3) && !takes(trust, 2), "{op} {cut:?}");
            });
            if done {
                assert!(op > 0, "nothing was written");
                break;
            }
        }
    }
}
