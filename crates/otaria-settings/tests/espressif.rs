//! Espressif's own generator makes the same partition of the same settings, byte for byte; and what it makes is read.

mod common;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{PARTITION, flash_with, longest, random, usual};
use otaria_settings::host::{Entry, Value, entries, image_of_entries};
use otaria_settings::{Settings, load};
use otaria_wire::settings::ALL;
use zeroize::Zeroizing;

/// Goes through the CSV files of a folder: starting Python for each would take minutes.
const GENERATE: &str = r#"
import glob, sys
from types import SimpleNamespace
from esp_idf_nvs_partition_gen import nvs_partition_gen
for csv in glob.glob(sys.argv[1] + "/*.csv"):
    nvs_partition_gen.generate(SimpleNamespace(
        input=csv, output=csv.replace(".csv", ".bin"), outdir=sys.argv[1], size=sys.argv[2], version=2))
"#;

fn python() -> Command {
    Command::new(std::env::var_os("OTARIA_PYTHON").unwrap_or_else(|| OsString::from("python3")))
}

/// Whether the generator is there; where `cargo xtask test` has installed it, it must be.
fn generator_is_there() -> bool {
    let found = python()
        .args(["-c", "import esp_idf_nvs_partition_gen"])
        .output();
    let there = found.is_ok_and(|output| output.status.success());
    if !there {
        assert!(
            std::env::var_os("OTARIA_REQUIRE_PEERS").is_none(),
            "Python 3 with the module esp_idf_nvs_partition_gen is not there"
        );
        println!("skipped: Python 3 with the module esp_idf_nvs_partition_gen is not there");
    }
    there
}

fn csv(entries: &[Entry]) -> String {
    let mut csv = "key,type,encoding,value\notaria,namespace,,\n".to_owned();
    for entry in entries {
        let (encoding, value) = match &entry.value {
            Value::U8(value) => ("u8", value.to_string()),
            Value::U64(value) => ("u64", value.to_string()),
            Value::Text(text) => ("string", format!("\"{}\"", text.replace('"', "\"\""))),
            Value::Blob(bytes) => {
                let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
                ("hex2bin", digits.collect())
            }
        };
        writeln!(csv, "{},data,{encoding},{value}", entry.name).unwrap();
    }
    csv
}

/// What the generator makes of each of the settings.
fn generated(folder: &Path, all: &[Vec<Entry>]) -> Vec<Vec<u8>> {
    for (index, entries) in all.iter().enumerate() {
        fs::write(folder.join(format!("{index}.csv")), csv(entries)).unwrap();
    }
    let output = python()
        .args(["-c", GENERATE])
        .arg(folder)
        .arg(format!("{:#x}", PARTITION.len))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let read = |index: usize| fs::read(folder.join(format!("{index}.bin"))).unwrap();
    (0..all.len()).map(read).collect()
}

fn samples() -> Vec<Settings> {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut samples = vec![Settings::default(), usual(), longest()];
    samples.extend((0..120).map(|_| random(&mut rng)));
    samples
}

/// Entries of any length in any order, up to three pages: every kind meets the end of a page.
fn any_entries(rng: &mut fastrand::Rng) -> Vec<Entry> {
    let mut room = rng.usize(1..=600);
    let mut entries = Vec::new();
    while room > 0 {
        let len = *rng.choice(&[0, 1, 31, 32, 33, 65, 500, 900]).unwrap();
        let len = rng.usize(0..=len);
        room = room.saturating_sub(3 + len / 32);
        entries.push(Entry {
            name: ALL[rng.usize(..ALL.len())],
            value: match rng.u8(..4) {
                0 => Value::U8(rng.u8(..)),
                1 => Value::U64(rng.u64(..)),
                2 => Value::Text(Zeroizing::new(
                    (0..len).map(|_| rng.alphanumeric()).collect(),
                )),
                _ => Value::Blob(Zeroizing::new((0..len).map(|_| rng.u8(..)).collect())),
            },
        });
    }
    entries
}

#[test]
fn the_partition_is_the_generator_s_byte_for_byte() {
    if !generator_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(4);
    let mut all: Vec<Vec<Entry>> = samples().iter().map(entries).collect();
    // What needs a fourth page is refused by both.
    let fitting = |entries: &Vec<Entry>| image_of_entries(entries, PARTITION.len as usize).is_ok();
    all.extend((0..300).map(|_| any_entries(&mut rng)).filter(fitting));
    let mut pages = [0; 4];
    for (entries, theirs) in all.iter().zip(generated(dir.path(), &all)) {
        let ours = image_of_entries(entries, PARTITION.len as usize).unwrap();
        assert!(*ours == theirs, "{}", csv(entries));
        pages[theirs.chunks(0x1000).filter(|page| page[0] != 0xFF).count()] += 1;
    }
    assert!(pages[1..].iter().all(|count| *count > 50), "{pages:?}");
}

#[test]
fn what_the_generator_makes_is_read() {
    if !generator_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let samples = samples();
    let all: Vec<Vec<Entry>> = samples.iter().map(entries).collect();
    for (settings, theirs) in samples.iter().zip(generated(dir.path(), &all)) {
        assert_eq!(
            load(&mut flash_with(&theirs), PARTITION).as_ref(),
            Ok(settings)
        );
    }
}
