//! What a file is, by its first bytes.

use otaria_wire::package::MAGIC;

/// What a file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// An Otaria package.
    Package,
    /// An ESP image: an app or a bootloader.
    EspImage,
    /// An ELF program.
    Elf,
    /// A partition table as it lies in flash.
    PartitionTable,
    /// A partition table as people write it.
    PartitionCsv,
    /// An Intel HEX file.
    IntelHex,
    /// A UF2 file.
    Uf2,
    /// A gzip or zip file.
    Archive,
    /// A web page, such as an error page that was saved under the wrong name.
    WebPage,
    /// Nothing but 0xFF: blank flash.
    Blank,
    /// No bytes.
    Empty,
    /// None of these.
    Unknown,
}

impl FileKind {
    /// Looks at the start of a file; a few hundred bytes are enough.
    pub fn of(bytes: &[u8]) -> Self {
        let text = bytes.trim_ascii_start();
        match bytes {
            [] => Self::Empty,
            _ if bytes.starts_with(&MAGIC) => Self::Package,
            [0xE9, ..] => Self::EspImage,
            [0x7F, b'E', b'L', b'F', ..] => Self::Elf,
            [0xAA, 0x50, ..] => Self::PartitionTable,
            [0x1F, 0x8B, ..] | [b'P', b'K', 3, 4, ..] => Self::Archive,
            [b'U', b'F', b'2', b'\n', ..] => Self::Uf2,
            [b':', digit, ..] if digit.is_ascii_hexdigit() => Self::IntelHex,
            _ if text.starts_with(b"<") => Self::WebPage,
            _ if text.starts_with(b"# ESP-IDF Partition Table") || text.starts_with(b"# Name,") => {
                Self::PartitionCsv
            }
            _ if bytes.iter().all(|byte| *byte == 0xFF) => Self::Blank,
            _ => Self::Unknown,
        }
    }

    /// A sentence's start for people.
    pub fn description(self) -> &'static str {
        match self {
            Self::Package => "this is an Otaria package",
            Self::EspImage => "this is an ESP image",
            Self::Elf => "this is an ELF program",
            Self::PartitionTable => "this is a partition table, not an app image",
            Self::PartitionCsv => "this is a partition table as CSV, not an app image",
            Self::IntelHex => "this is an Intel HEX file, not an app image",
            Self::Uf2 => "this is a UF2 file, not an app image",
            Self::Archive => "this is a compressed archive, not an app image; unpack it first",
            Self::WebPage => "this is a web page, not an app image",
            Self::Blank => "this is blank flash (nothing but 0xFF)",
            Self::Empty => "this file is empty",
            Self::Unknown => "this is not an ESP image (it does not start with 0xE9)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_first_bytes() {
        let table: [(&[u8], FileKind); 11] = [
            (b"OTARIAP1\x40\x01", FileKind::Package),
            (&[0xE9, 5], FileKind::EspImage),
            (b"\x7fELF\x01", FileKind::Elf),
            (&[0xAA, 0x50, 1], FileKind::PartitionTable),
            (b"# Name,   Type", FileKind::PartitionCsv),
            (b":020000040000FA", FileKind::IntelHex),
            (&[0x1F, 0x8B, 8], FileKind::Archive),
            (b"\r\n<!doctype html>", FileKind::WebPage),
            (&[0xFF; 64], FileKind::Blank),
            (b"", FileKind::Empty),
            (b"OTARIA", FileKind::Unknown),
        ];
        for (bytes, kind) in table {
            assert_eq!(FileKind::of(bytes), kind, "{bytes:?}");
        }
    }
}
