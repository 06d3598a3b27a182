//! Commands: each is carried out once, after the broker knows that it need not send it again.
//!
//! | step | a cut after it |
//! |---|---|
//! | 1 the command's id goes to the journal | the broker sends it again; it counts as a repeat: not carried out |
//! | 2 PUBACK | the command is lost; a person sees that nothing happened, and sends another |
//! | 3 carried out | |
//!
//! So a command is carried out at most once, which is what "reboot" needs. The journal keeps the ids of the last
//! [`COMMAND_KEYS`] commands.

use embedded_storage::nor_flash::NorFlash;
use heapless::Deque;
use otaria_wire::Sha256Digest;
use otaria_wire::journal::{COMMAND_KEYS, CommandSeen};
use otaria_wire::messages::{Command, CommandKind};

use super::recent;
use crate::storage::journal::{Journal, JournalError};

/// Commands that wait for their acknowledgement or for being carried out.
const PENDING: usize = 4;
/// Lines of the log that are sent if the command does not say how many.
const LINES: u16 = 50;
/// Most lines that are sent at a time.
const LINES_MAX: u16 = 500;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Cancel,
    Reboot,
    Logs(u16),
    Identify,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It will be carried out.
    Fresh,
    /// It was taken before.
    Repeat,
    /// Too many commands wait.
    Full,
}

#[derive(Debug)]
pub(super) struct Commands {
    pending: Deque<Pending, PENDING>,
}

#[derive(Debug)]
struct Pending {
    id_hash8: [u8; 8],
    order: Order,
    acknowledged: bool,
}

impl Commands {
    pub(super) const fn new() -> Self {
        Self {
            pending: Deque::new(),
        }
    }

    /// Takes a command and puts its id into the journal.
    pub(super) fn take<R: NorFlash>(
        &mut self,
        journal: &mut Journal<R>,
        command: &Command,
    ) -> Result<Taken, JournalError> {
        let id_hash8 = Sha256Digest::of(command.id.as_bytes()).first8();
        // The acknowledgement of an earlier delivery got lost, and this is the repeat: it is still to be carried out.
        if self
            .pending
            .iter()
            .any(|pending| pending.id_hash8 == id_hash8)
        {
            return Ok(Taken::Fresh);
        }
        let order = match command.cmd {
            CommandKind::Cancel => Order::Cancel,
            CommandKind::Reboot => Order::Reboot,
            CommandKind::Logs => Order::Logs(command.lines.unwrap_or(LINES).min(LINES_MAX)),
            CommandKind::Identify => Order::Identify,
            CommandKind::Unknown => return Ok(Taken::Repeat),
        };
        let is_it = |seen: &CommandSeen| seen.id_hash8 == id_hash8;
        let Some(place) = recent::place(journal, COMMAND_KEYS, is_it)? else {
            return Ok(Taken::Repeat);
        };
        if self.pending.is_full() {
            return Ok(Taken::Full);
        }
        journal.append(
            place.key,
            &CommandSeen {
                id_hash8,
                order: place.order,
            },
        )?;
        let _ = self.pending.push_back(Pending {
            id_hash8,
            order,
            acknowledged: false,
        });
        Ok(Taken::Fresh)
    }

    /// The broker knows about all commands that were taken.
    pub(super) fn acknowledged(&mut self) {
        for pending in &mut self.pending {
            pending.acknowledged = true;
        }
    }

    /// The next command to be carried out.
    pub(super) fn due(&mut self) -> Option<Order> {
        if !self.pending.front()?.acknowledged {
            return None;
        }
        self.pending.pop_front().map(|pending| pending.order)
    }
}
