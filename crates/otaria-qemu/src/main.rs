//! `cargo xtask virt`'s other half: a flash file, and QEMU in the foreground.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use otaria_qemu::flash::FlashImage;
use otaria_qemu::image;
use otaria_qemu::machine::{Board, Cable, QEMU};
use otaria_settings::host::{partition_image, read_device_file};
use otaria_wire::partitions::DEFAULT_4MB;

/// Starts the virtual board in QEMU.
#[derive(Parser)]
#[command(name = "otaria-qemu")]
struct Cli {
    /// The loader's ELF.
    #[arg(long, value_name = "ELF")]
    loader: PathBuf,
    /// The app's ELF.
    #[arg(long, value_name = "ELF")]
    app: PathBuf,
    /// Also write the app's image to this file, for `otaria package`.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The device's settings, as for `otaria provision`.
    #[arg(long, value_name = "TOML")]
    settings: Option<PathBuf>,
    /// The flash. An existing file is used as it is, so that the board goes on where it was.
    #[arg(long, value_name = "FILE")]
    flash: PathBuf,
    /// Make the flash anew.
    #[arg(long)]
    erase: bool,
    /// The bootloader does rollback.
    #[arg(long)]
    rollback: bool,
    /// Make the files and start nothing.
    #[arg(long)]
    no_run: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let elf = std::fs::read(&cli.app).with_context(|| format!("{}", cli.app.display()))?;
    let image = image::from_elf(&elf).with_context(|| format!("{}", cli.app.display()))?;
    if let Some(file) = &cli.image {
        std::fs::write(file, &image).with_context(|| format!("{}", file.display()))?;
        println!("{}: {} bytes", file.display(), image.len());
    }
    if cli.erase || !cli.flash.exists() {
        let nvs = match &cli.settings {
            Some(file) => settings(file)?,
            None => Vec::new(),
        };
        FlashImage::new(&image, &nvs)?
            .write_to(&cli.flash)
            .with_context(|| format!("{}", cli.flash.display()))?;
        println!("{}: made anew", cli.flash.display());
    } else if cli.settings.is_some() {
        bail!(
            "{} is there already and keeps its settings; --erase makes it anew",
            cli.flash.display()
        );
    }
    if cli.no_run {
        return Ok(ExitCode::SUCCESS);
    }
    let board = Board {
        loader: cli.loader.clone(),
        flash: cli.flash.clone(),
        rollback: cli.rollback,
        icount: false,
        cable: Cable::User,
    };
    println!("{QEMU}: Ctrl-A X ends it, Ctrl-A C is QEMU's monitor");
    let status = board
        .command()
        .args(["-serial", "mon:stdio"])
        .status()
        .with_context(|| {
            format!("cannot start {QEMU}; on Debian it is in the package qemu-system-misc")
        })?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The settings partition that a device file describes.
fn settings(file: &Path) -> Result<Vec<u8>> {
    let settings = read_device_file(file)?;
    let image = partition_image(&settings, DEFAULT_4MB.nvs.len as usize)?;
    Ok(image.to_vec())
}
