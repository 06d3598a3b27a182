//! `otaria serve`: broker, packages over HTTP, store and API in one process.

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_server::{
    Access, BrokerTls, Config, Delivery, Downloads, FirstAdmin, HomeAssistant, Mqtt, Server, Tls,
};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::Context;
use crate::commands::{BrokerTlsArgs, broker, database, package_store, told_to_end};
use crate::login::{Login, Logins};

/// Ports of HTTP and MQTT, without TLS and with it.
const PORTS: (u16, u16) = (8080, 1883);
const TLS_PORTS: (u16, u16) = (8443, 8883);

/// Run the server: MQTT broker, packages over HTTP, devices, API and a page to look at.
///
/// Everything is kept in one directory. It listens on this machine alone, unless --bind says otherwise; then --tls keeps strangers
/// out: devices come with certificates (`otaria device add`), people and programs with passwords and tokens. Whoever starts it for
/// the first time is its administrator, and logged in already. It ends with Ctrl-C or SIGTERM.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria serve --data ./data
  otaria serve --data ./data --bind 0.0.0.0 --tls
  otaria serve --data ./data --bind 0.0.0.0 --tls --public-url https://ota.lan:8443
  otaria serve --data ./data --bind 0.0.0.0 --insecure      (a network that you trust)
  otaria serve --data ./data --mqtt mqtt://user:password@broker.lan
  otaria serve --data ./data --mqtt mqtts://broker.lan --mqtt-ca ca.pem --mqtt-cert server.pem --mqtt-key server.key
  otaria serve --data ./data --database postgres://otaria:password@db.lan/otaria --mqtt mqtt://broker.lan
  otaria serve --data ./data --packages s3://packages/ota --downloads-by redirect
  otaria serve --data ./data --home-assistant mqtt://user:password@homeassistant.lan")]
pub(crate) struct Serve {
    /// Where everything is kept: database, packages, the broker's files. Made if it is not there.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// The address of this machine on which HTTP and the broker listen; 0.0.0.0 is all of them.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,

    /// Where HTTP listens instead; port 0 takes a free one [default: port 8080 of --bind, with TLS 8443].
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,

    /// Where the embedded broker listens instead; port 0 takes a free one [default: port 1883 of --bind, with TLS 8883].
    #[arg(long, value_name = "ADDR", conflicts_with = "mqtt")]
    mqtt_listen: Option<SocketAddr>,

