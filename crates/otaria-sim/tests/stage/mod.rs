//! A stage for a play with one device: a world, a broker, two web servers, and packages of releases. What a device developer has
//! on the desk, in virtual time.
//!
//! Everything on it is good until a test puts something else in front of it: see [`Front`].
#![allow(
    dead_code,
    reason = "every test program uses another part of the stage"
)]

pub(crate) mod bad_web;
pub(crate) mod meddler;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use otaria_device::storage::SECTOR_LEN;
use otaria_device::storage::journal::{JOURNAL_SECTORS, Journal};
use otaria_device::storage::region::Region as RegionOfFlash;
use otaria_package::keys::{DecryptionKey, SigningKey};
use otaria_package::pack::{CodecChoice, Options, Package, TimeStamp, pack};
use otaria_sim::device::{Factory, Hardware, OtariaApp, Settings, SimDevice, WorldSite};
use otaria_sim::flash::{Op, OpKind, SimFlash, Timing};
use otaria_sim::images::Stamp;
use otaria_sim::net::{Host, HostConfig, SimNet, SimStream};
use otaria_sim::peers::broker::Broker;
use otaria_sim::peers::web::{File, WebServer};
use otaria_sim::world::{Handle, World};
use otaria_wire::Sha256Digest;
use otaria_wire::journal::{Confirmed, Record};
use otaria_wire::messages::{Event, EventKind, FailureCode};
use otaria_wire::partitions::{Layout, Region};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// The device's id, and with it its MQTT client id.
pub(crate) const DEVICE: &str = "d1";
pub(crate) const PRODUCT: &str = "pump";
/// The sequence of the release in the device's slot 0, as its journal has it.
pub(crate) const FIRST_SEQUENCE: u64 = 2_000;

/// The key that the device trusts, and one that it does not. The same in every run, for nothing may depend on chance.
pub(crate) fn trusted_key() -> SigningKey {
    key(include_str!("../../../otaria-package/tests/keys/test.pem"))
}

pub(crate) fn strangers_key() -> SigningKey {
    key(include_str!(
        "../../../otaria-package/tests/keys/stranger.pem"
    ))
}

/// The key that the device decrypts packages with.
pub(crate) fn decryption_key() -> DecryptionKey {
    let pem = include_str!("../../../otaria-package/tests/keys/recipient.pem");
    DecryptionKey::from_pem(pem, None).expect("a test key")
}

fn key(pem: &str) -> SigningKey {
    SigningKey::from_pem(pem, None).expect("a test key")
}

/// A connection that a server has accepted: the number of connections before it, and what a server needs.
pub(crate) struct Visit {
    pub(crate) number: usize,
    pub(crate) stream: SimStream,
    pub(crate) world: Handle,
}

/// Stands in front of a server and takes its connections. What it does with one is its own business; it may pass it on.
pub(crate) type Front = Rc<dyn Fn(Visit) -> Pin<Box<dyn Future<Output = ()>>>>;

/// A port whose front can be changed at any time.
#[derive(Clone)]
pub(crate) struct Door {
    front: Rc<RefCell<Front>>,
    visits: Rc<RefCell<Vec<Duration>>>,
}

impl Door {
    /// Listens on a port of a host.
    pub(crate) fn open(world: &Handle, host: &Host, port: u16, front: Front) -> Self {
        let door = Self {
            front: Rc::new(RefCell::new(front)),
            visits: Rc::default(),
        };
        let mut listener = host.bind(port).expect("the port is free");
        let (world, inner) = (world.clone(), door.clone());
        world.clone().spawn("door", async move {
            loop {
                let stream = listener.accept().await;
                let number = inner.visits.borrow().len();
                inner.visits.borrow_mut().push(world.now());
                let visit = Visit {
                    number,
                    stream,
                    world: world.clone(),
                };
                let served = (inner.front.borrow().clone())(visit);
                world.spawn("visit", served);
            }
        });
        door
    }

    /// Puts something in front of it; what was in front before goes on with the connections that it has.
    pub(crate) fn put(&self, front: Front) {
        *self.front.borrow_mut() = front;
    }

    /// When each connection came in.
    pub(crate) fn visits(&self) -> Vec<Duration> {
        self.visits.borrow().clone()
    }
}

