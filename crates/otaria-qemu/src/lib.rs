//! Runs the virtual board: `firmware/board/virt` in QEMU.
//!
//! | module | what it is |
//! |---|---|
//! | [`image`] | an app's ELF to the image that the board's loader takes |
//! | [`flash`] | the board's flash as a file for QEMU |
//! | [`machine`] | QEMU with power on, its console, its network cable |
//!
//! `cargo xtask virt` starts a board by hand; `cargo xtask test` runs `tests/virtual_board` with the step "virtual board".
//! `docs/VIRTUAL_BOARD.md` has the details.

pub mod flash;
pub mod image;
pub mod machine;
