//! The application in every simulated image: otaria-device unchanged, and an image's behaviour around it.

use core::cell::{Cell, RefCell};
use core::future::{Future, pending};
use core::pin::pin;
use std::rc::Rc;

use embassy_futures::select::select;
use embassy_futures::yield_now;
use embedded_storage::nor_flash::NorFlash;
use otaria_device::board::{Board, Clock, Duration};
use otaria_device::encryption::DecryptionKeys;
use otaria_device::guard::{BootReport, GuardError, Then};
use otaria_device::install::{Stores, StoresError, Workspace};
use otaria_device::net::PlainTcp;
use otaria_device::net::tls::Tls;
use otaria_device::runtime::{Health, Monitor, Otaria, Parts};
use otaria_device::settings::{Broker, Config, PackagePolicy, Timing};
use otaria_device::trust::{KeyError, KeyRing, PUBLIC_KEY_LEN};
use otaria_wire::FixedText;
use otaria_wire::partitions::{
    Layout, PARTITION_TABLE_LEN, PARTITION_TABLE_OFFSET, PartitionTable,
};
use otaria_wire::topics::{NameError, Topics};

use super::behaviour::Behaviour;
use super::chip::{Env, Exit, Firmware};
use super::site::Site;
use super::tls::{HostHeap, TlsSettings};

/// What connections with TLS may take: what an ESP32-C3 has for them, roughly.
const HEAP: usize = 48 * 1024;
/// How often the application feeds the watchdog when Otaria does not.
const FEED: Duration = Duration::from_secs(1);

/// What a device is told about itself; on a board this comes from NVS.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The first level of the topics, and the device's id.
    pub topics: Topics,
    /// The product.
    pub product: FixedText<32>,
    /// The keys whose packages are taken.
    pub keys: KeyRing,
    /// The keys that packages may be encrypted to.
    pub decryption: DecryptionKeys,
    /// The broker's name or address.
    pub broker: String,
    /// The broker's port.
    pub port: u16,
    /// Whether the broker is spoken to with TLS.
    pub broker_tls: bool,
    /// What connections with TLS are made with.
    pub tls: TlsSettings,
    /// User name and password, if the broker asks for them.
    pub login: Option<(String, Vec<u8>)>,
    /// Hosts that packages may come from; empty: any.
    pub allowed_hosts: Vec<String>,
    /// Take images without a boot guard.
    pub allow_unguarded: bool,
    /// Take no package that is not encrypted.
    pub require_encryption: bool,
    /// How long things may take.
    pub timing: Timing,
}

/// Why settings are of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The topics' first level or the device's id.
    #[error("{0}")]
    Name(#[from] NameError),
    /// The product.
    #[error("a product is up to 32 printable ASCII characters")]
    Product,
    /// A public key.
    #[error("{0}")]
    Key(#[from] KeyError),
}

impl Settings {
    /// Settings for the device `id` in the project's usual topics, which trusts these keys (uncompressed points).
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(
        id: &str,
        product: &str,
        keys: &[[u8; PUBLIC_KEY_LEN]],
        broker: &str,
        port: u16,
    ) -> Result<Self, SettingsError> {
        Ok(Settings {
            topics: Topics::new("otaria", id)?,
            product: FixedText::try_from(product).map_err(|_| SettingsError::Product)?,
            keys: KeyRing::of(keys)?,
            decryption: DecryptionKeys::new(),
            broker: broker.to_owned(),
            port,
            broker_tls: false,
            tls: TlsSettings::default(),
            login: None,
            allowed_hosts: Vec::new(),
            allow_unguarded: false,
            require_encryption: false,
            timing: Timing::DEFAULT,
        })
    }
}

/// What the application knew at the start of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppStart {
    /// The boot guard's report.
    Guarded(BootReport),
    /// The boot guard could not read what it needs. The application runs, and nothing is updated.
    Unguarded(GuardError),
    /// The stores could not be opened. The application runs, and nothing is updated.
    NoStores(StoresError),
    /// Otaria cannot work with the partitions. The application runs, and nothing is updated.
    NoLayout,
}

/// The application. A clone is the same one: keep it to look at a device from outside.
#[derive(Clone)]
pub struct OtariaApp(Rc<App>);

struct App {
    settings: Settings,
    monitor: Monitor,
    start: Cell<Option<AppStart>>,
}

