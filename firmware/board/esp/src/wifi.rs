//! Joins a Wi-Fi network and keeps it.
//!
//! The networks of the settings are tried in their order; the first that can be joined *and gives out an address* is taken. When
//! it goes, the same one is tried again first, then the round starts over. Rounds in which nothing was joined are spaced by a
//! backoff of 1 s, 2 s, 4 s, .. 60 s, of which the upper half is random, so that a house full of devices does not come back from a
//! power cut in step. There is no scan: hidden networks are joined as others are, and no list of neighbours takes memory.
//!
//! Nothing here blocks; every step has a time limit, after which the driver is told to let go.
//!
//! | network | how it is joined |
//! |---|---|
//! | password or key | WPA2 at least; WPA3 (SAE) if the access point has it; WPA and WEP never |
//! | no password | open |
//!
//! With the feature `access-point` the radio can be one, while a device is set up: see `access_point.rs`.

#[cfg(feature = "access-point")]
mod access_point;

use embassy_net::Stack;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use esp_hal::peripherals::WIFI;
use esp_hal::rng::Rng;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{
    AuthenticationMethodConfig, Config, ConnectionError, ControllerConfig, WifiController,
    WifiError,
};
use log::{info, warn};
use otaria_embassy::Link;
use otaria_settings::{Settings, WifiNetwork};

#[cfg(feature = "access-point")]
pub use self::access_point::Interface;
use crate::board::set_rssi;

/// To find the access point, to agree on keys (the driver tries for ten seconds at most), and something over.
const JOIN: Duration = Duration::from_secs(20);
/// To get an address: DHCP repeats after 10 s.
const ADDRESS: Duration = Duration::from_secs(30);
/// To leave.
const LEAVE: Duration = Duration::from_secs(5);
/// How often the link is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// A link that has lasted so long was no failure.
const STABLE: Duration = Duration::from_secs(60);
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Most frames that are received and not yet taken, and that are being sent. A TCP window of 16 KiB is 11 frames; each takes up
/// to 1.6 KiB of heap.
pub const DYNAMIC_BUFFERS: u16 = 20;
/// Frames between the radio's task and the network stack.
const QUEUE: usize = 12;

/// The radio's network interface.
#[cfg(not(feature = "access-point"))]
pub type Interface = esp_radio::wifi::Interface;

/// The station. The interface that goes with it is [`interface`].
pub struct WifiLink {
    radio: Radio,
    /// The channel for an access point.
    #[cfg(feature = "access-point")]
    channel: u8,
    rng: Rng,
}

