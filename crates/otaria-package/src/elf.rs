//! An ELF, as the linker leaves it, to an ESP app image, through espflash's library: the same bytes that
//! `espflash save-image` writes.

use std::str::FromStr as _;

use espflash::flasher::{FlashData, FlashSettings, FlashSize};
use espflash::image_format::Metadata;
use espflash::image_format::idf::IdfBootloaderFormat;
use espflash::target::Chip;

/// `e_machine` of the ELF header (System V ABI; the numbers are those of the ELF registry).
const MACHINE_XTENSA: u16 = 94;
const MACHINE_RISCV: u16 = 243;

/// Why an ELF does not become an image.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Built for something that is no ESP32.
    #[error(
        "this ELF is for {found}, not for an ESP32 chip; build the firmware with its own target, such as `cargo build --release --target riscv32imc-unknown-none-elf`"
    )]
    Architecture {
        /// Name of the machine it was built for.
        found: String,
    },
    /// The ELF says which chip it is for, and it is not the one asked for.
    #[error("this ELF was built for {built_for}, not for {asked}")]
    OtherChip {
        /// As the ELF's metadata or its machine type say.
        built_for: String,
        /// As the caller said.
        asked: String,
    },
    /// The ELF does not say which chip it is for.
    #[error(
        "this ELF does not say which chip it is for (esp-hal's do); name it with --chip, such as --chip esp32c3"
    )]
    ChipNeeded,
    /// No such chip.
    #[error("there is no chip \"{asked}\"; known are {}", CHIPS.join(", "))]
    UnknownChip {
        /// As the caller said.
        asked: String,
    },
    /// Its image would not fit any slot.
    #[error("the image is {image} bytes, more than the {limit} bytes a slot can have at most")]
    TooBig {
        /// Length of the image.
        image: u32,
        /// What a slot could hold.
        limit: u32,
    },
    /// espflash cannot use it.
    #[error("cannot make an image of this ELF: {0}")]
    Unusable(String),
}

/// Whether the bytes start like an ELF file.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Makes the app image of an ELF. `chip` (such as `esp32c3`) is needed only when the ELF does not name its chip;
/// `slot_size` chooses the flash size that the image's header mentions, 4 MB for the default slots.
pub fn to_image(elf: &[u8], chip: Option<&str>, slot_size: u32) -> Result<Vec<u8>, ElfError> {
    app(format(elf, chip, slot_size)?)
}

/// What a chip needs in flash to run an ELF, beside the partition table.
#[derive(Clone, Debug)]
pub struct FlashParts {
    /// The second-stage bootloader that espflash has for the chip.
    pub bootloader: Vec<u8>,
    /// Where the chip's ROM looks for it.
    pub bootloader_offset: u32,
    /// The app image: the same bytes as [`to_image`] makes.
    pub app: Vec<u8>,
}

/// Makes app image and bootloader of an ELF; the arguments are those of [`to_image`].
pub fn to_flash(elf: &[u8], chip: Option<&str>, slot_size: u32) -> Result<FlashParts, ElfError> {
    let format = format(elf, chip, slot_size)?;
    let app = app(format.clone())?;
    // espflash lists bootloader, partition table and app, in the order of their offsets.
    let first = format.flash_segments().min_by_key(|segment| segment.addr);
    let bootloader =
        first.ok_or_else(|| ElfError::Unusable("espflash has no bootloader for it".to_owned()))?;
    Ok(FlashParts {
        bootloader_offset: bootloader.addr,
        bootloader: bootloader.data.into_owned(),
        app,
    })
}

fn app(format: IdfBootloaderFormat<'_>) -> Result<Vec<u8>, ElfError> {
    let image = format
        .ota_segments()
        .next()
        .map(|segment| segment.data.into_owned());
    image.ok_or_else(|| ElfError::Unusable("it holds no segment to load".to_owned()))
}

