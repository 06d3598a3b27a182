//! Each command once, and not before the broker knows.

use core::cell::RefCell;

use otaria_wire::journal::{CELL_LEN, CommandSeen, Record};
use otaria_wire::messages::{Command, CommandKind};

use crate::runtime::commands::{Commands, Order, Taken};
use crate::storage::SECTOR_LEN;
use crate::storage::journal::Journal;
use crate::storage::region::Region;
use crate::storage::test_flash::TestFlash;

fn command(id: &str, cmd: CommandKind) -> Command {
    Command {
        id: id.try_into().unwrap(),
        cmd,
        lines: None,
    }
}

fn journal() -> Journal<TestFlash> {
    Journal::mount(TestFlash::new(8)).unwrap()
}

#[test]
fn a_command_waits_for_its_acknowledgement() {
    let (mut journal, mut commands) = (journal(), Commands::new());
    assert_eq!(
        commands.take(&mut journal, &command("1", CommandKind::Reboot)),
        Ok(Taken::Fresh)
    );
    assert_eq!(commands.due(), None);
    commands.acknowledged();
    assert_eq!(commands.due(), Some(Order::Reboot));
    assert_eq!(commands.due(), None);
}

#[test]
fn a_repeat_is_ignored_also_after_a_restart() {
    let (mut journal, mut commands) = (journal(), Commands::new());
    commands
        .take(&mut journal, &command("1", CommandKind::Identify))
        .unwrap();
    commands.acknowledged();
    commands.due();
    assert_eq!(
        commands.take(&mut journal, &command("1", CommandKind::Identify)),
        Ok(Taken::Repeat)
    );
    let mut commands = Commands::new();
    assert_eq!(
        commands.take(&mut journal, &command("1", CommandKind::Reboot)),
        Ok(Taken::Repeat)
    );
    commands.acknowledged();
    assert_eq!(commands.due(), None);
}

#[test]
fn a_command_whose_acknowledgement_got_lost_is_carried_out_once() {
    let (mut journal, mut commands) = (journal(), Commands::new());
    commands
        .take(&mut journal, &command("1", CommandKind::Cancel))
        .unwrap();
    assert_eq!(
        commands.take(&mut journal, &command("1", CommandKind::Cancel)),
        Ok(Taken::Fresh)
    );
    commands.acknowledged();
    assert_eq!(commands.due(), Some(Order::Cancel));
    assert_eq!(commands.due(), None);
}

#[test]
fn the_journal_remembers_the_last_eight_commands() {
    let (mut journal, mut commands) = (journal(), Commands::new());
    let ids = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    for id in ids {
        assert_eq!(
            commands.take(&mut journal, &command(id, CommandKind::Identify)),
            Ok(Taken::Fresh)
        );
        commands.acknowledged();
        assert_eq!(commands.due(), Some(Order::Identify));
    }
    for (index, id) in ids.into_iter().enumerate().rev() {
        let expected = if index < 2 {
            Taken::Fresh
        } else {
            Taken::Repeat
        };
        if expected == Taken::Repeat {
            assert_eq!(
                commands.take(&mut journal, &command(id, CommandKind::Identify)),
                Ok(expected),
                "{id}"
            );
        }
    }
}

#[test]
fn more_commands_than_can_wait_are_dropped_and_not_taken_for_repeats_of_themselves() {
    let (mut journal, mut commands) = (journal(), Commands::new());
    for id in ["1", "2", "3", "4"] {
        assert_eq!(
            commands.take(&mut journal, &command(id, CommandKind::Identify)),
            Ok(Taken::Fresh)
        );
    }
    assert_eq!(
        commands.take(&mut journal, &command("5", CommandKind::Identify)),
        Ok(Taken::Full)
    );
    commands.acknowledged();
    while commands.due().is_some() {}
    assert_eq!(
        commands.take(&mut journal, &command("5", CommandKind::Identify)),
        Ok(Taken::Fresh)
    );
}

#[test]
fn the_number_of_log_lines_has_a_default_and_a_limit() {
    let (mut journal, mut commands) = (journal(), Commands::new());
    for (id, lines, order) in [("1", None, 50), ("2", Some(3), 3), ("3", Some(60_000), 500)] {
        let command = Command {
            lines,
            ..command(id, CommandKind::Logs)
        };
        commands.take(&mut journal, &command).unwrap();
        commands.acknowledged();
        assert_eq!(commands.due(), Some(Order::Logs(order)));
    }
}

#[test]
fn a_record_that_flash_has_lost_is_replaced_and_keeps_no_command_away() {
    let flash = RefCell::new(TestFlash::new(8));
    let region = Region::new(&flash, 0, 8 * SECTOR_LEN).unwrap();
    let mut journal = Journal::mount(region).unwrap();
    let mut commands = Commands::new();
    let mut take = |id| commands.take(&mut journal, &command(id, CommandKind::Identify));
    assert_eq!(take("1"), Ok(Taken::Fresh));
    for cell in flash.borrow_mut().bytes_mut().chunks_mut(CELL_LEN) {
        if cell[0] == CommandSeen::KIND {
            cell[8..].fill(0);
        }
    }
    assert_eq!(take("2"), Ok(Taken::Fresh));
    assert_eq!(take("3"), Ok(Taken::Fresh));
}
