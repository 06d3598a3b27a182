//! Linker scripts: board/esp's for the ESP32 chips, board/virt's for the virtual board. Not in `.cargo/config.toml`, because other boards have others.

fn main() {
    if std::env::var_os("CARGO_FEATURE_ESP").is_some() {
        println!("cargo::rustc-link-arg-bin=esp=-Totaria.x");
    }
    if std::env::var_os("CARGO_FEATURE_VIRT").is_some() {
        println!("cargo::rustc-link-arg-bin=virt=-Tapp.x");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
