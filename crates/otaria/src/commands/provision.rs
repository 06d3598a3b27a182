//! `otaria provision`: a device's settings, as an NVS partition or inside a flash image.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_package::keyfile::read_public;
use otaria_package::keys::PublicKey;
use otaria_settings::host::{nvs_region, partition_image, put_into_flash, read_device_file};
use otaria_settings::{BrokerUrl, Secret, Settings, WifiNetwork, access_point};
use otaria_wire::nvs::PAGE_LEN;
use otaria_wire::partitions::DEFAULT_4MB;
use otaria_wire::settings::SIGNERS;
use otaria_wire::topics::{DEFAULT_ROOT, DeviceId};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::Context;
use crate::output::UsageError;
use crate::report::Rows;
use crate::secret;

const WIFI_VARIABLE: &str = "OTARIA_WIFI_PASSWORD";
const BROKER_VARIABLE: &str = "OTARIA_BROKER_PASSWORD";

/// Write a device's settings: Wi-Fi, broker, trusted keys, identity.
///
/// They become an NVS partition in ESP-IDF's format (namespace "otaria"), alone (--out) or in place of the one in a
/// flash image (--into, found by the partition table in it). All settings of the device are written anew: what is not
/// given has its default. The file holds a Wi-Fi password, so only its owner may read it (mode 0600).
#[derive(Debug, Args)]
#[command(after_long_help = "\
The Wi-Fi password is asked for, unless --password-file or OTARIA_WIFI_PASSWORD gives it.
--password does too, but other users of this machine may see it there.

A device file (--from) holds the same, and up to four Wi-Fi networks:
  id = \"desk-1\"
  broker = \"mqtt://192.168.1.10\"
  public_keys = [\"keys/release.pub.pem\"]
  [[wifi]]
  ssid = \"workshop\"
  password = { env = \"WORKSHOP_PASSWORD\" }     (or { file = \"PATH\" }, or the password itself)

Examples:
  otaria provision --ssid workshop --broker mqtt://192.168.1.10 --public-key release.pub.pem
  otaria provision --from device.toml --id desk-2 --out desk-2.bin
  otaria provision --from device.toml --into dist/esp32c3/flash.bin
  espflash write-bin 0x9000 nvs.bin            (to a board that is running already)")]
pub(crate) struct Provision {
    /// Name of the Wi-Fi network; with --from, it is tried before those of the file.
    #[arg(long, value_name = "NAME")]
    ssid: Option<String>,

    /// Password of the Wi-Fi network; better --password-file or OTARIA_WIFI_PASSWORD.
    #[arg(long, value_name = "TEXT", requires = "ssid")]
    password: Option<Secret>,

    /// Read the Wi-Fi password from this file (its first line).
    #[arg(
        long,
        value_name = "FILE",
        requires = "ssid",
        conflicts_with = "password"
    )]
    password_file: Option<PathBuf>,

    /// The Wi-Fi network has no password.
    #[arg(long, requires = "ssid", conflicts_with_all = ["password", "password_file"])]
    open: bool,

    /// The broker: mqtt://[USER@]HOST[:PORT], or mqtts:// for TLS.
    #[arg(long, value_name = "URL")]
    broker: Option<Secret>,

    /// Read the password at the broker from this file (its first line), instead of OTARIA_BROKER_PASSWORD.
    #[arg(long, value_name = "FILE", requires = "broker")]
    broker_password_file: Option<PathBuf>,

    /// The device's id: letters, digits, '_' and '-' [default: from its MAC address].
    #[arg(long, value_name = "ID")]
    id: Option<DeviceId>,

    /// The product that packages must be for [default: the one that the firmware was built for].
    #[arg(long, value_name = "NAME")]
    product: Option<String>,

    /// A public key (NAME.pub.pem) whose packages the device takes; up to four times. Replaces those of --from.
    #[arg(long, value_name = "FILE")]
    public_key: Vec<PathBuf>,

    /// A host that packages may come from; may be repeated [default: any]. Replaces those of --from.
    #[arg(long, value_name = "HOST")]
    allowed_host: Vec<String>,

    /// First level of the MQTT topics [default: otaria].
    #[arg(long, value_name = "NAME")]
    topic_root: Option<DeviceId>,

    /// Let the device take images without boot guard.
    #[arg(long)]
    allow_unguarded: bool,

    /// Make a password for the device's set-up access point and print it, for the device's label; without one the device makes
    /// its own at each start, and says it on the serial port only.
    #[arg(long)]
    setup_password: bool,

    /// Start from the settings in a device file (TOML).
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    /// Where to write the partition; an older NVS partition there is replaced.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "nvs.bin",
        conflicts_with = "into"
    )]
    out: PathBuf,

    /// Put the partition into this flash image instead.
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
}

