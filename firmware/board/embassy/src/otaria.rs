//! Otaria in an application: the boot guard first, then one future beside the application's own tasks.
//!
//! ```text
//!   Otaria::guard    settings, a health check, and a way to the network      who joins the network, who runs its stack
//!        '------->   .run(driver, link, health)                             Otaria
//!                    .run_on(stack, health)                                 the application, on embassy-net
//!                    .run_over(network, health)                             the application, on anything
//! ```

use alloc::boxed::Box;
use core::cell::RefCell;
use core::fmt::Display;
use core::future::pending;

use embassy_futures::join::{join, join3, join5};
use embassy_net::{DhcpConfig, Stack, StackResources};
use embassy_net_driver::Driver;
use embassy_time::{Duration, Timer};
use embedded_storage::nor_flash::NorFlash;
use log::{error, info, warn};
use otaria_device::board::Board;
use otaria_device::guard::GuardDecision;
use otaria_device::install::Workspace;
use otaria_device::net::Connect;
#[cfg(feature = "tls")]
use otaria_device::net::tls::Tls;
use otaria_device::runtime::{HealthCheck, Monitor, Otaria as Runtime, Parts as RuntimeParts};
use otaria_device::settings::{Config, Timing};
use otaria_settings::improv::DeviceInfo;
use otaria_settings::{Settings, SettingsError};
use otaria_wire::esp_image::ChipId;
use otaria_wire::partitions::Region;
use otaria_wire::topics::Topics;

use crate::boot::{self, Guarded, Hardware, Image};
use crate::network::SOCKETS;
use crate::report;
use crate::setup::{Limits, Serial, SetUp, SetUpLink};
use crate::time_servers;
#[cfg(feature = "tls")]
use crate::tls::HeapAndRandom;
use crate::{EmbassyClock, Identity, Link, Network, Networked, Prepared, Sockets, Uplink};

/// How often the watchdog is fed where Otaria does not.
const FEED: Duration = Duration::from_secs(1);

/// The large buffers. Make one, in a `static`: 70 KiB. It is built on the stack, most of which that may take: do it while nothing
/// else needs any.
pub struct Resources {
    stack: StackResources<SOCKETS>,
    sockets: Sockets,
    workspace: Workspace,
}

impl Resources {
    /// Fresh buffers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stack: StackResources::new(),
            sockets: Sockets::new(),
            workspace: Workspace::new(),
        }
    }
}

impl Default for Resources {
    fn default() -> Self {
        Self::new()
    }
}

/// What a port lends to [`Otaria`] once the boot is guarded.
pub struct Lent<'a> {
    /// The large buffers.
    pub resources: &'a mut Resources,
    /// Where Otaria says what it does.
    pub monitor: &'a Monitor,
    /// The device's id unless the settings have one: from its MAC address, say.
    pub device_id: &'a str,
    /// Fills a slice with random numbers that nobody can guess, once the network is there: keys of connections are made of them.
    pub random: fn(&mut [u8]),
}

/// A boot that is guarded, and what may still be said about it before Otaria runs.
///
/// A port for a board makes one (`otaria_esp::guard`, say); an application gives it a task of its own:
///
/// ```ignore
/// #[embassy_executor::task]
/// async fn update(otaria: Otaria, wifi: WIFI<'static>) -> ! {
///     otaria.run(wifi::interface(), WifiLink::new(wifi), AlwaysHealthy).await
/// }
/// ```
///
/// All of it is one future, whose memory is the task's. It never ends, and must not be dropped.
pub struct Otaria<'a, B, F> {
    // In a box, because a future keeps the room of each value that it was given, even once it has handed that on.
    boot: Box<Boot<'a, B, F>>,
    resources: &'a mut Resources,
}

