//! Cuts, and servers of all kinds afterwards: what is held is neither fetched nor written again.

use otaria_wire::Sha256Digest;
use otaria_wire::messages::FailureCode;

use super::bench::{BLOCK, Bench, Damage, File, Serving, URL};
use crate::storage::test_package::image;

/// A bench whose first try ended in the middle of block 3.
fn interrupted(file: &File) -> Bench {
    let bench = Bench::new(file);
    bench.serve().cuts.push(file.starts[3] + 1_000);
    assert_eq!(bench.code(), FailureCode::EarlyClose);
    bench
}

#[test]
fn a_cut_download_goes_on_at_the_first_missing_block() {
    let file = File::new(1, 100_000);
    let bench = interrupted(&file);
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
    assert_eq!(bench.asked(), [None, Some(file.starts[3])]);
    let second = bench.serve().asked[1].1.clone();
    assert_eq!(second.as_deref(), Some("\"one\""));
    assert_eq!(bench.seen.admitted.borrow()[1].held, 3 * BLOCK);
}

#[test]
fn many_cuts_cost_no_sector_a_second_erase_but_the_block_in_progress() {
    let file = File::new(1, 200_000);
    let uncut = Bench::new(&file);
    uncut.fetch().unwrap();
    let bench = Bench::new(&file);
    bench.serve().cuts = (1..12).map(|n| file.starts[n] + 5_000).collect();
    for _ in 1..12 {
        assert_eq!(bench.code(), FailureCode::EarlyClose);
    }
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
    let more = bench.sectors_erased() - uncut.sectors_erased();
    assert!(more <= 11 * 8, "{more} sectors more for 11 interruptions");
}

#[test]
fn with_a_server_that_ignores_ranges_the_held_blocks_are_only_read() {
    let file = File::new(1, 100_000);
    let bench = Bench::new(&file);
    bench.serve().serving.ranges = false;
    bench.serve().cuts.push(file.starts[4] + 1_000);
    assert_eq!(bench.code(), FailureCode::EarlyClose);
    let before = bench.sectors_erased();
    let held = bench.slot(4 * BLOCK as usize);
    bench.seen.progress.borrow_mut().clear();
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
    assert_eq!(bench.asked(), [None, Some(file.starts[4])]);
    assert!(held == file.image[..held.len()]);
    // Each block that is only read is a sign of life, and no progress.
    let blocks = [4, 4, 4, 4, 5, 6, 7].map(|block| block * BLOCK);
    assert_eq!(*bench.seen.progress.borrow(), blocks);
    // The blocks behind: at most what their own interruption cost.
    assert!(
        bench.sectors_erased() - before <= 8,
        "{}",
        bench.sectors_erased() - before
    );
}

#[test]
fn a_file_that_changed_is_another_package_and_begins_anew() {
    let (file, other) = (File::new(1, 100_000), File::new(2, 90_000));
    let bench = interrupted(&file);
    bench.serve().serving = Serving {
        etag: Some("\"two\""),
        ..Serving::new(&other)
    };
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&other);
    assert_eq!(
        bench.asked(),
        [None, Some(file.starts[3])],
        "If-Range brought the whole new file at once"
    );
}

#[test]
fn a_file_that_changed_behind_a_server_without_etags_never_mixes_with_the_old_one() {
    let (file, other) = (File::new(1, 100_000), File::new(2, 100_000));
    let bench = Bench::new(&file);
    bench.serve().serving.etag = None;
    bench.serve().cuts.push(file.starts[3] + 1_000);
    assert_eq!(bench.code(), FailureCode::EarlyClose);
    bench.serve().serving = Serving {
        etag: None,
        ..Serving::new(&other)
    };
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&other);
    // The damaged block was asked for once more, then the whole.
    assert_eq!(
        bench.asked(),
        [None, Some(file.starts[3]), Some(file.starts[3]), None]
    );
}

#[test]
fn a_shorter_file_brings_no_range_and_then_the_whole() {
    let (file, other) = (File::new(1, 100_000), File::new(2, 20_000));
    let bench = Bench::new(&file);
    bench.serve().serving.etag = None;
    bench.serve().cuts.push(file.starts[3] + 1_000);
    assert_eq!(bench.code(), FailureCode::EarlyClose);
    bench.serve().serving = Serving {
        etag: None,
        ..Serving::new(&other)
    };
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&other);
}

