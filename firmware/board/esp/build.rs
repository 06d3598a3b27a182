//! Makes the linker script `otaria.x`, and lets the linker find it from any directory, also for programs that depend on this
//! crate: esp-hal's `linkall.x`, less what `link/` leaves out of the image.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // What takes sections has to stand before esp-hal's script, which would take them else; what moves its sections, behind it.
    let mut script = String::new();
    include(&mut script, "radio-log.x")?;
    script.push_str("\nINCLUDE linkall.x\n");
    // With GNU's linker, which the Xtensa chips have, a script cannot take the place of a function that a library has.
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("riscv32") {
        include(&mut script, "left-out.x")?;
        if env::var_os("CARGO_FEATURE_ACCESS_POINT").is_none() {
            include(&mut script, "station.x")?;
        }
    }
    // The chips whose constants and code are mapped by one table, at two addresses.
    if ["ESP32C2", "ESP32C3"]
        .iter()
        .any(|chip| env::var_os(format!("CARGO_FEATURE_{chip}")).is_some())
    {
        include(&mut script, "pages.x")?;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("otaria.x"), script)?;
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rerun-if-changed=link");
    Ok(())
}

fn include(script: &mut String, name: &str) -> io::Result<()> {
    script.push_str(&fs::read_to_string(PathBuf::from("link").join(name))?);
    script.push('\n');
    Ok(())
}
