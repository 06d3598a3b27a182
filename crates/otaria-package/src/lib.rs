//! From an app image to a signed package (`.otaria`), and back.
//!
//! | module | what it does |
//! |---|---|
//! | [`keys`], [`keyfile`] | ECDSA P-256 keys as PEM, and the files that hold them |
//! | [`elf`] | an ELF, as the linker leaves it, to an app image |
//! | [`signer`] | who signs: a key, or a program that has one |
//! | `token` (feature `pkcs11`) | who signs: a key in an HSM |
//! | [`key_record`] | which release keys count, in the words of a root key |
//! | [`pack`] | an app image to a signed package, and every reason not to |
//! | [`cosign`] | more signatures under a package |
//! | [`read`] | a package from any stream, checked in the order in which a device checks |
//! | [`codec`] | how blocks are stored |
//! | [`encrypt`] | how they are encrypted, and to whom |
//! | [`kind`] | what a file is, by its first bytes |
//! | [`files`] | files that appear whole or not at all |
//! | `testing` (feature) | packages that are wrong in exactly one way |
//!
//! The format itself is [`otaria_wire::package`]; nothing here knows an offset.
//!
//! ```no_run
//! use std::fs::File;
//! use std::time::SystemTime;
//!
//! use otaria_package::keyfile::{PrivateKeyFile, read_public};
//! use otaria_package::keys::Keyring;
//! use otaria_package::pack::{Options, TimeStamp, pack};
//! use otaria_package::read::{Trust, read};
//!
//! let key = PrivateKeyFile::read("release.pem".as_ref())?.open(Some("passphrase"))?;
//! let image = std::fs::read("app.bin")?;
//! let package = pack(&image, &key, &Options::new(TimeStamp::at(SystemTime::now())))?;
//! std::fs::write("app.otaria", &package.bytes)?;
//!
//! let trusted = Keyring::new([read_public("release.pub.pem".as_ref())?]);
//! let contents = read(File::open("app.otaria")?, Trust::Keys(&trusted))?;
//! assert_eq!(contents.header.version, package.image.desc.version);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod codec;
pub mod cosign;
pub mod elf;
pub mod encrypt;
pub mod files;
pub mod key_record;
pub mod keyfile;
pub mod keys;
pub mod kind;
pub mod pack;
pub mod read;
pub mod signer;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(feature = "pkcs11")]
pub mod token;
