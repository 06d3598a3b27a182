//! What a row of the table says.

use crate::stage::Stage;
use crate::stage::bad_web::{Act, Answer, Presence};
use otaria_wire::messages::FailureCode;

/// Seven blocks of 16 KiB, the last of 4 KiB.
pub(crate) const IMAGE_LEN: usize = 100 * 1024;
/// Bytes that the device has read of the package when it has held the first block, and a bit of the second.
pub(crate) const CUT: usize = 20_000;
/// What filling the slot takes: one block erase for each 64 KiB that are begun.
pub(crate) const ERASES: usize = 2;
/// Erases that an interruption may add.
pub(crate) const MORE_ERASES: usize = 8;

/// What is wrong.
pub(crate) enum How {
    /// The web server's answers.
    Answer(Answer),
    /// Its answers to HEAD, while GET is answered as it should be.
    Head(Presence),
    /// What it does before it has read anything.
    Greet(fn() -> Vec<Act>),
    /// Names, links, hosts.
    Net(fn(&Stage)),
    /// The address.
    Url(&'static str),
}
pub(crate) use How::{Answer as Web, Greet, Head, Net, Url};

/// How the job ends.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// It is confirmed all the same.
    Confirmed,
    /// The file was replaced by another good package, and that one is confirmed.
    ConfirmedOther,
    /// Reported as refused or failed, and not tried again.
    Final(FailureCode),
    /// Reported and tried again: eight times soon, then hourly.
    KeepsTrying(FailureCode),
    /// Reported once; the old image runs, and waits.
    Waits(FailureCode),
}
pub(crate) use End::{Confirmed, ConfirmedOther, Final, KeepsTrying, Waits};

/// What happens to the slot.
#[derive(Clone, Copy)]
pub(crate) enum Slot {
    /// Nothing.
    Untouched,
    /// No byte is written twice. Each interruption may add some erases.
    Filled { interruptions: usize },
    /// Blocks of one package are written, and then those of another.
    FilledTwice,
    /// As often as the device tries, one block is written.
    BlockATry,
}
pub(crate) use Slot::{BlockATry, Filled, FilledTwice, Untouched};

pub(crate) const ONCE: Slot = Filled { interruptions: 0 };

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) how: How,
    pub(crate) end: End,
    /// GETs that the server has seen until the end; connections, if it has not read any.
    pub(crate) requests: usize,
    pub(crate) slot: Slot,
}

pub(crate) const fn row(
    name: &'static str,
    how: How,
    end: End,
    requests: usize,
    slot: Slot,
) -> Row {
    Row {
        name,
        how,
        end,
        requests,
        slot,
    }
}

/// Eight quick retries after the first try.
pub(crate) const TRIES: usize = 9;