    /// Use this PostgreSQL database instead of a file in --data: postgres://[USER:PASSWORD@]HOST[:PORT]/DATABASE[?sslmode=verify-full].
    #[arg(
        long,
        value_name = "URL",
        env = "OTARIA_DATABASE",
        hide_env_values = true
    )]
    database: Option<String>,

    /// Where packages are kept, if not in --data: a directory that all servers on the same database have, or a bucket, s3://BUCKET[/PREFIX].
    ///
    /// A bucket's key and address are in the environment, as for other programs: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    /// AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL; on Amazon's machines the role of the machine will do.
    #[arg(long, value_name = "PLACE")]
    packages: Option<String>,

    /// Who sends packages in a bucket: this server, or the bucket, to which devices are redirected with a link for five minutes.
    #[arg(long, value_name = "HOW", default_value = "stream")]
    downloads_by: DownloadsBy,

    /// Redirect devices to this address: a CDN or web server that has the packages as they are in the bucket or the directory.
    #[arg(long, value_name = "URL", conflicts_with = "downloads_by")]
    packages_cdn: Option<String>,

    /// Use this broker instead of the embedded one: mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts:// for TLS.
    #[arg(long, value_name = "URL", env = "OTARIA_MQTT", hide_env_values = true)]
    mqtt: Option<String>,

    #[command(flatten)]
    mqtt_tls: BrokerTlsArgs,

    /// Show devices in Home Assistant, as update entities, over its broker: mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts:// for TLS.
    #[arg(
        long,
        value_name = "URL",
        env = "OTARIA_HOME_ASSISTANT_MQTT",
        hide_env_values = true
    )]
    home_assistant: Option<String>,

    /// The authority (PEM) that the certificate of Home Assistant's broker comes from, for mqtts://.
    #[arg(long, value_name = "FILE", requires = "home_assistant")]
    home_assistant_ca: Option<PathBuf>,

    /// Largest package that is taken, in bytes; 32 MiB unless given.
    #[arg(long, value_name = "BYTES")]
    max_package: Option<u64>,

    /// Where devices reach the HTTP server, if that is not where it listens.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// TLS 1.3 for HTTP and the embedded broker, with an authority of its own that is made at the first start (DATA/tls).
    #[arg(long)]
    tls: bool,

    /// The server's certificate chain (PEM) instead of one from its own authority.
    #[arg(long, value_name = "FILE", requires = "tls", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// The authority of the devices' certificates (PEM) instead of its own; `otaria device add` is not available then.
    #[arg(long, value_name = "FILE", requires = "tls")]
    client_ca: Option<PathBuf>,

    /// A further name or address for the server's own certificate; may be repeated.
    #[arg(
        long,
        value_name = "NAME",
        requires = "tls",
        conflicts_with = "tls_cert"
    )]
    tls_name: Vec<String>,

    /// Who gets package files: anybody who knows the address (they are signed), or only known devices and users.
    #[arg(long, value_name = "WHO", default_value = "anybody")]
    downloads: Who,

    /// Let webhooks be at private addresses and at this machine's own, and be reached by http.
    #[arg(long)]
    webhooks_to_private: bool,

    /// Whom webhooks' receivers have their certificates from, PEM, in place of the authorities that the web trusts.
    #[arg(long, value_name = "FILE")]
    webhook_ca: Option<PathBuf>,

    /// No log-in: whoever reaches the server may do everything.
    #[arg(long)]
    open: bool,

    /// Let other machines in although there is no TLS, or no log-in.
    #[arg(long)]
    insecure: bool,

    /// How the log on standard error is written; OTARIA_LOG says what is in it.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "OTARIA_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,

    /// Give the user admin a new password, if it is lost.
    #[arg(long, conflicts_with = "open")]
    reset_admin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for whatever collects logs.
    Json,
}

/// What is in the log unless OTARIA_LOG says otherwise. The broker's warnings about wills are left out: a device that comes back before
/// its old connection has ended has one that is not published.
const LOGGED: &str = "warn,otaria=info,mqtt5::broker::client_handler::lifecycle=error";

