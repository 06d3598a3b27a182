//! What a device is told about itself.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use otaria_wire::settings::MAX_WIFI_NETWORKS;
use otaria_wire::topics::{DEFAULT_ROOT, DeviceId};
use otaria_wire::url::Url;

use crate::{BrokerUrl, Secret, SecretKey, Tls};

/// Longest name of a Wi-Fi network in bytes (IEEE 802.11, 9.4.2.2).
pub const MAX_SSID_LEN: usize = 32;
/// Shortest WPA2 passphrase in bytes (IEEE 802.11, J.4.1).
pub const MIN_PASSWORD_LEN: usize = 8;
/// Longest WPA2 passphrase is 63 bytes; 64 hex digits are the key itself.
pub const MAX_PASSWORD_LEN: usize = 64;

/// Most hosts that packages may be restricted to.
pub const MAX_HOSTS: usize = 16;

/// Whether a text is a host as it stands in a URL: a name, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn is_host(text: &str) -> bool {
    !text.contains(['/', '?', '#'])
        && Url::parse(&format!("http://{text}/")).is_ok_and(|url| url.host_str() == text)
}

/// Whether a text can be the password of an access point.
pub(crate) fn is_passphrase(text: &str) -> bool {
    let printable = text.bytes().all(|byte| (0x20..0x7F).contains(&byte));
    printable && (MIN_PASSWORD_LEN..MAX_PASSWORD_LEN).contains(&text.len())
}

/// All settings. [`Settings::default`] is what a blank partition means: no network, no broker, nobody trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The device's id; `None`: the board makes one from its MAC address.
    pub device_id: Option<DeviceId>,
    /// First level of the topics; `otaria` unless set.
    pub topic_root: String,
    /// The product that packages must be for, at most 32 printable ASCII characters. Empty: the one that the app was built for.
    pub product: String,
    /// Wi-Fi networks, the first one that is in reach is taken. At most [`MAX_WIFI_NETWORKS`].
    pub wifi: Vec<WifiNetwork>,
    /// The MQTT broker.
    pub broker: Option<BrokerUrl>,
    /// Public keys whose packages are taken: SEC 1 uncompressed points. At most four. They are not checked to be on the curve:
    /// `KeyRing` in otaria-device does that.
    pub signers: Vec<[u8; 65]>,
    /// Hosts that packages may come from; empty allows any.
    pub allowed_hosts: Vec<String>,
    /// Whether packages without a boot guard are taken.
    pub allow_unguarded: bool,
    /// Whether packages that are not encrypted are refused.
    pub require_encryption: bool,
    /// What TLS works with.
    pub tls: Tls,
    /// Time servers, asked in turn; empty: nobody is asked. At most [`MAX_TIME_SERVERS`](crate::MAX_TIME_SERVERS).
    pub time_servers: Vec<String>,
    /// The private key that encrypted packages are opened with: the device's own, or one that all devices of the product have.
    pub encryption_key: Option<SecretKey>,
    /// Random number that names this installation in reports; `None`: the journal's own is used.
    pub install: Option<u64>,
    /// Password of the set-up access point, 8 to 63 bytes; `None`: the device makes a random one in each boot.
    pub setup_password: Option<Secret>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device_id: None,
            topic_root: DEFAULT_ROOT.to_string(),
            product: String::new(),
            wifi: Vec::new(),
            broker: None,
            signers: Vec::new(),
            allowed_hosts: Vec::new(),
            allow_unguarded: false,
            require_encryption: false,
            tls: Tls::default(),
            time_servers: Vec::new(),
            encryption_key: None,
            install: None,
            setup_password: None,
        }
    }
}

impl Settings {
    /// Whether the device can get to work: it knows a network and a broker. Else it opens its set-up access point.
    #[must_use]
    pub fn is_provisioned(&self) -> bool {
        !self.wifi.is_empty() && self.broker.is_some()
    }

    /// The Wi-Fi networks as they are once a person has entered one: that one first, an older entry of the same name gone, and
    /// the last ones dropped if there are too many.
    #[must_use]
    pub fn wifi_with(&self, first: WifiNetwork) -> Vec<WifiNetwork> {
        let mut networks = Vec::with_capacity(MAX_WIFI_NETWORKS);
        let others = self.wifi.iter().filter(|known| known.ssid != first.ssid);
        let rest: Vec<_> = others.take(MAX_WIFI_NETWORKS - 1).cloned().collect();
        networks.push(first);
        networks.extend(rest);
        networks
    }
}

/// A Wi-Fi network and how to join it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WifiNetwork {
    /// Its name, 1 to 32 bytes.
    pub ssid: String,
    /// Its passphrase, 8 to 63 bytes, or its key, 64 hex digits. Empty: an open network.
    pub password: Secret,
}

impl WifiNetwork {
    /// Checks name and password.
    ///
    /// # Errors
    /// See [`WifiError`].
    pub fn new(ssid: &str, password: &str) -> Result<Self, WifiError> {
        if ssid.is_empty() || ssid.len() > MAX_SSID_LEN {
            return Err(WifiError::SsidLength);
        }
        // NVS ends a string at a zero byte.
        if ssid.contains('\0') || password.contains('\0') {
            return Err(WifiError::ZeroByte);
        }
        let is_key = password.bytes().all(|byte| byte.is_ascii_hexdigit());
        match password.len() {
            0 => {}
            MIN_PASSWORD_LEN..MAX_PASSWORD_LEN => {}
            MAX_PASSWORD_LEN if is_key => {}
            _ => return Err(WifiError::PasswordLength),
        }
        Ok(Self {
            ssid: ssid.to_string(),
            password: Secret::new(password),
        })
    }
}

/// Why a Wi-Fi network cannot be joined as it is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WifiError {
    /// The name is not 1 to 32 bytes long.
    SsidLength,
    /// The password is neither empty, nor 8 to 63 bytes long, nor 64 hex digits.
    PasswordLength,
    /// Name or password has a zero byte.
    ZeroByte,
    /// More than [`MAX_WIFI_NETWORKS`] networks.
    TooMany,
}

impl fmt::Display for WifiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SsidLength => f.write_str("the name of a Wi-Fi network has 1 to 32 bytes"),
            Self::PasswordLength => f.write_str(
                "a Wi-Fi password has 8 to 63 bytes, or it is a key of 64 hex digits, or it is empty for an open network",
            ),
            Self::ZeroByte => f.write_str("name or password of the Wi-Fi network has a zero byte"),
            Self::TooMany => write!(f, "there can be at most {MAX_WIFI_NETWORKS} Wi-Fi networks"),
        }
    }
}

impl core::error::Error for WifiError {}
