//! Records of which the journal keeps the last few, a key each: quarantined packages, commands that were taken.

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::journal::{CommandSeen, Quarantine, Record};

use crate::storage::journal::{Journal, JournalError};

/// A record that says when it came.
pub(super) trait Recent: Record {
    /// Rises with each record: the lowest one is the next to be replaced.
    fn order(&self) -> u32;
}

impl Recent for Quarantine {
    fn order(&self) -> u32 {
        self.order
    }
}

impl Recent for CommandSeen {
    fn order(&self) -> u32 {
        self.order
    }
}

/// Where a new record goes.
pub(super) struct Place {
    /// The key: one that is free, or else the oldest record's.
    pub(super) key: u16,
    /// The order that makes it the newest.
    pub(super) order: u32,
}

/// Where among the keys below `keys` a new record goes; `None` if one that `is_it` is there already.
pub(super) fn place<T: Recent, R: NorFlash>(
    journal: &mut Journal<R>,
    keys: u16,
    is_it: impl Fn(&T) -> bool,
) -> Result<Option<Place>, JournalError> {
    let mut oldest = (0, u32::MAX);
    let mut newest = 0;
    for key in 0..keys {
        match journal.latest::<T>(key) {
            Ok(Some(known)) if is_it(&known) => return Ok(None),
            Ok(Some(known)) => {
                newest = newest.max(known.order());
                if known.order() < oldest.1 {
                    oldest = (key, known.order());
                }
            }
            // One that flash has lost is the next to be replaced, or none would ever be written again.
            Ok(None) | Err(JournalError::Undecodable { .. }) if oldest.1 > 0 => oldest = (key, 0),
            Ok(None) | Err(JournalError::Undecodable { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(Place {
        key: oldest.0,
        order: newest.saturating_add(1),
    }))
}
