//! The images of the sweep, signed: small, so that an update is a few flash commands.

use std::sync::{Arc, LazyLock};

use otaria_device::trust::PUBLIC_KEY_LEN;
use otaria_package::keys::{DecryptionKey, PrivateKey as _, SigningKey};
use otaria_package::pack::{CodecChoice, Options, TimeStamp, pack};
use otaria_sim::images::Stamp;
use otaria_wire::Sha256Digest;

/// The product of all releases: the demo firmware's project name.
pub(crate) const PRODUCT: &str = "otaria-demo";

/// Plain bytes in a block.
pub(crate) const BLOCK_LEN: usize = 4096;

/// Bytes of the longest image.
pub(crate) const LONGEST_IMAGE: usize = 17 * 1024;

/// A version of the firmware. Its number in [`Release::ALL`] is its place in the order of releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Release {
    /// What the factory puts into slot 0: five blocks.
    Factory,
    /// Works. Three blocks, the last one short: sector erases.
    Good,
    /// Works. Five blocks: one block erase.
    Large,
    /// Crashes right after the boot guard.
    Crashes,
    /// Hangs right after the boot guard, so that the watchdog bites.
    Hangs,
    /// Says that it does not do what it is for.
    Unhealthy,
    /// Never says that it does what it is for.
    NeverHealthy,
    /// Works, and comes after those above.
    Next,
    /// Works, and its package is encrypted: five blocks.
    Encrypted,
    /// Works, and comes after all others: the later good update.
    Later,
}

/// An image, and the package that brings it.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) image: Vec<u8>,
    pub(crate) sha256: Sha256Digest,
    /// The package's identity.
    pub(crate) identity: Sha256Digest,
    pub(crate) package: Arc<[u8]>,
}

impl Release {
    pub(crate) const ALL: [Release; 10] = [
        Release::Factory,
        Release::Good,
        Release::Large,
        Release::Crashes,
        Release::Hangs,
        Release::Unhealthy,
        Release::NeverHealthy,
        Release::Next,
        Release::Encrypted,
        Release::Later,
    ];

    fn stamp(self) -> Stamp<'static> {
        let (version, behaviour, len) = match self {
            Release::Factory => ("1.0.0", "good", LONGEST_IMAGE),
            Release::Good => ("1.1.0", "good", 9 * 1024),
            Release::Large => ("1.2.0", "good", LONGEST_IMAGE),
            Release::Crashes => ("1.3.0", "crash", 9 * 1024),
            Release::Hangs => ("1.4.0", "hang", 9 * 1024),
            Release::Unhealthy => ("1.5.0", "unhealthy", 9 * 1024),
            Release::NeverHealthy => ("1.6.0", "never-healthy", 9 * 1024),
            Release::Next => ("1.7.0", "good", 9 * 1024),
            Release::Encrypted => ("1.8.0", "good", LONGEST_IMAGE),
            Release::Later => ("2.0.0", "good", 9 * 1024),
        };
        Stamp::new(version).behaviour(behaviour).size(len)
    }

    pub(crate) fn shelf(self) -> &'static Shelf {
        static SHELVES: LazyLock<Vec<Shelf>> =
            LazyLock::new(|| Release::ALL.into_iter().map(Shelf::of).collect());
        &SHELVES[self as usize]
    }

    /// The release whose image these bytes begin with.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Release> {
        Release::ALL
            .into_iter()
            .find(|release| bytes.starts_with(&release.shelf().image))
    }

    pub(crate) fn image(self) -> &'static [u8] {
        &self.shelf().image
    }

    pub(crate) fn sha256(self) -> Sha256Digest {
        self.shelf().sha256
    }

    pub(crate) fn identity(self) -> Sha256Digest {
        self.shelf().identity
    }
}

impl Shelf {
    fn of(release: Release) -> Shelf {
        let image = release.stamp().image();
        let sequence = 1 + release as u64;
        let options = Options {
            codec: CodecChoice::Stored,
            block_len: BLOCK_LEN as u32,
            encrypt_to: match release {
                Release::Encrypted => vec![decryption_key().public_key()],
                _ => Vec::new(),
            },
            ..Options::new(TimeStamp {
                sequence,
                created: sequence,
            })
        };
        let package = pack(&image, &key(), &options).expect("a release can be packed");
        Shelf {
            sha256: Sha256Digest::of(&image),
            identity: package.header.identity(),
            image,
            package: package.bytes.into(),
        }
    }
}

fn key() -> SigningKey {
    let pem = include_str!("../../../otaria-package/tests/keys/test.pem");
    SigningKey::from_pem(pem, None).expect("the key is one")
}

/// The key that devices decrypt packages with.
pub(crate) fn decryption_key() -> DecryptionKey {
    let pem = include_str!("../../../otaria-package/tests/keys/recipient.pem");
    DecryptionKey::from_pem(pem, None).expect("the key is one")
}

/// The key that devices trust.
pub(crate) fn public_key() -> [u8; PUBLIC_KEY_LEN] {
    key().public_key().to_sec1()
}
