//! Settings: out of flash, and for development out of the build.

use alloc::vec::Vec;

use embedded_storage::nor_flash::NorFlash;
use log::error;
use otaria_device::board::Board;
use otaria_embassy::Otaria;
use otaria_settings::{BrokerUrl, Settings, WifiNetwork};

/// For development: settings that a build has where flash has none. `cargo xtask firmware` never sets them, and an image that is
/// released must not have them: whoever has the image can read them.
const WIFI_SSID: Option<&str> = option_env!("OTARIA_WIFI_SSID");
const WIFI_PASSWORD: Option<&str> = option_env!("OTARIA_WIFI_PASSWORD");
const BROKER: Option<&str> = option_env!("OTARIA_BROKER");
/// A public key: 130 hexadecimal digits.
const SIGNER: Option<&str> = option_env!("OTARIA_SIGNER");

/// The settings in flash, and those of the build where flash has none. Damage is said on the console, and is as if nothing were
/// there: a device on trial rolls back then, and any other waits for a person.
pub(crate) fn settings<B: Board, F: NorFlash>(otaria: &Otaria<'_, B, F>) -> Settings {
    let mut settings = otaria.stored_settings().unwrap_or_else(|error| {
        error!("{error}");
        Settings::default()
    });
    with_build_defaults(&mut settings);
    settings
}

fn with_build_defaults(settings: &mut Settings) {
    if settings.wifi.is_empty()
        && let Some(ssid) = WIFI_SSID
    {
        match WifiNetwork::new(ssid, WIFI_PASSWORD.unwrap_or_default()) {
            Ok(network) => settings.wifi.push(network),
            Err(error) => error!("OTARIA_WIFI_SSID of this build: {error}"),
        }
    }
    if settings.broker.is_none()
        && let Some(broker) = BROKER
    {
        match BrokerUrl::parse(broker) {
            Ok(broker) => settings.broker = Some(broker),
            Err(error) => error!("OTARIA_BROKER of this build: {error}"),
        }
    }
    if settings.signers.is_empty()
        && let Some(digits) = SIGNER
    {
        match point(digits) {
            Some(point) => settings.signers.push(point),
            None => error!("OTARIA_SIGNER of this build is not 130 hexadecimal digits"),
        }
    }
}

fn point(digits: &str) -> Option<[u8; 65]> {
    let digits: Option<Vec<u8>> = digits
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let (pairs, []) = digits.as_deref()?.as_chunks::<2>() else {
        return None;
    };
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok()
}
