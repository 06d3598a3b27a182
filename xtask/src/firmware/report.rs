//! What takes how much: flash by section and by crate, RAM, heap; and the budgets.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind};

use super::owners::{Lines, owner};
use super::{Chip, FirmwareArgs};

/// What a size is meant to be, and what it must not get worse than. Where the two differ the goal is not reached yet: the report
/// says so, and the limit keeps it from getting farther away. Lower a limit when a change allows it.
struct Budget {
    goal: u64,
    limit: u64,
}

/// What differs between the app as it is by default and the bare one: Wi-Fi, MQTT, HTTP, updates, and nothing else.
struct Kind {
    /// The whole app image.
    app: Budget,
    /// Otaria's own part of it: its crates, MQTT, HTTP, cryptography, decoder.
    own: Budget,
    /// Otaria's own part of the RAM.
    ram: Budget,
}

/// With TLS, encrypted packages, and set-up by a person (access point, page, Improv).
const DEFAULT: Kind = Kind {
    app: Budget {
        goal: 800 * 1024,
        limit: 748 * 1024,
    },
    own: Budget {
        goal: 240 * 1024,
        limit: 237 * 1024,
    },
    ram: Budget {
        goal: 120 * 1024,
        limit: 72 * 1024,
    },
};
/// Without any of them.
const BARE: Kind = Kind {
    app: Budget {
        goal: 640 * 1024,
        limit: 640 * 1024,
    },
    own: Budget {
        goal: 110 * 1024,
        limit: 174 * 1024,
    },
    ram: Budget {
        goal: 72 * 1024,
        limit: 72 * 1024,
    },
};
/// Bytes in the app's buffers that are the network stack's: those of `otaria_embassy::Sockets`.
const CONNECTION_BUFFERS: u64 = 21 * 1024;
/// Free heap once the radio has taken its share.
const FREE_HEAP: Budget = Budget {
    goal: 90 * 1024,
    limit: 90 * 1024,
};
/// Free heap while a package comes over HTTPS beside a session with the broker over TLS.
const FREE_HEAP_TLS: Budget = Budget {
    goal: 40 * 1024,
    limit: 40 * 1024,
};
/// What the two connections take: a small one, and one that grows for records of 16 KiB, with both of its receive buffers
/// (`otaria_device::net::tls::record`).
const TLS_HEAP: u64 = 2 * 5403 + 16_645;
/// What is left for the main stack. The update path's buffers are built there before they move to their place (46 KiB), while
/// nothing else is on it; later, the deepest calls of network and update take
/// 52 KiB (measured on the virtual board, less what its `main` keeps).
const MAIN_STACK: Budget = Budget {
    goal: 58 * 1024,
    limit: 58 * 1024,
};
/// The radio's share, see `otaria_esp::heap`.
const RADIO_RESERVE: u64 = 64 * 1024;

/// Crates that are Otaria's own part.
const OWN: &[&str] = &[
    "aead",
    "base16ct",
    "chacha20",
    "chacha20poly1305",
    "cipher",
    "cmov",
    "const_oid",
    "crypto_bigint",
    "ctutils",
    "der",
    "digest",
    "ecdsa",
    "elliptic_curve",
    "embassy_executor",
    "embassy_futures",
    "esp_nvs",
    "heapless",
    "hkdf",
    "hmac",
    "hybrid_array",
    "inout",
    "otaria_app",
    "otaria_device",
    "otaria_embassy",
    "otaria_engine",
    "otaria_esp::app",
    "otaria_settings",
    "otaria_wire",
    "p256",
    "poly1305",
    "primefield",
    "primeorder",
    "rfc6979",
    "serde",
    "sha2",
    "signature",
    "subtle",
    "universal_hash",
    "wnaf",
    "zeroize",
];

#[derive(Default)]
struct Bytes {
    flash: u64,
    ram: u64,
}

/// Sizes of one build.
pub(super) struct Report {
    chip: Chip,
    bare: bool,
    image: u64,
    sections: Vec<(String, u64, bool)>,
    crates: BTreeMap<String, Bytes>,
    heap: u64,
    stack: u64,
}

impl Report {
    /// Of the app image `app`, made of `elf` as `args` say.
    pub(super) fn of(elf: &[u8], app: &[u8], args: &FirmwareArgs) -> Result<Self> {
        let file = object::File::parse(elf).context("the ELF cannot be read")?;
        let lines = Lines::of(&file)?;
        let mut sections = Vec::new();
        for section in file.sections() {
            let name = section.name().unwrap_or_default();
            // Dummies only push what shares an address range apart.
            if is_allocated(&section) && section.size() > 0 && !name.ends_with("_dummy") {
                let in_flash = section.kind() != object::SectionKind::UninitializedData;
                sections.push((name.to_owned(), section.size(), in_flash));
            }
        }
        let mut report = Self {
            chip: args.chip,
            bare: args.no_set_up && args.no_tls && args.no_encryption,
            image: app.len() as u64,
            sections,
            crates: BTreeMap::new(),
            heap: 0,
            stack: 0,
        };
        for symbol in file.symbols() {
            if symbol.size() == 0 || !symbol.is_definition() {
                continue;
            }
            let section = symbol.section_index();
            let section = section.and_then(|index| file.section_by_index(index).ok());
            let Some(section) = section else { continue };
            let is_data = symbol.kind() == SymbolKind::Data;
            if !is_allocated(&section) || !(is_data || symbol.kind() == SymbolKind::Text) {
                continue;
            }
            let name = rustc_demangle::demangle(symbol.name().unwrap_or_default());
            let name = format!("{name:#}");
            let zeroed = section.kind() == object::SectionKind::UninitializedData;
            if zeroed && name.ends_with("::HEAP") && symbol.size() > 1024 {
                report.heap += symbol.size();
                continue;
            }
            let mut size = symbol.size();
            if zeroed && name.ends_with("::RESOURCES") {
                let network = report.crates.entry("embassy_net".to_owned()).or_default();
                network.ram += CONNECTION_BUFFERS;
                size = size.saturating_sub(CONNECTION_BUFFERS);
            }
            let in_ram = zeroed
                || section
                    .name()
                    .is_ok_and(|name| name.starts_with(".data") || name.starts_with(".rwtext"));
            let shares = if is_data {
                BTreeMap::from([(owner(&name), size)])
            } else {
                lines.split(&name, symbol.address(), size)?
            };
            for (owner, size) in shares {
                let bytes = report.crates.entry(owner).or_default();
                if in_ram {
                    bytes.ram += size;
                }
                if !zeroed {
                    bytes.flash += size;
                }
            }
        }
        report.stack = report.section(".stack");
        Ok(report)
    }

