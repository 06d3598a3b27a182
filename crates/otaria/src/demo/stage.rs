//! What the demo plays on: keys, server, broker, devices, a witness, and the bars that people watch.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use otaria_package::keys::SigningKey;
use otaria_package::pack::{Options, TimeStamp, pack};
use otaria_server::model::{NewJob, Target};
use otaria_server::{Access, BrokerUrl, Config, Mqtt, RunningServer, Server};
use otaria_sim::device::{Hardware, Settings};
use otaria_sim::flash::Timing as FlashTiming;
use otaria_sim::fleet::{Blueprint, Fleet};
use otaria_sim::images::Stamp;
use otaria_sim::real::RadioConfig;
use otaria_wire::Sha256Digest;
use otaria_wire::messages::FailureCode;

use tokio::task::block_in_place;

use super::witness::{Testimony, Witness};
use crate::Context;
use crate::bars::Bars;
use crate::client::Client;

/// Length of the demo's images: enough to watch, little enough for two hundred devices at once.
const IMAGE_LEN: usize = 384 * 1024;
/// A link on which that takes some seconds.
const LINK: RadioConfig = RadioConfig {
    bits_per_second: 600_000,
    latency: Duration::from_millis(20),
};

/// What is wrong with a bad release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Crashes,
    Hangs,
    NeverHealthy,
}

impl Fault {
    pub(super) const ALL: [Self; 3] = [Self::Crashes, Self::Hangs, Self::NeverHealthy];

    pub(super) fn index(self) -> usize {
        match self {
            Self::Crashes => 0,
            Self::Hangs => 1,
            Self::NeverHealthy => 2,
        }
    }

    /// The fault that is meant for a device.
    pub(super) fn of_device(device: usize) -> Self {
        Self::ALL[device % Self::ALL.len()]
    }

    fn behaviour(self) -> &'static str {
        match self {
            Self::Crashes => "crash",
            Self::Hangs => "hang",
            Self::NeverHealthy => "never-healthy",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Crashes => "it crashes at its start",
            Self::Hangs => "it hangs at its start",
            Self::NeverHealthy => "it never says that it is healthy",
        }
    }

    /// Whether a device that met this fault says so with this code. A hang ends in a watchdog reset, which counts as a crash.
    pub(super) fn explains(self, code: FailureCode) -> bool {
        match self {
            Self::Crashes | Self::Hangs => code == FailureCode::TrialCrashed,
            Self::NeverHealthy => code == FailureCode::TrialTimeout,
        }
    }
}

/// A published version.
pub(super) struct Release {
    pub(super) version: &'static str,
    pub(super) job: String,
    pub(super) image_sha256: Sha256Digest,
    package: Sha256Digest,
}

/// Everything that runs.
pub(crate) struct Stage {
    // Dropped in this order: devices first, then those who listen to them.
    fleet: Fleet,
    witness: Witness,
    client: Client,
    server: RunningServer,
    broker: BrokerUrl,
    key: SigningKey,
    ids: Vec<String>,
    _data: tempfile::TempDir,
}

impl Stage {
    /// Makes a key, starts server, broker, witness and devices, on free ports and in a directory of its own.
    pub(super) async fn set_up(devices: usize) -> anyhow::Result<Self> {
        let data = tempfile::Builder::new()
            .prefix("otaria-demo-")
            .tempdir()
            .context("no directory for the data")?;
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(Config {
            http: any_port,
            mqtt: Mqtt::Embedded { listen: any_port },
            access: Access::Open,
            ..Config::new(data.path())
        })
        .await?;
        let broker = BrokerUrl::from(server.addresses.mqtt.context("the server has no broker")?);
        let witness = Witness::subscribe(&broker).await.context("no witness")?;
        let key = SigningKey::generate()?;
        let ids: Vec<String> = (1..=devices).map(|n| format!("demo-{n}")).collect();
        let fleet = Fleet::start(blueprints(&ids, &key, &broker)?)?;
        let client = Client::new(&server.addresses.page, None, None)?;
        let stage = Stage {
            fleet,
            witness,
            client,
            server,
            broker,
            key,
            ids,
            _data: data,
        };
        let everybody = stage.ids.clone();
        let present = stage
            .witness
            .wait(Duration::from_secs(60 + devices as u64), |seen| {
                everybody.iter().all(|id| {
                    seen.get(id)
                        .is_some_and(|testimony| testimony.state.is_some())
                })
            })
            .await;
        anyhow::ensure!(present, "not all devices came to the broker");
        stage.sort_into_groups()?;
        Ok(stage)
    }

    /// Each fault has a group of devices that will meet it.
    fn sort_into_groups(&self) -> anyhow::Result<()> {
        for (device, id) in self.ids.iter().enumerate() {
            let group = Fault::of_device(device).behaviour();
            block_in_place(|| self.client.set_groups(id, &[group.to_owned()]))?;
        }
        Ok(())
    }

    /// The page for people.
    pub(super) fn page(&self) -> String {
        format!("http://{}/", self.server.addresses.http)
    }

