//! Otadata states, with and without rollback.

use OtaState::{Aborted, Invalid, New, Other, PendingVerify, Undefined, Valid};
use Sector::{BadCrc, Blank, Good};

use super::*;

/// One row: the two sectors, then for a bootloader without and with rollback what boots and what the sectors hold afterwards.
struct Row {
    sectors: [Sector; 2],
    plain: (u8, [Sector; 2]),
    rollback: (u8, [Sector; 2]),
}

/// A row in which both bootloaders do the same.
fn same(first: Sector, second: Sector, slot: u8, after: [Sector; 2]) -> Row {
    Row {
        sectors: [first, second],
        plain: (slot, after),
        rollback: (slot, after),
    }
}

/// A row in which nothing is written.
fn kept(first: Sector, second: Sector, slot: u8) -> Row {
    same(first, second, slot, [first, second])
}

/// A row in which only the bootloader with rollback writes.
fn differs(first: Sector, second: Sector, plain: u8, rollback: u8, after: [Sector; 2]) -> Row {
    Row {
        sectors: [first, second],
        plain: (plain, [first, second]),
        rollback: (rollback, after),
    }
}

fn rows() -> Vec<Row> {
    let initial = Good(1, Valid);
    vec![
        // The highest sequence number selects slot (seq - 1) mod 2.
        kept(Good(1, Valid), Blank, 0),
        kept(Good(2, Valid), Blank, 1),
        kept(Blank, Good(3, Valid), 0),
        kept(Good(1, Valid), Good(2, Valid), 1),
        kept(Good(3, Valid), Good(2, Valid), 0),
        kept(Good(9, Valid), Good(4, Valid), 0),
        kept(Good(0xFFFF_FFFE, Valid), Good(4, Valid), 1),
        // Equal ones: the first sector. Sequence number 0 wraps: (0 - 1) mod 2 is 1.
        kept(Good(4, Valid), Good(4, Undefined), 1),
        kept(Good(0, Valid), Blank, 1),
        // UNDEFINED and numbers without a meaning are as good as VALID.
        kept(Good(1, Undefined), Blank, 0),
        kept(Good(2, Other(77)), Good(1, Valid), 1),
        // INVALID and ABORTED entries are passed over, whatever their number.
        kept(Good(1, Valid), Good(2, Aborted), 0),
        kept(Good(6, Invalid), Good(5, Valid), 0),
        // So are bad CRCs.
        kept(Good(1, Valid), BadCrc(2, New), 0),
        kept(BadCrc(7, Valid), Good(2, Valid), 1),
        // Nothing but blank and given up: slot 0; entered if no CRC holds.
        same(Blank, Blank, 0, [initial, Blank]),
        kept(Good(2, Aborted), Blank, 0),
        kept(Blank, Good(2, Invalid), 0),
        kept(Good(3, Invalid), Good(2, Aborted), 0),
        same(BadCrc(2, Aborted), Blank, 0, [initial, Blank]),
        same(Blank, BadCrc(4, Invalid), 0, [initial, BadCrc(4, Invalid)]),
        kept(Good(2, Aborted), BadCrc(3, Invalid), 0),
        // A sequence number of all ones is blank, even with its own CRC.
        same(Good(u32::MAX, Valid), Blank, 0, [initial, Blank]),
        // Merely bad CRCs: slot 0 and nothing is written.
        kept(BadCrc(2, Valid), BadCrc(1, Valid), 0),
        kept(BadCrc(2, New), Blank, 0),
        kept(Blank, BadCrc(2, Valid), 0),
        kept(Good(2, Aborted), BadCrc(1, Valid), 0),
        // With rollback, NEW becomes PENDING_VERIFY, only where it is in force.
        differs(
            Good(1, Valid),
            Good(2, New),
            1,
            1,
            [Good(1, Valid), Good(2, PendingVerify)],
        ),
        kept(Good(1, New), Good(2, Valid), 1),
        differs(Good(1, New), Blank, 0, 0, [Good(1, PendingVerify), Blank]),
        // With rollback, PENDING_VERIFY becomes ABORTED before the choice.
        differs(
            Good(1, Valid),
            Good(2, PendingVerify),
            1,
            0,
            [Good(1, Valid), Good(2, Aborted)],
        ),
        differs(
            Good(3, PendingVerify),
            Good(2, Valid),
            0,
            1,
            [Good(3, Aborted), Good(2, Valid)],
        ),
        differs(
            Good(1, PendingVerify),
            Good(2, Valid),
            1,
            1,
            [Good(1, Aborted), Good(2, Valid)],
        ),
        differs(
            Good(1, PendingVerify),
            Good(2, PendingVerify),
            1,
            0,
            [Good(1, Aborted), Good(2, Aborted)],
        ),
        // Both steps in one boot: the trial is given up, and the older entry, still NEW, starts one.
        differs(
            Good(1, New),
            Good(2, PendingVerify),
            1,
            0,
            [Good(1, PendingVerify), Good(2, Aborted)],
        ),
        // ABORTED is written whatever the CRC, and keeps it bad.
        differs(
            BadCrc(2, PendingVerify),
            Good(1, Valid),
            0,
            0,
            [BadCrc(2, Aborted), Good(1, Valid)],
        ),
        Row {
            sectors: [BadCrc(2, PendingVerify), Blank],
            plain: (0, [BadCrc(2, PendingVerify), Blank]),
            rollback: (0, [initial, Blank]),
        },
    ]
}

