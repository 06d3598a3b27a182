//! What a row of the table says.

use std::ops::RangeInclusive;

use crate::stage::Stage;
use crate::stage::meddler::Meddling;
use otaria_wire::messages::FailureCode;

pub(crate) const IMAGE_LEN: usize = 100 * 1024;
pub(crate) const BAD_FOR: u32 = 10;

/// What is wrong.
pub(crate) enum How {
    /// What the broker does once it has read CONNECT; nobody else is reached.
    Raw(Vec<u8>, After),
    /// What becomes of the packets between a good broker and the device.
    Meddle(Meddling),
    /// What somebody does who may publish to the device's topics, restart the broker, or pull plugs.
    Do(fn(&Stage)),
}
pub(crate) use How::{Do, Meddle, Raw};

#[derive(Clone, Copy)]
pub(crate) enum After {
    Hang,
    Close,
    Reset,
    /// Goes on sending the same.
    Repeat,
    /// Sends one byte every ten seconds.
    Drip,
}
pub(crate) use After::{Close, Drip, Hang, Repeat, Reset};

/// How far it is after ten minutes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Meanwhile {
    /// The device knows of nothing.
    Shut,
    /// The new image is confirmed.
    Updated,
}
pub(crate) use Meanwhile::{Shut, Updated};

pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) how: How,
    pub(crate) meanwhile: Meanwhile,
    /// Connections in the ten minutes.
    pub(crate) connections: RangeInclusive<usize>,
    /// A message that is refused with this code.
    pub(crate) refused: Option<FailureCode>,
    /// Starts of the device until the update is confirmed.
    pub(crate) starts: usize,
    /// Requests for the package.
    pub(crate) downloads: RangeInclusive<usize>,
    /// Erases of journal, otadata and log, at most.
    pub(crate) other_erases: usize,
}

/// Attempts in ten minutes at a broker that never accepts: the pauses double from a second or two to about three quarters of a
/// minute.
pub(crate) const ATTEMPTS: RangeInclusive<usize> = 6..=25;
/// The first start, and the one into the new image.
pub(crate) const TWO_STARTS: usize = 2;

pub(crate) fn shut(name: &str, bytes: &[u8], after: After) -> Row {
    Row {
        name: name.to_owned(),
        how: Raw(bytes.to_vec(), after),
        meanwhile: Shut,
        connections: ATTEMPTS,
        refused: None,
        starts: TWO_STARTS,
        downloads: 1..=1,
        other_erases: 16,
    }
}

pub(crate) fn meddled(name: &str, meddling: Meddling, connections: RangeInclusive<usize>) -> Row {
    Row {
        name: name.to_owned(),
        how: Meddle(meddling),
        meanwhile: Updated,
        connections,
        refused: None,
        starts: TWO_STARTS,
        downloads: 1..=1,
        other_erases: 16,
    }
}

pub(crate) fn done(name: &str, act: fn(&Stage), connections: RangeInclusive<usize>) -> Row {
    Row {
        name: name.to_owned(),
        how: Do(act),
        meanwhile: Updated,
        connections,
        refused: None,
        starts: TWO_STARTS,
        downloads: 1..=1,
        other_erases: 16,
    }
}

/// A message that is refused, and harms nothing.
pub(crate) fn refused(name: &str, act: fn(&Stage), code: FailureCode) -> Row {
    Row {
        refused: Some(code),
        // The old connection, and another one after the restart.
        ..done(name, act, 1..=2)
    }
}
