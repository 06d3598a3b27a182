//! `otaria serve`: broker, packages over HTTP, store and API in one process.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use otaria_server::{Config, Mqtt, Server};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::Context;
use crate::commands::{broker, told_to_end};

/// Port of HTTP unless told otherwise.
const HTTP_PORT: u16 = 8080;
/// Port of MQTT without TLS.
const MQTT_PORT: u16 = 1883;

/// Run the server: MQTT broker, packages over HTTP, devices, API and a page to look at.
///
/// Everything is kept in one directory. It has no log-in yet: whoever reaches it can publish what is signed, restart devices and
/// read what they report. So it listens on this machine alone, unless --bind says otherwise. It ends with Ctrl-C or SIGTERM.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria serve --data ./data
  otaria serve --data ./data --bind 0.0.0.0
  otaria serve --data ./data --bind 0.0.0.0 --public-url http://ota.lan:8080
  otaria serve --data ./data --mqtt mqtt://user:password@broker.lan")]
pub(crate) struct Serve {
    /// Where everything is kept: database, packages, the broker's files. Made if it is not there.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// The address of this machine on which HTTP and the broker listen; 0.0.0.0 is all of them.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,

    /// Where HTTP listens instead; port 0 takes a free one [default: port 8080 of --bind].
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,

    /// Where the embedded broker listens instead; port 0 takes a free one [default: port 1883 of --bind].
    #[arg(long, value_name = "ADDR", conflicts_with = "mqtt")]
    mqtt_listen: Option<SocketAddr>,

    /// Use this broker instead of the embedded one: mqtt://[USER:PASSWORD@]HOST[:PORT].
    #[arg(long, value_name = "URL", env = "OTARIA_MQTT", hide_env_values = true)]
    mqtt: Option<String>,

    /// Largest package that is taken, in bytes; 32 MiB unless given.
    #[arg(long, value_name = "BYTES")]
    max_package: Option<u64>,

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
        let on = |port| SocketAddr::new(self.bind, port);
        let mut config = Config {
            http: self.http.unwrap_or(on(HTTP_PORT)),
            mqtt: match &self.mqtt {
                Some(at) => Mqtt::External(broker(at)?),
                None => Mqtt::Embedded {
                    listen: self.mqtt_listen.unwrap_or(on(MQTT_PORT)),
                },
            },
            public_url: self.public_url,
            ..Config::new(self.data)
        };
        if let Some(max) = self.max_package {
            config.max_package_len = max;
        }
        let running = Server::start(config).await?;
        let end = told_to_end()?;
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
        let exposed = [Some(addresses.http), addresses.mqtt]
            .into_iter()
            .flatten()
            .any(|address| !address.ip().is_loopback());
        ctx.output.note(if exposed {
            "warning: there is no log-in yet, and other machines can reach this server: whoever does can publish signed packages, \
             restart devices and read what they report"
        } else {
            "There is no log-in yet, so only this machine can reach it; --bind 0.0.0.0 lets others in."
        });
        end.await;
        running.shutdown().await;
        Ok(())
    }
}

#[derive(Serialize)]
struct Started<'a> {
    http: SocketAddr,
    mqtt: Option<SocketAddr>,
    broker: &'a str,
    public_url: &'a str,
}
