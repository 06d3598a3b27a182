//! Whose code it is.
//!
//! A function's name says less than it seems: what is inlined into an executor's task or into a join of futures is the network
//! stack's, the radio's and Otaria's in one symbol. The line tables know better. Each range of addresses belongs to the
//! innermost function that was inlined there and is not the language's, or a container's, own.

use std::collections::BTreeMap;

use addr2line::gimli::{EndianSlice, RunTimeEndian};
use addr2line::{Context, LookupResult};
use anyhow::{Result, anyhow};
use object::{Object, ObjectSection};

/// Code and constants that the radio's libraries bring: everything that is not Rust.
pub(super) const RADIO: &str = "(radio libraries, C)";

/// What is part of whoever uses it: the language, and what joins, polls and holds for others.
const GLUE: &[&str] = &[
    "alloc",
    "core",
    "embassy_executor",
    "embassy_futures",
    "heapless",
];

type Reader<'d> = EndianSlice<'d, RunTimeEndian>;

/// The line tables of a program.
pub(super) struct Lines<'d> {
    context: Context<Reader<'d>>,
}

impl<'d> Lines<'d> {
    pub(super) fn of(file: &object::File<'d>) -> Result<Self> {
        let load =
            |id: addr2line::gimli::SectionId| -> Result<Reader<'d>, addr2line::gimli::Error> {
                let section = file.section_by_name(id.name());
                let data = section.and_then(|section| section.data().ok());
                Ok(EndianSlice::new(
                    data.unwrap_or_default(),
                    RunTimeEndian::Little,
                ))
            };
        let dwarf = addr2line::gimli::Dwarf::load(load)?;
        let context = Context::from_dwarf(dwarf)
            .map_err(|error| anyhow!("the line tables cannot be read: {error}"))?;
        Ok(Self { context })
    }

    /// Bytes of the function `name` at `start`, by crate.
    pub(super) fn split(&self, name: &str, start: u64, size: u64) -> Result<BTreeMap<String, u64>> {
        let mut bytes = BTreeMap::new();
        let whole = owner(name);
        if whole == RADIO {
            bytes.insert(whole, size);
            return Ok(bytes);
        }
        let mut rest = size;
        for (address, len, _) in self.context.find_location_range(start, start + size)? {
            let len = len.min(rest);
            rest -= len;
            let owner = self.owner_at(address)?.unwrap_or_else(|| whole.clone());
            *bytes.entry(owner).or_default() += len;
        }
        *bytes.entry(whole).or_default() += rest;
        Ok(bytes)
    }

    /// The crate of the innermost function at `address` that is nobody's glue.
    fn owner_at(&self, address: u64) -> Result<Option<String>> {
        let LookupResult::Output(frames) = self.context.find_frames(address) else {
            return Ok(None);
        };
        let mut frames = frames?;
        while let Some(frame) = frames.next()? {
            let file = frame.location.and_then(|location| location.file);
            if let Some(owner) = file.and_then(crate_of_file)
                && !GLUE.contains(&owner.as_str())
            {
                return Ok(Some(owner));
            }
        }
        Ok(None)
    }
}

/// The crate that a source file belongs to: the folder that holds its `src`, without a version.
fn crate_of_file(path: &str) -> Option<String> {
    let (folder, _) = path
        .rsplit_once("/src/")
        .or_else(|| path.rsplit_once("/library/"))?;
    // What an application calls is Otaria; the rest of the crate is the board.
    if path.ends_with("/esp/src/app.rs") {
        return Some("otaria_esp::app".to_owned());
    }
    let folder = folder.rsplit('/').next()?;
    let is_version = |at: &usize| folder[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    let version = folder.match_indices('-').map(|(at, _)| at).find(is_version);
    let name = &folder[..version.unwrap_or(folder.len())];
    let name = match name {
        "app" | "embassy" | "esp" => format!("otaria_{name}"),
        _ => name.replace('-', "_"),
    };
    Some(name)
}

/// The crate that a symbol belongs to.
pub(super) fn owner(name: &str) -> String {
    // As in `crate_of_file`.
    if name.starts_with("otaria_esp::app::") {
        return "otaria_esp::app".to_owned();
    }
    if !name.contains("::") {
        // `main` is the firmware's, what is generated has no crate, and the rest is C.
        return match name {
            "main" => "otaria_app".to_owned(),
            _ if name.starts_with("anon.") || name.starts_with(".L") => "(constants)".to_owned(),
            _ => RADIO.to_owned(),
        };
    }
    // `<&mut a::B as c::D>::e` is a's, unless a is the language itself.
    let (outer, trait_name) = match name.strip_prefix('<') {
        Some(inner) => match inner.split_once(" as ") {
            Some((outer, rest)) => (outer, Some(rest)),
            None => (inner, None),
        },
        None => (name, None),
    };
    let of_language = |name: &str| matches!(name, "core" | "alloc" | "");
    let first = krate(outer);
    match trait_name.map(krate) {
        Some(of_trait) if of_language(first) && !of_language(of_trait) => of_trait,
        _ if first.is_empty() => "core",
        _ => first,
    }
    .to_owned()
    .replace("esp::", "otaria_app::")
}

/// First part of a path, without what may stand before it.
fn krate(path: &str) -> &str {
    let path = path.trim_start_matches(['<', '&', '*', '[', '(']);
    let path = ["mut ", "const ", "dyn "]
        .iter()
        .fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    let end = path.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let (name, rest) = path.split_at(end.unwrap_or(path.len()));
    match (name, rest.starts_with("::")) {
        ("esp", true) => "otaria_app",
        (name, true) => name,
        (_, false) => "",
    }
}
