//! A device file: settings as a person writes them (TOML).

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use otaria_package::keyfile::{PrivateKeyFile, read_public};
use otaria_package::keys::SigningKey;
use otaria_wire::settings::SIGNERS;
use otaria_wire::topics::DeviceId;
use serde::Deserialize;

use zeroize::Zeroizing;

use super::HostError;
use super::certificates::{read_authorities, read_identity};
use crate::{BrokerUrl, PSK_LEN, Psk, Secret, SecretBytes, SecretKey, Settings, WifiNetwork};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceFile {
    id: Option<DeviceId>,
    product: Option<String>,
    topic_root: Option<DeviceId>,
    broker: Option<String>,
    broker_user: Option<String>,
    broker_password: Option<SecretSource>,
    #[serde(default)]
    public_keys: Vec<PathBuf>,
    #[serde(default)]
    allowed_hosts: Vec<String>,
    #[serde(default)]
    allow_unguarded: bool,
    #[serde(default)]
    require_encryption: bool,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    psk_id: Option<String>,
    psk: Option<SecretSource>,
    #[serde(default)]
    time_servers: Vec<String>,
    encryption_key: Option<PathBuf>,
    install: Option<u64>,
    setup_password: Option<SecretSource>,
    #[serde(default)]
    wifi: Vec<Wifi>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wifi {
    ssid: String,
    password: Option<SecretSource>,
}

/// A password, or where it is.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a text, { file = \"PATH\" } or { env = \"NAME\" } was expected"
)]
enum SecretSource {
    Text(String),
    File { file: PathBuf },
    Variable { env: String },
}

impl SecretSource {
    fn read(self, folder: &Path) -> Result<Secret, HostError> {
        match self {
            Self::Text(text) => Ok(Secret::from(text)),
            Self::File { file } => {
                let text = Secret::from(read(&folder.join(file))?);
                Ok(Secret::from(text.lines().next().unwrap_or_default()))
            }
            Self::Variable { env } => match std::env::var(&env) {
                Ok(text) => Ok(Secret::from(text)),
                Err(_) => Err(HostError::Variable(env)),
            },
        }
    }
}

/// Reads a device file. Files that it names are looked for beside it.
///
/// # Errors
/// See [`HostError`].
pub fn read_device_file(path: &Path) -> Result<Settings, HostError> {
    let text = Secret::from(read(path)?);
    from_toml(&text, path.parent().unwrap_or(Path::new(".")))
}

