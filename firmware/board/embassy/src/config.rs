//! From the settings in flash to Otaria's configuration.

use alloc::vec::Vec;

use otaria_device::encryption::DecryptionKeys;
use otaria_device::settings::{Broker, Config, PackagePolicy, TlsConfig, TlsIdentity, TlsPsk};
use otaria_device::trust::{KeyError, KeyRing};
use otaria_settings::Settings;
use otaria_wire::FixedText;
use otaria_wire::topics::{NameError, Topics};

/// What an image says of itself where the settings say nothing.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The device's id unless the settings have one: from its MAC address, say.
    pub device_id: &'a str,
    /// The product that the image is built for.
    pub product: &'a str,
}

/// Settings, made ready to be borrowed by a [`Config`].
#[derive(Debug)]
pub struct Prepared<'s> {
    settings: &'s Settings,
    topics: Topics,
    product: FixedText<32>,
    keys: KeyRing,
    decryption: DecryptionKeys,
    hosts: Vec<&'s str>,
    refused: Vec<(usize, KeyError)>,
}

impl<'s> Prepared<'s> {
    /// Makes settings ready. A key that is of no use is left out, and [`Prepared::refused_keys`] says which ones were: a device
    /// that trusts nobody still reports what it runs.
    ///
    /// # Errors
    /// The topics' first level is no name, which `otaria_settings::load` does not let pass.
    pub fn new(settings: &'s Settings, identity: Identity<'_>) -> Result<Self, NameError> {
        let id = settings.device_id.as_deref().unwrap_or(identity.device_id);
        let topics = Topics::new(&settings.topic_root, id)?;
        let product = if settings.product.is_empty() {
            identity.product
        } else {
            &settings.product
        };
        let mut keys = KeyRing::new();
        let mut refused = Vec::new();
        for (index, point) in settings.signers.iter().enumerate() {
            if let Err(error) = keys.trust(point) {
                refused.push((index, error));
            }
        }
        let mut decryption = DecryptionKeys::new();
        if let Some(key) = &settings.encryption_key
            && let Err(error) = decryption.add(key.reveal())
        {
            log::warn!("the key for encrypted packages is not used: {error}");
        }
        Ok(Self {
            settings,
            topics,
            product: FixedText::try_from(product).unwrap_or_default(),
            keys,
            decryption,
            hosts: settings.allowed_hosts.iter().map(AsRef::as_ref).collect(),
            refused,
        })
    }

    /// Keys in the settings that are not taken: their number, and why.
    #[must_use]
    pub fn refused_keys(&self) -> &[(usize, KeyError)] {
        &self.refused
    }

    /// The broker's host and port as they stand in the configuration.
    #[must_use]
    pub fn broker_at(&self) -> (&str, u16) {
        let broker = self.broker();
        (broker.host, broker.port)
    }

    /// The configuration. Without a broker in the settings it has one without a name, which is never connected to, because a
    /// device without settings has no link either.
    #[must_use]
    pub fn config(&self) -> Config<'_> {
        let mut config = Config::new(
            self.topics.clone(),
            self.product,
            self.keys.clone(),
            self.broker(),
        );
        config.decryption = self.decryption.clone();
        config.tls = self.tls();
        config.packages = PackagePolicy {
            allowed_hosts: &self.hosts,
            allow_unguarded: self.settings.allow_unguarded,
            require_encryption: self.settings.require_encryption,
        };
        config
    }

    fn tls(&self) -> TlsConfig<'_> {
        let tls = &self.settings.tls;
        let broker = self.settings.broker.as_ref();
        TlsConfig {
            anchors: &tls.authorities,
            identity: tls.identity.as_ref().map(|identity| TlsIdentity {
                chain: &identity.chain,
                key: identity.key.reveal(),
            }),
            psk: tls.psk.as_ref().zip(broker).map(|(psk, broker)| TlsPsk {
                host: &broker.host,
                id: psk.id.as_bytes(),
                key: psk.key.reveal(),
            }),
        }
    }

    fn broker(&self) -> Broker<'_> {
        match &self.settings.broker {
            None => Broker::plain("", 1883),
            Some(broker) => Broker {
                host: &broker.host,
                port: broker.port,
                tls: broker.tls,
                user: broker.user.as_deref(),
                password: broker
                    .password
                    .as_ref()
                    .map(|password| password.reveal().as_bytes()),
            },
        }
    }
}
