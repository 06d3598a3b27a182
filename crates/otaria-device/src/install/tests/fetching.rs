//! What a fetch leaves in flash when everything goes well, and when it is dropped.

use otaria_engine::machine::Admitted;
use otaria_wire::Sha256Digest;
use otaria_wire::messages::FailureCode;
use otaria_wire::package::Codec;
use otaria_wire::partitions::DEFAULT_4MB;

use super::bench::{BLOCK, Bench, File, URL};
use crate::install::FetchError;
use crate::storage::test_package::image;

#[test]
fn a_package_is_fetched_by_one_request_and_verifies() {
    let file = File::new(1, 100_000);
    let bench = Bench::new(&file);
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
    assert_eq!(bench.asked(), [None]);
    assert_eq!(
        *bench.seen.admitted.borrow(),
        [Admitted {
            identity: file.identity,
            total: 100_000,
            held: 0
        }]
    );
    let progress = bench.seen.progress.borrow();
    assert_eq!(progress.len(), 7);
    assert!(progress.windows(2).all(|pair| pair[1] == pair[0] + BLOCK));
}

#[test]
fn deflated_blocks_become_the_plain_image() {
    let file = File::with(image(1, 70_000, true), 1, |header| {
        header.codec = Codec::Deflate;
    });
    let bench = Bench::new(&file);
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
}

#[test]
fn co_signatures_are_read_over() {
    let file = File::with(image(1, 40_000, true), 1, |header| {
        header.flags.cosigned = true;
    });
    let bench = Bench::new(&file);
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
}

#[test]
fn images_of_any_length_come_out_whole() {
    for len in [512, 4_096, 16_368, 16_384, 16_400, 32_768, 65_536, 70_016] {
        let file = File::new(1, len);
        let bench = Bench::new(&file);
        assert_eq!(bench.fetch(), Ok(()), "{len}");
        bench.expect_installed(&file);
    }
}

#[test]
fn a_package_that_is_whole_in_flash_is_not_asked_for_again() {
    let file = File::new(1, 50_000);
    let bench = Bench::new(&file);
    bench.fetch().unwrap();
    let ops = bench.ops();
    assert_eq!(bench.fetch(), Ok(()));
    // The journal's account of what was begun, and nothing else.
    assert_eq!((bench.asked().len(), bench.ops()), (1, ops + 1));
    assert_eq!(bench.seen.admitted.borrow().last().unwrap().held, 50_000);
}

#[test]
fn an_image_that_runs_already_is_not_fetched_and_flash_is_not_touched() {
    let file = File::new(1, 50_000);
    let mut bench = Bench::new(&file);
    bench.running_image = Some(Sha256Digest::of(&file.image));
    bench.stores();
    let ops = bench.ops();
    assert_eq!(bench.fetch(), Err(FetchError::AlreadyRunning));
    assert_eq!(bench.ops(), ops);
}

#[test]
fn a_fetch_may_be_dropped_at_any_moment_and_goes_on_where_it_was() {
    let file = File::new(1, 80_000);
    let mut whole = 0;
    for polls in 1.. {
        let bench = Bench::new(&file);
        let ended = bench.fetch_for(URL, polls).is_some();
        let held = bench.seen.progress.borrow().last().copied().unwrap_or(0);
        assert_eq!(bench.fetch(), Ok(()), "dropped after {polls} polls");
        bench.expect_installed(&file);
        let resumed = bench.seen.admitted.borrow().last().unwrap().held;
        assert!(
            resumed >= held.min(80_000),
            "{resumed} of {held} after {polls} polls"
        );
        if ended {
            whole += 1;
        }
        if whole > 2 {
            assert!(polls > 50, "{polls}");
            return;
        }
    }
}

#[test]
fn an_image_that_does_not_read_back_is_refused_and_fetched_anew() {
    let file = File::new(1, 50_000);
    let bench = Bench::new(&file);
    bench.fetch().unwrap();
    let at = DEFAULT_4MB.slots[1].offset as usize + 20_000;
    bench.flash.borrow_mut().bytes_mut()[at] ^= 1;
    assert_eq!(
        bench.verify(&file.identity).unwrap_err(),
        FailureCode::ImageHash
    );
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
    assert_eq!(bench.asked(), [None, Some(file.blocks_at)]);
}

#[test]
fn an_image_without_a_guard_does_not_verify() {
    let file = File::with(image(1, 50_000, false), 1, |_| {});
    let bench = Bench::new(&file);
    bench.fetch().unwrap();
    assert_eq!(
        bench.verify(&file.identity).unwrap_err(),
        FailureCode::GuardMissing
    );
}

#[test]
fn another_package_than_the_one_in_flash_cannot_be_verified() {
    let file = File::new(1, 50_000);
    let bench = Bench::new(&file);
    bench.fetch().unwrap();
    assert_eq!(
        bench.verify(&Sha256Digest([8; 32])).unwrap_err(),
        FailureCode::FlashRead
    );
}

#[test]
fn a_fetch_holds_little_beside_the_buffers() {
    let file = File::new(1, 4_096);
    let bench = Bench::new(&file);
    bench.fetch().unwrap();
    // On a host; what is in it is digests, headers and texts, and so no larger on a chip with 32 bits.
    let size = bench.future_size.get();
    assert!(size <= crate::runtime::OPERATION_RAM, "{size} bytes");
}