/// What a stage is set with.
pub(crate) struct Plan {
    pub(crate) hardware: Hardware,
    pub(crate) timing: Timing,
    /// The device's TCP and link.
    pub(crate) network: HostConfig,
    /// Length of the image in slot 0, and of the one that lies in slot 1 from earlier.
    pub(crate) image_len: usize,
    pub(crate) settings: fn(&mut Settings),
    pub(crate) seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            hardware: Hardware::default(),
            timing: Timing::INSTANT,
            network: HostConfig::device(),
            image_len: 128 * 1024,
            settings: |_| {},
            seed: 1,
        }
    }
}

/// The stage. The device runs 1.0.0 from slot 0; in slot 1 lies 0.9.0, so that it has to be erased.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) net: SimNet,
    pub(crate) broker: Broker,
    pub(crate) broker_host: Host,
    pub(crate) broker_door: Door,
    pub(crate) web: WebServer,
    pub(crate) web_host: Host,
    pub(crate) web_door: Door,
    /// A second web server, which redirects may lead to.
    pub(crate) elsewhere: WebServer,
    pub(crate) host: Host,
    pub(crate) device: SimDevice<WorldSite>,
    pub(crate) app: OtariaApp,
    pub(crate) layout: Layout,
    pub(crate) key: SigningKey,
}

impl Stage {
    /// A stage as it usually is.
    pub(crate) fn new() -> Self {
        Self::set(&Plan::default())
    }

    /// A stage by plan. The device has power, and has found its broker.
    pub(crate) fn set(plan: &Plan) -> Self {
        let world = World::new(plan.seed);
        let net = SimNet::new(&world);
        let server = HostConfig::server();
        let broker_host = net.host("broker", [10, 0, 0, 1].into(), server);
        let web_host = net.host("files", [10, 0, 0, 2].into(), server);
        let elsewhere_host = net.host("elsewhere", [10, 0, 0, 3].into(), server);
        let host = net.host("device", [10, 0, 0, 9].into(), plan.network);
        let broker = Broker::new(world.handle());
        let web = WebServer::new(world.handle());
        let elsewhere = WebServer::new(world.handle());
        let broker_door = Door::open(&world, &broker_host, 1883, good_broker(&broker));
        let web_door = Door::open(&world, &web_host, 80, good_web(&web));
        Door::open(&world, &elsewhere_host, 80, good_web(&elsewhere));

        let factory = Factory::new(&release("1.0.0", plan.image_len)).with_timing(plan.timing);
        let layout = factory.layout();
        let mut flash = factory.flash().with_log();
        flash.load(layout.slots[1].offset, &release("0.9.0", plan.image_len));
        let flash = confirmed(flash, &layout, plan.image_len);

        let key = trusted_key();
        let public = key.public_key().to_sec1();
        let mut settings =
            Settings::new(DEVICE, PRODUCT, &[public], "broker", 1883).expect("settings");
        let decryption = decryption_key().to_scalar();
        settings.decryption.add(&decryption).expect("a test key");
        (plan.settings)(&mut settings);
        let app = OtariaApp::new(settings);
        let site = WorldSite::new(world.handle(), host.clone());
        let device = SimDevice::new(site, plan.hardware, flash, plan.seed);
        let life = device.clone().live(app.clone());
        world.spawn("device", async move { match life.await {} });
        device.plug_in();
        let stage = Self {
            world,
            net,
            broker,
            broker_host,
            broker_door,
            web,
            web_host,
            web_door,
            elsewhere,
            host,
            device,
            app,
            layout,
            key,
        };
        stage.world.run_for(10 * SECOND);
        stage
    }

    /// The release of this version and length as a package with blocks of 16 KiB.
    pub(crate) fn package(&self, version: &str, len: usize, codec: CodecChoice) -> Package {
        let image = release(version, len);
        self.package_of(&image, codec)
    }

    /// The package of an image, newer than all before.
    pub(crate) fn package_of(&self, image: &[u8], codec: CodecChoice) -> Package {
        let stamp = TimeStamp {
            sequence: FIRST_SEQUENCE + self.world.now().as_millis() as u64,
            created: 1_800_000_000,
        };
        let options = Options {
            codec,
            ..Options::new(stamp)
        };
        pack(image, &self.key, &options).expect("a good image")
    }

    /// Puts bytes on the web server, as a static file.
    pub(crate) fn put(&self, path: &str, bytes: Vec<u8>) {
        let etag = Sha256Digest::of(&bytes).to_hex();
        // An ETag longer than 64 bytes with its quotes is as good as none.
        self.web.put(path, File::new(bytes, &etag[..32]));
    }

