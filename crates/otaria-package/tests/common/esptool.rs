//! What Espressif's own tool says of an image.

use std::fs;
use std::path::Path;

use super::{python, text};

/// What `esptool image-info` says of checksum and hash: "valid", or what else it prints.
#[derive(Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) checksum: String,
    pub(crate) hash: String,
}

pub(crate) fn image_info(image: &[u8], dir: &Path) -> Verdict {
    let file = dir.join("image.bin");
    fs::write(&file, image).unwrap();
    let output = python()
        .args(["-m", "esptool", "image-info"])
        .arg(&file)
        .output()
        .unwrap();
    let printed = text(&output);
    // "Checksum: 0x07 (valid)", "Validation hash: 9244… (valid)"
    let verdict = |name: &str| {
        let line = printed
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no {name}: {printed}"));
        let (_, verdict) = line
            .split_once('(')
            .unwrap_or_else(|| panic!("no verdict in {line}"));
        verdict.trim_end_matches(')').to_owned()
    };
    Verdict {
        checksum: verdict("Checksum:"),
        hash: verdict("Validation hash:"),
    }
}
