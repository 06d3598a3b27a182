//! A device with what it talks to.

use std::cell::RefCell;
use std::time::Duration;

use otaria_device::board::ResetReason;
use otaria_device::install::Stores;
use otaria_package::keys::SigningKey;
use otaria_package::pack::{Options, TimeStamp, pack};
use otaria_sim::device::{
    BootRecord, Factory, Hardware, OtariaApp, Settings, SimDevice, WorldSite,
};
use otaria_sim::images::Stamp;
use otaria_sim::net::{Host, HostConfig, SimNet};
use otaria_sim::peers::broker::Broker;
use otaria_sim::peers::web::{File, WebServer};
use otaria_sim::world::World;
use otaria_wire::journal::TimeFloor;
use otaria_wire::partitions::DEFAULT_4MB;

/// A key for tests: the same packages in every run.
const KEY: &str = include_str!("../../../otaria-package/tests/keys/test.pem");

/// When all packages were made, in unix seconds.
pub(crate) const CREATED: u64 = 1_800_000_000;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) host: Host,
    pub(crate) broker: Broker,
    pub(crate) web: WebServer,
    pub(crate) device: SimDevice<WorldSite>,
    pub(crate) app: OtariaApp,
    net: SimNet,
    public: [u8; 65],
    key: SigningKey,
}

/// Builds a device and plugs it in.
fn start(
    world: &World,
    site: WorldSite,
    key: [u8; 65],
    id: &str,
    hardware: Hardware,
    factory: &Factory,
) -> (SimDevice<WorldSite>, OtariaApp) {
    let app = OtariaApp::new(Settings::new(id, "pump", &[key], "server", 1883).unwrap());
    let device = SimDevice::new(site, hardware, factory.flash(), world.random_u64());
    let life = device.clone().live(app.clone());
    world.spawn(id, async move { match life.await {} });
    device.plug_in();
    (device, app)
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.device.flash().violations().is_empty());
            assert_eq!(self.device.flash().stats().rewritten_words, 0);
        }
    }
}

impl Lab {
    /// A device with 1.0.0 from the factory, plugged in.
    pub(crate) fn new(hardware: Hardware) -> Lab {
        Lab::with(
            hardware,
            &Factory::new(&Stamp::new("1.0.0").project("pump").image()),
        )
    }

    pub(crate) fn with(hardware: Hardware, factory: &Factory) -> Lab {
        Lab::at(None, hardware, factory)
    }

    /// The same at a place where the device knows what time it is, in unix seconds, when the world begins.
    pub(crate) fn at(unix_time: Option<u64>, hardware: Hardware, factory: &Factory) -> Lab {
        let world = World::new(11);
        let net = SimNet::new(&world);
        let server = net.host("server", [10, 0, 0, 1].into(), HostConfig::server());
        let host = net.host("device", [10, 0, 0, 2].into(), HostConfig::device());
        let broker = Broker::new(world.handle());
        let web = WebServer::new(world.handle());
        for port in [80, 1883] {
            let mut listener = server.bind(port).unwrap();
            let (handle, broker, web) = (world.handle(), broker.clone(), web.clone());
            world.spawn("server", async move {
                loop {
                    let stream = listener.accept().await;
                    let (broker, web) = (broker.clone(), web.clone());
                    handle.spawn("connection", async move {
                        match port {
                            80 => web.serve(stream).await,
                            _ => broker.serve(stream).await,
                        }
                    });
                }
            });
        }
        let key = SigningKey::from_pem(KEY, None).unwrap();
        let public = key.public_key().to_sec1();
        let mut site = WorldSite::new(world.handle(), host.clone());
        if let Some(seconds) = unix_time {
            site = site.with_unix_time(seconds);
        }
        let (device, app) = start(&world, site, public, "d1", hardware, factory);
        Lab {
            world,
            host,
            broker,
            web,
            device,
            app,
            net,
            public,
            key,
        }
    }

    /// One more device beside the first.
    pub(crate) fn add(&self, number: u16, factory: &Factory) -> SimDevice<WorldSite> {
        let [high, low] = number.to_be_bytes();
        let name = format!("e{number}");
        let host = self
            .net
            .host(&name, [10, 1, high, low].into(), HostConfig::device());
        start(
            &self.world,
            WorldSite::new(self.world.handle(), host),
            self.public,
            &name,
            Hardware::default(),
            factory,
        )
        .0
    }

