//! `otaria provision`: a device's settings, as an NVS partition or inside a flash image.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_package::keys::PublicKey;
use otaria_settings::host::{About, about, nvs_region, partition_image, put_into_flash};
use otaria_settings::{BrokerUrl, Secret, Settings};
use otaria_wire::nvs::PAGE_LEN;
use otaria_wire::partitions::DEFAULT_4MB;
use otaria_wire::settings::SIGNERS;
use otaria_wire::topics::{DEFAULT_ROOT, DeviceId};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::Context;
use crate::commands::settings::{SettingsArgs, TlsArgs, settle_id};
use crate::output::UsageError;
use crate::report::Rows;

/// Write a device's settings: Wi-Fi, broker, trusted keys and authorities, identity.
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

A broker with TLS (mqtts://) has to be known by its CA or by a shared key, and knows the device by
its certificate; `otaria device add` makes both for a server of ours, and these settings with them.

Examples:
  otaria provision --ssid workshop --broker mqtt://192.168.1.10 --public-key release.pub.pem
  otaria provision --from device.toml --id desk-2 --out desk-2.bin
  otaria provision --from device.toml --ca ca.pem --cert desk-1.cert.pem --key desk-1.key.pem
  otaria provision --from device.toml --into dist/esp32c3/flash.bin
  espflash write-bin 0x9000 nvs.bin            (to a board that is running already)")]
pub(crate) struct Provision {
    #[command(flatten)]
    settings: SettingsArgs,

    #[command(flatten)]
    tls: TlsArgs,

    /// The device's id: letters, digits, '_' and '-' [default: the common name of --cert, else from its MAC address].
    #[arg(long, value_name = "ID")]
    id: Option<DeviceId>,

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
        if self.settings.is_empty() && self.tls.is_empty() {
            let problem = "no settings are given: name a device file (--from), or --ssid, --broker, --public-key";
            return Err(UsageError(problem.to_owned()).into());
        }
        // What can be refused is refused before anybody is asked for a password.
        let target = Target::new(self.into.as_deref(), &self.out)?;
        let mut settings = self.settings.settings(self.id.as_ref())?;
        self.tls
            .put_into(&mut settings, self.settings.passphrase())?;
        settle_id(&mut settings)?;
        let provisioned = write(target, &settings, self.settings.setup_password)?;
        ctx.output.result(&provisioned)?;
        warn(ctx, &settings);
        Ok(())
    }
}

/// Makes the partition of the settings, and writes it. The set-up password is printed if it was made just now.
pub(super) fn write(
    target: Target<'_>,
    settings: &Settings,
    print_password: bool,
) -> anyhow::Result<Provisioned> {
    let keys = public_keys(settings)?;
    let image = partition_image(settings, target.len())?;
    let (offset, file) = target.write(&image)?;
    let mut provisioned = Provisioned::new(settings, &keys, file, offset, image.len());
    if print_password {
        provisioned.setup_password = settings.setup_password.clone().map(Printed);
    }
    Ok(provisioned)
}

/// Says what is allowed, and hardly ever wanted.
pub(super) fn warn(ctx: &Context, settings: &Settings) {
    for warning in warnings(settings) {
        ctx.output.note(format_args!("warning: {warning}"));
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
        (
            settings.tls.identity.is_some() && !settings.broker.as_ref().is_some_and(|at| at.tls),
            "the device has a certificate, and nobody sees it: its broker is not reached with mqtts://",
        ),
    ]
    .into_iter()
    .filter_map(|(applies, warning)| applies.then_some(warning))
    .collect()
}

/// Where the partition goes.
pub(super) enum Target<'a> {
    Alone(&'a Path),
    Flash {
        path: &'a Path,
        flash: Zeroizing<Vec<u8>>,
        len: u32,
    },
}

impl<'a> Target<'a> {
    pub(super) fn new(into: Option<&'a Path>, out: &'a Path) -> anyhow::Result<Self> {
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
pub(super) struct Provisioned {
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorities: Vec<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psk_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    time_servers: Vec<String>,
    encryption: bool,
    require_encryption: bool,
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
            authorities: shown(&settings.tls.authorities),
            certificate: settings
                .tls
                .identity
                .as_ref()
                .and_then(|identity| shown(&identity.chain).into_iter().next()),
            psk_id: settings.tls.psk.as_ref().map(|psk| psk.id.clone()),
            time_servers: settings.time_servers.clone(),
            encryption: settings.encryption_key.is_some(),
            require_encryption: settings.require_encryption,
            setup_password: None,
        }
    }
}

/// A certificate, for people.
#[derive(Clone, Serialize)]
struct Shown {
    name: String,
    until: String,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (until {})", self.name, self.until)
    }
}

fn shown(der: &[u8]) -> Vec<Shown> {
    let all = about(der).into_iter();
    all.map(|About { name, until }| Shown { name, until })
        .collect()
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
        for authority in &self.authorities {
            rows = rows.row("CA", authority.to_string());
        }
        if let Some(certificate) = &self.certificate {
            rows = rows.row("certificate", certificate.to_string());
        }
        if let Some(id) = &self.psk_id {
            rows = rows.row("shared key", id.clone());
        }
        if !self.time_servers.is_empty() {
            rows = rows.row("time", list(&self.time_servers, "none"));
        }
        if self.require_encryption {
            rows = rows.row(
                "encryption",
                "encrypted packages can be opened, no others are taken",
            );
        } else if self.encryption {
            rows = rows.row("encryption", "encrypted packages can be opened");
        }
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