    /// Publishes the wanted firmware, retained, under a job.
    pub(crate) fn wish(&self, job: &str, path: &str) {
        self.publish(
            "desired",
            format!(r#"{{"job":"{job}","url":"http://files{path}"}}"#),
            true,
        );
    }

    /// Publishes on a topic of the device.
    pub(crate) fn publish(&self, leaf: &str, payload: impl AsRef<[u8]>, retain: bool) {
        self.broker
            .publish(&format!("otaria/v1/{DEVICE}/{leaf}"), payload, retain);
    }

    /// The events that the broker has received, each once.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        for message in self.broker.received("/event") {
            let event: Event = serde_json::from_slice(&message.payload).expect("an event");
            if !events
                .iter()
                .any(|known| (known.boot, known.n) == (event.boot, event.n))
            {
                events.push(event);
            }
        }
        events
    }

    /// The events of a job.
    pub(crate) fn events_of(&self, job: &str) -> Vec<Event> {
        let mut events = self.events();
        events.retain(|event| event.job.as_deref() == Some(job));
        events
    }

    /// Whether a job has come to this.
    pub(crate) fn has(&self, job: &str, kind: EventKind, code: Option<FailureCode>) -> bool {
        self.events_of(job)
            .iter()
            .any(|event| event.event == kind && (code.is_none() || event.failure() == code))
    }

    /// How a job ended, if it has.
    pub(crate) fn end_of(&self, job: &str) -> Option<Event> {
        self.events_of(job)
            .into_iter()
            .find(|event| event.event.is_final())
    }

    /// Runs until something is so; whether it came to that within the time.
    pub(crate) fn run_until(&self, limit: Duration, is_so: impl Fn(&Stage) -> bool) -> bool {
        let end = self.world.now() + limit;
        while self.world.now() < end {
            if is_so(self) {
                return true;
            }
            self.world.run_for(SECOND / 2);
        }
        is_so(self)
    }

    /// The commands that changed the target slot since command `from`.
    pub(crate) fn slot_ops(&self, from: u64) -> SlotOps {
        let flash = self.device.flash();
        SlotOps::of(&flash, self.layout.slots[1], from)
    }

    /// Erases outside the slots since the device was made: journal, otadata, log.
    pub(crate) fn other_erases(&self) -> usize {
        let flash = self.device.flash();
        let slots = self.layout.slots;
        let is_other = |op: &&Op| {
            let within = |slot: &Region| (slot.offset..slot.offset + slot.len).contains(&op.addr);
            op.kind != OpKind::Write && !slots.iter().any(within)
        };
        flash.log().iter().filter(is_other).count()
    }

    /// Writes a record into the journal, while the device has no power.
    pub(crate) fn write_journal(&self, record: &impl Record) {
        let mut flash = self.device.flash_mut();
        flash.power_on();
        *flash = with_record(flash.clone(), &self.layout, record);
        flash.power_off();
    }

    /// How many commands the flash has carried out.
    pub(crate) fn op_count(&self) -> u64 {
        self.device.flash().op_count()
    }

    /// The version that runs, if one does.
    pub(crate) fn running(&self) -> Option<String> {
        let booted = self.device.running()?;
        Some(booted.image.desc.version.as_str().to_owned())
    }

    /// Checks what must be so after everything: this version runs, the bootloader would start it again, and no rule of the flash
    /// was broken.
    ///
    /// # Errors
    /// What is not so.
    pub(crate) fn check(&self, version: &str) -> Result<(), String> {
        let running = self.running();
        if running.as_deref() != Some(version) {
            return Err(format!("{running:?} runs, not {version}"));
        }
        match self.device.verdict() {
            Ok(booted) if booted.image.desc.version == *version => {}
            Ok(booted) => {
                let other = booted.image.desc.version;
                return Err(format!(
                    "the bootloader would start {}, not {version}",
                    other.as_str()
                ));
            }
            Err(error) => return Err(format!("the bootloader would start nothing: {error:?}")),
        }
        let flash = self.device.flash();
        if !flash.violations().is_empty() {
            return Err(format!("flash rules broken: {:?}", flash.violations()));
        }
        match flash.stats().rewritten_words {
            0 => Ok(()),
            words => Err(format!("{words} words were written twice")),
        }
    }

    /// A good update, whatever has happened before: it must be confirmed.
    ///
    /// # Errors
    /// What has happened instead.
    pub(crate) fn later_update(&self) -> Result<(), String> {
        let package = self.package("2.0.0", 48 * 1024, CodecChoice::Auto);
        self.put("/later.otaria", package.bytes);
        self.wish("later", "/later.otaria");
        let confirmed = |stage: &Stage| {
            stage.has("later", EventKind::Confirmed, None)
                && stage.running().as_deref() == Some("2.0.0")
        };
        if !self.run_until(90 * MINUTE, confirmed) {
            return Err(format!("a later good update fails: {}", self.story()));
        }
        self.check("2.0.0")
    }

    /// Puts good servers back.
    pub(crate) fn all_is_well(&self) {
        self.broker_door.put(good_broker(&self.broker));
        self.web_door.put(good_web(&self.web));
        self.net.name("broker", self.broker_host.addr());
        self.net.name("files", self.web_host.addr());
        for host in [&self.broker_host, &self.web_host] {
            host.set_black_hole(false);
            host.set_link_up(true);
        }
    }

    /// All that broker and web server have seen, for messages.
    pub(crate) fn story(&self) -> String {
        let mut story = format!(
            "{:?}, {} boots\n",
            self.running(),
            self.device.boots().len()
        );
        for message in self.broker.log() {
            let _ = writeln!(
                story,
                "{:>12?} {} {}",
                message.at,
                message.topic,
                message.text()
            );
        }
        for request in self.web.requests() {
            let Some(line) = request.head.lines().next() else {
                continue;
            };
            let _ = writeln!(story, "{:>12?} {line} {:?}", request.at, request.range_from);
        }
        story
    }
}