impl LogFormat {
    /// The log begins.
    fn start(self) {
        let filter =
            EnvFilter::try_from_env("OTARIA_LOG").unwrap_or_else(|_| EnvFilter::new(LOGGED));
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr);
        match self {
            Self::Text => log.init(),
            Self::Json => log.json().flatten_event(true).init(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Who {
    Anybody,
    Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DownloadsBy {
    /// The server sends them.
    Stream,
    /// The server redirects to the bucket.
    Redirect,
}

impl Serve {
    pub(crate) async fn run(self, ctx: &Context) -> anyhow::Result<()> {
        self.log_format.start();
        let on = |port| SocketAddr::new(self.bind, port);
        let (http_port, mqtt_port) = if self.tls { TLS_PORTS } else { PORTS };
        let external = match &self.mqtt {
            Some(at) => Some(broker("--mqtt", at)?),
            None => None,
        };
        let mut config = Config {
            http: self.http.unwrap_or(on(http_port)),
            database: database(self.database.as_deref())?,
            packages: package_store(self.packages.as_deref())?,
            delivery: match (self.packages_cdn, self.downloads_by) {
                (Some(cdn), _) => Delivery::Cdn(cdn),
                (None, DownloadsBy::Stream) => Delivery::Stream,
                (None, DownloadsBy::Redirect) => Delivery::LINKS,
            },
            broker_tls: self.mqtt_tls.of(external.as_ref())?,
            mqtt: match external {
                Some(broker) => Mqtt::External(broker),
                None => Mqtt::Embedded {
                    listen: self.mqtt_listen.unwrap_or(on(mqtt_port)),
                },
            },
            webhooks_to_private: self.webhooks_to_private,
            webhook_ca: self.webhook_ca,
            home_assistant: match &self.home_assistant {
                Some(at) => Some(HomeAssistant {
                    broker: broker("--home-assistant", at)?,
                    tls: BrokerTls {
                        ca: self.home_assistant_ca,
                        identity: None,
                    },
                }),
                None => None,
            },
            public_url: self.public_url,
            tls: self.tls.then(|| Tls {
                certificate: self.tls_cert.zip(self.tls_key),
                client_ca: self.client_ca,
                names: self.tls_name,
            }),
            access: match self.open {
                true => Access::Open,
                false => Access::LogIn,
            },
            downloads: match self.downloads {
                Who::Anybody => Downloads::Anybody,
                Who::Known => Downloads::Known,
            },
            exposed: self.insecure,
            reset_admin: self.reset_admin,
            ..Config::new(&self.data)
        };
        if let Some(max) = self.max_package {
            config.max_package_len = max;
        }
        let mut running = Server::start(config).await?;
        let first_admin = running.first_admin.take();
        let end = told_to_end()?;
        let addresses = &running.addresses;
        // Before the line that tells programs to go on.
        if let Some(admin) = first_admin {
            introduce(
                ctx,
                admin,
                &addresses.page,
                running.server_ca.clone(),
                &self.data,
            )?;
        }
        ctx.output.json_line(&Started {
            http: addresses.http,
            page: &addresses.page,
            mqtt: addresses.mqtt,
            broker: &addresses.broker,
            public_url: &addresses.public_url,
        })?;
        ctx.output
            .note(format_args!("page and API   {}/", addresses.page));
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
        match (exposed, self.open, self.tls) {
            (true, true, _) => ctx.output.note(
                "warning: there is no log-in, and other machines can reach this server: whoever does can publish signed packages, \
                 restart devices and read what they report",
            ),
            (true, false, false) => ctx.output.note(
                "warning: without TLS others can read passwords on the way, and say anything to the broker; --tls prevents both",
            ),
            (false, true, _) => ctx.output.note(
                "There is no log-in (--open): every user and every program of this machine may do everything.",
            ),
            (false, false, _) => ctx.output.note(
                "Only this machine can reach it; --bind 0.0.0.0 --tls lets others in.",
            ),
            (true, false, true) => {}
        }
        let taken = tokio::select! {
            () = end => None,
            taken = running.taken() => Some(taken),
        };
        running.shutdown().await;
        match taken {
            None => Ok(()),
            Some(taken) => Err(taken).context("this server slept, and another one went on"),
        }
    }
}

/// Hands the first administrator's secrets over: a token to whoever has started the server, and the password once, to a
/// terminal or, where standard error may be a log, to a file.
fn introduce(
    ctx: &Context,
    admin: FirstAdmin,
    page: &str,
    ca: Option<String>,
    data: &Path,
) -> anyhow::Result<()> {
    let FirstAdmin {
        user,
        password,
        token,
    } = admin;
    if std::io::stderr().is_terminal() {
        let _ = writeln!(
            std::io::stderr().lock(),
            "\nuser           {user}\npassword       {}     (shown this once)",
            password.reveal()
        );
    } else {
        let file = data.join("admin-password");
        write_atomically(&file, Readers::Owner, Existing::Replace, |out| {
            writeln!(out, "{}", password.reveal())
        })
        .with_context(|| format!("cannot write {}", file.display()))?;
        ctx.output.note(format_args!(
            "user           {user}, whose password is in {}; keep it elsewhere and remove the file",
            file.display()
        ));
    }
    let login = Login {
        user,
        token: token.secret,
        ca,
    };
    let kept = Logins::read().and_then(|mut logins| {
        logins.set(page, login, false);
        logins.write()
    });
    match kept {
        Ok(file) => ctx.output.note(format_args!(
            "logged in      you, on this machine, for 30 days ({})",
            file.display()
        )),
        Err(error) => ctx.output.note(format_args!(
            "You are not logged in yet ({error:#}): `otaria login {page}`"
        )),
    }
    Ok(())
}

#[derive(Serialize)]
struct Started<'a> {
    http: SocketAddr,
    page: &'a str,
    mqtt: Option<SocketAddr>,
    broker: &'a str,
    public_url: &'a str,
}
