//! The two app slots.

use core::fmt;

/// One of the two app slots, `ota_0` and `ota_1` of the partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// `ota_0`.
    Ota0,
    /// `ota_1`.
    Ota1,
}

impl Slot {
    /// Both slots, in the order of their indexes.
    pub const BOTH: [Self; 2] = [Self::Ota0, Self::Ota1];

    /// The slot with this index; `None` unless it is 0 or 1.
    #[must_use]
    pub const fn from_index(index: u8) -> Option<Self> {
        match index {
            0 => Some(Self::Ota0),
            1 => Some(Self::Ota1),
            _ => None,
        }
    }

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> u8 {
        match self {
            Self::Ota0 => 0,
            Self::Ota1 => 1,
        }
    }

    /// The partition's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ota0 => "ota_0",
            Self::Ota1 => "ota_1",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Ota0 => Self::Ota1,
            Self::Ota1 => Self::Ota0,
        }
    }
}

/// The partition's name.
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
