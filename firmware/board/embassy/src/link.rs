//! Whoever joins a network and keeps it.

use embassy_net::Stack;
use otaria_settings::Settings;

/// The part of a port that brings the link up: joins a Wi-Fi network, or has nothing to do because there is a cable.
#[allow(
    async_fn_in_trait,
    reason = "awaited by the one task that owns it; a port's future need not be `Send`"
)]
pub trait Link {
    /// Joins a network and keeps it, for the rest of the boot: reconnects by itself, and never blocks.
    ///
    /// `stack` is for looking only: whether the network that was joined gives out addresses.
    async fn run(&mut self, settings: &Settings, stack: Stack<'_>) -> !;
}

/// For a network that is simply there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wired;

impl Link for Wired {
    async fn run(&mut self, _: &Settings, _: Stack<'_>) -> ! {
        core::future::pending().await
    }
}
