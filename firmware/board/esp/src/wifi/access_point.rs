//! The radio as an access point, while a device is set up: see [`otaria_embassy::setup`]. WPA2 with AES, at most four clients;
//! with the feature `scan` on that of the channels 1, 6 and 11 on which the fewest networks are heard, else on 1.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState};
#[cfg(feature = "scan")]
use embassy_time::{Duration, with_timeout};
use esp_radio::wifi::ap::AccessPointConfig;
#[cfg(feature = "scan")]
use esp_radio::wifi::scan::ScanConfig;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{
    AuthenticationMethodConfig, Config, Interface as RadioInterface, WifiError, WifiRxToken,
    WifiTxToken,
};
use log::warn;
use otaria_embassy::setup::{Neighbour, SetUpLink};
use otaria_settings::WifiNetwork;

use super::{Radio, WifiLink, join, leave};

/// To look for networks: 13 channels of 20 ms, and something over.
#[cfg(feature = "scan")]
const SCAN: Duration = Duration::from_secs(5);
/// Networks that are listed, and that are looked at to choose a channel.
#[cfg(feature = "scan")]
const LISTED: usize = 12;
#[cfg(feature = "scan")]
const HEARD: usize = 32;
/// Clients of the access point: as many as get addresses.
const CLIENTS: u16 = otaria_settings::dhcp::CLIENTS as u16;

/// The driver's interface is the access point's.
static IS_ACCESS_POINT: AtomicBool = AtomicBool::new(false);

/// The radio's network interface: the station's, or while a device is set up, the access point's.
pub struct Interface {
    station: RadioInterface,
    access_point: RadioInterface,
}

impl Interface {
    pub(super) fn new() -> Self {
        Self {
            station: RadioInterface::station(),
            access_point: RadioInterface::access_point(),
        }
    }

    fn current(&mut self) -> &mut RadioInterface {
        if IS_ACCESS_POINT.load(Ordering::Relaxed) {
            &mut self.access_point
        } else {
            &mut self.station
        }
    }
}

impl Driver for Interface {
    type RxToken<'a> = WifiRxToken;
    type TxToken<'a> = WifiTxToken;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(WifiRxToken, WifiTxToken)> {
        Driver::receive(self.current(), cx)
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<WifiTxToken> {
        Driver::transmit(self.current(), cx)
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        self.current().link_state(cx)
    }

    fn capabilities(&self) -> Capabilities {
        // The same for both.
        self.station.capabilities()
    }

    fn hardware_address(&self) -> HardwareAddress {
        if IS_ACCESS_POINT.load(Ordering::Relaxed) {
            self.access_point.hardware_address()
        } else {
            self.station.hardware_address()
        }
    }
}

impl SetUpLink for WifiLink {
    /// The generator's numbers are random as long as the radio is on, which feeds it noise (ESP32-C3 TRM 1.1, 25.3 "Functional
    /// Description"; the other chips' likewise).
    fn secret(&mut self, bytes: &mut [u8]) -> bool {
        if self.on().is_none() {
            return false;
        }
        self.rng.read(bytes);
        true
    }

    #[cfg(not(feature = "scan"))]
    async fn scan(&mut self) -> Vec<Neighbour> {
        Vec::new()
    }

    #[cfg(feature = "scan")]
    async fn scan(&mut self) -> Vec<Neighbour> {
        let Some(controller) = self.on() else {
            return Vec::new();
        };
        let config = ScanConfig::default().with_max(HEARD);
        let found = with_timeout(SCAN, controller.scan_async(&config)).await;
        let Ok(Ok(found)) = found else {
            return Vec::new();
        };
        let crowd = |channel: &u8| {
            let near = found
                .iter()
                .filter(|one| one.channel.abs_diff(*channel) < 4);
            near.count()
        };
        self.channel = [1, 6, 11].into_iter().min_by_key(crowd).unwrap_or(1);
        let mut neighbours: Vec<Neighbour> = Vec::with_capacity(LISTED);
        // The driver's list begins with the strongest.
        for one in &found {
            let ssid = one.ssid.as_str();
            let known = neighbours.iter().any(|known| known.ssid == ssid);
            if !ssid.is_empty() && !known && neighbours.len() < LISTED {
                neighbours.push(Neighbour {
                    ssid: alloc::string::String::from(ssid),
                    rssi: one.signal_strength,
                    locked: one.auth_method != Some(esp_radio::wifi::AuthenticationMethod::None),
                });
            }
        }
        neighbours
    }

    async fn open(&mut self, name: &str, password: &str) -> bool {
        let channel = self.channel;
        let Some(controller) = self.on() else {
            return false;
        };
        let opened = access_point(name, password, channel);
        let opened = opened.and_then(|config| controller.set_config(&config));
        if let Err(error) = opened {
            warn!("wifi: no access point: {error:?}");
            return false;
        }
        IS_ACCESS_POINT.store(true, Ordering::Relaxed);
        true
    }

    async fn close(&mut self) {
        IS_ACCESS_POINT.store(false, Ordering::Relaxed);
        if let Radio::On(controller) = &mut self.radio
            && let Err(error) = controller.set_config(&Config::Station(StationConfig::default()))
        {
            warn!("wifi: the access point does not close: {error:?}");
        }
    }

    async fn join(&mut self, network: &WifiNetwork) -> bool {
        let Some(controller) = self.on() else {
            return false;
        };
        let joined = join(controller, network).await;
        if let Err(why) = &joined {
            warn!("wifi: cannot join \"{}\": {why:?}", network.ssid);
        }
        joined.is_ok()
    }

    async fn leave(&mut self) {
        if let Radio::On(controller) = &mut self.radio {
            leave(controller).await;
        }
    }
}

fn access_point(name: &str, password: &str, channel: u8) -> Result<Config, WifiError> {
    let password = AuthenticationMethodConfig::Wpa2Personal(password.try_into()?);
    Ok(Config::AccessPoint(
        AccessPointConfig::default()
            .with_ssid(name.try_into()?)
            .with_channel(channel)
            .with_max_connections(CLIENTS)
            .with_authentication(password),
    ))
}
