//! The board itself: the self-test of `firmware/board/virt/examples/selftest.rs`.

use otaria_qemu::flash::FlashImage;
use otaria_qemu::machine::{Board, Cable, Machine};

use crate::lab::{LIMIT, built, image_of};

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn flash_time_and_every_kind_of_reset_are_as_on_a_chip() {
    for rollback in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let flash = dir.path().join("flash.bin");
        let image = FlashImage::new(&image_of("selftest.elf"), &[]).unwrap();
        image.write_to(&flash).unwrap();
        let board = Board {
            loader: built("loader.elf"),
            flash,
            rollback,
            icount: true,
            cable: Cable::User,
        };
        let machine = Machine::start(&board, dir.path()).unwrap();
        machine.expect(0, "selftest: passed", LIMIT).unwrap();
        let console = machine.kill();
        let boots = console.iter().filter(|line| line.starts_with("loader:"));
        assert_eq!(boots.clone().count(), 5, "{console:#?}");
        let with_rollback = boots.filter(|line| line.ends_with("rollback")).count();
        assert_eq!(with_rollback, if rollback { 5 } else { 0 }, "{console:#?}");
    }
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_blank_flash_is_told_on_the_console_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let flash = dir.path().join("flash.bin");
    let file = std::fs::File::create(&flash).unwrap();
    file.set_len(otaria_qemu::flash::BANK_LEN).unwrap();
    let board = Board {
        loader: built("loader.elf"),
        flash,
        rollback: false,
        icount: true,
        cable: Cable::User,
    };
    let machine = Machine::start(&board, dir.path()).unwrap();
    let complaint = "loader: there is no partition table";
    let (first, _) = machine.expect(0, complaint, LIMIT).unwrap();
    machine.expect(first + 1, complaint, LIMIT).unwrap();
}
