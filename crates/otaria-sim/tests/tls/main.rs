//! The device's TLS against servers that others wrote, and against one that breaks the rules on purpose.

mod client;
mod openssl;
mod pki;
mod rogue;
#[path = "../servers/mod.rs"]
mod servers;
mod updates;
