//! `otaria publish`: brings a package to devices, through the server or straight through a broker.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use otaria_server::model::{NewJob, Published, Status, Target};
use otaria_server::{BrokerTls, BrokerUrl, retain};
use otaria_wire::messages::Desired;
use otaria_wire::package::{Cipher, HEADER_LEN, SignedHeader};
use otaria_wire::topics::{DEFAULT_ROOT, Topic, Topics};
use serde::Serialize;

use crate::Context;
use crate::client::ServerArgs;
use crate::commands::{BrokerTlsArgs, broker, runtime};
use crate::output::{Negative, UsageError};
use crate::watch;

/// How long a broker may take to accept a wish.
const BROKER: Duration = Duration::from_secs(15);

/// Bring a package to devices.
///
/// Uploads the package and declares it for the devices: each fetches it when it next hears of it, and keeps it only if it proves
/// itself. Publishing the same package again makes a new job: devices that run it say so, one that gave it up tries it again.
///
/// Without a server, --mqtt and --url declare a package that lies on any web server to one device.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria publish app-1.1.0.otaria --device pump-7 --watch
  otaria publish app-1.1.0.otaria --group canary
  otaria publish app-1.1.0.otaria --all
  otaria publish --mqtt mqtt://broker.lan --url http://files.lan/app-1.1.0.otaria --device pump-7
  otaria publish --mqtt mqtts://broker.lan --mqtt-ca ca.pem --url https://files.lan/app-1.1.0.otaria --device pump-7")]
pub(crate) struct Publish {
    /// The package.
    #[arg(required_unless_present = "url", conflicts_with = "url")]
    file: Option<PathBuf>,

    #[command(flatten)]
    target: TargetArgs,

    /// Take a device id that has never reported; the wish then waits for it.
    #[arg(long, conflicts_with_all = ["all", "group", "query", "url"])]
    unseen: bool,

    /// A name of your own for the job, of letters, digits, '_', '-' and '.': publishing again under it does nothing.
    #[arg(long)]
    job: Option<String>,

    /// Watch until every device has ended: 0 if all of them confirmed it, else 1.
    #[arg(long, conflicts_with = "url")]
    watch: bool,

    /// Upload only an encrypted package; refuse any other one before a byte of it leaves this machine.
    #[arg(long, conflicts_with = "url")]
    encrypted: bool,

    /// Without a server: the broker that the device is connected to: mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts:// for TLS.
    #[arg(long, value_name = "URL", requires = "url")]
    mqtt: Option<String>,

    #[command(flatten)]
    mqtt_tls: BrokerTlsArgs,

    /// Without a server: where the package lies.
    #[arg(long, requires = "mqtt")]
    url: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

/// Which devices.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// One device.
    #[arg(long, value_name = "ID")]
    device: Option<String>,

    /// The devices of a group.
    #[arg(long)]
    group: Option<String>,

    /// The devices that match a query; docs/ROLLOUTS.md has the language.
    #[arg(long)]
    query: Option<String>,

    /// All devices that the server knows.
    #[arg(long)]
    all: bool,
}

impl TargetArgs {
    fn target(self) -> Target {
        match (self.device, self.group, self.query) {
            (Some(device), ..) => Target::Device(device),
            (None, Some(group), _) => Target::Group(group),
            (None, None, Some(query)) => Target::Query(query),
            (None, None, None) => Target::All,
        }
    }
}