/// Settings out of a device file's text; files that it names are looked for in `folder`.
///
/// ```toml
/// id = "desk-1"                             # default: from the chip's MAC address
/// product = "sensor"                        # default: the one that the app was built for
/// broker = "mqtt://192.168.1.10"            # or mqtts://host:port
/// broker_user = "desk-1"
/// broker_password = { env = "BROKER_PASSWORD" }
/// public_keys = ["keys/release.pub.pem"]    # whose packages are taken, up to four
/// allowed_hosts = ["updates.example.com"]   # default: any
///
/// [[wifi]]                                  # up to four, the first in reach is taken
/// ssid = "workshop"
/// password = { file = "wifi.txt" }          # or a text, or { env = "NAME" }
/// ```
///
/// For a broker with TLS (`mqtts://`): `ca`, `cert` and `key`, files as `otaria device add` writes them; or `psk_id`, and `psk` in
/// the same three ways as a password. `time_servers` is a list of hosts. `encryption_key` is the private key (PEM) for encrypted
/// packages; with `require_encryption` no others are taken.
///
/// Also `setup_password` for the set-up access point, in the same three ways, and `topic_root`, `allow_unguarded` and `install`, for
/// those who need them. A private key with a passphrase is opened with that in `OTARIA_PASSPHRASE`.
///
/// # Errors
/// See [`HostError`].
pub fn from_toml(text: &str, folder: &Path) -> Result<Settings, HostError> {
    let file: DeviceFile = toml::from_str(text).map_err(|error| HostError::DeviceFile {
        line: error.span().map(|span| {
            let before = text.get(..span.start).unwrap_or_default();
            before.matches('\n').count() + 1
        }),
        // Without the excerpt that its Display has.
        message: error.message().to_owned(),
    })?;
    let wrong = |message: &str| HostError::DeviceFile {
        line: None,
        message: message.to_owned(),
    };
    let mut broker = file.broker.as_deref().map(BrokerUrl::parse).transpose()?;
    let password = file
        .broker_password
        .map(|source| source.read(folder))
        .transpose()?;
    broker = match (broker, file.broker_user, password) {
        (broker, None, None) => broker,
        (Some(broker), Some(user), password) => Some(broker.with_credentials(&user, password)?),
        (None, ..) => return Err(wrong("broker_user and broker_password need broker")),
        (_, None, Some(_)) => return Err(wrong("broker_password needs broker_user")),
    };
    if file.public_keys.len() > SIGNERS.len() {
        return Err(HostError::TooManyKeys);
    }
    let mut settings = Settings {
        device_id: file.id,
        product: file.product.unwrap_or_default(),
        broker,
        allowed_hosts: file.allowed_hosts,
        allow_unguarded: file.allow_unguarded,
        require_encryption: file.require_encryption,
        install: file.install,
        setup_password: file
            .setup_password
            .map(|source| source.read(folder))
            .transpose()?,
        ..Settings::default()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    if let Some(path) = file.ca {
        settings.tls.authorities = read_authorities(&folder.join(path), now)?;
    }
    settings.tls.identity = match (file.cert, file.key) {
        (Some(cert), Some(key)) => {
            let key = private_key(&folder.join(key))?;
            Some(read_identity(&folder.join(cert), &key, now)?)
        }
        (None, None) => None,
        _ => return Err(wrong("cert and key go together")),
    };
    settings.tls.psk = match (file.psk_id, file.psk) {
        (Some(id), Some(key)) => Some(Psk {
            id,
            key: psk_from_hex(&key.read(folder)?)?,
        }),
        (None, None) => None,
        _ => return Err(HostError::Psk),
    };
    settings.time_servers = file.time_servers;
    if let Some(path) = file.encryption_key {
        let key = private_key(&folder.join(path))?;
        settings.encryption_key = Some(SecretKey::new(*key.to_scalar()));
    }
    if let Some(root) = file.topic_root {
        settings.topic_root = root.to_string();
    }
    for path in file.public_keys {
        settings
            .signers
            .push(read_public(&folder.join(path))?.to_sec1());
    }
    for wifi in file.wifi {
        let password = wifi
            .password
            .map(|source| source.read(folder))
            .transpose()?;
        let network = WifiNetwork::new(&wifi.ssid, &password.unwrap_or_default())?;
        settings.wifi.push(network);
    }
    Ok(settings)
}

/// A shared key as people write it: hexadecimal digits.
///
/// # Errors
/// They are too few, too many, or none.
pub fn psk_from_hex(digits: &str) -> Result<SecretBytes, HostError> {
    let digits = digits.trim().as_bytes();
    let mut key = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    let (pairs, rest) = digits.as_chunks::<2>();
    for pair in pairs {
        let value = |digit: u8| char::from(digit).to_digit(16);
        let [high, low] = pair.map(value);
        let byte = high
            .zip(low)
            .and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        key.push(byte.ok_or(HostError::Psk)?);
    }
    if !rest.is_empty() || !PSK_LEN.contains(&key.len()) {
        return Err(HostError::Psk);
    }
    Ok(SecretBytes::new(std::mem::take(&mut *key)))
}

fn private_key(path: &Path) -> Result<SigningKey, HostError> {
    let file = PrivateKeyFile::read(path)?;
    let passphrase = std::env::var("OTARIA_PASSPHRASE").ok().map(Secret::from);
    Ok(file.open(passphrase.as_deref())?)
}

fn read(path: &Path) -> Result<String, HostError> {
    std::fs::read_to_string(path).map_err(|source| HostError::Read {
        path: path.to_owned(),
        source,
    })
}
