//! Encrypted packages: who can look inside, and that nothing in them can be moved elsewhere. What is sealed wrongly is in
//! `otaria_package::testing`.

mod common;

use std::collections::HashSet;

use common::{key, options, recipient, stranger};
use otaria_package::encrypt::EncryptError;
use otaria_package::keys::{DecryptionKey, Keyring, PrivateKey as _, PublicKey};
use otaria_package::pack::{CodecChoice, Options, PackError, Package, pack};
use otaria_package::read::{Contents, Part, ReadError, Trust, read, read_into};
use otaria_sim::images::Stamp;
use otaria_wire::messages::FailureCode;
use otaria_wire::package::{HEADER_LEN, RECIPIENT_LEN, SIGNED_LEN};

fn image() -> Vec<u8> {
    Stamp::new("1.1.0").size(12_288).image()
}

fn try_pack(to: &[PublicKey], codec: CodecChoice) -> Result<Package, PackError> {
    let options = Options {
        codec,
        block_len: 4096,
        encrypt_to: to.to_vec(),
        ..options()
    };
    pack(&image(), &key(), &options)
}

fn sealed_to(to: &[PublicKey]) -> Package {
    try_pack(to, CodecChoice::Deflate).unwrap()
}

fn opened(bytes: &[u8], keys: &[DecryptionKey]) -> Result<(Contents, Vec<u8>), ReadError> {
    let mut image = Vec::new();
    let keyring = Keyring::new([key().public_key()]);
    let contents = read_into(bytes, Trust::Keys(&keyring), keys, |piece| {
        image.extend_from_slice(piece);
        Ok(())
    })?;
    Ok((contents, image))
}

#[test]
fn each_recipient_alone_gets_the_image() {
    let device = DecryptionKey::generate().unwrap();
    let to = [recipient().public_key(), device.public_key()];
    for codec in [CodecChoice::Stored, CodecChoice::Deflate] {
        let package = try_pack(&to, codec).unwrap();
        assert_eq!(package.header.recipients, 2);
        for key in [recipient(), device.clone()] {
            let (contents, found) = opened(&package.bytes, &[key]).unwrap();
            assert!(found == image());
            assert_eq!(contents.recipients, to.clone().map(|key| key.key_id()));
            assert_eq!(contents.image.unwrap().desc.version, package.header.version);
            assert_eq!(contents.stored_len, package.stored_len());
        }
    }
}

#[test]
fn without_a_key_all_is_checked_but_what_is_inside() {
    let package = sealed_to(&[recipient().public_key()]);
    let (contents, nothing) = opened(&package.bytes, &[]).unwrap();
    assert!(contents.signature_verified && contents.image.is_none() && nothing.is_empty());
    assert_eq!(contents.recipients, [recipient().key_id()]);

    let error = opened(&package.bytes, &[DecryptionKey::generate().unwrap()]).unwrap_err();
    assert_eq!(error.code(), FailureCode::NotARecipient);
    assert!(
        error
            .to_string()
            .contains(&recipient().key_id().to_string())
    );
}

#[test]
fn every_flipped_byte_is_noticed_without_the_key() {
    let package = sealed_to(&[recipient().public_key(), stranger().public_key()]);
    let recipients_at = HEADER_LEN + 3 * 36;
    let blocks_at = recipients_at + 2 * RECIPIENT_LEN;
    let all = (0..blocks_at).chain((blocks_at..package.bytes.len()).step_by(23));
    for at in all {
        let mut bytes = package.bytes.clone();
        bytes[at] ^= 0x04;
        let code = opened(&bytes, &[])
            .expect_err("a flipped byte was taken")
            .code();
        match at {
            0..8 => assert_eq!(code, FailureCode::NotAPackage, "byte {at}"),
            8..SIGNED_LEN => assert!((100..200).contains(&code.number()), "byte {at}: {code}"),
            SIGNED_LEN..HEADER_LEN => assert_eq!(code, FailureCode::BadSignature, "byte {at}"),
            _ if at < recipients_at => assert_eq!(code, FailureCode::TableHash, "byte {at}"),
            _ if at < blocks_at => assert_eq!(code, FailureCode::RecipientsHash, "byte {at}"),
            _ => assert_eq!(code, FailureCode::BlockHash, "byte {at}"),
        }
    }
    let cut = &package.bytes[..recipients_at + 10];
    let error = read(cut, Trust::Anyone).unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Truncated {
                part: Part::Recipients,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn nothing_of_two_packages_of_one_image_is_alike() {
    let to = [recipient().public_key()];
    let [one, two] = [sealed_to(&to), sealed_to(&to)];
    let behind_table = |package: &Package| {
        let at = HEADER_LEN + 3 * 36 + 8;
        package.bytes[at..].to_vec()
    };
    let pieces =
        |bytes: &[u8]| -> HashSet<Vec<u8>> { bytes.chunks_exact(16).map(<[u8]>::to_vec).collect() };
    assert!(pieces(&behind_table(&one)).is_disjoint(&pieces(&behind_table(&two))));
}

#[test]
fn keys_that_make_no_sense_as_recipients_are_refused() {
    let device = recipient().public_key();
    let refused = |to: &[PublicKey]| match try_pack(to, CodecChoice::Auto) {
        Err(PackError::Encrypt(error)) => error,
        other => panic!("{other:?}"),
    };
    let id = device.key_id();
    assert_eq!(
        refused(&[device.clone(), device.clone()]),
        EncryptError::Twice(id)
    );
    let signer = key().public_key();
    let id = signer.key_id();
    assert_eq!(refused(&[device.clone(), signer]), EncryptError::Signer(id));
    assert_eq!(refused(&vec![device; 1025]), EncryptError::TooMany(1025));
}
