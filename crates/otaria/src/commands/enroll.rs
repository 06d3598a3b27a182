//! `otaria device add` and `otaria device revoke`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_package::keyfile::PrivateKeyFile;
use otaria_server::model::{self, IssuedCertificate, NewCertificate};
use otaria_server::new_device_key;
use otaria_settings::host::{read_authorities, read_identity};
use otaria_settings::{BrokerUrl, Settings};
use otaria_wire::topics::DeviceId;
use serde::Serialize;

use crate::Context;
use crate::client::{Client, ServerArgs};
use crate::commands::provision::{self, Provisioned, Target};
use crate::commands::settings::{SettingsArgs, now};
use crate::output::UsageError;

/// The file of the authorities that a device trusts, beside its certificate.
pub(crate) const CA: &str = "ca.pem";

/// Give a device a certificate, with which the server's broker knows it, and the settings that go onto the board.
///
/// The key is made here, and only its public half goes to the server. Written are ID.key.pem (mode 0600), ID.cert.pem and
/// ca.pem, and the same in DER for firmware that reads it. With --settings-out or --into also the device's settings, as
/// `otaria provision` writes them: with this certificate, the server's authority and broker, and what the other arguments
/// or a device file (--from) say: Wi-Fi, the keys whose packages it takes.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria device add pump-7 --out certs
  otaria device add pump-7 --out certs --from device.toml --settings-out pump-7.bin
  otaria device add pump-7 --out certs --from device.toml --into dist/esp32c3/flash.bin
  otaria device add pump-7 --csr pump-7.csr      (the key stays on the device)")]
pub(crate) struct Add {
    /// The device's id.
    id: DeviceId,

    /// Sign this request (PKCS#10, PEM) instead of making a key.
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,

    /// How long the certificate counts [default: as long as the authority].
    #[arg(long, value_name = "DAYS")]
    days: Option<u32>,

    /// Where the files are written.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,

    /// Write the device's settings as an NVS partition.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csr", "into"])]
    settings_out: Option<PathBuf>,

    /// Put the device's settings into this flash image.
    #[arg(long, value_name = "FILE", conflicts_with = "csr")]
    into: Option<PathBuf>,

    #[command(flatten)]
    settings: SettingsArgs,

    #[command(flatten)]
    server: ServerArgs,
}

impl Add {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let client = self.server.client()?;
        let request = self.csr.as_deref().map(|path| {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        });
        let request = request.transpose()?;
        // Before a certificate is issued, not after.
        let settings = self.prepared_settings()?;
        let (issued, files) = certify(&client, &self.id, request, self.days, &self.out)?;
        let provisioned = match settings {
            Some((target, mut settings)) if self.csr.is_none() => {
                complete(&mut settings, &self.id, &self.out, &issued)?;
                let print = self.settings.setup_password;
                Some((provision::write(target, &settings, print)?, settings))
            }
            Some(_) | None => None,
        };
        let (provisioned, settings) = provisioned.unzip();
        ctx.output.result(&Added {
            about: issued.about,
            files,
            provisioned,
        })?;
        if let Some(settings) = settings {
            provision::warn(ctx, &settings);
        }
        Ok(())
    }

    /// Where the settings go, and what they are but for what the server makes of the device.
    fn prepared_settings(&self) -> anyhow::Result<Option<(Target<'_>, Settings)>> {
        let target = match (&self.settings_out, &self.into) {
            (None, None) if self.settings.is_empty() => return Ok(None),
            (None, None) => {
                let problem =
                    "settings are given, and nowhere to write them: say --settings-out or --into";
                return Err(UsageError(problem.to_owned()).into());
            }
            (Some(out), _) => Target::new(None, out)?,
            (None, Some(into)) => Target::new(Some(into), into)?,
        };
        let settings = self.settings.settings(Some(&self.id))?;
        Ok(Some((target, settings)))
    }
}

/// A file of a device among others.
pub(crate) fn file(dir: &Path, device: &str, suffix: &str) -> PathBuf {
    dir.join(format!("{device}.{suffix}"))
}

