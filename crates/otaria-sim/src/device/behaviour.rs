//! How an image behaves, read from the image itself.

use core::time::Duration;

use otaria_wire::partitions::Region;

use crate::flash::SimFlash;
use crate::images::{BEHAVIOUR_FIELD_LEN, BEHAVIOUR_PREFIX};

/// What an image does once it runs.
///
/// It is written in the image as ASCII, `OTARIA-SIM:<word>;`, so that it is signed, stored, torn and rolled back with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// `good`, and whatever is no word here: works.
    #[default]
    Good,
    /// `crash`: panics right after the boot guard.
    Crash,
    /// `crash-after:<seconds>`: works, and then panics.
    CrashAfter(Duration),
    /// `crash-on:<revision>`: panics right after the boot guard on chips of this revision (major x 100 + minor), works on
    /// all others.
    CrashOn(u16),
    /// `hang`: stops right after the boot guard, and feeds no watchdog.
    Hang,
    /// `unhealthy`: works, but the application says that it does not do what it is for.
    Unhealthy,
    /// `never-healthy`: works, but the application never says that it does what it is for.
    NeverHealthy,
    /// `no-wifi`: works, but never joins the network.
    NoWifi,
}

impl Behaviour {
    /// The behaviour for a word.
    pub fn from_word(word: &str) -> Self {
        match word.split_once(':') {
            None => match word {
                "crash" => Behaviour::Crash,
                "hang" => Behaviour::Hang,
                "unhealthy" => Behaviour::Unhealthy,
                "never-healthy" => Behaviour::NeverHealthy,
                "no-wifi" => Behaviour::NoWifi,
                _ => Behaviour::Good,
            },
            Some(("crash-after", seconds)) => match seconds.parse() {
                Ok(seconds) => Behaviour::CrashAfter(Duration::from_secs(seconds)),
                Err(_) => Behaviour::Good,
            },
            Some(("crash-on", revision)) => match revision.parse() {
                Ok(revision) => Behaviour::CrashOn(revision),
                Err(_) => Behaviour::Good,
            },
            Some(_) => Behaviour::Good,
        }
    }

    /// What that is on a chip of this revision.
    pub fn on(self, revision: u16) -> Self {
        match self {
            Behaviour::CrashOn(bad) if bad == revision => Behaviour::Crash,
            Behaviour::CrashOn(_) => Behaviour::Good,
            other => other,
        }
    }

    /// The behaviour of an image; [`Behaviour::Good`] if it does not say.
    pub fn of_image(image: &[u8]) -> Self {
        let field = image
            .windows(BEHAVIOUR_PREFIX.len())
            .position(|window| window == BEHAVIOUR_PREFIX)
            .map(|at| &image[at..image.len().min(at + BEHAVIOUR_FIELD_LEN)]);
        let word = field.and_then(|field| {
            let word = &field[BEHAVIOUR_PREFIX.len()..];
            let end = word.iter().position(|byte| *byte == b';')?;
            core::str::from_utf8(&word[..end]).ok()
        });
        word.map_or(Behaviour::Good, Behaviour::from_word)
    }

    /// The behaviour of the image of this length in a partition.
    pub fn of_partition(flash: &SimFlash, region: Region, len: u32) -> Self {
        Behaviour::of_image(&flash.peek(region.offset, len.min(region.len) as usize))
    }
}