fn sectors_of(flash: &Ram) -> [[u8; 32]; 2] {
    [OTADATA, OTADATA + 0x1000].map(|at| flash.cells[at as usize..][..32].try_into().unwrap())
}

#[test]
fn every_pair_of_entries_boots_the_slot_that_the_real_bootloader_boots() {
    for Row {
        sectors: [first, second],
        plain,
        rollback,
    } in rows()
    {
        for (with_rollback, (slot, after)) in [(false, plain), (true, rollback)] {
            let what = std::format!("{first:?}, {second:?}, rollback {with_rollback}");
            let mut flash = flash(first, second);
            let booted = boot(&mut flash, with_rollback).unwrap();
            assert_eq!(booted.slot(), Some(slot), "{what}");
            assert_eq!(booted.refused, None, "{what}");
            assert_eq!(sectors_of(&flash), after.map(Sector::bytes), "{what}");
            let changed = after
                .iter()
                .zip([first, second])
                .filter(|(new, old)| **new != *old);
            // The row that ends in the initial entry after an ABORTED one writes that sector twice.
            assert!(flash.commands >= 2 * changed.count() as u32, "{what}");
            assert!(
                flash.commands.is_multiple_of(2),
                "each write is an erase and a write: {what}"
            );
        }
    }
}

#[test]
fn a_second_boot_of_a_confirmed_image_writes_nothing() {
    for rollback in [false, true] {
        let mut flash = flash(Good(1, Valid), Good(2, Valid));
        for _ in 0..3 {
            assert_eq!(boot(&mut flash, rollback).unwrap().slot(), Some(1));
        }
        assert_eq!(flash.commands, 0);
    }
}

#[test]
fn an_image_that_never_confirms_is_booted_once_by_a_bootloader_with_rollback() {
    let mut flash = flash(Good(1, Valid), Good(2, New));
    let slots: Vec<_> = (0..3)
        .map(|_| boot(&mut flash, true).unwrap().slot())
        .collect();
    assert_eq!(slots, [Some(1), Some(0), Some(0)]);
}

#[test]
fn a_bad_image_is_passed_over_and_otadata_stays() {
    for rollback in [false, true] {
        let mut flash = flash(Good(1, Valid), Good(2, Valid));
        flash.cells[0x20100] ^= 1;
        let before = sectors_of(&flash);
        let booted = boot(&mut flash, rollback).unwrap();
        assert_eq!(booted.slot(), Some(0));
        assert_eq!(
            booted.refused,
            Some((App::Slot(1), Refusal::Image(ImageError::Checksum)))
        );
        assert_eq!(sectors_of(&flash), before);
    }
}

#[test]
fn a_bad_image_on_trial_is_marked_pending_before_it_is_refused() {
    let mut flash = flash(Good(1, Valid), Good(2, New));
    flash.cells[0x20100] ^= 1;
    assert_eq!(boot(&mut flash, true).unwrap().slot(), Some(0));
    assert_eq!(sectors_of(&flash)[1], Good(2, PendingVerify).bytes());
    assert_eq!(boot(&mut flash, true).unwrap().refused, None);
    assert_eq!(sectors_of(&flash)[1], Good(2, Aborted).bytes());
}

#[test]
fn with_blank_otadata_the_slot_that_boots_is_entered() {
    let mut flash = flash(Blank, Blank);
    load(&mut flash, 0x10000, &[0xFF; 32]);
    assert_eq!(boot(&mut flash, false).unwrap().slot(), Some(1));
    assert_eq!(sectors_of(&flash), [Good(2, Valid).bytes(), Blank.bytes()]);
}

#[test]
fn power_that_goes_during_a_write_to_otadata_ends_the_boot() {
    // The first command of each pair is the erase, the second the write.
    for (first, second) in [(Blank, Blank), (Good(1, Valid), Good(2, New))] {
        for power in 0..2 {
            let mut flash = flash(first, second);
            flash.power = power;
            assert_eq!(
                boot(&mut flash, true),
                Err(BootError::Flash(Fault::NoPower))
            );
        }
    }
}

#[test]
fn a_cut_between_erase_and_write_loses_the_entry_and_boots_the_old_slot() {
    let mut flash = flash(Good(1, Valid), Good(2, New));
    flash.power = 1;
    assert_eq!(
        boot(&mut flash, true),
        Err(BootError::Flash(Fault::NoPower))
    );
    flash.power = u32::MAX;
    assert_eq!(boot(&mut flash, true).unwrap().slot(), Some(0));
    assert_eq!(
        sectors_of(&flash),
        [Good(1, Valid), Blank].map(Sector::bytes)
    );
}

#[test]
fn a_write_that_fails_with_the_power_on_is_passed_over() {
    let mut flash = flash(Good(1, Valid), Good(2, New));
    flash.worn = true;
    assert_eq!(boot(&mut flash, true).unwrap().slot(), Some(1));
}
