//! Lets the linker find `app.x` from any directory, also for programs that depend on this crate.

fn main() {
    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-link-arg-examples=-Tapp.x");
    println!("cargo::rerun-if-changed=app.x");
}
