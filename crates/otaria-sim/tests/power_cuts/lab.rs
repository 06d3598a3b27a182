//! A device and its peers in a world of virtual time, from a given flash until everything that was begun is at its end.

use core::cell::{Cell, RefCell};
use core::future::Future;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use otaria_sim::device::{
    Env, Exit, Factory, Firmware, Hardware, OtariaApp, Outage, Settings, SimDevice, WorldSite,
};
use otaria_sim::flash::{SimFlash, Timing};
use otaria_sim::net::{Host, HostConfig, LinkConfig, SimNet};
use otaria_sim::peers::broker::{Broker, Store};
use otaria_sim::peers::web::{Act, File, WebServer};
use otaria_sim::world::World;
use otaria_wire::FixedText;
use otaria_wire::messages::{Event, Phase, State, from_json};
use otaria_wire::partitions::{
    APP_OTA_0, DATA_NVS, DATA_OTADATA, DATA_OTALOG, DATA_OTARIA, Layout, Partition, Region,
    TYPE_APP, TYPE_DATA,
};

use crate::facts::{Notes, release_in};
use crate::invariants::{Invariant, Verdict};
use crate::judge;
use crate::mutants::Mutant;
use crate::releases::{BLOCK_LEN, PRODUCT, Release, decryption_key, public_key};
use crate::scenarios::{Before, Circumstance, Scenario};
use crate::story::Erases;

/// Nothing happened for so long: whatever is going to happen has happened. Longer than the grace in which a device that goes on
/// with a download waits for a newer wish.
const QUIET: Duration = Duration::from_secs(6);
/// How often it is asked whether all is at rest.
const LOOK: Duration = Duration::from_secs(1);
/// Four trials of a quarter of an hour each, and the waits in between.
const LIMIT: Duration = Duration::from_secs(2 * 3600);

const DEVICE: &str = "dut";
const SEED: u64 = 0x07A41A;

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let settings = Settings::new(DEVICE, PRODUCT, &[public_key()], "broker.lan", 1883);
    let mut settings = settings.expect("settings");
    let scalar = decryption_key().to_scalar();
    settings.decryption.add(&scalar).expect("a key");
    settings
});

/// One device of the sweep: how its bootloader is built, and what is wrong with its flash driver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) scenario: &'static Scenario,
    pub(crate) rollback: bool,
    pub(crate) mutant: Option<Mutant>,
}

/// Flash of 256 KiB: slots of 64 KiB, so that a block erase fits, and a log of two sectors.
pub(crate) fn factory() -> Factory {
    const fn region(offset: u32, len: u32) -> Region {
        Region { offset, len }
    }
    let partition = |name: &str, kind, subtype, region| Partition {
        kind,
        subtype,
        region,
        name: FixedText::try_from(name).unwrap(),
        flags: 0,
    };
    let partitions = [
        partition("nvs", TYPE_DATA, DATA_NVS, region(0x9000, 0x1000)),
        partition("otadata", TYPE_DATA, DATA_OTADATA, region(0xA000, 0x2000)),
        partition("otalog", TYPE_DATA, DATA_OTALOG, region(0xC000, 0x2000)),
        partition("ota_0", TYPE_APP, APP_OTA_0, region(0x1_0000, 0x1_0000)),
        partition("ota_1", TYPE_APP, APP_OTA_0 + 1, region(0x2_0000, 0x1_0000)),
        partition("otaria", TYPE_DATA, DATA_OTARIA, region(0x3_0000, 0x1_0000)),
    ];
    Factory::with_partitions(0x4_0000, &partitions, Release::Factory.image())
        .with_timing(Timing::W25Q)
}

/// Where a life begins: what is in flash, and what the world outside knows.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) flash: SimFlash,
    pub(crate) broker: Store,
    /// What the device has reported for this scenario's wish.
    pub(crate) events: Vec<Event>,
    /// Images that have been confirmed, in this order.
    pub(crate) proven: Vec<Release>,
    /// What was erased in this story before the latest cut, and what it erases without any cut.
    pub(crate) erases: Erases,
    pub(crate) uncut: Option<Erases>,
    /// How often the power has gone in this scenario.
    pub(crate) cuts: u32,
    /// A wish that was published while the device was without power.
    pub(crate) news: Option<Release>,
}

