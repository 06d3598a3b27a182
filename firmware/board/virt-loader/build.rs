//! Lets the linker find `loader.x` from any directory.

fn main() {
    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-link-arg-bins=-Tloader.x");
    println!("cargo::rerun-if-changed=loader.x");
}