impl Provision {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        if self.from.is_none()
            && self.ssid.is_none()
            && self.broker.is_none()
            && self.public_key.is_empty()
            && !self.setup_password
        {
            let problem = "no settings are given: name a device file (--from), or --ssid, --broker, --public-key";
            return Err(UsageError(problem.to_owned()).into());
        }
        // What can be refused is refused before anybody is asked for a password.
        let target = Target::new(self.into.as_deref(), &self.out)?;
        let settings = self.settings()?;
        let keys = public_keys(&settings)?;
        let image = partition_image(&settings, target.len())?;
        let (offset, file) = target.write(&image)?;
        let mut provisioned = Provisioned::new(&settings, &keys, file, offset, image.len());
        if self.setup_password {
            provisioned.setup_password = settings.setup_password.clone().map(Printed);
        }
        ctx.output.result(&provisioned)?;
        for warning in warnings(&settings) {
            ctx.output.note(format_args!("warning: {warning}"));
        }
        Ok(())
    }

    fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings = match &self.from {
            Some(path) => read_device_file(path)
                .with_context(|| format!("cannot take the settings of {}", path.display()))?,
            None => Settings::default(),
        };
        if let Some(id) = &self.id {
            settings.device_id = Some(id.clone());
        }
        if let Some(product) = &self.product {
            settings.product.clone_from(product);
        }
        if let Some(root) = &self.topic_root {
            settings.topic_root = root.to_string();
        }
        if !self.public_key.is_empty() {
            let read = |path: &PathBuf| Ok(read_public(path)?.to_sec1());
            settings.signers = self
                .public_key
                .iter()
                .map(read)
                .collect::<anyhow::Result<_>>()?;
        }
        if !self.allowed_host.is_empty() {
            settings.allowed_hosts.clone_from(&self.allowed_host);
        }
        settings.allow_unguarded |= self.allow_unguarded;
        if self.setup_password {
            let mut random = Zeroizing::new([0; access_point::RANDOM_LEN]);
            getrandom::fill(&mut *random).context("no random numbers for a password")?;
            settings.setup_password = Some(access_point::password(&random));
        }
        if let Some(broker) = self.broker()? {
            settings.broker = Some(broker);
        }
        if let Some(network) = self.network()? {
            settings.wifi = settings.wifi_with(network);
        }
        Ok(settings)
    }

    fn broker(&self) -> anyhow::Result<Option<BrokerUrl>> {
        let Some(url) = &self.broker else {
            return Ok(None);
        };
        let broker = BrokerUrl::parse(url)?;
        let password = match &self.broker_password_file {
            Some(path) => Some(secret::from_file(path, "password")?),
            None if broker.password.is_none() => secret::from_variable(BROKER_VARIABLE)?,
            None => None,
        };
        let Some(password) = password else {
            return Ok(Some(broker));
        };
        let Some(user) = broker.user.clone() else {
            bail!("a password at the broker needs a user name: --broker mqtt://USER@HOST");
        };
        let password = Secret::from(password.as_str());
        Ok(Some(broker.with_credentials(&user, Some(password))?))
    }

    fn network(&self) -> anyhow::Result<Option<WifiNetwork>> {
        let Some(ssid) = &self.ssid else {
            return Ok(None);
        };
        let password = if self.open {
            Zeroizing::new(String::new())
        } else if let Some(password) = &self.password {
            Zeroizing::new(password.reveal().to_owned())
        } else if let Some(path) = &self.password_file {
            secret::from_file(path, "password")?
        } else if let Some(password) = secret::from_variable(WIFI_VARIABLE)? {
            password
        } else {
            secret::ask(
                &format!("Password of the Wi-Fi network {ssid}: "),
                &format!(
                    "the Wi-Fi password is needed and there is no terminal to ask on; give --password-file, set {WIFI_VARIABLE}, or say --open"
                ),
            )?
        };
        if password.is_empty() && !self.open {
            bail!("the Wi-Fi password is empty; for a network without password say --open");
        }
        Ok(Some(WifiNetwork::new(ssid, &password)?))
    }
}