struct Boot<'a, B, F> {
    board: B,
    flash: &'a RefCell<F>,
    nvs: Option<Region>,
    guarded: Option<Guarded<'a, F>>,
    image: Image<'a>,
    monitor: &'a Monitor,
    device_id: &'a str,
    #[cfg_attr(
        not(feature = "tls"),
        expect(dead_code, reason = "TLS alone needs secrets")
    )]
    random: fn(&mut [u8]),
    settings: Option<Settings>,
    timing: Timing,
}

impl<'a, B: Board, F: NorFlash> Otaria<'a, B, F> {
    /// Guards this boot: to be called before anything that can crash, with the watchdog armed. Says on the console what runs and
    /// why.
    ///
    /// As soon as the boot is counted `lend` is called; once it returns there has to be a heap, and whatever flash the log lies in.
    /// Then `last_words`, what the boot before died of, go into the log, a line each; and the board is reset if the guard wants it.
    ///
    /// Nothing here fails: without a flash that Otaria can work with the application runs, and nothing is updated.
    pub fn guard(
        hardware: Hardware<'a, B, F>,
        last_words: &[&dyn Display],
        lend: impl FnOnce() -> Lent<'a>,
    ) -> Self {
        let guarded = boot::guard(&hardware);
        let Hardware {
            mut board,
            flash,
            layout,
            image,
        } = hardware;
        let Lent {
            resources,
            monitor,
            device_id,
            random,
        } = lend();
        boot::go_on(&mut board, guarded.as_ref(), last_words);
        let boot = Box::new(Boot {
            board,
            flash,
            nvs: layout.map(|layout| layout.nvs),
            guarded,
            image,
            monitor,
            device_id,
            random,
            settings: None,
            timing: Timing::DEFAULT,
        });
        Self { boot, resources }
    }

    /// The settings in NVS; those of a blank device if there is no such partition. Allocates: the heap has to be there.
    ///
    /// # Errors
    /// What is in the partition cannot be read. [`Otaria::run`] says so on the console, and goes on as with a blank one.
    pub fn stored_settings(&self) -> Result<Settings, SettingsError> {
        stored(self.boot.flash, self.boot.nvs)
    }

    /// Works with these settings, instead of those in NVS. If the first level of the topics is no name, the console says so, and it
    /// is as usual.
    #[must_use]
    pub fn with_settings(mut self, mut settings: Settings) -> Self {
        if let Err(error) = Topics::new(&settings.topic_root, self.boot.device_id) {
            error!("settings: {}: {error}", settings.topic_root);
            settings.topic_root = Settings::default().topic_root;
        }
        self.boot.settings = Some(settings);
        self
    }

