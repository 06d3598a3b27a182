//! Everything that runs after the start, as one future.

use core::future::pending;

use embassy_futures::join::join3;
use embassy_net::Stack;
use embassy_net_driver::Driver;
use embedded_storage::nor_flash::NorFlash;
use otaria_device::board::Board;
use otaria_device::runtime::{Health, Monitor};
use otaria_embassy::{Link, Otaria};
use otaria_settings::Settings;

use crate::alive::Alive;
use crate::fault::{FAULT, Fault, fail};
use crate::provisioning;
use crate::timing::TIMING;

/// Runs for the rest of the boot: Otaria over `driver` and `link`, and what this application watches.
pub async fn run<B, F, D, L>(
    otaria: Otaria<'static, B, F>,
    driver: D,
    link: L,
    alive: &'static Alive,
    monitor: &Monitor,
) -> !
where
    B: Board,
    F: NorFlash,
    D: Driver,
    L: Link,
{
    let settings = provisioning::settings(&otaria);
    let otaria = otaria.with_settings(settings).with_timing(TIMING);
    // The application works if its ticker runs; that network and broker are there, Otaria asks itself.
    let health = move || {
        if Fault::allows_health(FAULT) && alive.is_alive() {
            Health::Healthy
        } else {
            Health::Unknown
        }
    };
    let (never, ..) = join3(
        otaria.run(driver, Joining(link), health),
        fail(),
        alive.report(monitor),
    )
    .await;
    never
}

/// A link that is never joined if this build is to fail so.
struct Joining<L>(L);

impl<L: Link> Link for Joining<L> {
    async fn run(&mut self, settings: &Settings, stack: Stack<'_>) -> ! {
        if FAULT == Some(Fault::NeverJoins) {
            pending::<()>().await;
        }
        self.0.run(settings, stack).await
    }
}