/// A good release of this version.
pub(crate) fn release(version: &str, len: usize) -> Vec<u8> {
    Stamp::new(version)
        .project(PRODUCT)
        .secure_version(1)
        .size(len)
        .image()
}

/// Notes in the journal that 1.0.0 in slot 0 came over the air, and was confirmed.
fn confirmed(flash: SimFlash, layout: &Layout, image_len: usize) -> SimFlash {
    let confirmed = Confirmed {
        slot: 0,
        image_sha256: Sha256Digest::of(&release("1.0.0", image_len)),
        identity: Sha256Digest::ZERO,
        sequence: FIRST_SEQUENCE,
        security_version: 1,
    };
    with_record(flash, layout, &confirmed)
}

/// Writes a record into the journal.
fn with_record(flash: SimFlash, layout: &Layout, record: &impl Record) -> SimFlash {
    let flash = RefCell::new(flash);
    let region = RegionOfFlash::new(&flash, layout.journal.offset, JOURNAL_SECTORS * SECTOR_LEN);
    let mut journal = Journal::mount(region.expect("within flash")).expect("a journal");
    journal.append(0, record).expect("room for a record");
    drop(journal);
    flash.into_inner()
}

/// The broker itself.
pub(crate) fn good_broker(broker: &Broker) -> Front {
    let broker = broker.clone();
    Rc::new(move |visit| {
        let broker = broker.clone();
        Box::pin(async move { broker.serve(visit.stream).await })
    })
}

/// The web server itself.
pub(crate) fn good_web(web: &WebServer) -> Front {
    let web = web.clone();
    Rc::new(move |visit| {
        let web = web.clone();
        Box::pin(async move { web.serve(visit.stream).await })
    })
}

/// What was done to a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotOps {
    /// Erase commands, of a sector or a block.
    pub(crate) erases: usize,
    /// Write commands.
    pub(crate) writes: usize,
    /// Bytes written.
    pub(crate) written: u64,
}

impl SlotOps {
    fn of(flash: &SimFlash, slot: Region, from: u64) -> Self {
        let mut ops = Self::default();
        let within =
            |op: &&Op| op.index >= from && (slot.offset..slot.offset + slot.len).contains(&op.addr);
        for op in flash.log().iter().filter(within) {
            match op.kind {
                OpKind::SectorErase | OpKind::BlockErase => ops.erases += 1,
                OpKind::Write => {
                    ops.writes += 1;
                    ops.written += u64::from(op.len);
                }
            }
        }
        ops
    }

    /// All of them.
    pub(crate) fn total(&self) -> usize {
        self.erases + self.writes
    }
}

/// Runs the rows of a table and says of all of them, not only of the first, what is wrong.
pub(crate) fn play<R>(
    rows: &[R],
    name: impl Fn(&R) -> &str,
    act: impl Fn(&R) -> Result<(), String>,
) {
    let mut wrong = String::new();
    for row in rows {
        if let Err(why) = act(row) {
            let _ = writeln!(wrong, "--- {}: {why}", name(row));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    println!("{} rows", rows.len());
}
