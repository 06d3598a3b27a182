//! Names of the settings in NVS (ESP-IDF's format, at most 15 characters each).

/// The NVS namespace of all settings.
pub const NAMESPACE: &str = "otaria";

/// Name of the Wi-Fi network (string).
pub const WIFI_SSID: &str = "wifi_ssid";
/// Password of the Wi-Fi network (string).
pub const WIFI_PASSWORD: &str = "wifi_pass";
/// The MQTT broker, `mqtt://host:port` or `mqtts://host:port` (string).
pub const BROKER: &str = "broker";
/// User name at the broker (string, optional).
pub const BROKER_USER: &str = "broker_user";
/// Password at the broker (string, optional).
pub const BROKER_PASSWORD: &str = "broker_pass";
/// The device id, see [`crate::topics::DeviceId`] (string, default: from the chip's MAC).
pub const DEVICE_ID: &str = "device_id";
/// First level of the topics (string, default `otaria`).
pub const TOPIC_ROOT: &str = "topic_root";
/// Public keys whose packages are taken: SEC 1 uncompressed points, 65 bytes each (blobs).
pub const SIGNERS: [&str; 4] = ["signer0", "signer1", "signer2", "signer3"];
/// Hosts that packages may come from, separated by spaces; empty allows any (string).
pub const ALLOWED_HOSTS: &str = "hosts";
/// Whether packages without a boot guard are taken (u8, default 0).
pub const ALLOW_UNGUARDED: &str = "unguarded";
/// Random number that names this installation in reports (u64, made on first use).
pub const INSTALL: &str = "install";

/// All names.
pub const ALL: [&str; 14] = [
    WIFI_SSID,
    WIFI_PASSWORD,
    BROKER,
    BROKER_USER,
    BROKER_PASSWORD,
    DEVICE_ID,
    TOPIC_ROOT,
    "signer0",
    "signer1",
    "signer2",
    "signer3",
    ALLOWED_HOSTS,
    ALLOW_UNGUARDED,
    INSTALL,
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
        assert!(SIGNERS.iter().all(|name| ALL.contains(name)));
    }
}