/// What the world outside knew before a flash command.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Messages that the broker had got.
    pub(crate) messages: usize,
    pub(crate) broker: Arc<Store>,
}

/// How all stood when it had come to rest, or when it was given up.
pub(crate) struct Rest {
    pub(crate) reached: bool,
    /// Flash commands and messages until then.
    pub(crate) moments: usize,
    pub(crate) messages: usize,
    pub(crate) flash: SimFlash,
    pub(crate) running: Option<Release>,
    pub(crate) slot: Option<usize>,
    pub(crate) proven: Vec<Release>,
}

/// A life: what happened from power on until all was at rest.
pub(crate) struct Life {
    /// The flash at the end, with its history.
    pub(crate) flash: SimFlash,
    /// For each moment of the history.
    pub(crate) marks: Vec<Mark>,
    /// What was reported, and which of the broker's messages that was.
    pub(crate) events: Vec<(usize, Event)>,
    pub(crate) broker: Store,
    pub(crate) proven: Vec<Release>,
    /// What runs at the end.
    pub(crate) running: Option<Release>,
    /// A confirmed image that did not run any more, and since which boot.
    pub(crate) lost: Option<(Release, u32)>,
    pub(crate) verdict: Verdict,
    /// For each start of the device: at which moment, and which images had been confirmed by then. The journal itself names only
    /// the latest.
    pub(crate) proven_at: Vec<(usize, Vec<Release>)>,
    /// For people: the starts, with what ran.
    pub(crate) starts: Vec<String>,
}

/// Lets a device live.
pub(crate) struct Lab {
    setup: Setup,
    layout: Layout,
    world: World,
    broker: Broker,
    device: SimDevice<WorldSite>,
    watch: Rc<Watch>,
    _hosts: [Host; 2],
    marks: Vec<Mark>,
    rested: bool,
}

/// What looks on at every start of the device.
struct Watch {
    setup: Setup,
    layout: Layout,
    broker: Broker,
    broker_host: Host,
    proven: RefCell<Vec<Release>>,
    running: Cell<Option<Release>>,
    lost: Cell<Option<(Release, u32)>>,
    verdict: RefCell<Verdict>,
    proven_at: RefCell<Vec<(usize, Vec<Release>)>>,
    starts: RefCell<Vec<String>>,
}

/// The code of all images: the device's own, watched.
struct Watched {
    app: OtariaApp,
    watch: Rc<Watch>,
}

impl Firmware<WorldSite> for Watched {
    fn run(&self, env: Env<WorldSite>) -> impl Future<Output = Exit> {
        self.watch.at_start(&env);
        let app = self.app.clone();
        let mutant = self.watch.setup.mutant;
        let layout = self.watch.layout;
        async move {
            match mutant {
                None => app.run(env).await,
                Some(mutant) => {
                    let driver = mutant.driver(env.flash.clone(), layout);
                    app.run_over(env, Rc::new(RefCell::new(driver))).await
                }
            }
        }
    }
}

