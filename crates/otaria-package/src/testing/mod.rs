//! For tests: packages that are wrong in exactly one way, and the code with which a device refuses each.

mod admission;
mod blocks;
mod encrypted;
pub mod forge;
mod header;
mod image;
mod images;
mod signature;

use otaria_wire::messages::FailureCode;
use otaria_wire::partitions::DEFAULT_4MB;

use crate::keys::{PublicKey, SigningKey};
use crate::pack::{CodecChoice, Options, PackError, Package, TimeStamp, pack};

pub use forge::Forge;

/// What the device that is offered the packages is like.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its chip's revision.
    pub chip_rev: u16,
    /// Length of its slots.
    pub slot_size: u32,
    /// Sequence that it has confirmed; the good package has a higher one.
    pub sequence_floor: u64,
    /// Security version that it has confirmed: at least 1, or no package can be below it.
    pub security_floor: u32,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            chip_rev: 4,
            slot_size: DEFAULT_4MB.slot_len(),
            sequence_floor: 1000,
            security_floor: 1,
        }
    }
}

/// How far a device gets with a package before it refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Header or table: no byte of flash has been erased in a slot.
    BeforeErase,
    /// A block: blocks before it may have been written.
    Blocks,
    /// The image, once it is whole in flash. It is never activated.
    Image,
}

/// One bad package.
#[derive(Clone, Debug)]
pub struct BadPackage {
    /// What is wrong, as a phrase for a table.
    pub name: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
    /// The code with which the device refuses it.
    pub code: FailureCode,
    /// How far it gets.
    pub stage: Stage,
    /// The package is good in itself, only not for this device; a reader without a device takes it.
    pub only_device: bool,
}

/// What the bad packages are made of: a good image, taken by the device, and two keys.
#[derive(Debug)]
pub struct Material<'a> {
    /// A good image for [`Target`], of at least three blocks of 4096 bytes, with a security version of at least
    /// [`Target::security_floor`].
    pub image: &'a [u8],
    /// The key that the device trusts.
    pub key: &'a SigningKey,
    /// A key that it does not trust.
    pub stranger: &'a SigningKey,
    /// What the device decrypts with: the public half.
    pub recipient: &'a PublicKey,
    /// The device.
    pub target: Target,
}

impl Material<'_> {
    /// The good package, with blocks of 4096 bytes.
    ///
    /// # Errors
    /// The image is not good.
    pub fn good(&self, codec: CodecChoice) -> Result<Package, PackError> {
        self.package_of(self.image, codec)
    }

    fn package_of(&self, image: &[u8], codec: CodecChoice) -> Result<Package, PackError> {
        pack(image, self.key, &self.options(1, codec))
    }

    /// The image encrypted to these keys, with a sequence so far above the device's.
    fn encrypted_to(&self, keys: &[&PublicKey], above: u64) -> Result<Package, PackError> {
        let options = Options {
            encrypt_to: keys.iter().copied().cloned().collect(),
            ..self.options(above, CodecChoice::Deflate)
        };
        pack(self.image, self.key, &options)
    }

    fn options(&self, above: u64, codec: CodecChoice) -> Options {
        let stamp = TimeStamp {
            sequence: self.target.sequence_floor + above,
            created: 1_700_000_000,
        };
        Options {
            codec,
            block_len: 4096,
            ..Options::new(stamp)
        }
    }

    /// Every bad package.
    ///
    /// # Errors
    /// The image is not good.
    pub fn bad_packages(&self) -> Result<Vec<BadPackage>, PackError> {
        let stored = self.good(CodecChoice::Stored)?;
        let deflated = self.good(CodecChoice::Deflate)?;
        let mut all = Vec::new();
        header::bad(self, &Forge::new(&stored), &mut all);
        signature::bad(self, &Forge::new(&stored), &mut all);
        admission::bad(self, &Forge::new(&stored), &mut all);
        blocks::bad(self, &Forge::new(&stored), &Forge::new(&deflated), &mut all);
        images::bad(self, &Forge::new(&stored), &mut all);
        let somebody = self.stranger.public_key();
        let both = [self.recipient, &somebody];
        encrypted::bad(
            self,
            &Forge::new(&self.encrypted_to(&both, 1)?),
            &Forge::new(&self.encrypted_to(&both, 2)?),
            &Forge::new(&self.encrypted_to(&[&somebody], 1)?),
            &mut all,
        );
        Ok(all)
    }
}

/// Collects rows that are alike in stage and reader.
struct Rows<'a> {
    all: &'a mut Vec<BadPackage>,
    stage: Stage,
    only_device: bool,
}

impl Rows<'_> {
    fn add(&mut self, name: &'static str, code: FailureCode, bytes: Vec<u8>) {
        self.all.push(BadPackage {
            name,
            bytes,
            code,
            stage: self.stage,
            only_device: self.only_device,
        });
    }
}

#[cfg(test)]
mod tests;