/// The keys, which must be on the curve and different: a device refuses others.
fn public_keys(settings: &Settings) -> anyhow::Result<Vec<PublicKey>> {
    let points = &settings.signers;
    if points.len() > SIGNERS.len() {
        bail!(
            "a device trusts at most {} keys, and {} are given",
            SIGNERS.len(),
            points.len()
        );
    }
    if (1..points.len()).any(|index| points[..index].contains(&points[index])) {
        bail!("the same public key is given twice");
    }
    points
        .iter()
        .map(|point| Ok(PublicKey::from_sec1(point)?))
        .collect()
}

/// What is allowed, and hardly ever wanted.
fn warnings(settings: &Settings) -> Vec<&'static str> {
    [
        (
            settings.wifi.is_empty(),
            "no Wi-Fi network: the device will open its set-up access point",
        ),
        (
            settings.broker.is_none(),
            "no broker: the device will open its set-up access point",
        ),
        (
            settings.signers.is_empty(),
            "no public key: the device will take no update at all",
        ),
    ]
    .into_iter()
    .filter_map(|(applies, warning)| applies.then_some(warning))
    .collect()
}

/// Where the partition goes.
enum Target<'a> {
    Alone(&'a Path),
    Flash {
        path: &'a Path,
        flash: Zeroizing<Vec<u8>>,
        len: u32,
    },
}

impl<'a> Target<'a> {
    fn new(into: Option<&'a Path>, out: &'a Path) -> anyhow::Result<Self> {
        let Some(path) = into else {
            refuse_other_file(out)?;
            return Ok(Self::Alone(out));
        };
        let flash = fs::read(path).map(Zeroizing::new);
        let flash = flash.with_context(|| format!("cannot read {}", path.display()))?;
        let region =
            nvs_region(&flash).with_context(|| format!("{} is not changed", path.display()))?;
        Ok(Self::Flash {
            path,
            flash,
            len: region.len,
        })
    }

    /// Length of the partition.
    fn len(&self) -> usize {
        match self {
            Self::Alone(_) => DEFAULT_4MB.nvs.len as usize,
            Self::Flash { len, .. } => *len as usize,
        }
    }

    /// Writes the partition; where in flash it belongs, and the file.
    fn write(self, image: &[u8]) -> anyhow::Result<(u32, PathBuf)> {
        let (path, bytes, offset) = match self {
            Self::Alone(path) => (path, Zeroizing::new(image.to_vec()), DEFAULT_4MB.nvs.offset),
            Self::Flash {
                path, mut flash, ..
            } => {
                let region = put_into_flash(&mut flash, image)?;
                (path, flash, region.offset)
            }
        };
        write_atomically(path, Readers::Owner, Existing::Replace, |file| {
            file.write_all(&bytes)
        })
        .with_context(|| format!("cannot write {}", path.display()))?;
        Ok((offset, path.to_owned()))
    }
}