    /// How patient Otaria is, if not as patient as [`Timing::DEFAULT`].
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.boot.timing = timing;
        self
    }

    /// Lets a person tell the device its network and its broker, if it lacks one of them; see [`setup`](crate::setup). To be
    /// awaited before [`Otaria::run`], with the same driver and link.
    ///
    /// Comes back at once if the device is set up, if an image is on trial (it must prove itself as it is, or be rolled back), and
    /// if flash holds settings that could not be changed. Else it restarts the device when it is set up, and feeds the watchdog
    /// until then.
    pub async fn set_up<D, L, S>(
        &mut self,
        driver: &mut D,
        link: &mut L,
        serial: &mut S,
        limits: Limits,
    ) where
        D: Driver,
        L: SetUpLink,
        S: Serial,
    {
        let stored = self.stored_settings();
        let boot = &mut *self.boot;
        let Some(nvs) = boot.nvs else { return };
        let blank = Settings::default();
        let settings = match (&boot.settings, &stored) {
            // Nothing could be saved.
            (_, Err(SettingsError::Version | SettingsError::Region | SettingsError::Flash(_))) => {
                return;
            }
            (Some(settings), _) | (None, Ok(settings)) => settings,
            // Damaged: a person may bring the device back to its network.
            (None, Err(_)) => &blank,
        };
        let decision = boot.guarded.as_ref().map(|guarded| guarded.boot.decision);
        if settings.is_provisioned() || !may_set_up(decision) {
            return;
        }
        let chip = ChipId(boot.board.chip_id());
        let set_up = SetUp {
            flash: boot.flash,
            nvs,
            driver,
            link,
            serial,
            resources: &mut self.resources.stack,
            settings,
            about: DeviceInfo {
                firmware: boot.image.product,
                version: boot.image.version,
                chip: chip.name().unwrap_or("unknown"),
                name: boot.device_id,
            },
            limits,
            board: &mut boot.board,
        };
        // On the heap, so that a device that is set up has no room for it in its task.
        Box::pin(set_up.run()).await;
    }

    /// Runs Otaria for the rest of the boot, with a network of its own: `link` joins it, and a stack with DHCP works on `driver`.
    ///
    /// `health` is the application's opinion of itself, asked about once a second while the image is on trial; that the network,
    /// the broker and the web server can be reached, Otaria sees itself.
    pub async fn run<D, L, H>(self, driver: D, mut link: L, health: H) -> !
    where
        D: Driver,
        L: Link,
        H: HealthCheck + 'a,
    {
        let Self {
            mut boot,
            resources,
        } = self;
        let ready = boot.get_ready();
        let Resources {
            stack,
            sockets,
            workspace,
        } = resources;
        let seed = boot.board.random_u64();
        let dhcp = embassy_net::Config::dhcpv4(DhcpConfig::default());
        let (stack, mut runner) = embassy_net::new(driver, dhcp, stack, seed);
        let network = leak(ready.network(stack, sockets));
        let time_seed = boot.board.random_u64();
        let (never, ..) = join5(
            boot.run(ready, network, stack, workspace, health),
            runner.run(),
            time_servers::ask(stack, &ready.settings.time_servers, time_seed),
            link.run(ready.settings, stack),
            report::all(ready.settings, true, ready.monitor, &stack),
        )
        .await;
        never
    }

    /// Runs Otaria for the rest of the boot on a stack of the application's, which somebody else runs and connects. It needs
    /// four of its sockets: two connections, the look-up of names, and one for time servers if the settings have any.
    pub async fn run_on<H: HealthCheck + 'a>(self, stack: Stack<'a>, health: H) -> ! {
        let Self {
            mut boot,
            resources,
        } = self;
        let ready = boot.get_ready();
        let Resources {
            sockets, workspace, ..
        } = resources;
        let network = leak(ready.network(stack, sockets));
        let time_seed = boot.board.random_u64();
        let (never, ..) = join3(
            boot.run(ready, network, stack, workspace, health),
            time_servers::ask(stack, &ready.settings.time_servers, time_seed),
            report::all(ready.settings, false, ready.monitor, &stack),
        )
        .await;
        never
    }

    /// Runs Otaria for the rest of the boot over any network: a modem that has a stack of its own, say. Reads of its connections
    /// must be cancel-safe, see [`Connect::Connection`].
    pub async fn run_over<N, H>(self, network: N, health: H) -> !
    where
        N: Connect + Uplink + 'a,
        H: HealthCheck + 'a,
    {
        let Self {
            mut boot,
            resources,
        } = self;
        let ready = boot.get_ready();
        let network: &N = leak(network);
        let (never, _) = join(
            boot.run(ready, network, network, &mut resources.workspace, health),
            report::all(ready.settings, false, ready.monitor, network),
        )
        .await;
        never
    }
}

/// Whether a person may set the device up in a boot of which the guard thinks so. Not as long as a trial goes on or is to be
/// brought to an end: that is Otaria's business, and takes no person.
fn may_set_up(decision: Option<GuardDecision>) -> bool {
    match decision {
        None
        | Some(GuardDecision::Nothing | GuardDecision::Repair | GuardDecision::ConfirmedLost) => {
            true
        }
        Some(
            GuardDecision::CountBoot(_)
            | GuardDecision::ContinueTrial
            | GuardDecision::RollBack(..)
            | GuardDecision::BootloaderRefused
            | GuardDecision::FinishRollBack
            | GuardDecision::Reactivate(_)
            | GuardDecision::FinishConfirm
            | GuardDecision::ReactivateConfirmed(_)
            | GuardDecision::Stranded,
        ) => false,
    }
}

