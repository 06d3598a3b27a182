//! Everything that runs after the start, as one future.

use alloc::boxed::Box;
use core::cell::RefCell;
use core::future::pending;

use embassy_futures::join::{join, join5};
use embassy_net::{DhcpConfig, Stack, StackResources};
use embassy_net_driver::Driver;
use embassy_time::{Duration, Timer};
use embedded_storage::nor_flash::NorFlash;
use log::{info, warn};
use otaria_device::board::Board;
use otaria_device::install::Workspace;
use otaria_device::runtime::{Health, Monitor, Otaria, Parts as OtariaParts};
use otaria_device::settings::Config;
use otaria_embassy::network::SOCKETS;
use otaria_embassy::{EmbassyClock, Identity, Link, Network, Networked, Prepared, Sockets};
use otaria_settings::Settings;

use crate::alive::Alive;
use crate::facts::PRODUCT;
use crate::fault::{FAULT, Fault, fail};
use crate::provisioning;
use crate::start::{Guarded, Started};
use crate::timing::TIMING;

/// How often the watchdog is fed where Otaria does not.
const FEED: Duration = Duration::from_secs(1);

/// The large buffers. Make one, in a `static`: 70 KiB.
pub struct Resources {
    stack: StackResources<SOCKETS>,
    sockets: Sockets,
    workspace: Workspace,
    monitor: Monitor,
}

impl Resources {
    /// Fresh buffers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stack: StackResources::new(),
            sockets: Sockets::new(),
            workspace: Workspace::new(),
            monitor: Monitor::new(),
        }
    }
}

impl Default for Resources {
    fn default() -> Self {
        Self::new()
    }
}

/// What a board's `main` hands over.
pub struct Parts<'a, B, F, D, L> {
    /// The board.
    pub board: B,
    /// The flash that [`crate::start`] was called with.
    pub flash: &'a RefCell<F>,
    /// What [`crate::start`] said.
    pub started: Started<'a, F>,
    /// The network interface.
    pub driver: D,
    /// Whoever brings it up.
    pub link: L,
    /// The large buffers.
    pub resources: &'a mut Resources,
    /// The application's pulse.
    pub alive: &'a Alive,
    /// The device's id unless the settings have one.
    pub device_id: &'a str,
}

/// Runs for the rest of the boot.
pub async fn run<B, F, D, L>(parts: Parts<'_, B, F, D, L>) -> !
where
    B: Board,
    F: NorFlash,
    D: Driver,
    L: Link,
{
    let Parts {
        mut board,
        flash,
        started,
        driver,
        mut link,
        resources,
        alive,
        device_id,
    } = parts;
    let nvs = started.layout.map(|layout| layout.nvs);
    // What lives as long as the boot is lent to Otaria for as long as its stores are; this never comes back, so leaking it is
    // how to say that. About 2 KiB.
    let settings: &Settings = Box::leak(Box::new(provisioning::load(flash, nvs)));
    let identity = Identity {
        device_id,
        product: PRODUCT,
    };
    let prepared: &Prepared<'_> = match Prepared::new(settings, identity) {
        Ok(prepared) => Box::leak(Box::new(prepared)),
        // The settings are checked where they are read; so this cannot be. If it is, a trial ends by the watchdog.
        Err(_) => pending().await,
    };
    for (index, error) in prepared.refused_keys() {
        warn!("settings: signer{index} is not trusted: {error}");
    }
    let mut config = prepared.config();
    config.timing = TIMING;
    let config: &Config<'_> = Box::leak(Box::new(config));
    info!(
        "this is {}, for {}",
        config.topics.device(),
        config.product.as_str()
    );

    let Resources {
        stack,
        sockets,
        workspace,
        monitor,
    } = resources;
    let seed = board.random_u64();
    let dhcp = embassy_net::Config::dhcpv4(DhcpConfig::default());
    let (stack, mut runner) = embassy_net::new(driver, dhcp, stack, seed);
    let network: &Network<'_> =
        Box::leak(Box::new(Network::new(stack, sockets, prepared.broker_at())));
    let monitor = &*monitor;
    // The application works if its ticker runs; that network and broker are there, Otaria asks itself.
    let health = Box::leak(Box::new(move || {
        if Fault::allows_health(FAULT) && alive.is_alive() {
            Health::Healthy
        } else {
            Health::Unknown
        }
    }));
    let mut board = Networked::new(board, stack);
    let otaria = async {
        match started.guarded {
            Some(Guarded { stores, boot }) => {
                let parts = OtariaParts {
                    board,
                    clock: &EmbassyClock,
                    network,
                    stores,
                    boot,
                    health,
                    monitor,
                    workspace,
                };
                Otaria::new(config, parts).run().await
            }
            None => loop {
                board.feed_watchdog();
                Timer::after(FEED).await;
            },
        }
    };
    let joining = async {
        if FAULT == Some(Fault::NeverJoins) {
            pending::<()>().await;
        }
        link.run(settings, stack).await
    };
    let (never, ..) = join5(
        otaria,
        runner.run(),
        joining,
        join(fail(), provisioning::remind(settings)),
        say(monitor, stack, alive),
    )
    .await;
    never
}

/// Says on the console what changes.
async fn say(monitor: &Monitor, stack: Stack<'_>, alive: &Alive) -> ! {
    let (mut phase, mut connected, mut address) = (monitor.phase(), false, None);
    loop {
        Timer::after_millis(250).await;
        let now = stack.config_v4().map(|config| config.address.address());
        if now != address {
            address = now;
            match now {
                Some(address) => info!("network: address {address}"),
                None => info!("network: no address"),
            }
        }
        if monitor.connected() != connected {
            connected = monitor.connected();
            info!(
                "mqtt: {}",
                if connected {
                    "connected"
                } else {
                    "not connected"
                }
            );
        }
        if monitor.phase() != phase {
            phase = monitor.phase();
            let worst = alive.take_worst_us();
            info!("update: {phase:?}; the ticker was {worst} us late at worst");
        }
    }
}
