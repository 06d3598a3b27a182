//! Where a device stands: in a world of virtual time, or among real servers.

use core::future::Future;
use core::time::Duration;

use otaria_device::board::{Clock, Network};

use crate::flash::Busy;
use crate::net::Host;
use crate::real::{Radio, RadioConfig, RadioSwitch, RealClock, RealNetwork};
use crate::world::{Handle, SimClock};

/// What surrounds a device.
pub trait Site: 'static {
    /// The device's clock.
    type Clock: Clock + Clone + 'static;
    /// The device's network.
    type Network: Network + 'static;

    /// A clock that starts now; `busy` is the account of the device's flash.
    fn clock(&self, busy: &Busy) -> Self::Clock;

    /// The network as one boot of the device has it.
    fn network(&self, clock: &Self::Clock) -> Self::Network;

    /// Waits, whatever the device does meanwhile.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + 'static;

    /// Time since some fixed moment, for records.
    fn now(&self) -> Duration;

    /// Joins or leaves the radio network.
    fn set_link(&self, up: bool);

    /// The device has power, or none: without, its peers hear nothing more of its connections.
    fn set_power(&self, on: bool, busy: &Busy);
}

/// A place in a world.
pub struct WorldSite {
    world: Handle,
    host: Host,
    unix_at_start: Option<u64>,
}

impl WorldSite {
    /// A device that is this host.
    pub fn new(world: Handle, host: Host) -> Self {
        WorldSite {
            world,
            host,
            unix_at_start: None,
        }
    }

    /// The same place, where devices know the date: it was `seconds` since 1970 when the world began.
    #[must_use]
    pub fn with_unix_time(mut self, seconds: u64) -> Self {
        self.unix_at_start = Some(seconds);
        self
    }
}

impl Site for WorldSite {
    type Clock = SimClock;
    type Network = Host;

    fn clock(&self, busy: &Busy) -> SimClock {
        let clock = SimClock::boot(self.world.clone(), busy.clone());
        match self.unix_at_start {
            Some(seconds) => clock.with_unix_time(seconds),
            None => clock,
        }
    }

    fn network(&self, _clock: &SimClock) -> Host {
        self.host.clone()
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + 'static {
        self.world.sleep(time)
    }

    fn now(&self) -> Duration {
        self.world.now()
    }

    fn set_link(&self, up: bool) {
        self.host.set_link_up(up);
    }

    fn set_power(&self, on: bool, busy: &Busy) {
        if on {
            self.host.set_busy(busy.clone());
            self.host.power_on();
        } else {
            self.host.power_off();
        }
    }
}

/// A place among real servers, in real time.
pub struct RealSite {
    radio: RadioConfig,
    switch: RadioSwitch,
    started: tokio::time::Instant,
}

impl RealSite {
    /// A device on this machine's network, behind a radio.
    pub fn new(radio: RadioConfig) -> Self {
        RealSite {
            radio,
            switch: RadioSwitch::new(),
            started: tokio::time::Instant::now(),
        }
    }
}

impl Site for RealSite {
    type Clock = RealClock;
    type Network = Radio<RealNetwork, RealClock>;

    fn clock(&self, busy: &Busy) -> RealClock {
        RealClock::boot(busy.clone())
    }

    fn network(&self, clock: &RealClock) -> Radio<RealNetwork, RealClock> {
        Radio::new(RealNetwork, clock.clone(), self.radio, self.switch.clone())
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + 'static {
        tokio::time::sleep(time)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn set_link(&self, up: bool) {
        self.switch.set_on(up);
    }

    /// Real sockets are closed when the device's program is dropped; the operating system tells their peers.
    fn set_power(&self, _on: bool, _busy: &Busy) {}
}
