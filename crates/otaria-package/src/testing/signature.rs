//! Signatures that are not the trusted key's over these bytes.

use otaria_wire::messages::FailureCode;

use super::forge::{Forge, offset};
use super::{BadPackage, Material, Rows, Stage};
use crate::keys::SigningKey;

/// Order of the P-256 group (SEC 2, section 2.4.2).
const GROUP_ORDER: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
];

pub(super) fn bad(material: &Material<'_>, good: &Forge, all: &mut Vec<BadPackage>) {
    let mut rows = Rows {
        all,
        stage: Stage::BeforeErase,
        only_device: false,
    };
    let signature = material.key.sign(&good.message());
    let (r, s) = signature.split_at(32);
    let joined = |r: &[u8], s: &[u8]| {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(r);
        bytes[32..].copy_from_slice(s);
        good.with_signature(bytes)
    };
    let code = FailureCode::BadSignature;
    rows.add("a signature of zeros", code, good.with_signature([0; 64]));
    rows.add("a signature of ones", code, good.with_signature([0xFF; 64]));
    rows.add("a signature with r = 0", code, joined(&[0; 32], s));
    rows.add("a signature with s = 0", code, joined(r, &[0; 32]));
    rows.add(
        "a signature with r = the group's order",
        code,
        joined(&GROUP_ORDER, s),
    );
    rows.add(
        "a signature with s = the group's order",
        code,
        joined(r, &GROUP_ORDER),
    );
    rows.add("r and s swapped", code, joined(s, r));
    rows.add(
        "the last bit of the signature flipped",
        code,
        joined(r, &flip_last(s)),
    );

    let newer = good.clone().head(offset::SEQUENCE, &u64::MAX.to_le_bytes());
    rows.add(
        "the sequence raised after signing",
        code,
        newer.with_signature(signature),
    );
    let other = material.key.sign(&newer.message());
    rows.add(
        "the signature of another package",
        code,
        good.with_signature(other),
    );
    rows.add(
        "a signature over the header alone",
        code,
        good.with_signature(material.key.sign(&good.head)),
    );
    let table = good
        .clone()
        .table(good.table.iter().map(|byte| !byte).collect());
    rows.add(
        "another table under the old signature",
        code,
        table.with_signature(signature),
    );
    let forged = good.with_signature(material.stranger.sign(&good.message()));
    rows.add("a stranger's signature under our key's name", code, forged);

    let strangers_id = material.stranger.public_key().key_id();
    let brings_its_key = good
        .clone()
        .head(offset::KEY_ID, &strangers_id.0)
        .sign(material.stranger);
    rows.add(
        "a package of a stranger",
        FailureCode::UnknownKey,
        brings_its_key,
    );
    rows.add(
        "a key id of zeros",
        FailureCode::UnknownKey,
        good.clone()
            .head(offset::KEY_ID, &[0; 8])
            .sign(material.key),
    );
    let near = flip_last(&good.head[offset::KEY_ID..offset::KEY_ID + 8]);
    rows.add(
        "a key id that is almost ours",
        FailureCode::UnknownKey,
        good.clone().head(offset::KEY_ID, &near).sign(material.key),
    );
    cosigned(material, good, &mut rows);
}

/// Co-signatures whose keys are not distinct: one key must not count twice.
fn cosigned(material: &Material<'_>, good: &Forge, rows: &mut Rows<'_>) {
    let good = good.clone().head(offset::FLAGS, &[1, 0]);
    let with = |signers: &[&SigningKey]| {
        let mut forge = good.clone();
        forge.middle = vec![signers.len() as u8];
        for key in signers {
            forge.middle.extend(key.public_key().key_id().0);
            forge.middle.extend(key.sign(&good.message()));
        }
        forge.sign(material.key)
    };
    let code = FailureCode::BadSignature;
    rows.add("co-signatures announced, and none there", code, with(&[]));
    rows.add("a signer that co-signs itself", code, with(&[material.key]));
    rows.add(
        "a co-signer that signs twice",
        code,
        with(&[material.stranger, material.stranger]),
    );
}

fn flip_last(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes
}