/// A slip in `--out` must not replace a key or a flash image with a partition.
fn refuse_other_file(out: &Path) -> anyhow::Result<()> {
    let Ok(metadata) = fs::metadata(out) else {
        return Ok(());
    };
    let is_nvs = metadata.is_file() && {
        let bytes = fs::read(out).map(Zeroizing::new);
        let bytes = bytes.with_context(|| format!("cannot read {}", out.display()))?;
        let state = bytes.first_chunk().map(|state| u32::from_le_bytes(*state));
        // Active, full or freeing, or blank; 1 MiB of it is some other thing.
        let is_page = matches!(
            state,
            Some(0xFFFF_FFF8 | 0xFFFF_FFFC | 0xFFFF_FFFE | u32::MAX)
        );
        bytes.is_empty()
            || (is_page && bytes.len().is_multiple_of(PAGE_LEN) && bytes.len() < 1 << 20)
    };
    if !is_nvs {
        bail!(
            "{} exists and is no NVS partition, so it is kept; choose another --out, or say --into for a flash image",
            out.display()
        );
    }
    Ok(())
}

/// A secret that is made to be seen, once.
struct Printed(Secret);

impl Serialize for Printed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.reveal())
    }
}

/// What was written; no secrets, but for a password that was made just now.
#[derive(Serialize)]
struct Provisioned {
    file: PathBuf,
    offset: u32,
    len: usize,
    device: Option<String>,
    product: Option<String>,
    topic_root: String,
    wifi: Vec<String>,
    broker: Option<String>,
    broker_user: Option<String>,
    key_ids: Vec<String>,
    allowed_hosts: Vec<String>,
    allow_unguarded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    setup_password: Option<Printed>,
}

impl Provisioned {
    fn new(
        settings: &Settings,
        keys: &[PublicKey],
        file: PathBuf,
        offset: u32,
        len: usize,
    ) -> Self {
        let broker = settings.broker.as_ref();
        Self {
            file,
            offset,
            len,
            device: settings.device_id.as_ref().map(ToString::to_string),
            product: Some(settings.product.clone()).filter(|product| !product.is_empty()),
            topic_root: settings.topic_root.clone(),
            wifi: settings
                .wifi
                .iter()
                .map(|network| network.ssid.clone())
                .collect(),
            broker: broker.map(BrokerUrl::address),
            broker_user: broker.and_then(|broker| broker.user.clone()),
            key_ids: keys.iter().map(|key| key.key_id().to_string()).collect(),
            allowed_hosts: settings.allowed_hosts.clone(),
            allow_unguarded: settings.allow_unguarded,
            setup_password: None,
        }
    }
}

impl fmt::Display for Provisioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or =
            |text: &Option<String>, none: &str| text.clone().unwrap_or_else(|| none.to_owned());
        let list = |texts: &[String], none: &str| match texts {
            [] => none.to_owned(),
            texts => texts.join(", "),
        };
        let broker = match (&self.broker, &self.broker_user) {
            (Some(broker), Some(user)) => format!("{broker}, as {user}"),
            (broker, _) => or(broker, "none"),
        };
        let place = format!(
            "{}, {:#x} bytes for flash at {:#x}",
            self.file.display(),
            self.len,
            self.offset
        );
        let mut rows = Rows::new()
            .row("settings", place)
            .row("device", or(&self.device, "named by its MAC address"))
            .row("product", or(&self.product, "as the firmware was built"))
            .row("Wi-Fi", list(&self.wifi, "none"))
            .row("broker", broker)
            .row("keys", list(&self.key_ids, "none"));
        if self.topic_root != DEFAULT_ROOT {
            rows = rows.row("topics", format!("{}/v1/…", self.topic_root));
        }
        if !self.allowed_hosts.is_empty() {
            rows = rows.row("hosts", list(&self.allowed_hosts, "any"));
        }
        if self.allow_unguarded {
            rows = rows.row("unguarded", "images without boot guard are taken");
        }
        if let Some(Printed(password)) = &self.setup_password {
            let text = format!(
                "{} (for the label: it is not shown again)",
                password.reveal()
            );
            rows = rows.row("set-up password", text);
        }
        rows.fmt(f)
    }
}
