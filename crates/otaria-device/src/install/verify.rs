//! The whole image, read back from flash, before it may be selected.

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::Sha256Digest;
use otaria_wire::messages::FailureCode;

use super::{Stores, Times, Words, let_others_run, recheck};
use crate::board::Clock;
use crate::storage::slot;
use crate::storage::verify::{ImageVerifier, VerifiedImage, VerifyError};
use crate::trust::Trust;

/// Reads the image of package `identity` back from the slot that does not run: against the signed digest, as an image that the
/// bootloader would start, and against the header's description. The header is the one in the table store, and its signatures are
/// checked again, by the keys that count now.
///
/// Takes one sector at a time and may be dropped at any time.
///
/// # Errors
/// What is wrong. If it is the digest, the download's progress is forgotten, so that the next try fetches all blocks again.
pub async fn verify<F: NorFlash, K: Clock>(
    stores: &Stores<'_, F>,
    trust: &Trust<'_>,
    clock: &K,
    times: &Times,
    words: &Words,
    identity: &Sha256Digest,
) -> Result<VerifiedImage, FailureCode> {
    let header = recheck(stores, trust, words, identity)?;
    let mut target = stores.target().map_err(|error| words.failed(&error))?;
    let mut verifier = ImageVerifier::new(&header);
    loop {
        let began = clock.now();
        let step = verifier.step(&mut target);
        let_others_run().await;
        times.add_verify(clock.now() - began);
        match step {
            Ok(None) => {}
            Ok(Some(image)) => return Ok(image),
            Err(error) => {
                if error == VerifyError::Hash {
                    slot::discard(&mut stores.journal.borrow_mut())
                        .map_err(|error| words.failed(&error))?;
                }
                return Err(words.failed(&error));
            }
        }
    }
}