impl Watch {
    /// Invariants 1 and 3, and what the world does about this start.
    fn at_start(&self, env: &Env<WorldSite>) {
        let flash = env.flash.borrow().clone();
        let notes = Notes::read(&flash, &self.layout);
        let slot = env.booted.slot().unwrap_or_default();
        let running = release_in(&flash, &self.layout, usize::from(slot));
        self.running.set(running);
        self.starts.borrow_mut().push(format!(
            "{:?} from slot {slot}: boot {}, trial {:?}",
            running,
            notes.boot + 1,
            notes.trial.as_ref().map(|trial| trial.counters),
        ));
        let Some(running) = running else {
            self.verdict.borrow_mut().broken(
                Invariant::AuthenticImageBoots,
                format!("slot {slot} runs something that was never released"),
            );
            return;
        };
        note_proven(&mut self.proven.borrow_mut(), &notes);
        let by_now = self.proven.borrow().clone();
        self.proven_at.borrow_mut().push((flash.moments(), by_now));
        self.look_for_loss(running, &notes);
        judge::held_blocks(&flash, &self.layout, &notes, &mut self.verdict.borrow_mut());
        let on_record = notes.open_trial().is_some_and(|trial| {
            trial.target.slot == slot && trial.target.image_sha256 == running.sha256()
        });
        self.verdict.borrow_mut().require(
            Invariant::NoTrialWithoutRecord,
            on_record || self.proven.borrow().contains(&running),
            || {
                format!(
                    "{running:?} runs without being confirmed, and the journal says {:?}",
                    notes.trial
                )
            },
        );
        let on_trial = running == self.setup.scenario.wish && notes.open_trial().is_some();
        match self.setup.scenario.world {
            Circumstance::NoBrokerOnTrial(times) => {
                let again = notes.trial.map_or(0, |trial| trial.counters.reactivations);
                self.broker_host.set_black_hole(on_trial && again < times);
            }
            Circumstance::CancelledOnTrial if on_trial => {
                let id = notes.boot;
                let command = format!(r#"{{"id":"cancel-{id}","cmd":"cancel"}}"#);
                self.broker.publish(&topic("cmd"), command, false);
            }
            Circumstance::Fair
            | Circumstance::CancelledOnTrial
            | Circumstance::NoRanges
            | Circumstance::ClosesEarly
            | Circumstance::FileChanges(_)
            | Circumstance::FileChangesUnseen(_)
            | Circumstance::WishChanges(_) => {}
        }
    }
}

impl Watch {
    /// Invariant 4: another image runs than the one that was confirmed last. That may be on its way back, if its trial is still
    /// on record; else somebody has to be told from this boot on.
    fn look_for_loss(&self, running: Release, notes: &Notes) {
        let proven = self.proven.borrow();
        let Some(last) = proven.last().filter(|last| **last != running) else {
            return;
        };
        let on_record = notes.open_trial().is_some();
        let known = self.lost.get().is_some();
        if !on_record && !known {
            self.lost.set(Some((*last, notes.boot + 1)));
        }
    }
}

/// Takes down which image the journal calls confirmed; one that it was given by cable does not count.
pub(crate) fn note_proven(proven: &mut Vec<Release>, notes: &Notes) {
    let Some(confirmed) = notes
        .confirmed
        .filter(|confirmed| !confirmed.identity.is_zero())
    else {
        return;
    };
    let release = Release::ALL
        .into_iter()
        .find(|release| release.sha256() == confirmed.image_sha256);
    if let Some(release) = release
        && proven.last() != Some(&release)
    {
        proven.retain(|known| *known != release);
        proven.push(release);
    }
}

fn topic(leaf: &str) -> String {
    format!("otaria/v1/{DEVICE}/{leaf}")
}

impl Lab {
    /// A world around this flash; the device has power.
    pub(crate) fn new(setup: Setup, start: &Start) -> Lab {
        let world = World::new(SEED);
        let net = SimNet::new(&world);
        let server =
            |name: &str, last: u8| net.host(name, [10, 0, 0, last].into(), HostConfig::server());
        let (broker_host, web_host) = (server("broker.lan", 1), server("files.lan", 2));
        let link = LinkConfig {
            latency: Duration::from_millis(1),
            bits_per_second: 8_000_000,
            ..LinkConfig::IDEAL
        };
        let config = HostConfig {
            link,
            ..HostConfig::device()
        };
        let device_host = net.host("device.lan", [10, 0, 0, 9].into(), config);

        let broker = Broker::with_store(world.handle(), &start.broker);
        let web = WebServer::new(world.handle());
        let mut mqtt = broker_host.bind(1883).unwrap();
        let (serving, handle) = (broker.clone(), world.handle());
        world.spawn("broker", async move {
            loop {
                let stream = mqtt.accept().await;
                let broker = serving.clone();
                handle.spawn("client", async move { broker.serve(stream).await });
            }
        });
        let mut http = web_host.bind(80).unwrap();
        let (serving, handle) = (web.clone(), world.handle());
        world.spawn("web", async move {
            loop {
                let stream = http.accept().await;
                let web = serving.clone();
                handle.spawn("request", async move { web.serve(stream).await });
            }
        });
        put_files(&web, setup.scenario, start.cuts);

        let layout = factory().layout();
        let watch = Rc::new(Watch {
            setup,
            layout,
            broker: broker.clone(),
            broker_host: broker_host.clone(),
            proven: RefCell::new(start.proven.clone()),
            running: Cell::new(None),
            lost: Cell::new(None),
            verdict: RefCell::default(),
            proven_at: RefCell::default(),
            starts: RefCell::default(),
        });
        let hardware = Hardware {
            rollback: setup.rollback,
            ..Hardware::default()
        };
        let site = WorldSite::new(world.handle(), device_host);
        let flash = start.flash.clone().with_history();
        let device = SimDevice::new(site, hardware, flash, SEED ^ u64::from(start.cuts));
        let firmware = Watched {
            app: OtariaApp::new(SETTINGS.clone()),
            watch: watch.clone(),
        };
        world.spawn("device", device.clone().live(firmware));
        let lab = Lab {
            setup,
            layout,
            world,
            broker,
            device,
            watch,
            _hosts: [broker_host, web_host],
            marks: Vec::new(),
            rested: false,
        };
        if let Some(release) = start.news {
            lab.wish(release);
        }
        lab.device.plug_in();
        lab
    }