impl OtariaApp {
    /// An application with these settings.
    pub fn new(settings: Settings) -> Self {
        OtariaApp(Rc::new(App {
            settings,
            monitor: Monitor::new(),
            start: Cell::new(None),
        }))
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// What Otaria is doing on the device.
    pub fn monitor(&self) -> &Monitor {
        &self.0.monitor
    }

    /// How the latest boot started.
    pub fn start(&self) -> Option<AppStart> {
        self.0.start.get()
    }

    /// Runs one boot with a flash driver of the caller's, over the flash of `env`: where a test puts a driver with a fault.
    pub fn run_over<S: Site, F: NorFlash + 'static>(
        &self,
        env: Env<S>,
        flash: Rc<RefCell<F>>,
    ) -> impl Future<Output = Exit> + use<S, F> {
        main(self.0.clone(), env, flash)
    }
}

impl<S: Site> Firmware<S> for OtariaApp {
    fn run(&self, env: Env<S>) -> impl Future<Output = Exit> {
        let flash = env.flash.clone();
        main(self.0.clone(), env, flash)
    }
}

/// `main` of every simulated image.
async fn main<S: Site, F: NorFlash>(app: Rc<App>, env: Env<S>, flash: Rc<RefCell<F>>) -> Exit {
    let Env {
        mut board,
        clock,
        network,
        behaviour,
        ..
    } = env;
    board.arm_watchdog(app.settings.timing.watchdog);
    let stores = match layout(&flash) {
        None => Err(AppStart::NoLayout),
        Some(layout) => {
            Stores::open(&*flash, &layout, board.running_slot()).map_err(AppStart::NoStores)
        }
    };
    let guarded = stores.and_then(|stores| match stores.guard(board.reset_reason()) {
        Ok(report) => Ok((stores, report)),
        Err(error) => Err(AppStart::Unguarded(error)),
    });
    app.start.set(Some(match &guarded {
        Ok((_, report)) => AppStart::Guarded(*report),
        Err(start) => *start,
    }));
    // What the guard wrote takes its time.
    yield_now().await;
    if let Ok((_, report)) = &guarded
        && report.then == Then::Reset
    {
        return Exit::Reset;
    }
    match behaviour {
        Behaviour::Crash => return Exit::Panic,
        Behaviour::Hang => pending().await,
        Behaviour::Good
        | Behaviour::CrashAfter(_)
        | Behaviour::CrashOn(_)
        | Behaviour::Unhealthy
        | Behaviour::NeverHealthy
        | Behaviour::NoWifi => {}
    }
    let crash = pin!(async {
        match behaviour {
            Behaviour::CrashAfter(time) => clock.sleep_until(clock.now() + time.into()).await,
            _ => pending().await,
        }
    });
    match guarded {
        Ok((stores, report)) => {
            let heap = HostHeap::new(HEAP, board.random_u64());
            let tcp = PlainTcp::new(&network);
            let connector = Tls::new(tcp, heap, app.settings.tls.config());
            let hosts: Vec<&str> = app
                .settings
                .allowed_hosts
                .iter()
                .map(String::as_str)
                .collect();
            let config = config(&app.settings, &hosts);
            let mut workspace = Box::new(Workspace::new());
            let health = || match behaviour {
                Behaviour::Unhealthy => Health::Unhealthy,
                Behaviour::NeverHealthy => Health::Unknown,
                _ => Health::Healthy,
            };
            let parts = Parts {
                board,
                clock: &clock,
                network: &connector,
                stores,
                boot: report,
                health: &health,
                monitor: &app.monitor,
                workspace: &mut workspace,
            };
            select(crash, Otaria::new(&config, parts).run()).await;
        }
        Err(_) => {
            let feed = async {
                loop {
                    board.feed_watchdog();
                    clock.sleep_until(clock.now() + FEED).await;
                }
            };
            select(crash, pin!(feed)).await;
        }
    }
    Exit::Panic
}

fn config<'a>(settings: &'a Settings, allowed_hosts: &'a [&'a str]) -> Config<'a> {
    let broker = Broker {
        tls: settings.broker_tls,
        ..Broker::plain(&settings.broker, settings.port)
    };
    Config {
        topics: settings.topics.clone(),
        product: settings.product,
        keys: settings.keys.clone(),
        decryption: settings.decryption.clone(),
        broker: match &settings.login {
            Some((user, password)) => Broker {
                user: Some(user),
                password: Some(password),
                ..broker
            },
            None => broker,
        },
        tls: settings.tls.config(),
        packages: PackagePolicy {
            allowed_hosts,
            allow_unguarded: settings.allow_unguarded,
            require_encryption: settings.require_encryption,
        },
        timing: settings.timing,
    }
}

/// Where the partition table in flash says that Otaria's partitions lie.
fn layout(flash: &RefCell<impl NorFlash>) -> Option<Layout> {
    let mut table = [0; PARTITION_TABLE_LEN];
    flash
        .borrow_mut()
        .read(PARTITION_TABLE_OFFSET, &mut table)
        .ok()?;
    Layout::from_table(&PartitionTable::parse(&table).ok()?).ok()
}
