//! `otaria simulate`: devices that run the real device code, among real brokers and web servers.

mod certificates;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_package::keyfile;
use otaria_server::BrokerUrl;
use otaria_sim::device::{Hardware, Settings};
use otaria_sim::flash::Timing;
use otaria_sim::fleet::{Blueprint, Fleet};
use otaria_sim::images::Stamp;
use otaria_sim::real::RadioConfig;
use otaria_wire::esp_image::{self, ImageInfo};
use serde::Serialize;

use self::certificates::TlsArgs;
use crate::Context;
use crate::commands::{broker, told_to_end};
use crate::output::UsageError;
use crate::passphrase::PassphraseArgs;

/// More flash than the simulated devices have: 4 MB.
const FLASH_LEN: usize = 0x40_0000;

/// Run simulated devices against your broker and web server.
///
/// Each device is a modelled ESP32-C3: 4 MB of NOR flash, the bootloader's slot selection, and Otaria's device code
/// unchanged. They run until Ctrl-C or SIGTERM. With --data their flash is kept, so that a later run goes on where this one ended.
///
/// With mqtts:// each device comes with a certificate of its own, as a board does: the server issues them. They fetch packages over
/// HTTPS by the same authority, with the TLS that boards have.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria simulate --key otaria.pub.pem
  otaria simulate --key otaria.pub.pem --mqtt mqtt://broker.lan --devices 20 --data ./devices
  otaria simulate --key otaria.pub.pem --mqtt mqtts://ota.lan:8883 --devices 200 --certs ./certs
  otaria simulate --key otaria.pub.pem --image app-1.0.0.bin --link-kbps 500 --flash w25q")]
pub(crate) struct Simulate {
    /// How many devices.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    devices: u32,

    /// What their ids start with; a number follows.
    #[arg(long, default_value = "sim-")]
    prefix: String,

    /// The broker: mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts:// for TLS.
    #[arg(long, value_name = "URL", default_value = "mqtt://127.0.0.1:1883")]
    mqtt: String,

    #[command(flatten)]
    tls: TlsArgs,

    /// A public key (NAME.pub.pem) whose packages they take; can be given up to four times.
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,

    /// A private key (NAME.pem from `otaria keygen --encryption`) with which they all decrypt packages.
    #[arg(long, value_name = "FILE")]
    decrypt_key: Option<PathBuf>,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    /// The image that they leave the factory with: an ESP app image. By default a small demo firmware, version 1.0.0.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,

    /// Bandwidth of each device's link in kbit/s; 0 = no limit.
    #[arg(long, value_name = "KBPS", default_value_t = 4000)]
    link_kbps: u32,

    /// Latency of each device's link, one way, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5)]
    latency_ms: u32,

    /// How fast their flash is.
    #[arg(long, value_enum, default_value_t = FlashSpeed::W25q)]
    flash: FlashSpeed,

    /// Keep each device's flash in this directory, as ID.bin.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// How fast flash is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FlashSpeed {
    /// As a typical Winbond W25Q: 150 ms for 64 KiB erased, 0.7 ms for 256 bytes written.
    W25q,
    /// At once.
    Instant,
}