    pub(super) fn broker(&self) -> &BrokerUrl {
        &self.broker
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(super) fn witness(&self) -> &Witness {
        &self.witness
    }

    pub(super) fn id(&self, device: usize) -> &str {
        self.ids.get(device).map_or("", String::as_str)
    }

    /// Signs a release and brings its package to the server.
    pub(super) async fn release(
        &self,
        version: &'static str,
        fault: Option<Fault>,
    ) -> anyhow::Result<Release> {
        let behaviour = fault.map_or("good", Fault::behaviour);
        let image = Stamp::new(version)
            .behaviour(behaviour)
            .size(IMAGE_LEN)
            .image();
        let package = pack(
            &image,
            &self.key,
            &Options::new(TimeStamp::at(SystemTime::now())),
        )?;
        let len = package.bytes.len() as u64;
        let stored = block_in_place(|| self.client.upload(package.bytes.as_slice(), len))?;
        Ok(Release {
            version,
            job: format!("{version}-{behaviour}"),
            image_sha256: stored.image_sha256,
            package: stored.digest,
        })
    }

    pub(super) async fn publish_to_all(&self, release: &Release) -> anyhow::Result<()> {
        self.publish(release, Target::All).await
    }

    /// `false` if no device is in the group.
    pub(super) async fn publish_to_group(
        &self,
        fault: Fault,
        release: &Release,
    ) -> anyhow::Result<bool> {
        if fault.index() >= self.ids.len() {
            return Ok(false);
        }
        self.publish(release, Target::Group(fault.behaviour().to_owned()))
            .await?;
        Ok(true)
    }

    async fn publish(&self, release: &Release, target: Target) -> anyhow::Result<()> {
        let job = NewJob {
            package: release.package,
            target,
            job: Some(release.job.clone()),
            not_before: None,
            deadline: None,
            unseen: false,
        };
        block_in_place(|| self.client.publish(&job))?;
        Ok(())
    }

    /// Waits until a device has a third of a release.
    pub(super) async fn halfway(&self, device: usize, release: &Release) {
        let id = self.id(device).to_owned();
        let a_third = |testimony: &Testimony| {
            testimony.progress.as_ref().is_some_and(|progress| {
                progress.job.as_deref() == Some(&release.job)
                    && progress.done > 0
                    && progress.done >= progress.total / 3
            })
        };
        self.witness
            .wait(Duration::MAX, |seen| seen.get(&id).is_some_and(a_third))
            .await;
    }

    /// Shows bars until all `devices` have ended one of the releases' jobs; `false` if `limit` comes first.
    pub(super) async fn follow(
        &self,
        ctx: &Context,
        releases: &[&Release],
        devices: &[usize],
        limit: Duration,
        meanwhile: impl Future<Output = ()>,
    ) -> bool {
        let bars = RefCell::new(Bars::new(
            ctx.output,
            devices.iter().map(|device| self.id(*device)),
        ));
        let all_ended = self.witness.wait(limit, |seen| {
            let mut bars = bars.borrow_mut();
            let ended = |device: &&usize| {
                let id = self.id(**device);
                seen.get(id)
                    .is_some_and(|testimony| show(&mut bars, id, testimony, releases))
            };
            devices.iter().filter(ended).count() == devices.len()
        });
        let (all_ended, _) = tokio::join!(all_ended, tokio::time::timeout(limit, meanwhile));
        bars.borrow().finish();
        all_ended
    }

    /// Stops devices and server.
    pub(crate) async fn close(self) {
        let Stage {
            fleet,
            witness,
            server,
            ..
        } = self;
        drop(fleet);
        drop(witness);
        server.shutdown().await;
    }
}

fn blueprints(
    ids: &[String],
    key: &SigningKey,
    broker: &BrokerUrl,
) -> anyhow::Result<Vec<Blueprint>> {
    let factory = Stamp::new("1.0.0").size(IMAGE_LEN);
    let image: Arc<[u8]> = factory.image().into();
    let product = otaria_wire::esp_image::check(&image)
        .map_err(|error| anyhow::anyhow!("{error}"))?
        .desc
        .project;
    let keys = [key.public_key().to_sec1()];
    let mut blueprints = Vec::with_capacity(ids.len());
    for (id, seed) in ids.iter().zip(1..) {
        let mut settings = Settings::new(id, product.as_str(), &keys, &broker.host, broker.port)?;
        hurry(&mut settings);
        blueprints.push(Blueprint {
            settings,
            image: image.clone(),
            flash: None,
            hardware: Hardware::default(),
            timing: FlashTiming::W25Q,
            log_flash: false,
            radio: LINK,
            seed,
        });
    }
    Ok(blueprints)
}

/// A device in the field has minutes to prove itself. Nobody watches a demo for that long.
fn hurry(settings: &mut Settings) {
    let ms = |ms| Duration::from_millis(ms).into();
    let timing = &mut settings.timing;
    timing.watchdog = ms(4_000);
    timing.progress = ms(1_000);
    let policy = &mut timing.policy;
    policy.trial_with_network = ms(12_000);
    policy.trial = ms(40_000);
    policy.soak = ms(2_000);
    policy.grace = ms(500);
    policy.probe = ms(2_000);
    policy.farewell = ms(2_000);
    policy.backoff.first = ms(1_000);
}

/// Shows one device; whether it has ended a job.
fn show(bars: &mut Bars, id: &str, testimony: &Testimony, releases: &[&Release]) -> bool {
    let current = testimony.progress.as_ref().filter(|progress| {
        releases
            .iter()
            .any(|release| progress.job.as_deref() == Some(&release.job))
    });
    if let Some(progress) = current {
        bars.progress(id, progress.done, progress.total);
    }
    let events: Vec<_> = releases
        .iter()
        .flat_map(|release| testimony.of_job(&release.job))
        .collect();
    let end = events.iter().find(|event| event.event.is_final());
    if let Some(event) = end.or(events.last()) {
        let reason = event
            .failure()
            .map(|code| format!(": {}", code.name()))
            .unwrap_or_default();
        bars.message(
            id,
            format_args!("{}{reason}", event.event.name()),
            end.is_some(),
        );
    }
    end.is_some()
}
