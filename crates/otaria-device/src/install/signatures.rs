//! Whether enough of the keys that count have signed a package: when it comes in, and again from flash before it is selected.
//!
//! A co-signature of a key that is not trusted says nothing, for or against; one of a trusted key has to be good. One that counts
//! is kept in the journal, because a download that is gone on with does not read that part of the package again.

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::Sha256Digest;
use otaria_wire::journal::CoSigned;
use otaria_wire::messages::FailureCode;
use otaria_wire::package::{
    CoSignature, CoSignatures, SignatureError, VerifiedHeader, VerifySignature,
};

use super::{Stores, Words};
use crate::trust::Trust;

/// Checks the co-signatures of a package whose signature is good. Gives one that is to be kept, if there is one that counts.
pub(super) fn check(
    trust: &Trust<'_>,
    words: &Words,
    header: &VerifiedHeader,
    cosignatures: Option<&CoSignatures<'_>>,
) -> Result<Option<CoSigned>, FailureCode> {
    let mut kept = None;
    let mut signers = 1;
    let message = header.signed_message();
    for CoSignature { key_id, signature } in cosignatures.into_iter().flat_map(CoSignatures::iter) {
        match trust.verify(&key_id, &message, signature) {
            // `CoSignatures` has made sure that no key is there twice, nor the signer's own.
            Ok(()) => {
                signers += 1;
                kept.get_or_insert(CoSigned {
                    identity8: header.identity().first8(),
                    key_id,
                    signature: *signature,
                });
            }
            Err(SignatureError::UnknownKey) => {}
            Err(error @ SignatureError::BadSignature) => return Err(words.failed(&error)),
        }
    }
    enough(trust, words, signers).map(|()| kept)
}

/// Checks anew, from what is kept in flash, that a package may be selected under the keys that count now.
///
/// # Errors
/// [`FailureCode::KeyRevoked`] if its signer does not count any more, [`FailureCode::NotEnoughSignatures`], or
/// [`FailureCode::FlashRead`] if its header is not kept.
pub(crate) fn recheck<F: NorFlash>(
    stores: &Stores<'_, F>,
    trust: &Trust<'_>,
    words: &Words,
    identity: &Sha256Digest,
) -> Result<VerifiedHeader, FailureCode> {
    let stored = stores.tables.borrow_mut().load();
    let stored = stored.map_err(|error| words.failed(&error))?;
    let header = stored
        .map(|stored| stored.header)
        .filter(|header| header.identity() == *identity)
        .ok_or_else(|| {
            words.failure(
                FailureCode::FlashRead,
                format_args!("the package's header is not in flash any more"),
            )
        })?;
    let header = match header.verify(trust) {
        Ok(header) => header,
        Err(SignatureError::UnknownKey) => {
            let words_of = format_args!("the package's key does not count any more");
            return Err(words.failure(FailureCode::KeyRevoked, words_of));
        }
        Err(error @ SignatureError::BadSignature) => return Err(words.failed(&error)),
    };
    enough(trust, words, kept_signers(stores, trust, &header)).map(|()| header)
}

/// How many have signed: the signer of `header`, who is good, and the co-signer that is kept if he counts and is needed.
pub(super) fn kept_signers<F: NorFlash>(
    stores: &Stores<'_, F>,
    trust: &Trust<'_>,
    header: &VerifiedHeader,
) -> u8 {
    if trust.threshold() <= 1 {
        return 1;
    }
    let kept = stores.journal.borrow_mut().latest::<CoSigned>(0);
    let kept = kept.ok().flatten().filter(|kept| {
        kept.identity8 == header.identity().first8()
            && kept.key_id != header.key_id
            && trust
                .verify(&kept.key_id, &header.signed_message(), &kept.signature)
                .is_ok()
    });
    1 + u8::from(kept.is_some())
}

fn enough(trust: &Trust<'_>, words: &Words, signers: u8) -> Result<(), FailureCode> {
    let threshold = trust.threshold();
    if signers >= threshold {
        return Ok(());
    }
    Err(words.failure(
        FailureCode::NotEnoughSignatures,
        format_args!("{signers} of {threshold} signatures"),
    ))
}
