//! Makes the linker script `otaria.x`, and lets the linker find it from any directory, also for programs that depend on this
//! crate: esp-hal's `linkall.x`, less what `link/` leaves out of the image.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // What takes sections has to stand before esp-hal's script, which would take them else; what moves its sections, behind it.
    let mut script = fs::read_to_string("link/radio-log.x")?;
    script.push_str("\nINCLUDE linkall.x\n");
    // The chips whose constants and code are mapped by one table, at two addresses.
    if ["ESP32C2", "ESP32C3"]
        .iter()
        .any(|chip| env::var_os(format!("CARGO_FEATURE_{chip}")).is_some())
    {
        script.push('\n');
        script.push_str(&fs::read_to_string("link/pages.x")?);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("otaria.x"), script)?;
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rerun-if-changed=link");
    Ok(())
}