impl Simulate {
    pub(crate) async fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let image = self.factory_image()?;
        let info = esp_image::check(&image).map_err(|error| {
            anyhow::anyhow!(
                "the factory image is no ESP app image that a device would start: {error}"
            )
        })?;
        let ids: Vec<String> = (1..=self.devices)
            .map(|n| format!("{}{n}", self.prefix))
            .collect();
        let broker = broker("--mqtt", &self.mqtt)?;
        let fleet = Fleet::start(self.blueprints(ctx, &ids, &broker, &Arc::from(image), &info)?)
            .context("cannot start the devices' thread")?;
        let end = told_to_end().context("cannot wait for Ctrl-C")?;
        ctx.output.json_line(&Started {
            broker: broker.to_string(),
            product: info.desc.project.as_str(),
            version: info.desc.version.as_str(),
            devices: &ids,
        })?;
        ctx.output.note(format_args!(
            "{} simulated device(s), {} to {}, run {} {} and talk to {}; Ctrl-C ends them",
            ids.len(),
            ids.first().map_or("", String::as_str),
            ids.last().map_or("", String::as_str),
            info.desc.project.as_str(),
            info.desc.version.as_str(),
            broker,
        ));
        end.await;
        if let Some(data) = &self.data {
            keep(&fleet, &ids, data).await?;
        }
        Ok(())
    }

    fn factory_image(&self) -> anyhow::Result<Vec<u8>> {
        match &self.image {
            Some(path) => fs::read(path).with_context(|| format!("cannot read {}", path.display())),
            None => Ok(Stamp::new("1.0.0").image()),
        }
    }

    fn blueprints(
        &self,
        ctx: &Context,
        ids: &[String],
        broker: &BrokerUrl,
        image: &Arc<[u8]>,
        info: &ImageInfo,
    ) -> anyhow::Result<Vec<Blueprint>> {
        let decryption = match &self.decrypt_key {
            Some(path) => {
                let file = keyfile::PrivateKeyFile::read(path)?;
                Some(self.passphrase.open_decryption(&file)?.to_scalar())
            }
            None => None,
        };
        let keys = self
            .keys
            .iter()
            .map(|path| keyfile::read_public(path).map(|key| key.to_sec1()))
            .collect::<Result<Vec<_>, _>>()?;
        // Certificates are issued when all else is right.
        let tls = self.tls.of(ctx, ids, broker, self.data.as_deref())?;
        let hardware = Hardware {
            chip: info.chip,
            ..Hardware::default()
        };
        let timing = match self.flash {
            FlashSpeed::W25q => Timing::W25Q,
            FlashSpeed::Instant => Timing::INSTANT,
        };
        let radio = RadioConfig {
            bits_per_second: u64::from(self.link_kbps) * 1000,
            latency: Duration::from_millis(self.latency_ms.into()),
        };
        let mut blueprints = Vec::with_capacity(ids.len());
        for ((id, tls), seed) in ids.iter().zip(tls).zip(1..) {
            let product = info.desc.project.as_str();
            let mut settings = Settings::new(id, product, &keys, &broker.host, broker.port)
                .map_err(|error| UsageError(format!("a device '{id}' cannot be made: {error}")))?;
            settings.broker_tls = broker.tls;
            settings.tls = tls;
            settings.login = broker
                .login
                .clone()
                .map(|(user, password)| (user, password.into_bytes()));
            if let Some(scalar) = &decryption {
                settings.decryption.add(scalar)?;
            }
            let flash = self
                .data
                .as_deref()
                .map(|data| kept_flash(data, id))
                .transpose()?
                .flatten();
            let image = image.clone();
            blueprints.push(Blueprint {
                settings,
                image,
                flash,
                hardware,
                timing,
                log_flash: false,
                radio,
                seed,
            });
        }
        Ok(blueprints)
    }
}

fn flash_file(data: &Path, id: &str) -> PathBuf {
    data.join(format!("{id}.bin"))
}

/// What an earlier run has left of a device, if there was one.
fn kept_flash(data: &Path, id: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let path = flash_file(data, id);
    match fs::read(&path) {
        Ok(flash) if flash.len() == FLASH_LEN => Ok(Some(flash)),
        Ok(flash) => bail!(
            "{} has {} bytes and not the {FLASH_LEN} of a 4 MB flash; move it away to start with a new device",
            path.display(),
            flash.len()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

async fn keep(fleet: &Fleet, ids: &[String], data: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    for (index, id) in ids.iter().enumerate() {
        let path = flash_file(data, id);
        let flash = fleet
            .read_flash(index)
            .await
            .context("the devices' thread has ended")?;
        write_atomically(&path, Readers::Umask, Existing::Replace, |out| {
            out.write_all(&flash)
        })
        .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Started<'a> {
    broker: String,
    product: &'a str,
    version: &'a str,
    devices: &'a [String],
}
