//! What the application and Otaria tell each other.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

pub use otaria_engine::machine::Health;
use otaria_wire::messages::Phase;

/// Whether the application does its work. Asked about once a second while its image is on trial; answers at once.
///
/// An image is confirmed only if this says [`Health::Healthy`]. So it should say so when what the device is *for* works: the
/// sensor has been read, the motor answers. [`Health::Unhealthy`] ends the trial at once; in doubt, say [`Health::Unknown`] and
/// let the trial's time run.
///
/// A closure `Fn() -> Health` is one, too.
pub trait HealthCheck {
    /// How the application is.
    fn health(&self) -> Health;
}

impl<F: Fn() -> Health> HealthCheck for F {
    fn health(&self) -> Health {
        self()
    }
}

/// For applications that have nothing to say: they are healthy as long as network and runtime work.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysHealthy;

impl HealthCheck for AlwaysHealthy {
    fn health(&self) -> Health {
        Health::Healthy
    }
}

/// What Otaria is doing, for the application's eyes: it may be read from any task or core, at any time.
///
/// Made by the application, often as a `static`, and lent to the runtime.
#[derive(Debug)]
pub struct Monitor {
    phase: AtomicU8,
    trial: AtomicBool,
    connected: AtomicBool,
}

const PHASES: [Phase; 8] = [
    Phase::Idle,
    Phase::Checking,
    Phase::Downloading,
    Phase::Verifying,
    Phase::Activating,
    Phase::Rebooting,
    Phase::Trial,
    Phase::Unknown,
];

impl Monitor {
    /// A monitor of a runtime that has not started yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            phase: AtomicU8::new(0),
            trial: AtomicBool::new(false),
            connected: AtomicBool::new(false),
        }
    }

    /// What is being done about the firmware.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let phase = usize::from(self.phase.load(Ordering::Relaxed));
        PHASES.get(phase).copied().unwrap_or(Phase::Unknown)
    }

    /// Whether the running image is on trial: a good time not to sleep deeply, and to do what proves that it works.
    #[must_use]
    pub fn on_trial(&self) -> bool {
        self.trial.load(Ordering::Relaxed)
    }

    /// Whether the MQTT session is up.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        let index = PHASES
            .iter()
            .position(|known| *known == phase)
            .unwrap_or(PHASES.len() - 1);
        self.phase
            .store(u8::try_from(index).unwrap_or(u8::MAX), Ordering::Relaxed);
    }

    pub(super) fn set_trial(&self, open: bool) {
        self.trial.store(open, Ordering::Relaxed);
    }

    pub(super) fn set_connected(&self, up: bool) {
        self.connected.store(up, Ordering::Relaxed);
    }
}

impl Default for Monitor {
    fn default() -> Self {
        Self::new()
    }
}
