use core::cell::RefCell;
use std::vec::Vec;

use otaria_wire::FixedText;
use otaria_wire::guard::MARKER;
use otaria_wire::package::Header;

use super::super::region::Region;
use super::super::test_flash::TestFlash;
use super::super::test_package::{TestPackage, image};
use super::*;

/// Verifies a package of which `slot` lies in the slot, and says how many steps it took.
fn verify(package: &TestPackage, slot: &[u8]) -> (usize, Result<VerifiedImage, VerifyError>) {
    let mut flash = TestFlash::new(8);
    flash.bytes_mut()[..slot.len()].copy_from_slice(slot);
    let flash = RefCell::new(flash);
    let region = Region::new(&flash, 0, 8 * SECTOR_LEN).unwrap();
    let mut target = TargetSlot::new(Slot::Ota1, Some(Slot::Ota0), region).unwrap();
    let mut verifier = ImageVerifier::new(&package.header);
    for step in 1.. {
        match verifier.step(&mut target) {
            Ok(None) => assert_eq!(verifier.done(), step as u32 * SECTOR_LEN),
            Ok(Some(image)) => return (step, Ok(image)),
            Err(error) => return (step, Err(error)),
        }
    }
    unreachable!()
}

fn error_of(image: Vec<u8>, change: impl FnOnce(&mut Header)) -> Option<VerifyError> {
    let package = TestPackage::with(image, 1, 4096, change);
    verify(&package, &package.image).1.err()
}

#[test]
fn a_good_image_is_verified_a_sector_a_step() {
    let package = TestPackage::new(1, 3 * 4096 + 512, 4096);
    let (steps, verified) = verify(&package, &package.image);
    let verified = verified.unwrap();
    assert_eq!(steps, 4);
    assert_eq!(verified.slot(), Slot::Ota1);
    assert_eq!(verified.image_sha256(), package.header.image_sha256);
    assert_eq!(verified.identity(), package.header.identity());
    assert_eq!((verified.sequence(), verified.security_version()), (1, 7));
}

#[test]
fn any_wrong_byte_is_a_wrong_hash() {
    let package = TestPackage::new(1, 2 * 4096 + 16, 4096);
    for at in (0..package.image.len())
        .step_by(97)
        .chain([package.image.len() - 1])
    {
        let mut slot = package.image.clone();
        slot[at] ^= 4;
        assert_eq!(
            verify(&package, &slot).1,
            Err(VerifyError::Hash),
            "byte {at}"
        );
    }
}

#[test]
fn a_signed_image_that_the_bootloader_would_refuse_is_refused() {
    let mut bad = image(1, 4096, true);
    bad[0] = 0;
    assert_eq!(
        error_of(bad, |_| {}),
        Some(VerifyError::Image(ImageError::Magic))
    );
    let mut long = image(1, 4096, true);
    long.extend([0; 16]);
    assert_eq!(
        error_of(long, |_| {}),
        Some(VerifyError::Image(ImageError::TrailingBytes))
    );
    let mut short = image(1, 4096, true);
    short.truncate(4096 - 16);
    assert_eq!(
        error_of(short, |_| {}),
        Some(VerifyError::Image(ImageError::Truncated))
    );
}

#[test]
fn a_header_that_describes_another_image_is_refused() {
    let text = |text| FixedText::try_from(text).unwrap();
    let changes: [&dyn Fn(&mut Header); 4] = [
        &|header| header.chip_id = 9,
        &|header| header.product = text("pumps"),
        &|header| header.version = text("1.2.4"),
        &|header| header.security_version = 8,
    ];
    for change in changes {
        assert_eq!(
            error_of(image(1, 4096, true), change),
            Some(VerifyError::Description)
        );
    }
}

#[test]
fn an_image_without_a_guard_is_refused_unless_the_header_says_so() {
    assert_eq!(
        error_of(image(1, 4096, false), |_| {}),
        Some(VerifyError::NoGuard)
    );
    assert_eq!(
        error_of(image(1, 4096, false), |header| header.flags.unguarded =
            true),
        None
    );
}

#[test]
fn a_guard_of_another_journal_version_is_no_guard() {
    let good = image(1, 4096, true);
    let at = good.windows(16).position(|bytes| bytes == MARKER).unwrap();
    let mut other = good.clone();
    other[at + 12] ^= 2;
    // The checksum stands before the hash.
    let checksum = other.len() - 33;
    other[checksum] ^= 2;
    let hash = Sha256Digest::of(&other[..other.len() - 32]);
    other[checksum + 1..].copy_from_slice(&hash.0);
    assert_eq!(error_of(other, |_| {}), Some(VerifyError::NoGuard));
}
