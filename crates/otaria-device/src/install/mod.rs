//! From a URL to a verified image in the other slot, in constant memory.
//!
//! ```text
//!            network                                              flash
//!   GET ---> header ---> signature, admission ---.
//!            table, recipients ---> digests -----+--> table store, journal
//!                                                |
//!            block n+1 ---> [stored 16 KiB + 64] |   receiver: reads, hashes
//!                              | hash is right   |
//!                              v decrypt, decode |
//!                           [plain 16 KiB] ------+--> writer: erases ahead, writes, journals block n
//! ```
//!
//! Receiver and writer are two futures of one task (`pipe`). A flash command blocks the processor; meanwhile the network can
//! only fill the TCP window. So the writer gives way after each command, and the receiver, which is polled first, takes what
//! has arrived before the next command begins.
//!
//! What is checked before what, and that nothing is erased before the block table is checked, is DESIGN's order; see [`Fetch`].
//! What is in flash already is neither fetched nor written again: the journal says how many blocks are whole, the table store
//! keeps header and table, and what an encrypted package's content key is opened from.

mod failure;
mod fetch;
mod pipe;
mod receive;
mod sealed;
mod signatures;
mod starts;
mod stores;
#[cfg(test)]
mod tests;
mod times;
mod verify;

use core::fmt;

use otaria_engine::machine::Admitted;
use otaria_wire::messages::Level;
use otaria_wire::package::{MAX_BLOCK_LEN, MAX_STORED_LEN};

use crate::codec::Decoder;

pub(crate) use failure::Reason;
pub use failure::{FetchError, Said, Words};
pub use fetch::Fetch;
pub(crate) use signatures::recheck;
pub use starts::Starts;
pub use stores::{Stores, StoresError};
pub use times::Times;
pub use verify::verify;

/// The buffers of the update path: the largest part of the memory that Otaria needs.
///
/// Made once. [`Workspace::new`] builds it where it is called, which without optimisation means on the stack first: call it
/// early, or let a `StaticCell` do it in place.
pub struct Workspace {
    /// A block as it comes from the network.
    stored: [u8; MAX_STORED_LEN],
    /// A block as it goes to flash. While no block is on its way, the block table.
    plain: [u8; MAX_BLOCK_LEN],
    decoder: Decoder,
}

// The whole update path is asserted in `crate::runtime`; this says where most of it is.
const _: () = assert!(size_of::<Workspace>() <= 44 * 1024);

impl Workspace {
    /// Fresh buffers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stored: [0; MAX_STORED_LEN],
            plain: [0; MAX_BLOCK_LEN],
            decoder: Decoder::new(),
        }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

/// Whoever wants to know how far it is.
pub trait Observer {
    /// The package is admitted; flash is not touched yet.
    fn admitted(&self, admitted: Admitted);

    /// So many plain bytes are in flash.
    fn progress(&self, done: u32);

    /// Something for the log.
    fn note(&self, level: Level, text: fmt::Arguments<'_>);
}

/// Lets everybody else run between two flash commands.
///
/// Once is not enough on the chip: what the radio received during the command is in an interrupt's queue, and the task that
/// carries it to the socket may come after this one in the executor's first round.
async fn let_others_run() {
    embassy_futures::yield_now().await;
    embassy_futures::yield_now().await;
}
