//! What simulated devices speak TLS with: whom they trust, and a certificate of each device's own.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use otaria_package::keyfile::PrivateKeyFile;
use otaria_server::BrokerUrl;
use otaria_settings::host::{read_authorities, read_identity};
use otaria_sim::device::TlsSettings;
use otaria_wire::topics::DeviceId;

use crate::Context;
use crate::client::ServerArgs;
use crate::commands::enroll::{self, CA};
use crate::commands::settings::now;
use crate::output::UsageError;

/// TLS of the devices.
#[derive(Debug, Args)]
pub(super) struct TlsArgs {
    /// The authority (PEM) that the certificates of the broker (mqtts://) and of the web server (https://) come from.
    /// [default: ca.pem in --certs]
    #[arg(long, value_name = "FILE")]
    mqtt_ca: Option<PathBuf>,

    /// The devices' certificates and keys, ID.cert.pem and ID.key.pem, as `otaria device add` writes them. With mqtts:// a device
    /// that has none there is given one by the server that you are logged in to, unless the broker's address has a password.
    /// [default: --data, or else they are not kept, and each run is given new ones]
    #[arg(long, value_name = "DIR")]
    certs: Option<PathBuf>,

    #[command(flatten)]
    server: ServerArgs,
}

impl TlsArgs {
    /// What each of the devices speaks TLS with, in the order of their ids. `data` is where they keep their flash.
    pub(super) fn of(
        &self,
        ctx: &Context,
        ids: &[String],
        broker: &BrokerUrl,
        data: Option<&Path>,
    ) -> anyhow::Result<Vec<TlsSettings>> {
        let needed = broker.tls && broker.login.is_none();
        if !broker.tls && self.mqtt_ca.is_none() && self.certs.is_none() {
            return Ok(vec![TlsSettings::default(); ids.len()]);
        }
        let passing = tempfile::tempdir().context("cannot make a directory")?;
        let dir = self.certs.as_deref().or(data).unwrap_or(passing.path());
        if needed {
            self.complete(ctx, ids, dir)?;
        }
        let now = now()?;
        let anchors = match self.mqtt_ca.clone().unwrap_or_else(|| dir.join(CA)) {
            ca if self.mqtt_ca.is_none() && !ca.exists() => {
                let problem = "nothing says whom the devices are to trust: name the authority of the broker's certificate (--mqtt-ca FILE)";
                return Err(UsageError(problem.to_owned()).into());
            }
            ca => read_authorities(&ca, now)?,
        };
        let with_certificates = needed || self.certs.is_some();
        let settings = |id: &String| {
            let identity = match with_certificates {
                true => Some(identity(dir, id, now)?),
                false => None,
            };
            Ok(TlsSettings {
                anchors: anchors.clone(),
                identity,
                psk: None,
            })
        };
        ids.iter().map(settings).collect()
    }

    /// Has the server certify who has no certificate yet.
    fn complete(&self, ctx: &Context, ids: &[String], dir: &Path) -> anyhow::Result<()> {
        let without: Vec<_> = ids
            .iter()
            .filter(|id| !enroll::file(dir, id, "cert.pem").exists())
            .collect();
        if without.is_empty() {
            return Ok(());
        }
        let client = self.server.client()?;
        for id in &without {
            let id = DeviceId::new(id).map_err(|error| UsageError(format!("'{id}': {error}")))?;
            enroll::certify(&client, &id, None, None, dir)
                .with_context(|| format!("{id} gets no certificate"))?;
        }
        ctx.output
            .note(format_args!("certificates for {} device(s)", without.len()));
        Ok(())
    }
}

/// A device's certificate with what is above it, and its key.
fn identity(dir: &Path, id: &str, now: i64) -> anyhow::Result<(Vec<u8>, [u8; 32])> {
    let key = PrivateKeyFile::read(&enroll::file(dir, id, "key.pem"))?.open(None)?;
    let identity = read_identity(&enroll::file(dir, id, "cert.pem"), &key, now)?;
    Ok((identity.chain, *identity.key.reveal()))
}