    /// Puts a package of a release on the web server.
    pub(crate) fn offer(&self, path: &str, release: &Stamp<'_>, sequence: u64) {
        let image = release.clone().project("pump").image();
        let stamp = TimeStamp {
            sequence,
            created: CREATED,
        };
        let package = pack(&image, &self.key, &Options::new(stamp)).unwrap();
        self.web.put(
            path,
            File::new(package.bytes, &package.header.image_sha256.to_string()),
        );
    }

    /// The time floor in the device's journal.
    pub(crate) fn time_floor(&self) -> Option<u64> {
        let flash = RefCell::new(self.device.flash().clone());
        let stores = Stores::open(&flash, &DEFAULT_4MB, None).unwrap();
        let record = stores.journal.borrow_mut().latest::<TimeFloor>(0).unwrap();
        record.map(|floor| floor.seconds)
    }

    /// Publishes the wanted firmware.
    pub(crate) fn wish(&self, wish: &str) {
        self.broker.publish("otaria/v1/d1/desired", wish, true);
    }

    /// Runs until something is so; how long that took.
    pub(crate) fn until(&self, limit: Duration, is_so: impl Fn(&Lab) -> bool) -> Duration {
        let start = self.world.now();
        while !is_so(self) {
            assert!(
                self.world.now() - start < limit,
                "not within {limit:?}: {}",
                self.story()
            );
            self.world.run_for(SECOND);
        }
        self.world.now() - start
    }

    /// Whether the device has said that it came to this end, runs this version, and would boot it again.
    pub(crate) fn has_run(&self, version: &str, event: &str) -> bool {
        let word = format!("\"event\":\"{event}\"");
        let said = self.events().iter().any(|event| event.contains(&word));
        let runs = self
            .device
            .running()
            .is_some_and(|booted| booted.image.desc.version == *version);
        let verdict = self.device.verdict();
        said && runs && verdict.is_ok_and(|booted| booted.image.desc.version == *version)
    }

    /// How often a trial started.
    pub(crate) fn trials(&self) -> usize {
        let runs = |slot| {
            move |boot: &&BootRecord| boot.result.is_ok_and(|booted| booted.slot() == Some(slot))
        };
        let boots = self.device.boots();
        let starts = boots
            .windows(2)
            .filter(|pair| runs(0)(&&pair[0]) && runs(1)(&&pair[1]));
        starts.count()
    }

    /// The events so far.
    pub(crate) fn events(&self) -> Vec<String> {
        self.broker
            .received("/event")
            .iter()
            .map(|message| message.text().to_owned())
            .collect()
    }

    /// Slot and version of the running image.
    pub(crate) fn running(&self) -> (u8, String) {
        let booted = self.device.running().expect("the device runs");
        (
            booted.slot().unwrap(),
            booted.image.desc.version.as_str().to_owned(),
        )
    }

    pub(crate) fn reset_reasons(&self) -> Vec<ResetReason> {
        self.device.boots().iter().map(|boot| boot.reason).collect()
    }

    /// What has been said, for messages and to compare runs.
    pub(crate) fn story(&self) -> String {
        let said = self.broker.log().into_iter().map(|message| {
            let line = format!("{} {}", message.topic, message.text());
            (message.at, line)
        });
        let asked = self.web.requests().into_iter().map(|request| {
            let line = format!("GET {} from {:?}", request.path, request.range_from);
            (request.at, line)
        });
        let booted = self.device.boots().into_iter().map(|boot| {
            let slot = boot.result.map(|booted| booted.slot());
            (boot.at, format!("boot after {:?}: {slot:?}", boot.reason))
        });
        let mut lines: Vec<_> = said.chain(asked).chain(booted).collect();
        lines.sort_by_key(|(at, _)| *at);
        let lines: Vec<_> = lines
            .into_iter()
            .map(|(at, line)| format!("{at:?} {line}"))
            .collect();
        // The end is what matters; a reset loop makes long stories.
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}
