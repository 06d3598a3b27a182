//! The update path as RISC-V machine code: the reference app on the virtual board in QEMU, with Mosquitto, nginx and Python's
//! `http.server`. It needs firmware, so `cargo xtask test` runs it as the step "virtual board", which builds that first.
//!
//! | file | what |
//! |---|---|
//! | `board.rs` | the board itself |
//! | `updates.rs` | updates that go well, and another task's pace meanwhile |
//! | `faults.rs` | releases that are bad, each in its way |
//! | `kills.rs` | power cuts: QEMU is killed and started again on the same flash file |
//! | `links.rs` | brokers and cables |
//! | `tls.rs` | certificates on both sides, and packages by HTTPS |
//! | `setup.rs` | set-up: by the access point's page and by Improv; `peer.rs` is the telephone |

#[path = "../../../otaria-sim/tests/servers/mod.rs"]
mod servers;

#[allow(dead_code, reason = "the tests of otaria-sim use the rest of it")]
#[path = "../../../otaria-sim/tests/tls/pki.rs"]
mod pki;

mod board;
mod faults;
mod kills;
mod lab;
mod links;
mod peer;
mod setup;
mod tls;
mod updates;