/// Has the server certify a device, and writes what is needed to be it into `out`: certificate, key (unless it comes with a
/// `request` of its own), and whom to trust. With the files that were written.
pub(crate) fn certify(
    client: &Client,
    device: &DeviceId,
    request: Option<String>,
    days: Option<u32>,
    out: &Path,
) -> anyhow::Result<(IssuedCertificate, Vec<PathBuf>)> {
    let file = |suffix: &str| file(out, device, suffix);
    let (request, key) = match request {
        Some(request) => (request, None),
        None => {
            let key = new_device_key(device)?;
            (key.request.clone(), Some(key))
        }
    };
    if key.is_some() && file("key.pem").exists() {
        bail!(
            "{} is there already; a device keeps its key: sign a request (--csr), or move the file away",
            file("key.pem").display()
        );
    }
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let issued = client.certify(device, &NewCertificate { request, days })?;
    let mut files = Vec::new();
    let mut write = |path: PathBuf, readers, bytes: &[u8]| -> anyhow::Result<()> {
        write(&path, readers, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        files.push(path);
        Ok(())
    };
    if let Some(key) = &key {
        write(file("key.pem"), Readers::Owner, key.pem.as_bytes())?;
        write(file("key.der"), Readers::Owner, &key.der)?;
    }
    let pem = issued.certificate.as_bytes();
    write(file("cert.pem"), Readers::Umask, pem)?;
    write(file("cert.der"), Readers::Umask, &der(pem)?)?;
    if let Some(ca) = &issued.ca {
        write(out.join(CA), Readers::Umask, ca.as_bytes())?;
        write(out.join("ca.der"), Readers::Umask, &der(ca.as_bytes())?)?;
    }
    Ok((issued, files))
}

/// Adds what the server knows and what was made here, out of the files that were written.
fn complete(
    settings: &mut Settings,
    device: &str,
    out: &Path,
    issued: &IssuedCertificate,
) -> anyhow::Result<()> {
    let now = now()?;
    let key = PrivateKeyFile::read(&file(out, device, "key.pem"))?.open(None)?;
    settings.tls.identity = Some(read_identity(&file(out, device, "cert.pem"), &key, now)?);
    if issued.ca.is_some() {
        settings.tls.authorities = read_authorities(&out.join(CA), now)?;
    }
    if settings.broker.is_none() {
        let broker = issued.broker.as_deref().context(
            "this server uses a broker of yours: say --broker, and its CA in the device file (ca)",
        )?;
        settings.broker = Some(BrokerUrl::parse(broker)?);
    }
    Ok(())
}

fn write(path: &Path, readers: Readers, bytes: &[u8]) -> io::Result<()> {
    write_atomically(path, readers, Existing::Replace, |file| {
        file.write_all(bytes)
    })
}

fn der(pem: &[u8]) -> anyhow::Result<Vec<u8>> {
    let certificate = ureq::tls::Certificate::from_pem(pem)
        .context("the server's certificate cannot be read; is it of another version?")?;
    Ok(certificate.der().to_vec())
}

#[derive(Serialize)]
struct Added {
    #[serde(flatten)]
    about: model::Certificate,
    files: Vec<PathBuf>,
    #[serde(rename = "settings", skip_serializing_if = "Option::is_none")]
    provisioned: Option<Provisioned>,
}

impl fmt::Display for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: certificate {}",
            self.about.device, self.about.serial
        )?;
        for file in &self.files {
            writeln!(f, "  {}", file.display())?;
        }
        match &self.provisioned {
            Some(provisioned) => provisioned.fmt(f),
            None => Ok(()),
        }
    }
}

/// Cut a device off: its certificates are revoked, and what it has open is closed at once.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The device's id.
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

impl Revoke {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        ctx.output
            .result(&Revoked(self.server.client()?.revoke(&self.id)?))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Revoked(model::CutOff);

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cut off", self.0.device)?;
        match &self.0.serials[..] {
            [] => f.write_str("; it had no certificate from this server"),
            serials => write!(f, "; revoked {}", serials.join(", ")),
        }
    }
}