enum Radio {
    Off(WIFI<'static>),
    On(WifiController<'static>),
}

/// The network interface, for embassy-net. To be taken once.
#[must_use]
pub fn interface() -> Interface {
    #[cfg(feature = "access-point")]
    return Interface::new();
    #[cfg(not(feature = "access-point"))]
    Interface::station()
}

impl WifiLink {
    /// A station that is off: the radio takes no memory until a network is to be joined.
    #[must_use]
    pub fn new(wifi: WIFI<'static>) -> Self {
        Self {
            radio: Radio::Off(wifi),
            #[cfg(feature = "access-point")]
            channel: 1,
            rng: Rng::new(),
        }
    }

    /// The radio, started if it is off.
    fn on(&mut self) -> Option<&mut WifiController<'static>> {
        if let Radio::Off(wifi) = &self.radio {
            match start(wifi) {
                Ok(controller) => self.radio = Radio::On(controller),
                Err(error) => warn!("wifi: the radio does not start: {error:?}"),
            }
        }
        match &mut self.radio {
            Radio::On(controller) => Some(controller),
            Radio::Off(_) => None,
        }
    }

    /// A wait of at most `limit`, of which the upper half is random.
    async fn pause(&self, limit: Duration) {
        let half = limit.as_millis() / 2;
        let jitter = u64::from(self.rng.random()) % (half + 1);
        Timer::after_millis(half + jitter).await;
    }
}

impl Link for WifiLink {
    async fn run(&mut self, settings: &Settings, stack: Stack<'_>) -> ! {
        if settings.wifi.is_empty() {
            core::future::pending::<()>().await;
        }
        let mut backoff = BACKOFF_MIN;
        loop {
            let Some(controller) = self.on() else {
                self.pause(BACKOFF_MAX).await;
                continue;
            };
            let mut lasted = false;
            for network in &settings.wifi {
                // A network that was there for a while is tried again before the next one.
                while keep(controller, network, stack).await {
                    lasted = true;
                }
            }
            backoff = if lasted {
                BACKOFF_MIN
            } else {
                (backoff * 2).min(BACKOFF_MAX)
            };
            self.pause(backoff).await;
        }
    }
}

/// Starts the radio. Whoever calls this holds the peripheral, and lets it go when there is a controller.
#[allow(
    unsafe_code,
    reason = "the driver keeps what it is given when it does not start"
)]
fn start(_held: &WIFI<'static>) -> Result<WifiController<'static>, WifiError> {
    // SAFETY: `WIFI::steal` (esp-hal 1.2): no other driver may use the radio. The caller holds the only other handle, and a
    // controller that did not come about does not use it.
    let wifi = unsafe { WIFI::steal() };
    let config = ControllerConfig::default()
        .with_rx_queue_size(QUEUE)
        .with_tx_queue_size(QUEUE)
        .with_dynamic_rx_buf_num(DYNAMIC_BUFFERS)
        .with_dynamic_tx_buf_num(DYNAMIC_BUFFERS);
    WifiController::new(wifi, config)
}

/// Joins a network and stays until it goes. Whether it was worth joining: it gave an address and lasted.
async fn keep(
    controller: &mut WifiController<'static>,
    network: &WifiNetwork,
    stack: Stack<'_>,
) -> bool {
    let name = network.ssid.as_str();
    let lasted = match join(controller, network).await {
        Ok(()) => {
            let joined = Instant::now();
            info!("wifi: joined \"{name}\"");
            let had_address = stay(controller, name, stack).await;
            set_rssi(None);
            had_address && joined.elapsed() >= STABLE
        }
        Err(why) => {
            warn!("wifi: cannot join \"{name}\": {why:?}");
            false
        }
    };
    leave(controller).await;
    lasted
}

/// Why a network is not joined.
#[derive(Debug)]
#[allow(dead_code, reason = "shown")]
enum NotJoined {
    /// Name or password are none for this radio.
    Settings(WifiError),
    /// The access point, or the radio.
    Refused(ConnectionError),
    TimedOut,
}

async fn join(
    controller: &mut WifiController<'static>,
    network: &WifiNetwork,
) -> Result<(), NotJoined> {
    let config = station(network).map_err(NotJoined::Settings)?;
    controller
        .set_config(&config)
        .map_err(NotJoined::Settings)?;
    match with_timeout(JOIN, controller.connect_async()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(NotJoined::Refused(error)),
        Err(_) => Err(NotJoined::TimedOut),
    }
}

fn station(network: &WifiNetwork) -> Result<Config, WifiError> {
    let authentication = if network.password.is_empty() {
        AuthenticationMethodConfig::Open
    } else {
        // The least that is accepted; esp-radio lets the driver take WPA3 where there is WPA3.
        AuthenticationMethodConfig::Wpa2Personal(network.password.reveal().try_into()?)
    };
    Ok(Config::Station(
        StationConfig::default()
            .with_ssid(network.ssid.as_str().try_into()?)
            .with_authentication(authentication),
    ))
}

/// Until the link goes, or no address comes. Whether there was one.
async fn stay(controller: &WifiController<'static>, name: &str, stack: Stack<'_>) -> bool {
    if with_timeout(ADDRESS, stack.wait_config_up()).await.is_err() {
        warn!("wifi: \"{name}\" gives out no address");
        return false;
    }
    // Whoever reports that the device is there says how well it hears.
    look(controller);
    loop {
        // The event can be missed between the look and the wait (the radio's task is another thread), so there is a look, too.
        match with_timeout(LOOK, controller.wait_for_disconnect_async()).await {
            Ok(Ok(gone)) => {
                warn!("wifi: \"{name}\" is gone: {:?}", gone.reason);
                return true;
            }
            Ok(Err(_)) => {
                warn!("wifi: \"{name}\" is gone");
                return true;
            }
            Err(_) => {
                look(controller);
                if !stack.is_config_up() {
                    warn!("wifi: \"{name}\" has taken its address back");
                    return true;
                }
            }
        }
    }
}

/// Keeps the signal strength for the reports.
fn look(controller: &WifiController<'static>) {
    let dbm = controller.rssi().ok();
    set_rssi(dbm.and_then(|dbm| i8::try_from(dbm).ok()));
}

/// Lets go, whatever state the driver is in.
async fn leave(controller: &mut WifiController<'static>) {
    if with_timeout(LEAVE, controller.disconnect_async())
        .await
        .is_err()
    {
        warn!("wifi: the radio does not let go of the network");
    }
}

/// Takes the place of what the linker scripts in `link/` leave out of the radio's libraries: whatever is asked, the answer is
/// "no", "none", or "done".
///
/// The registers of the arguments are not looked at, so it may stand for a function with any.
#[unsafe(no_mangle)]
#[allow(unsafe_code, reason = "the linker script refers to it by its name")]
extern "C" fn otaria_radio_nothing() -> usize {
    0
}