    /// Wishes for a release.
    pub(crate) fn wish(&self, release: Release) {
        let wish = match self.setup.scenario.world {
            Circumstance::FileChanges(_) | Circumstance::FileChangesUnseen(_)
                if release == self.setup.scenario.wish =>
            {
                "http://files.lan/app.otaria".to_owned()
            }
            _ => format!(r#"{{"job":"{release:?}","url":"http://files.lan/{release:?}.otaria"}}"#),
        };
        self.broker.publish(&topic("desired"), wish, true);
    }

    /// Runs until all is at rest, and says whether the device is alive. If it does not come to rest, this invariant is broken.
    pub(crate) fn run(&mut self, verdict: &mut Verdict, invariant: Invariant) -> bool {
        self.rested = self.until_rest();
        if is_dead(&self.device) {
            let what = format!("nothing boots: {:?}", self.device.verdict().err());
            verdict.broken(Invariant::AuthenticImageBoots, what);
        } else if !self.rested {
            verdict.broken(invariant, self.unrest());
        }
        !is_dead(&self.device)
    }

    fn until_rest(&mut self) -> bool {
        let (world, device, broker) = (&self.world, &self.device, &self.broker);
        let (layout, marks) = (&self.layout, &mut self.marks);
        let end = world.now() + LIMIT;
        let mut last_op = world.now();
        let mut next_look = world.now() + QUIET;
        let mut seen = device.flash().moments();
        let mut rested = false;
        world.run_while(|| {
            let now = world.now();
            let moments = device.flash().moments();
            if moments > seen {
                let mark = Mark {
                    messages: broker.message_count(),
                    broker: Arc::new(broker.store()),
                };
                marks.resize(moments, mark);
                seen = moments;
                last_op = now;
            }
            if now < next_look {
                return true;
            }
            next_look = now + LOOK;
            rested = now >= last_op + QUIET && at_rest(device, broker, layout);
            !rested && now < end && !is_dead(device)
        });
        rested
    }

    fn unrest(&self) -> String {
        let notes = Notes::read(&self.device.flash(), &self.layout);
        let state = self.broker.retained(&topic("state")).unwrap_or_default();
        format!(
            "not at rest after {LIMIT:?}: {:?} runs; {notes:?}; state {}",
            self.watch.running.get(),
            String::from_utf8_lossy(&state)
        )
    }

    /// How all stands now.
    pub(crate) fn rest(&self) -> Rest {
        let flash = self.device.flash().clone();
        let mut proven = self.watch.proven.borrow().clone();
        note_proven(&mut proven, &Notes::read(&flash, &self.layout));
        Rest {
            reached: self.rested,
            moments: flash.moments(),
            messages: self.broker.message_count(),
            flash,
            running: self.watch.running.get(),
            slot: self
                .device
                .running()
                .and_then(|booted| booted.slot())
                .map(usize::from),
            proven,
        }
    }

    /// The end.
    pub(crate) fn finish(self, mut verdict: Verdict) -> Life {
        let flash = self.device.flash().clone();
        let notes = Notes::read(&flash, &self.layout);
        let mut proven = self.watch.proven.borrow().clone();
        note_proven(&mut proven, &notes);
        verdict.take(self.watch.verdict.take());
        let events = self.broker.log().into_iter().enumerate();
        let events = events
            .filter(|(_, message)| message.topic == topic("event"))
            .map(|(number, message)| (number, from_json(&message.payload).expect("an event")));
        let running = self.device.running().and(self.watch.running.get());
        Life {
            marks: self.marks.clone(),
            lost: self.watch.lost.get(),
            events: events.collect(),
            broker: self.broker.store(),
            proven,
            running,
            verdict,
            proven_at: self.watch.proven_at.take(),
            starts: self.watch.starts.take(),
            flash,
        }
    }
}

/// Whether a bootloader has found nothing to boot.
fn is_dead(device: &SimDevice<WorldSite>) -> bool {
    let boots = device.boots();
    boots
        .iter()
        .any(|boot| boot.result == Err(Outage::NothingToBoot))
}

/// Whether nothing is left to be done that was begun: the device is up and idle, and its journal holds nothing unfinished.
fn at_rest(device: &SimDevice<WorldSite>, broker: &Broker, layout: &Layout) -> bool {
    if device.running().is_none() {
        return false;
    }
    let Some(state) = broker.retained(&topic("state")) else {
        return false;
    };
    let state: State = from_json(&state).expect("a state");
    if state.phase != Phase::Idle {
        return false;
    }
    let notes = Notes::read(&device.flash(), layout);
    notes.boot == state.boot && notes.is_at_rest() && broker.is_connected(DEVICE)
}

fn put_files(web: &WebServer, scenario: &Scenario, cuts: u32) {
    let file = |release: Release| {
        let file = File::new(&release.shelf().package[..], &format!("{release:?}"));
        match scenario.world {
            Circumstance::NoRanges => File {
                ranges: false,
                ..file
            },
            Circumstance::FileChangesUnseen(_) => File { etag: None, ..file },
            _ => file,
        }
    };
    let others = match scenario.world {
        Circumstance::FileChanges(other)
        | Circumstance::FileChangesUnseen(other)
        | Circumstance::WishChanges(other) => Some(other),
        _ => None,
    };
    let before = scenario.before.iter().filter_map(|before| match before {
        Before::Wish(release) => Some(*release),
        Before::JournalRoom(_) | Before::LogRoom(_) => None,
    });
    for release in before.chain(others).chain([scenario.wish, Release::Later]) {
        web.put(&format!("/{release:?}.otaria"), file(release));
    }
    let named = match scenario.world {
        Circumstance::FileChanges(other) | Circumstance::FileChangesUnseen(other) if cuts > 0 => {
            other
        }
        _ => scenario.wish,
    };
    web.put("/app.otaria", file(named));
    if scenario.world == Circumstance::ClosesEarly {
        close_early(web, scenario.wish);
    }
}

/// Lets a web server send a release's package in pieces of one block and a half, and close behind each of them.
fn close_early(web: &WebServer, release: Release) {
    let package = &release.shelf().package;
    web.set_script(Box::new(move |request| {
        if request.path != format!("/{release:?}.otaria") {
            return None;
        }
        let from = request.range_from.unwrap_or_default() as usize;
        let rest = package.get(from..)?;
        let (status, range) = match from {
            0 => ("200 OK", String::new()),
            _ => {
                let (last, total) = (package.len() - 1, package.len());
                let range = format!("Content-Range: bytes {from}-{last}/{total}\r\n");
                ("206 Partial Content", range)
            }
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{range}ETag: \"{release:?}\"\r\n\r\n",
            rest.len()
        );
        let sent = &rest[..rest.len().min(BLOCK_LEN * 3 / 2)];
        Some(vec![Act::Send([head.as_bytes(), sent].concat())])
    }));
}