impl Publish {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        match (&self.mqtt, &self.url, &self.file) {
            (Some(at), Some(url), _) => {
                let broker = broker("--mqtt", at)?;
                let tls = self.mqtt_tls.of(Some(&broker))?;
                declare(ctx, (&broker, &tls), url, self.job.as_deref(), self.target)
            }
            (_, _, Some(_)) => self.through_server(ctx),
            (_, _, None) => {
                Err(UsageError("name a package, or --mqtt and --url".to_owned()).into())
            }
        }
    }

    fn through_server(self, ctx: &Context) -> anyhow::Result<()> {
        let client = self.server.client()?;
        let file = self.file.context("no package is named")?;
        if self.encrypted {
            refuse_plain(&file)?;
        }
        let package = client.upload_file(&file)?;
        let target = self.target.target();
        let job = NewJob {
            package: package.digest,
            target,
            job: self.job,
            not_before: None,
            deadline: None,
            unseen: self.unseen,
        };
        let published = client.publish(&job)?;
        for skipped in &published.skipped {
            ctx.output.note(format_args!(
                "{} is left out: {}",
                skipped.device, skipped.reason
            ));
        }
        if !self.watch {
            return ctx.output.result(&Done(published));
        }
        ctx.output.json_line(&published)?;
        ctx.output.note(Done(published.clone()));
        conclude(ctx, &watch::job(ctx, &client, &published.job.id)?)
    }
}

/// Refuses what everybody could read.
fn refuse_plain(file: &Path) -> anyhow::Result<()> {
    let name = file.display();
    let mut start = Vec::new();
    fs::File::open(file)
        .and_then(|file| file.take(HEADER_LEN as u64).read_to_end(&mut start))
        .with_context(|| format!("cannot read {name}"))?;
    let header = SignedHeader::parse(&start).with_context(|| format!("{name} is not uploaded"))?;
    if header.untrusted().cipher == Cipher::None {
        bail!("{name} is not encrypted, and is not uploaded; package it with --encrypt-to");
    }
    Ok(())
}

/// Says how a job ended; an error unless every device confirmed it.
pub(crate) fn conclude(ctx: &Context, counts: &BTreeMap<Status, u64>) -> anyhow::Result<()> {
    let words: Vec<String> = counts
        .iter()
        .map(|(status, count)| format!("{count} {status}"))
        .collect();
    ctx.output.note(if words.is_empty() {
        "no devices".to_owned()
    } else {
        words.join(", ")
    });
    if counts.keys().all(|status| *status == Status::Succeeded) {
        Ok(())
    } else {
        Err(Negative.into())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Done(Published);

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let job = &self.0.job;
        let devices: u64 = job.counts.iter().map(|count| count.devices).sum();
        write!(
            f,
            "{} {} is wished for on {devices} device(s) as job {}; `otaria watch --job {}` follows it",
            job.product, job.version, job.id, job.id
        )
    }
}

/// Declares a package to one device without a server.
fn declare(
    ctx: &Context,
    (broker, tls): (&BrokerUrl, &BrokerTls),
    url: &str,
    job: Option<&str>,
    target: TargetArgs,
) -> anyhow::Result<()> {
    let Target::Device(device) = target.target() else {
        return Err(
            UsageError("without a server only a single --device can be told".to_owned()).into(),
        );
    };
    let topics = Topics::new(DEFAULT_ROOT, &device)
        .map_err(|error| UsageError(format!("'{device}': {error}")))?;
    let payload = match job {
        Some(job) => serde_json::json!({ "job": job, "url": url }).to_string(),
        None => url.to_owned(),
    };
    if let Err(error) = Desired::parse(payload.as_bytes()) {
        return Err(UsageError(format!("a device would not take this wish: {error}")).into());
    }
    let topic = topics.name(Topic::Desired);
    runtime()?.block_on(async {
        tokio::time::timeout(BROKER, retain(broker, tls, topic.as_str(), payload))
            .await
            .with_context(|| format!("{broker} did not acknowledge within {} s", BROKER.as_secs()))?
            .map_err(anyhow::Error::from)
    })?;
    ctx.output.result(&Declared {
        device,
        url: url.to_owned(),
        topic: topic.as_str().to_owned(),
    })
}

#[derive(Serialize)]
struct Declared {
    device: String,
    url: String,
    topic: String,
}

impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is wished for on {}: retained on {}",
            self.url, self.device, self.topic
        )
    }
}
