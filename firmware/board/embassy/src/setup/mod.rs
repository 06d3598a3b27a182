//! Set-up: a device that knows no network or no broker is told them by a person.
//!
//! ```text
//!            a telephone                                  a browser with Web Serial
//!                 | WPA2, the device's own password            | Improv
//!   access point `otaria-9c00`                            serial port
//!     DHCP, DNS, the page        (pages.rs, datagrams.rs)      |                     (serial.rs)
//!                 '---------------------.----------------------'
//!                          network, and from the page a broker
//!                                       |
//!                  close the access point, join that network, get an address
//!                        did that work? save and restart : open again and say so
//! ```
//!
//! | what | and not |
//! |---|---|
//! | sets Wi-Fi and broker | keys, hosts, the device's id, firmware: there is no field and no command for them |
//! | the access point is open for [`Limits::open`] in a boot | after a panic, or while an image is on trial: a crash must not keep it open |
//! | the serial port works as long as the device is not set up | on a device that is set up nobody reads it |
//! | what is entered goes into flash once it has worked | a mistyped password cannot shut a device out |
//!
//! All of it is generic over driver, link and serial port, and the virtual board runs the same. What comes from outside is read by
//! functions of `otaria-settings` that are fuzzed. It allocates 18 KiB while the access point is open, and gives them back.

mod datagrams;
mod pages;
mod serial;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, pending};

use embassy_futures::select::{Either, Either5, select, select5};
use embassy_net::{DhcpConfig, Ipv4Cidr, StackResources, StaticConfigV4};
use embassy_net_driver::Driver;
use embassy_time::{Duration, Instant, Timer, with_deadline, with_timeout};
use embedded_storage::nor_flash::NorFlash;
use log::{info, warn};
use otaria_device::board::{Board, ResetReason};
use otaria_settings::improv::{DeviceInfo, Improv};
use otaria_settings::portal::Portal;
use otaria_settings::{
    BrokerUrl, Region, Secret, Settings, WifiNetwork, access_point, save_network,
};
use zeroize::Zeroizing;

use crate::network::SOCKETS;

pub use serial::Serial;

/// How often the watchdog is fed.
const FEED: Duration = Duration::from_secs(1);
/// How often the console is told what is missing.
const REMIND: Duration = Duration::from_secs(30);
/// What was written to the serial port is given this long to leave before the restart.
const DRAIN: Duration = Duration::from_secs(1);

/// A network in reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub ssid: String,
    /// Signal strength in dBm.
    pub rssi: i8,
    /// Whether it asks for a password.
    pub locked: bool,
}

/// What set-up asks of a port's radio. Nothing of it blocks; whatever fails says so, and leaves the radio as it was or off.
#[allow(
    async_fn_in_trait,
    reason = "awaited by the one task that owns it; a port's future need not be `Send`"
)]
pub trait SetUpLink {
    /// Random bytes that nobody can predict, for a password. Whether there are any.
    fn secret(&mut self, bytes: &mut [u8]) -> bool;

    /// The networks in reach, strongest first, a dozen at most. None if the radio cannot tell.
    async fn scan(&mut self) -> Vec<Neighbour>;

    /// Opens an access point with WPA2; from now on the driver is the access point's interface. Whether it is open.
    async fn open(&mut self, name: &str, password: &str) -> bool;

    /// Closes it; from now on the driver is the station's interface again.
    async fn close(&mut self);

    /// Joins a network. Whether it took the device; an address is waited for elsewhere. May be dropped at any time.
    async fn join(&mut self, network: &WifiNetwork) -> bool;

    /// Leaves it, or stops trying.
    async fn leave(&mut self);
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The access point is open for so long after the start.
    pub open: Duration,
    /// To join the network that was entered and get an address. Browsers wait for 30 s.
    pub join: Duration,
}

impl Limits {
    /// 15 minutes, and 25 seconds.
    pub const DEFAULT: Self = Self {
        open: Duration::from_secs(15 * 60),
        join: Duration::from_secs(25),
    };
}

/// What set-up works with.
pub struct SetUp<'a, B, F, D, L, S> {
    /// The board.
    pub board: &'a mut B,
    /// The flash, and where the settings are in it.
    pub flash: &'a RefCell<F>,
    /// The partition of the settings.
    pub nvs: Region,
    /// The network interface.
    pub driver: &'a mut D,
    /// Whoever brings it up.
    pub link: &'a mut L,
    /// The serial port.
    pub serial: &'a mut S,
    /// For the network stack.
    pub resources: &'a mut StackResources<SOCKETS>,
    /// The settings as they are.
    pub settings: &'a Settings,
    /// What the device tells of itself.
    pub about: DeviceInfo<'a>,
    /// How long things may take.
    pub limits: Limits,
}

