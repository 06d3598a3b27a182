//! `otaria serve`: broker, packages over HTTP, store and API in one process.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use otaria_server::{BrokerUrl, Config, Mqtt, Server};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::Context;

/// Run the server: MQTT broker, packages over HTTP, devices, API and a page to look at.
///
/// Everything is kept in one directory. It has no log-in yet: whoever reaches it can publish what is signed. So it listens on
/// this machine alone, unless --http and --mqtt-listen say otherwise. It ends with Ctrl-C or SIGTERM.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria serve --data ./data
  otaria serve --data ./data --http 0.0.0.0:8080 --mqtt-listen 0.0.0.0:1883 --public-url http://ota.lan:8080
  otaria serve --data ./data --mqtt mqtt://user:password@broker.lan")]
pub(crate) struct Serve {
    /// Where everything is kept: database, packages, the broker's files. Made if it is not there.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Where HTTP listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    http: SocketAddr,

    /// Where the embedded broker listens; port 0 takes a free one.
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:1883",
        conflicts_with = "mqtt"
    )]
    mqtt_listen: SocketAddr,

    /// Use this broker instead of the embedded one.
    #[arg(long, value_name = "URL", env = "OTARIA_MQTT")]
    mqtt: Option<BrokerUrl>,

    /// Where devices reach the HTTP server, if that is not where it listens.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
}

impl Serve {
    pub(crate) async fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let filter = EnvFilter::try_from_env("OTARIA_LOG")
            .unwrap_or_else(|_| EnvFilter::new("warn,otaria=info"));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
        let open = !self.http.ip().is_loopback();
        let config = Config {
            http: self.http,
            mqtt: match self.mqtt {
                Some(url) => Mqtt::External(url),
                None => Mqtt::Embedded {
                    listen: self.mqtt_listen,
                },
            },
            public_url: self.public_url,
            ..Config::new(self.data)
        };
        let running = Server::start(config).await?;
        let addresses = &running.addresses;
        ctx.output.json_line(&Started {
            http: addresses.http,
            mqtt: addresses.mqtt,
            broker: &addresses.broker,
            public_url: &addresses.public_url,
        })?;
        ctx.output
            .note(format_args!("page and API   http://{}/", addresses.http));
        ctx.output.note(format_args!(
            "packages       {}/packages/",
            addresses.public_url
        ));
        ctx.output
            .note(format_args!("broker         {}", addresses.broker));
        if open {
            ctx.output.note("There is no log-in yet: whoever reaches this address can publish signed packages and restart devices.");
        }
        wait_for_the_end().await?;
        running.shutdown().await;
        Ok(())
    }
}

/// Ctrl-C, or what a service manager sends.
async fn wait_for_the_end() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

#[derive(Serialize)]
struct Started<'a> {
    http: SocketAddr,
    mqtt: Option<SocketAddr>,
    broker: &'a str,
    public_url: &'a str,
}