/// What is settled before the network is there.
#[derive(Clone, Copy)]
struct Ready<'a> {
    settings: &'a Settings,
    /// `None` only with a board's own id that is none.
    prepared: Option<&'a Prepared<'a>>,
    monitor: &'a Monitor,
}

impl<'a> Ready<'a> {
    fn network(self, stack: Stack<'a>, sockets: &'a mut Sockets) -> Network<'a> {
        let broker = self.prepared.map_or(("", 0), Prepared::broker_at);
        Network::new(stack, sockets, broker)
    }
}

impl<'a, B: Board, F: NorFlash> Boot<'a, B, F> {
    /// Settings and what is made of them are lent to Otaria for as long as its stores are, which is the rest of the boot. Leaking
    /// them is how to say that: they never come back. About 2 KiB.
    fn get_ready(&mut self) -> Ready<'a> {
        let settings = match self.settings.take() {
            Some(settings) => settings,
            None => stored(self.flash, self.nvs).unwrap_or_else(|error| {
                // As if nothing were there: a device on trial rolls back then, and any other waits for a person.
                error!("{error}");
                Settings::default()
            }),
        };
        let settings: &Settings = leak(settings);
        let identity = Identity {
            device_id: self.device_id,
            product: self.image.product,
        };
        let prepared = Prepared::new(settings, identity);
        Ready {
            settings,
            prepared: prepared.ok().map(|prepared| &*leak(prepared)),
            monitor: self.monitor,
        }
    }

    async fn run<C, U, H>(
        self: Box<Self>,
        ready: Ready<'a>,
        network: &'a C,
        uplink: U,
        workspace: &'a mut Workspace,
        health: H,
    ) -> !
    where
        C: Connect,
        U: Uplink,
        H: HealthCheck + 'a,
    {
        // Without a board's id the watchdog ends a trial.
        let Some(prepared) = ready.prepared else {
            pending().await
        };
        let boot = *self;
        let mut board = Networked::new(boot.board, uplink);
        let Some(Guarded {
            stores,
            boot: report,
        }) = boot.guarded
        else {
            loop {
                board.feed_watchdog();
                Timer::after(FEED).await;
            }
        };
        for (index, error) in prepared.refused_keys() {
            warn!("settings: signer{index} is not trusted: {error}");
        }
        let config: &mut Config<'_> = leak(prepared.config());
        config.timing = boot.timing;
        info!(
            "this is {}, for {}",
            config.topics.device(),
            config.product.as_str()
        );
        #[cfg(feature = "tls")]
        let network: &Tls<'_, &C, HeapAndRandom> = leak(Tls::new(
            network,
            HeapAndRandom::new(boot.random),
            config.tls,
        ));
        let parts = RuntimeParts {
            board,
            clock: &EmbassyClock,
            network,
            stores,
            boot: report,
            health: &*leak(health),
            monitor: boot.monitor,
            workspace,
        };
        Runtime::new(config, parts).run().await
    }
}

fn stored<F: NorFlash>(flash: &RefCell<F>, nvs: Option<Region>) -> Result<Settings, SettingsError> {
    match (nvs, flash.try_borrow_mut()) {
        (Some(nvs), Ok(mut flash)) => otaria_settings::load(&mut *flash, nvs),
        // Nobody holds the flash for longer than a command takes.
        (None, _) | (_, Err(_)) => Ok(Settings::default()),
    }
}

fn leak<'a, T: 'a>(value: T) -> &'a mut T {
    Box::leak(Box::new(value))
}