/// What a person wants the device to know.
struct Wish {
    network: WifiNetwork,
    broker: Option<BrokerUrl>,
    /// It came over the serial port, where somebody waits for the answer.
    by_serial: bool,
}

impl Wish {
    fn by_serial(network: WifiNetwork) -> Self {
        Self {
            network,
            broker: None,
            by_serial: true,
        }
    }
}

impl<B, F, D, L, S> SetUp<'_, B, F, D, L, S>
where
    B: Board,
    F: NorFlash,
    D: Driver,
    L: SetUpLink,
    S: Serial,
{
    /// Waits for a person, and restarts the device once it is set up. Comes back only if the time is over and there is a network
    /// to join all the same.
    pub async fn run(self) {
        let Self {
            board,
            flash,
            nvs,
            driver,
            link,
            serial,
            resources,
            settings,
            about,
            limits,
        } = self;
        let may_open = may_open(board.reset_reason());
        let work = Work {
            flash,
            nvs,
            driver,
            link,
            serial,
            resources,
            settings,
            about,
            limits,
            seed: board.random_u64(),
        };
        if fed(board, work.run(may_open)).await == Outcome::SetUp {
            board.reset();
            pending::<()>().await;
        }
    }
}

/// How set-up ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The settings are in flash.
    SetUp,
    /// The time is over, and there is a network to join.
    Over,
}

/// [`SetUp`] without the board.
struct Work<'a, F, D, L, S> {
    flash: &'a RefCell<F>,
    nvs: Region,
    driver: &'a mut D,
    link: &'a mut L,
    serial: &'a mut S,
    resources: &'a mut StackResources<SOCKETS>,
    settings: &'a Settings,
    about: DeviceInfo<'a>,
    limits: Limits,
    /// For ports and the like.
    seed: u64,
}

