//! The runtime: the only loop that joins engine, flash and network.
//!
//! ```text
//!   application                 Otaria::run: one future, three parts
//!   ----------      .----------------------------------------------------.
//!   HealthCheck <---| driver    asks the engine, does the short acts      |---> Board (watchdog, reset)
//!   Monitor     <---| operator  fetch, verify, probe: one at a time       |---> HTTP, slots
//!                   | session   MQTT, through the mailbox                 |---> broker
//!                   '----------------------------------------------------'
//!                      engine . journal . otadata . log . outbox: shared, borrowed only between two awaits
//! ```
//!
//! The application spawns one task that awaits [`Otaria::run`], and does its own work in others; none of them ever waits for
//! the network because of Otaria. Everything is generic over the traits of [`crate::board`], [`crate::net`] and `NorFlash`: what
//! runs on a chip runs in the simulation unchanged.
//!
//! # The watchdog
//! The application arms it as the first thing in `main` (`esp_hal::init` disables it). [`Otaria::run`] arms it again with
//! [`crate::settings::Timing::watchdog`] and feeds it at every turn of the driver. So an image that hangs, on trial or not, is
//! reset; on trial that counts as a crash.

mod budget;
mod commands;
mod driver;
mod floor;
mod keys;
mod mailbox;
mod monitor;
mod operator;
mod outbox;
mod recent;
mod running;
mod shared;
mod startup;
mod steps;
#[cfg(test)]
mod tests;

use core::cell::{Cell, RefCell};

use embassy_futures::join::join3;
use embassy_sync::signal::Signal;
use embedded_storage::nor_flash::NorFlash;
use otaria_engine::machine::Engine;

pub use monitor::{AlwaysHealthy, Health, HealthCheck, Monitor};

use crate::board::{Board, Clock};
use crate::guard::BootReport;
use crate::http::{HttpClient, UrlPolicy};
use crate::install::{Starts, Stores, Words, Workspace};
use crate::mqtt::{MqttConfig, MqttSession};
use crate::net::Connect;
use crate::settings::Config;
use crate::trust::Trust;
use budget::Budget;
use commands::Commands;
use outbox::Outbox;
use running::RunningImage;
use shared::{Logbook, Rate, Shared};
use startup::Startup;

/// Bytes that the update path may take: buffers, tables, decoder, and everything that stands around them; but not the network
/// stack below [`crate::net`], nor the session with the broker, which is there in any case.
pub const UPDATE_RAM: usize = 64 * 1024;

/// What a fetch or a verification holds while it waits: header, table, writer, digests. A test measures it.
pub(crate) const OPERATION_RAM: usize = 8 * 1024;

// Checked as laid out for the target that is built for; the chips are 32-bit.
const _: () = assert!(
    size_of::<Workspace>()
        + size_of::<Shared<'_, (), (), ()>>()
        + size_of::<HttpClient<'_, (), ()>>()
        + OPERATION_RAM
        <= UPDATE_RAM
);

/// What the runtime is made of. All that is lent here is lent for the whole boot.
pub struct Parts<'a, B, K, C, F, H> {
    /// The board.
    pub board: B,
    /// Its clock.
    pub clock: &'a K,
    /// What opens connections: [`crate::net::PlainTcp`], or something that knows TLS.
    pub network: &'a C,
    /// What is in flash.
    pub stores: Stores<'a, F>,
    /// What the boot guard said.
    pub boot: BootReport,
    /// The application's opinion of itself.
    pub health: &'a H,
    /// For the application's eyes.
    pub monitor: &'a Monitor,
    /// The large buffers.
    pub workspace: &'a mut Workspace,
}

/// The runtime of one boot. See the [module](self).
pub struct Otaria<'a, B, K, C, F, H> {
    config: &'a Config<'a>,
    parts: Parts<'a, B, K, C, F, H>,
}

impl<'a, B, K, C, F, H> Otaria<'a, B, K, C, F, H>
where
    B: Board,
    K: Clock,
    C: Connect,
    F: NorFlash,
    H: HealthCheck,
{
    /// The runtime, not started yet.
    #[must_use]
    pub const fn new(config: &'a Config<'a>, parts: Parts<'a, B, K, C, F, H>) -> Self {
        Self { config, parts }
    }

    /// Runs for the rest of the boot. It never has to be cancelled, and must not be.
    pub async fn run(self) -> ! {
        let Self { config, parts } = self;
        let Parts {
            mut board,
            clock,
            network,
            stores,
            boot,
            health,
            monitor,
            workspace,
        } = parts;
        // A device without a log works; it only has less to say.
        let mut log = Logbook::open(stores.log()).ok();
        board.arm_watchdog(config.timing.watchdog);
        let running = RunningImage::identify(&stores).await;
        let start = Startup {
            stores: &stores,
            log: log.as_mut(),
            report: &boot,
            now: clock.now(),
        }
        .run(&mut board, running);
        let starts = Starts::load(&mut stores.journal.borrow_mut(), clock.now());
        let session_seed = board.random_u64();
        let shared = Shared {
            config,
            board: RefCell::new(board),
            clock,
            monitor,
            stores,
            log: RefCell::new(log),
            engine: RefCell::new(Engine::new(clock.now(), config.timing.policy, start.facts)),
            outbox: RefCell::new(Outbox::new()),
            commands: RefCell::new(Commands::new()),
            budget: Budget::new(),
            key_checks: Budget::new(),
            chatter: Budget::new(),
            starts,
            times: start.times,
            words: Words::new(),
            facts: start.record,
            trial: Cell::new(start.trial),
            verified: RefCell::new(None),
            trust: Trust::new(&config.keys, config.product),
            refused_for_keys: Cell::new(false),
            identity: Cell::new(None),
            rate: RefCell::new(Rate::default()),
            wake: Signal::new(),
            outgoing: Signal::new(),
            request: Signal::new(),
            stop: Signal::new(),
            operations: Cell::new(0),
            broker_failed: Cell::new(None),
            link: Cell::new(None),
            probe_failed: Cell::new(None),
            floor_in_flash: Cell::new(0),
        };
        shared.restore_time_floor();
        shared.load_keys();
        monitor.set_trial(start.trial.is_some());
        if let Some(event) = start.pending {
            shared.outbox.borrow_mut().event(event, true);
        }
        if start.send_logs {
            shared.send_logs(config.timing.logs_after_failure);
        }
        let broker = &config.broker;
        let mut session = MqttSession::new(
            MqttConfig {
                tls: broker.tls,
                user_name: broker.user,
                password: broker.password,
                ..MqttConfig::new(broker.host, broker.port, &config.topics)
            },
            session_seed,
        );
        let policy = UrlPolicy {
            hosts: config.packages.allowed_hosts,
            ..UrlPolicy::ANY
        };
        let mut http = HttpClient::new(network, clock, policy);
        let (never, _, _) = join3(
            shared.drive(health),
            session.run(network, clock, &shared),
            shared.operate(&mut http, workspace),
        )
        .await;
        never
    }
}