#[test]
fn the_same_package_from_another_address_is_gone_on_with() {
    let file = File::new(1, 100_000);
    let bench = interrupted(&file);
    let before = bench.sectors_erased();
    assert_eq!(bench.fetch_for("http://mirror/x", usize::MAX), Some(Ok(())));
    bench.expect_installed(&file);
    assert_eq!(
        bench.asked(),
        [None, None],
        "nobody knows whether a range of it is the same file's"
    );
    assert!(bench.sectors_erased() - before <= 8);
}

#[test]
fn another_package_for_another_wish_takes_the_slot_over() {
    let (file, other) = (File::new(1, 100_000), File::new(2, 60_000));
    let bench = interrupted(&file);
    bench.serve().serving = Serving::new(&other);
    assert_eq!(
        bench.fetch_for("http://files/other", usize::MAX),
        Some(Ok(()))
    );
    bench.expect_installed(&other);
    // And back: nothing of the first one counts any more.
    bench.serve().serving = Serving::new(&file);
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
}

#[test]
fn a_damaged_block_is_asked_for_once_more() {
    let file = File::new(1, 100_000);
    let bench = Bench::new(&file);
    bench.serve().damage = Some(Damage {
        at: file.starts[2] + 77,
        times: 1,
    });
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
    assert_eq!(bench.asked(), [None, Some(file.starts[2])]);
}

#[test]
fn a_block_that_stays_damaged_ends_the_try_and_nothing_of_it_is_written() {
    let file = File::new(1, 100_000);
    let bench = Bench::new(&file);
    bench.serve().damage = Some(Damage {
        at: file.starts[2] + 77,
        times: u32::MAX,
    });
    assert_eq!(bench.code(), FailureCode::BlockHash);
    assert_eq!(bench.asked(), [None, Some(file.starts[2])]);
    let slot = bench.slot(3 * BLOCK as usize);
    assert!(slot[..2 * BLOCK as usize] == file.image[..2 * BLOCK as usize]);
    assert!(slot[2 * BLOCK as usize..].iter().all(|byte| *byte == 0xFF));
    // A good file later goes on from there.
    bench.serve().damage = None;
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
}

#[test]
fn a_server_that_says_no_length_is_as_good() {
    let file = File::new(1, 100_000);
    let bench = Bench::new(&file);
    bench.serve().serving.length = false;
    bench.serve().cuts.push(file.starts[1] + 9);
    assert_eq!(bench.code(), FailureCode::EarlyClose);
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
}

#[test]
fn flash_that_fails_ends_the_try_and_the_next_one_goes_on() {
    use crate::storage::test_flash::Cut;
    let file = File::new(1, 80_000);
    let bench = Bench::new(&file);
    bench.stores();
    for op in 1..120 {
        bench.flash.borrow_mut().cut_at(op, Cut::Half);
        let failed = bench.fetch_for(URL, usize::MAX);
        bench.flash.borrow_mut().power_on();
        if failed == Some(Ok(())) {
            break;
        }
    }
    assert_eq!(bench.fetch(), Ok(()));
    bench.expect_installed(&file);
}

#[test]
fn a_package_that_was_co_signed_once_more_is_gone_on_with() {
    let file = File::with(image(1, 100_000, true), 1, |header| {
        header.flags.cosigned = true;
    });
    let again = file.cosigned_again();
    for etag in [None, Some("\"two\"")] {
        let bench = Bench::new(&file);
        bench.serve().serving.etag = etag.and(Some("\"one\""));
        bench.serve().cuts.push(file.starts[3] + 1_000);
        assert_eq!(bench.code(), FailureCode::EarlyClose);
        bench.serve().serving = Serving {
            etag,
            ..Serving::new(&again)
        };
        assert_eq!(bench.fetch(), Ok(()), "{etag:?}");
        bench.expect_installed(&again);
        let held = bench.seen.admitted.borrow();
        assert_eq!(held.last().unwrap().held, 3 * BLOCK);
    }
}

#[test]
fn a_wish_that_declares_another_image_than_the_held_one_is_not_answered_from_flash() {
    let (file, other) = (File::new(1, 100_000), File::new(2, 90_000));
    for complete in [false, true] {
        let mut bench = Bench::new(&file);
        if complete {
            assert_eq!(bench.fetch(), Ok(()));
        } else {
            bench.serve().cuts.push(file.starts[3] + 1_000);
            assert_eq!(bench.code(), FailureCode::EarlyClose);
        }
        bench.declared_image = Some(Sha256Digest::of(&other.image));
        assert_eq!(bench.code(), FailureCode::DeclaredImageDiffers);
        bench.serve().serving = Serving::new(&other);
        assert_eq!(bench.fetch(), Ok(()));
        bench.expect_installed(&other);
    }
}