impl<F, D, L, S> Work<'_, F, D, L, S>
where
    F: NorFlash,
    D: Driver,
    L: SetUpLink,
    S: Serial,
{
    async fn run(mut self, mut is_open: bool) -> Outcome {
        let closes = Instant::now() + self.limits.open;
        let mut improv = Improv::new(self.about, false);
        let mut neighbours = Vec::new();
        let mut problem = None;
        let mut password = self.settings.setup_password.clone();
        loop {
            let wish = if is_open {
                let problem = problem.as_deref();
                let served =
                    self.serve(closes, &mut password, &mut improv, &mut neighbours, problem);
                let Some(wish) = served.await else {
                    is_open = false;
                    continue;
                };
                wish
            } else if self.settings.wifi.is_empty() {
                let listening = serial::listen(self.serial, &mut improv, &neighbours);
                let listening = select(listening, remind(self.settings, false));
                match listening.await {
                    Either::First(network) => Wish::by_serial(network),
                    Either::Second(never) => never,
                }
            } else {
                return Outcome::Over;
            };
            let outcome = self.try_and_save(&wish).await;
            if wish.by_serial {
                let mut out = Vec::new();
                match &outcome {
                    // There is no page that a browser could go on to.
                    Ok(()) => improv.connected(None, &mut out),
                    Err(_) => improv.failed(&mut out),
                }
                self.serial.write(&out);
            }
            match outcome {
                Ok(()) => {
                    info!("set-up: done; restarting");
                    Timer::after(DRAIN).await;
                    return Outcome::SetUp;
                }
                Err(why) => {
                    warn!("set-up: {why}");
                    problem = Some(why);
                }
            }
        }
    }

    /// Opens the access point, and waits for what is entered there or on the serial port; `None` when the time is over.
    async fn serve(
        &mut self,
        closes: Instant,
        password: &mut Option<Secret>,
        improv: &mut Improv<'_>,
        neighbours: &mut Vec<Neighbour>,
        problem: Option<&str>,
    ) -> Option<Wish> {
        if Instant::now() >= closes {
            return None;
        }
        *neighbours = self.link.scan().await;
        let name = access_point::name(self.about.name);
        if password.is_none() {
            *password = self.new_password(&name);
        }
        let Some(password) = password else {
            warn!("set-up: there is no access point without a password");
            return None;
        };
        if !self.link.open(&name, password).await {
            warn!("set-up: the access point does not open");
            return None;
        }
        let address = format!("{}", access_point::ADDRESS);
        let minutes = self.limits.open.as_secs().div_ceil(60);
        info!(
            "set-up: access point \"{name}\" is open, {minutes} min from the start; its page is http://{address}/"
        );
        let names: Vec<&str> = neighbours.iter().map(|found| &*found.ssid).collect();
        let portal = Portal {
            address: &address,
            device: &name,
            networks: &names,
            broker: self.settings.broker.as_ref(),
            problem,
        };
        let config = embassy_net::Config::ipv4_static(StaticConfigV4 {
            address: Ipv4Cidr::new(access_point::ADDRESS, 24),
            gateway: None,
            dns_servers: Default::default(),
        });
        let seed = self.next_seed();
        let (stack, mut runner) =
            embassy_net::new(&mut *self.driver, config, &mut *self.resources, seed);
        let entered = select5(
            runner.run(),
            datagrams::serve(stack),
            pages::serve(stack, &portal),
            serial::listen(self.serial, improv, neighbours),
            remind(self.settings, true),
        );
        let wish = match with_deadline(closes, entered).await {
            Ok(Either5::Third(entered)) => Some(Wish {
                network: entered.network,
                broker: entered.broker,
                by_serial: false,
            }),
            Ok(Either5::Fourth(network)) => Some(Wish::by_serial(network)),
            Ok(Either5::First(never) | Either5::Second(never) | Either5::Fifth(never)) => never,
            Err(_) => {
                warn!(
                    "set-up: the time is over, the access point closes until the device is started anew"
                );
                None
            }
        };
        self.link.close().await;
        wish
    }

    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(1);
        self.seed
    }

    /// A password for this boot, where the settings have none. It is told whoever holds the serial port, and no log.
    fn new_password(&mut self, name: &str) -> Option<Secret> {
        let mut random = Zeroizing::new([0; access_point::RANDOM_LEN]);
        if !self.link.secret(&mut *random) {
            return None;
        }
        let password = access_point::password(&random);
        let line = format!(
            "set-up: the password of \"{name}\" is {}\r\n",
            password.reveal()
        );
        self.serial.write(Zeroizing::new(line).as_bytes());
        Some(password)
    }

    /// Joins the network that was entered; when that works, saves. Why not, for a person.
    async fn try_and_save(&mut self, wish: &Wish) -> Result<(), String> {
        let name = &wish.network.ssid;
        info!("set-up: trying \"{name}\"");
        let seed = self.next_seed();
        let config = embassy_net::Config::dhcpv4(DhcpConfig::default());
        let (stack, mut runner) =
            embassy_net::new(&mut *self.driver, config, &mut *self.resources, seed);
        let joining = async {
            if !self.link.join(&wish.network).await {
                return Err("cannot be joined");
            }
            stack.wait_config_up().await;
            Ok(())
        };
        let joining = select(with_timeout(self.limits.join, joining), runner.run());
        let joined = match joining.await {
            Either::First(Ok(joined)) => joined,
            Either::First(Err(_)) => Err("does not answer, or gives out no address"),
            Either::Second(never) => never,
        };
        self.link.leave().await;
        joined.map_err(|why| format!("\u{201c}{name}\u{201d} {why}"))?;
        let networks = self.settings.wifi_with(wish.network.clone());
        let Ok(mut flash) = self.flash.try_borrow_mut() else {
            return Err(String::from("The flash is in use"));
        };
        save_network(&mut *flash, self.nvs, &networks, wish.broker.as_ref())
            .map_err(|error| format!("{error}"))
    }
}

/// Whether a boot that began like this may open the access point.
fn may_open(reason: ResetReason) -> bool {
    match reason {
        ResetReason::PowerOn
        | ResetReason::Software
        | ResetReason::Watchdog
        | ResetReason::BrownOut
        | ResetReason::External
        | ResetReason::Unknown => true,
        // Who can make it crash must not keep it open; and a device that wakes by itself has nobody beside it.
        ResetReason::Panic | ResetReason::DeepSleep => false,
    }
}

/// Does something while the watchdog is fed.
async fn fed<T>(board: &mut impl Board, work: impl Future<Output = T>) -> T {
    let feeding = async {
        loop {
            board.feed_watchdog();
            Timer::after(FEED).await;
        }
    };
    match select(work, feeding).await {
        Either::First(done) => done,
        Either::Second(never) => never,
    }
}

/// Says what is missing, again and again.
async fn remind(settings: &Settings, is_open: bool) -> ! {
    let missing = match (settings.wifi.is_empty(), settings.broker.is_none()) {
        (true, true) => "no Wi-Fi network and no broker",
        (true, false) => "no Wi-Fi network",
        (false, _) => "no broker",
    };
    let how = if is_open {
        "by the access point, Improv"
    } else {
        "by Improv"
    };
    loop {
        warn!("not set up: the settings have {missing}; set them {how} or with `otaria provision`");
        Timer::after(REMIND).await;
    }
}