fn format<'e>(
    elf: &'e [u8],
    chip: Option<&str>,
    slot_size: u32,
) -> Result<IdfBootloaderFormat<'e>, ElfError> {
    let machine = machine(elf)?;
    let asked = chip.map(parse_chip).transpose()?;
    let metadata = Metadata::from_bytes(Some(elf));
    let built_for = metadata.chip_name().map(parse_chip).transpose()?;
    let chip = match (built_for, asked) {
        (Some(built_for), Some(asked)) if built_for != asked => {
            return Err(ElfError::OtherChip {
                built_for: built_for.to_string(),
                asked: asked.to_string(),
            });
        }
        (Some(chip), _) | (None, Some(chip)) => chip,
        (None, None) => return Err(ElfError::ChipNeeded),
    };
    if is_xtensa(chip) != (machine == MACHINE_XTENSA) {
        let built_for = machine_name(machine, true);
        return Err(ElfError::OtherChip {
            built_for,
            asked: chip.to_string(),
        });
    }
    let settings = FlashSettings::new(None, Some(flash_size(slot_size)), None);
    let flash = FlashData::new(settings, 0, None, chip, chip.default_xtal_frequency());
    IdfBootloaderFormat::new(elf, &flash, None, None, None, None).map_err(|error| match error {
        espflash::Error::ElfTooBig(image, limit) => ElfError::TooBig { image, limit },
        other => ElfError::Unusable(with_causes(&other)),
    })
}

/// Reads class, byte order and machine of an ELF header, and refuses what no ESP32 runs.
fn machine(elf: &[u8]) -> Result<u16, ElfError> {
    let (Some(&class), Some(&order), Some(&[low, high])) = (
        elf.get(4),
        elf.get(5),
        elf.get(18..20).and_then(|b| b.first_chunk()),
    ) else {
        return Err(ElfError::Unusable(
            "the file ends inside the ELF header".to_owned(),
        ));
    };
    let machine = if order == 2 {
        u16::from_be_bytes([low, high])
    } else {
        u16::from_le_bytes([low, high])
    };
    let is_32_bit_little = class == 1 && order == 1;
    if is_32_bit_little && matches!(machine, MACHINE_RISCV | MACHINE_XTENSA) {
        Ok(machine)
    } else {
        Err(ElfError::Architecture {
            found: machine_name(machine, class == 1),
        })
    }
}

fn machine_name(machine: u16, is_32_bit: bool) -> String {
    match machine {
        3 => "x86 (this looks like a program for a PC)".to_owned(),
        40 => "32-bit Arm".to_owned(),
        62 => "x86-64 (this looks like a program for a PC)".to_owned(),
        MACHINE_XTENSA => "Xtensa (ESP32, ESP32-S2, ESP32-S3)".to_owned(),
        183 => "64-bit Arm (this looks like a program for a PC)".to_owned(),
        MACHINE_RISCV if is_32_bit => "32-bit RISC-V (ESP32-C and -H series)".to_owned(),
        MACHINE_RISCV => "64-bit RISC-V".to_owned(),
        other => format!("machine type {other}"),
    }
}

fn parse_chip(name: &str) -> Result<Chip, ElfError> {
    // "ESP32-C3" and "esp32c3" are the same chip to people.
    let plain: String = name
        .chars()
        .filter(|c| *c != '-')
        .collect::<String>()
        .to_ascii_lowercase();
    Chip::from_str(&plain).map_err(|_| ElfError::UnknownChip {
        asked: name.to_owned(),
    })
}

/// Names of the chips that an ELF can be turned into an image for.
pub const CHIPS: [&str; 12] = [
    "esp32", "esp32c2", "esp32c3", "esp32c5", "esp32c6", "esp32c61", "esp32h2", "esp32h4",
    "esp32p4", "esp32s2", "esp32s3", "esp32s31",
];

fn is_xtensa(chip: Chip) -> bool {
    matches!(chip, Chip::Esp32 | Chip::Esp32s2 | Chip::Esp32s3)
}

/// The smallest flash that holds two slots beside the 128 KiB below the first one and the 320 KiB behind the second.
fn flash_size(slot_size: u32) -> FlashSize {
    const BESIDE_SLOTS: u64 = 0x1_0000 + 0x5_0000;
    let needed = 2 * u64::from(slot_size) + BESIDE_SLOTS;
    [FlashSize::_4Mb, FlashSize::_8Mb, FlashSize::_16Mb]
        .into_iter()
        .find(|size| u64::from(size.size()) >= needed)
        .unwrap_or(FlashSize::_32Mb)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
