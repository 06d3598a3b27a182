//! Everything that runs after the start, as one future.

use core::future::pending;

use embassy_futures::join::join3;
use embassy_net::Stack;
use embassy_net_driver::Driver;
use embedded_storage::nor_flash::NorFlash;
use otaria_device::board::Board;
use otaria_device::runtime::{Health, Monitor};
#[cfg(not(feature = "set-up"))]
use otaria_embassy::Link as SetUpLink;
use otaria_embassy::setup::Serial;
#[cfg(feature = "set-up")]
use otaria_embassy::setup::SetUpLink;
use otaria_embassy::{Link, Otaria};
use otaria_settings::Settings;

use crate::alive::Alive;
use crate::fault::{FAULT, Fault, fail};
use crate::provisioning;
use crate::timing::{SETUP, TIMING};

/// Runs for the rest of the boot: set-up if that is needed and built in, Otaria over `driver` and `link`, and what this application watches.
pub async fn run<B, F, D, L, S>(
    otaria: Otaria<'static, B, F>,
    mut driver: D,
    mut link: L,
    mut serial: S,
    alive: &'static Alive,
    monitor: &Monitor,
) -> !
where
    B: Board,
    F: NorFlash,
    D: Driver,
    L: Link + SetUpLink,
    S: Serial,
{
    let settings = provisioning::settings(&otaria);
    let mut otaria = otaria.with_settings(settings).with_timing(TIMING);
    // The application works if its ticker runs; that network and broker are there, Otaria asks itself.
    let health = move || {
        if Fault::allows_health(FAULT) && alive.is_alive() {
            Health::Healthy
        } else {
            Health::Unknown
        }
    };
    let otaria = async {
        #[cfg(feature = "set-up")]
        otaria
            .set_up(&mut driver, &mut link, &mut serial, SETUP)
            .await;
        // Not `cfg!`: a future has the code of what it could await, even where it never does.
        #[cfg(not(feature = "set-up"))]
        let _ = (&mut otaria, &mut link, &mut serial, SETUP);
        otaria.run(&mut driver, Joining(link), health).await
    };
    let (never, ..) = join3(otaria, fail(), alive.report(monitor)).await;
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