    /// The crates that something in the image belongs to.
    pub(super) fn crates(&self) -> impl Iterator<Item = &str> {
        self.crates.keys().map(String::as_str)
    }

    fn section(&self, wanted: &str) -> u64 {
        let found = self.sections.iter().find(|(name, ..)| name == wanted);
        found.map_or(0, |(_, size, _)| *size)
    }

    fn own(&self) -> Bytes {
        let mut own = Bytes::default();
        for (name, bytes) in &self.crates {
            if OWN.contains(&name.as_str()) {
                own.flash += bytes.flash;
                own.ram += bytes.ram;
            }
        }
        own
    }

    fn free_heap(&self) -> u64 {
        self.heap.saturating_sub(RADIO_RESERVE)
    }

    fn static_ram(&self) -> u64 {
        let ram = |name: &str| name.starts_with(".data") || name == ".bss" || name == ".noinit";
        let sections = self.sections.iter().filter(|(name, ..)| ram(name));
        sections.map(|(_, size, _)| size).sum()
    }

    fn budgets(&self) -> [(&'static str, u64, Budget, bool); 6] {
        let own = self.own();
        let kind = if self.bare { BARE } else { DEFAULT };
        [
            ("app image", self.image, kind.app, true),
            ("Otaria's own part, flash", own.flash, kind.own, true),
            ("Otaria's own part, RAM", own.ram, kind.ram, true),
            (
                "heap without the radio's share",
                self.free_heap(),
                FREE_HEAP,
                false,
            ),
            (
                "heap beside a download over HTTPS and the broker's session",
                self.free_heap().saturating_sub(TLS_HEAP),
                FREE_HEAP_TLS,
                false,
            ),
            ("left for the main stack", self.stack, MAIN_STACK, false),
        ]
    }

    /// What is over its budget, or below. Only the chip that the budgets are made for is held to them.
    pub(super) fn over_budget(&self) -> Vec<String> {
        if self.chip != Chip::Esp32c3 {
            return Vec::new();
        }
        let budgets = self.budgets().into_iter();
        let broken = budgets.filter(|(_, is, budget, at_most)| !keeps(*is, budget.limit, *at_most));
        broken
            .map(|(what, is, budget, _)| format!("{what}: {is} bytes, limit {}", budget.limit))
            .collect()
    }
}

fn keeps(is: u64, bound: u64, at_most: bool) -> bool {
    if at_most { is <= bound } else { is >= bound }
}

/// Whether a section takes memory when the program runs.
fn is_allocated<'d>(section: &impl ObjectSection<'d>) -> bool {
    match section.flags() {
        SectionFlags::Elf { sh_flags, .. } => (sh_flags & object::elf::SHF_ALLOC).0 != 0,
        _ => false,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Size of the firmware for {}, {} set-up, TLS and encrypted packages, in bytes\n",
            self.chip.name(),
            if self.bare { "without" } else { "with" }
        )?;
        for (what, is, budget, at_most) in self.budgets() {
            let word = if at_most { "at most" } else { "at least" };
            let verdict = if keeps(is, budget.goal, at_most) {
                ""
            } else {
                ": not reached"
            };
            writeln!(f, "{is:>9}  {what} (goal: {word} {}{verdict})", budget.goal)?;
        }
        writeln!(
            f,
            "{:>9}  static RAM (data, bss; with the heap's own region)",
            self.static_ram()
        )?;
        writeln!(
            f,
            "{:>9}  heap reserved, of which the radio takes up to {RADIO_RESERVE}",
            self.heap
        )?;
        writeln!(f, "\nBy section\n    bytes  in the image")?;
        for (name, size, in_flash) in &self.sections {
            writeln!(
                f,
                "{size:>9}  {:<3}  {name}",
                if *in_flash { "yes" } else { "no" }
            )?;
        }
        writeln!(f, "\nBy crate\n    flash        RAM  own")?;
        let mut crates: Vec<_> = self.crates.iter().collect();
        crates.sort_by_key(|(name, bytes)| (std::cmp::Reverse(bytes.flash + bytes.ram), *name));
        for (name, bytes) in crates {
            if bytes.flash + bytes.ram < 256 {
                continue;
            }
            let own = if OWN.contains(&name.as_str()) {
                "own"
            } else {
                ""
            };
            writeln!(f, "{:>9}  {:>9}  {own:<3}  {name}", bytes.flash, bytes.ram)?;
        }
        Ok(())
    }
}
