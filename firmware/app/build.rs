//! Linker scripts: esp-hal's for the ESP32 chips. Not in `.cargo/config.toml`, because other boards have others.

fn main() {
    if std::env::var_os("CARGO_FEATURE_ESP").is_some() {
        println!("cargo::rustc-link-arg-bin=esp=-Tlinkall.x");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
