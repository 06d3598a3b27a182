//! One file a command. Each is a clap `Args` struct with `run(self, &Context) -> anyhow::Result<()>`; one that needs
//! the network is `async fn run` and is called in [`Command::run`](crate::cli::Command::run) as
//! `runtime()?.block_on(command.run(ctx))`.

use std::path::PathBuf;

use clap::Args;
use otaria_server::{BrokerTls, BrokerUrl, BucketUrl, Database, DatabaseUrlError, PackageStore};

use crate::output::UsageError;

pub(crate) mod acl;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod cosign;
pub(crate) mod demo;
pub(crate) mod device;
pub(crate) mod devices;
pub(crate) mod enroll;
pub(crate) mod group;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod key;
pub(crate) mod keygen;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod openapi;
pub(crate) mod package;
pub(crate) mod provision;
pub(crate) mod publish;
pub(crate) mod registry;
pub(crate) mod rollout;
pub(crate) mod serve;
mod settings;
pub(crate) mod simulate;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod verify;
pub(crate) mod watch;
pub(crate) mod webhook;

/// A broker's address, which `flag` gave. Not read by the parser of the command line, whose errors repeat what they were given: there
/// may be a password in it.
pub(crate) fn broker(flag: &str, at: &str) -> Result<BrokerUrl, UsageError> {
    at.parse()
        .map_err(|error| UsageError(format!("the address that {flag} gives: {error}")))
}

/// Where packages are kept, as `--packages` says.
pub(crate) fn package_store(at: Option<&str>) -> Result<PackageStore, UsageError> {
    match at {
        None => Ok(PackageStore::Own),
        Some(at) if at.starts_with("s3://") => match BucketUrl::from_env(at) {
            Ok(bucket) => Ok(PackageStore::Bucket(bucket)),
            Err(error) => Err(UsageError(format!(
                "the place that --packages gives: {error}"
            ))),
        },
        Some(at) if at.contains("://") => Err(UsageError(format!(
            "--packages takes a directory or s3://BUCKET[/PREFIX], not '{at}'; another store's address is AWS_ENDPOINT_URL"
        ))),
        Some(at) => Ok(PackageStore::Directory(at.into())),
    }
}

/// What a broker is known by, and what it is shown.
#[derive(Debug, Args)]
pub(crate) struct BrokerTlsArgs {
    /// The authority (PEM) that the broker's certificate comes from, for mqtts://.
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    mqtt_ca: Option<PathBuf>,

    /// A certificate (PEM) to show to that broker, if it asks for one.
    #[arg(long, value_name = "FILE", requires = "mqtt_ca", requires = "mqtt_key")]
    mqtt_cert: Option<PathBuf>,

    /// The private key of --mqtt-cert (PEM).
    #[arg(long, value_name = "FILE", requires = "mqtt_cert")]
    mqtt_key: Option<PathBuf>,
}

impl BrokerTlsArgs {
    /// For this broker, if there is one.
    pub(crate) fn of(self, broker: Option<&BrokerUrl>) -> Result<BrokerTls, UsageError> {
        if self.mqtt_ca.is_some() && broker.is_some_and(|broker| !broker.tls) {
            return Err(UsageError(
                "--mqtt-ca is for mqtts://, and --mqtt says mqtt://, which is without TLS"
                    .to_owned(),
            ));
        }
        Ok(BrokerTls {
            ca: self.mqtt_ca,
            identity: self.mqtt_cert.zip(self.mqtt_key),
        })
    }
}

/// Ctrl-C, or what a service manager sends: from now on it does not kill, but ends what is returned.
pub(crate) fn told_to_end() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// The database that `--database` names.
pub(crate) fn database(at: Option<&str>) -> Result<Database, UsageError> {
    let Some(at) = at else {
        return Ok(Database::File);
    };
    let url = at.parse();
    url.map(Database::Postgres)
        .map_err(|error: DatabaseUrlError| {
            UsageError(format!("the address that --database gives: {error}"))
        })
}

/// The runtime of the commands that use the network.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}
