//! Names of the settings in NVS (ESP-IDF's format, at most 15 characters each).

/// The NVS namespace of all settings.
pub const NAMESPACE: &str = "otaria";

/// Most Wi-Fi networks.
pub const MAX_WIFI_NETWORKS: usize = 4;
/// Names of the Wi-Fi networks, the first that is in reach is taken (strings).
pub const WIFI_SSID: [&str; MAX_WIFI_NETWORKS] =
    ["wifi_ssid", "wifi_ssid1", "wifi_ssid2", "wifi_ssid3"];
/// Passwords of the Wi-Fi networks (strings, none for an open network).
pub const WIFI_PASSWORD: [&str; MAX_WIFI_NETWORKS] =
    ["wifi_pass", "wifi_pass1", "wifi_pass2", "wifi_pass3"];
/// The MQTT broker, `mqtt://host:port` or `mqtts://host:port` (string).
pub const BROKER: &str = "broker";
/// User name at the broker (string, optional).
pub const BROKER_USER: &str = "broker_user";
/// Password at the broker (string, optional).
pub const BROKER_PASSWORD: &str = "broker_pass";
/// The device id, see [`crate::topics::DeviceId`] (string, default: from the chip's MAC).
pub const DEVICE_ID: &str = "device_id";
/// The product that packages must be for (string, default: the one that the app was built for).
pub const PRODUCT: &str = "product";
/// First level of the topics (string, default `otaria`).
pub const TOPIC_ROOT: &str = "topic_root";
/// Root keys: they sign key records ([`crate::keys`]), and packages until there is one. SEC 1 uncompressed points, 65 bytes
/// each (blobs).
pub const SIGNERS: [&str; 4] = ["signer0", "signer1", "signer2", "signer3"];
/// Hosts that packages may come from, separated by spaces; empty allows any (string).
pub const ALLOWED_HOSTS: &str = "hosts";
/// Whether packages without a boot guard are taken (u8, default 0).
pub const ALLOW_UNGUARDED: &str = "unguarded";
/// Whether packages that are not encrypted are refused (u8, default 0).
pub const REQUIRE_ENCRYPTION: &str = "only_encrypted";
/// Authorities that servers' certificates must come from: DER certificates, one behind the other (blob).
pub const AUTHORITIES: &str = "ca";
/// The device's certificate and those between it and the authority that servers know, in this order: DER, one behind the other
/// (blob).
pub const CERTIFICATE: &str = "cert";
/// The private key of the device's certificate: a P-256 scalar, 32 bytes, big-endian (blob).
pub const PRIVATE_KEY: &str = "key";
/// Name of the key that device and broker share (string).
pub const PSK_ID: &str = "psk_id";
/// The key that device and broker share, 16 to 64 bytes (blob).
pub const PSK: &str = "psk";
/// Time servers, up to four, separated by spaces; without one nobody is asked (string).
pub const TIME_SERVER: &str = "time_server";
/// The private key that encrypted packages are opened with: a P-256 scalar, 32 bytes, big-endian (blob).
pub const ENCRYPTION_KEY: &str = "enc_key";
/// Random number that names this installation in reports (u64, made on first use).
pub const INSTALL: &str = "install";
/// Password of the set-up access point (string, default: a random one in each boot).
pub const SETUP_PASSWORD: &str = "setup_pass";
/// The Wi-Fi networks and the broker as the device's set-up page or Improv saved them last (blob). While it is
/// there, the names above of Wi-Fi and broker do not count. It is one value so that a power cut leaves all of it or nothing.
pub const NETWORK: &str = "network";

/// All names.
pub const ALL: [&str; 31] = [
    "wifi_ssid",
    "wifi_pass",
    "wifi_ssid1",
    "wifi_pass1",
    "wifi_ssid2",
    "wifi_pass2",
    "wifi_ssid3",
    "wifi_pass3",
    BROKER,
    BROKER_USER,
    BROKER_PASSWORD,
    DEVICE_ID,
    PRODUCT,
    TOPIC_ROOT,
    "signer0",
    "signer1",
    "signer2",
    "signer3",
    ALLOWED_HOSTS,
    ALLOW_UNGUARDED,
    REQUIRE_ENCRYPTION,
    AUTHORITIES,
    CERTIFICATE,
    PRIVATE_KEY,
    PSK_ID,
    PSK,
    TIME_SERVER,
    ENCRYPTION_KEY,
    INSTALL,
    SETUP_PASSWORD,
    NETWORK,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_fit_into_nvs() {
        assert!(NAMESPACE.len() <= 15);
        for (index, name) in ALL.iter().enumerate() {
            assert!((1..=15).contains(&name.len()), "{name}");
            assert!(!ALL[..index].contains(name), "{name}");
        }
        let several = [SIGNERS, WIFI_SSID, WIFI_PASSWORD];
        assert!(several.as_flattened().iter().all(|name| ALL.contains(name)));
    }
}
