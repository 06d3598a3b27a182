//! The settings of a device, out of the arguments that several commands have.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use otaria_package::keyfile::{PrivateKeyFile, read_public};
use otaria_package::keys::SigningKey;
use otaria_settings::host::{
    CertificateError, HostError, id_of, psk_from_hex, read_authorities, read_device_file,
    read_identity,
};
use otaria_settings::{BrokerUrl, Psk, Secret, SecretKey, Settings, WifiNetwork, access_point};
use otaria_wire::topics::DeviceId;
use zeroize::Zeroizing;

use crate::passphrase::PassphraseArgs;
use crate::secret;

const WIFI_VARIABLE: &str = "OTARIA_WIFI_PASSWORD";
const BROKER_VARIABLE: &str = "OTARIA_BROKER_PASSWORD";

/// What a device is told, but for who it is.
#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
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

    /// Let the device take encrypted packages alone; needs --encryption-key, or one in --from.
    #[arg(long)]
    require_encryption: bool,

    /// Make a password for the device's set-up access point and print it, for the device's label; without one the device makes
    /// its own at each start, and says it on the serial port only.
    #[arg(long)]
    pub(super) setup_password: bool,

    /// Start from the settings in a device file (TOML).
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    /// A time server (SNTP) to ask; up to four times. Without one the device asks nobody. Replaces those of --from.
    #[arg(long, value_name = "HOST")]
    time_server: Vec<String>,

    /// The private key (PEM) that the device opens encrypted packages with.
    #[arg(long, value_name = "FILE")]
    encryption_key: Option<PathBuf>,

    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// What a device knows its broker by, and shows of itself.
#[derive(Debug, Args)]
pub(super) struct TlsArgs {
    /// The authority (PEM or DER) that the broker's and the web server's certificates come from; several may be in the file.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// The device's certificate (PEM or DER), and behind it those between it and the authority that the broker knows.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// The private key of --cert (PEM, P-256).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Name of a key that device and broker share (TLS-PSK), in place of certificates or beside them.
    #[arg(long, value_name = "NAME", requires = "psk_file")]
    psk_id: Option<String>,

    /// Read that key from this file: 32 to 128 hexadecimal digits, as `openssl rand -hex 32` makes them.
    #[arg(long, value_name = "FILE", requires = "psk_id")]
    psk_file: Option<PathBuf>,
}

impl TlsArgs {
    pub(super) fn is_empty(&self) -> bool {
        self.ca.is_none() && self.cert.is_none() && self.psk_id.is_none()
    }

    /// Puts what is given into the settings, in place of what the device file says.
    pub(super) fn put_into(
        &self,
        settings: &mut Settings,
        passphrase: &PassphraseArgs,
    ) -> anyhow::Result<()> {
        let now = now()?;
        if let Some(path) = &self.ca {
            settings.tls.authorities = read_authorities(path, now)?;
        }
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let key = passphrase.open(&PrivateKeyFile::read(key)?)?;
                settings.tls.identity = Some(read_identity(cert, &key, now)?);
            }
            (None, None) => {}
            _ => return Err(HostError::Identity(CertificateError::Half).into()),
        }
        if let (Some(id), Some(path)) = (&self.psk_id, &self.psk_file) {
            settings.tls.psk = Some(Psk {
                id: id.clone(),
                key: psk_from_hex(&secret::from_file(path, "shared key")?)?,
            });
        }
        Ok(())
    }
}

/// Makes the id and the certificate's name agree.
pub(super) fn settle_id(settings: &mut Settings) -> anyhow::Result<()> {
    if let Some(identity) = &settings.tls.identity {
        settings.device_id = id_of(identity, settings.device_id.as_ref())?;
    }
    Ok(())
}

/// Unix seconds.
pub(super) fn now() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.context("this machine's clock says a time before 1970")?;
    Ok(i64::try_from(now.as_secs())?)
}

impl SettingsArgs {
    /// Whether nothing is given that would make settings.
    pub(super) fn is_empty(&self) -> bool {
        self.from.is_none()
            && self.ssid.is_none()
            && self.broker.is_none()
            && self.public_key.is_empty()
            && !self.setup_password
    }

    pub(super) fn passphrase(&self) -> &PassphraseArgs {
        &self.passphrase
    }

    pub(super) fn settings(&self, id: Option<&DeviceId>) -> anyhow::Result<Settings> {
        let mut settings = match &self.from {
            Some(path) => read_device_file(path)
                .with_context(|| format!("cannot take the settings of {}", path.display()))?,
            None => Settings::default(),
        };
        if let Some(id) = id {
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
        if !self.time_server.is_empty() {
            settings.time_servers.clone_from(&self.time_server);
        }
        if let Some(path) = &self.encryption_key {
            let key: SigningKey = self.passphrase.open(&PrivateKeyFile::read(path)?)?;
            settings.encryption_key = Some(SecretKey::new(*key.to_scalar()));
        }
        settings.allow_unguarded |= self.allow_unguarded;
        settings.require_encryption |= self.require_encryption;
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
