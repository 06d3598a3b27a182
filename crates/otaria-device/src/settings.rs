//! What a device is told about itself: who it is, whom it trusts, where its broker is, and how patient it shall be.
//!
//! Where the values come from (NVS, a build constant, a test) is the application's business; the names of the settings in NVS
//! are in [`otaria_wire::settings`].

use core::fmt;

use otaria_engine::machine::Policy;
use otaria_wire::FixedText;
use otaria_wire::topics::Topics;

use crate::board::Duration;
use crate::encryption::DecryptionKeys;
use crate::trust::KeyRing;

/// Everything that is settled before the runtime starts.
#[derive(Clone, Debug)]
pub struct Config<'a> {
    /// The device's topics, and with them its id, which is also its MQTT client id.
    pub topics: Topics,
    /// The product that packages must be for.
    pub product: FixedText<32>,
    /// The root keys. Their packages are taken until one of them has signed a key record, and then those of the record's keys; see
    /// [`crate::trust::Trust`].
    pub keys: KeyRing,
    /// The keys that packages may be encrypted to: the device's own, the product's. None: encrypted packages are refused.
    pub decryption: DecryptionKeys,
    /// The broker.
    pub broker: Broker<'a>,
    /// What connections with TLS are made with.
    pub tls: TlsConfig<'a>,
    /// Which packages are taken, beyond what their signature says.
    pub packages: PackagePolicy<'a>,
    /// How long things may take.
    pub timing: Timing,
}

impl<'a> Config<'a> {
    /// The settings that nobody can guess; everything else as it usually is.
    #[must_use]
    pub fn new(topics: Topics, product: FixedText<32>, keys: KeyRing, broker: Broker<'a>) -> Self {
        Self {
            topics,
            product,
            keys,
            decryption: DecryptionKeys::new(),
            broker,
            tls: TlsConfig::default(),
            packages: PackagePolicy::default(),
            timing: Timing::DEFAULT,
        }
    }
}

/// Where the broker is and how to present oneself to it.
#[derive(Clone, Copy, Debug)]
pub struct Broker<'a> {
    /// Name or address.
    pub host: &'a str,
    /// Port: usually 1883, or 8883 with TLS.
    pub port: u16,
    /// Whether to use TLS.
    pub tls: bool,
    /// User name, if the broker asks for one.
    pub user: Option<&'a str>,
    /// Password, if the broker asks for one.
    pub password: Option<&'a [u8]>,
}

impl<'a> Broker<'a> {
    /// A broker without TLS, user name and password.
    #[must_use]
    pub const fn plain(host: &'a str, port: u16) -> Self {
        Self {
            host,
            port,
            tls: false,
            user: None,
            password: None,
        }
    }
}

/// What connections with TLS are made with: whom the device trusts, and how it shows who it is.
///
/// The default trusts nobody, so that every such connection is refused.
#[derive(Clone, Copy, Default)]
pub struct TlsConfig<'a> {
    /// Certificates of the authorities that servers are trusted by, in DER, one behind the other. An intermediate authority may be
    /// one. Empty: no server is trusted for its certificate.
    pub anchors: &'a [u8],
    /// The device's own certificate, for servers that ask for one.
    pub identity: Option<TlsIdentity<'a>>,
    /// A key shared with one server.
    pub psk: Option<TlsPsk<'a>>,
}

/// The device's certificate and its key.
#[derive(Clone, Copy)]
pub struct TlsIdentity<'a> {
    /// The device's certificate, then those of the authorities between it and what the server trusts; DER, one behind the other.
    pub chain: &'a [u8],
    /// The private key of the first one: a P-256 scalar, big-endian.
    pub key: &'a [u8; 32],
}

/// A key that the device shares with one server (RFC 8446, 2.2). It proves each to the other, without certificates.
#[derive(Clone, Copy)]
pub struct TlsPsk<'a> {
    /// The server's name or address. Others are not told that there is a key, nor its name.
    pub host: &'a str,
    /// The key's name, as the server knows it. At most 128 bytes.
    pub id: &'a [u8],
    /// The key: 16 to 64 random bytes. What a person could remember can be guessed by whoever listens.
    pub key: &'a [u8],
}

// The values are secret, or long.
impl fmt::Debug for TlsConfig<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("anchors", &self.anchors.len())
            .field("identity", &self.identity.is_some())
            .field("psk", &self.psk.is_some())
            .finish()
    }
}

/// Which packages are taken, beyond what their signature says.
#[derive(Clone, Copy, Debug, Default)]
pub struct PackagePolicy<'a> {
    /// Hosts that packages may come from, redirects included. Empty: any host. The signature is what protects the device; this
    /// keeps it from being sent round the local network.
    pub allowed_hosts: &'a [&'a str],
    /// Take images without a boot guard, if their signer says that he knows (flag bit 1). Such an image cannot roll itself back
    /// on a bootloader without rollback.
    pub allow_unguarded: bool,
    /// Take no package that is not encrypted.
    pub require_encryption: bool,
}

/// How long things may take. What concerns an update is in [`Policy`]; this adds what the runtime itself does by the clock.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Retries, deadlines, trial.
    pub policy: Policy,
    /// The runtime feeds the board's watchdog at least this often. Arm the watchdog with a good deal more: a flash erase of
    /// 64 KiB may take a second in the worst case.
    pub tick: Duration,
    /// What the watchdog is armed with.
    pub watchdog: Duration,
    /// `state` is published this often although nothing changed (uptime, heap, signal strength).
    pub state: Duration,
    /// `progress` is published at least this often while something moves ...
    pub progress: Duration,
    /// ... and never more often than this.
    pub progress_min: Duration,
    /// Log lines that are sent unasked after an update has failed.
    pub logs_after_failure: u16,
}

impl Timing {
    /// What suits a device on mains power and Wi-Fi.
    pub const DEFAULT: Self = Self {
        policy: Policy::DEFAULT,
        tick: Duration::from_millis(500),
        watchdog: Duration::from_secs(30),
        state: Duration::from_secs(600),
        progress: Duration::from_secs(5),
        progress_min: Duration::from_secs(1),
        logs_after_failure: 40,
    };
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}
