//! The marker by which an image says that it starts with Otaria's boot guard.
//!
//! ```text
//!  0  12  "OTARIA-GUARD"
//! 12   1  version of the journal that the guard reads and writes
//! 13   1  version of this marker = 1
//! 14   2  0
//! ```
//!
//! The guard keeps [`MARKER`] in a `static` that it really reads, so that the
//! marker is in the image exactly when the guard is. Code that looks for the
//! marker must not contain it: [`crate::esp_image`] searches for a masked form.

use crate::journal::JOURNAL_VERSION;

/// Length of a marker in bytes.
pub const MARKER_LEN: usize = 16;

/// Version of the marker's own layout.
pub const MARKER_FORMAT: u8 = 1;

/// The marker of this version's guard.
pub const MARKER: [u8; MARKER_LEN] = [
    b'O',
    b'T',
    b'A',
    b'R',
    b'I',
    b'A',
    b'-',
    b'G',
    b'U',
    b'A',
    b'R',
    b'D',
    JOURNAL_VERSION,
    MARKER_FORMAT,
    0,
    0,
];

/// What a marker says about the guard of its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardMarker {
    /// Version of the journal that the guard reads and writes.
    pub journal_version: u8,
}

/// Looks for a marker in a stream of bytes.
#[derive(Clone, Debug, Default)]
pub struct MarkerSearch {
    matched: u8,
    version: u8,
    found: Option<GuardMarker>,
}

/// "OTARIA-GUARD" with every bit flipped.
const MASKED: [u8; 12] = [
    !b'O', !b'T', !b'A', !b'R', !b'I', !b'A', !b'-', !b'G', !b'U', !b'A', !b'R', !b'D',
];

impl MarkerSearch {
    /// A search that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if self.found.is_some() {
            return;
        }
        for byte in bytes {
            self.step(*byte);
        }
    }

    /// The first marker so far.
    #[must_use]
    pub fn found(&self) -> Option<GuardMarker> {
        self.found
    }

    fn step(&mut self, byte: u8) {
        // 'O' stands nowhere else in the marker (no journal will reach version
        // 79), so after a mismatch only this byte can start another one.
        let starts = byte == b'O';
        let fits = match self.matched {
            position @ 0..=11 => MASKED.get(usize::from(position)) == Some(&!byte),
            12 => !starts,
            13 => byte == MARKER_FORMAT,
            _ => byte == 0,
        };
        if !fits {
            self.matched = u8::from(starts);
            return;
        }
        if self.matched == 12 {
            self.version = byte;
        }
        self.matched = self.matched.saturating_add(1);
        if usize::from(self.matched) == MARKER_LEN {
            self.matched = 0;
            self.found.get_or_insert(GuardMarker {
                journal_version: self.version,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marker_bytes_are_fixed() {
        assert_eq!(&MARKER, b"OTARIA-GUARD\x01\x01\x00\x00");
    }

    fn search(bytes: &[u8]) -> Option<GuardMarker> {
        let mut search = MarkerSearch::new();
        search.update(bytes);
        search.found()
    }

    #[test]
    fn a_false_start_does_not_hide_the_marker() {
        for before in [
            "OTARIA-GUARD",
            "O",
            "OO",
            "OTARIA-GUARO",
            "OTARIA-GUARD\u{1}",
            "OTARIA-GUARD\u{1}\u{1}",
        ] {
            let mut bytes = before.as_bytes().to_vec();
            bytes.extend(MARKER);
            assert_eq!(
                search(&bytes),
                Some(GuardMarker { journal_version: 1 }),
                "{before:?}"
            );
        }
    }

    #[test]
    fn a_marker_of_another_format_or_a_broken_one_is_none() {
        for position in 0..MARKER_LEN {
            let mut bytes = MARKER;
            bytes[position] ^= 0x40;
            let expected = (position == 12).then_some(GuardMarker {
                journal_version: 0x41,
            });
            assert_eq!(search(&bytes), expected, "byte {position}");
        }
    }

    proptest! {
        #[test]
        fn the_marker_is_found_in_any_surroundings_and_chunks(
            before in proptest::collection::vec(prop_oneof![Just(b'O'), Just(b'T'), any::<u8>()], 0..40),
            after in proptest::collection::vec(any::<u8>(), 0..40),
            chunk in 1usize..20,
        ) {
            let mut bytes = before;
            bytes.extend(MARKER);
            bytes.extend(after);
            let mut search = MarkerSearch::new();
            for piece in bytes.chunks(chunk) {
                search.update(piece);
            }
            prop_assert!(search.found().is_some());
        }
    }
}
