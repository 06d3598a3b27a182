//! A device's settings: Wi-Fi networks, broker, trusted keys and authorities, identity.
//!
//! They lie in an NVS partition in ESP-IDF's format, namespace `otaria`, so that Espressif's tools can make and read them. The
//! names are in [`otaria_wire::settings`], the format's reader is [`otaria_wire::nvs`].
//!
//! | who | calls | touches flash |
//! |---|---|---|
//! | the firmware, after its boot guard | [`load`] | reads |
//! | the set-up page, Improv | [`save_network`] | appends, erases a sector when a page is full |
//! | `otaria provision`, `cargo xtask firmware` | [`host`] (feature `host`) | makes an image |
//!
//! Passwords are [`Secret`]s and keys [`SecretBytes`]: they are wiped when dropped and never printed.
#![cfg_attr(not(any(test, feature = "host")), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing
    )
)]

extern crate alloc;

pub mod access_point;
mod broker;
pub mod dhcp;
pub mod dns;
mod error;
#[cfg(feature = "host")]
#[allow(
    clippy::expect_used,
    reason = "a program on a computer may end on a bug"
)]
pub mod host;
pub mod improv;
mod network;
pub mod portal;
mod read;
mod save;
mod secret;
mod tls;
mod types;

pub use broker::{BrokerUrl, BrokerUrlError, MAX_CREDENTIAL_LEN};
pub use error::SettingsError;
pub use otaria_wire::partitions::Region;
pub use otaria_wire::settings::MAX_WIFI_NETWORKS;
pub use read::load;
pub use save::save_network;
pub use secret::{Secret, SecretBytes, SecretKey};
pub use tls::{
    Identity, MAX_CERTIFICATES_LEN, MAX_PSK_ID_LEN, MAX_TIME_SERVERS, PSK_LEN, Psk, Tls,
};
pub use types::{
    MAX_HOSTS, MAX_PASSWORD_LEN, MAX_SSID_LEN, MIN_PASSWORD_LEN, Settings, WifiError, WifiNetwork,
};
