//! A board, the servers around it, and somebody who listens.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use otaria_package::keys::SigningKey;
use otaria_package::pack::{Options, TimeStamp, pack};
use otaria_qemu::flash::FlashImage;
use otaria_qemu::image;
use otaria_qemu::machine::{Board, Cable, HOST, Machine};
use otaria_settings::{BrokerUrl, Settings, WifiNetwork};
use otaria_wire::messages::{Event, EventKind, FailureCode, Phase, Progress, State};
use otaria_wire::partitions::DEFAULT_4MB;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, MqttOptions};

use crate::peer::Peer;
use crate::servers::{self, Server};

/// Nothing here takes longer, unless something is wrong.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A file of those that `cargo xtask test` has built.
pub(crate) fn built(name: &str) -> PathBuf {
    let dir = std::env::var_os("OTARIA_VIRT_BUILT").expect(
        "run this with `cargo xtask test --only \"virtual board\"`, which builds the firmware",
    );
    Path::new(&dir).join(name)
}

/// The ESP image of a program.
pub(crate) fn image_of(name: &str) -> Vec<u8> {
    let elf = std::fs::read(built(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    image::from_elf(&elf).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Mosquitto and a web server with the packages of these programs.
pub(crate) struct Lab {
    pub(crate) broker: Server,
    pub(crate) web: Server,
    key: SigningKey,
}

/// For nginx: no more than 64 KiB a second.
pub(crate) const SLOWLY: &str = "limit_rate 64k;";

/// Which web server.
#[derive(Clone, Copy)]
pub(crate) enum Web {
    /// nginx: knows ranges.
    Nginx,
    /// nginx that does so [`SLOWLY`].
    Slow,
    /// Python's `http.server`: ignores them.
    Python,
}

impl Lab {
    /// `None` if a server is not installed and that is allowed here.
    pub(crate) fn open(web: Web, programs: &[&str]) -> Option<Self> {
        let web = |files: &[(&str, &[u8])]| match web {
            Web::Nginx => servers::nginx(files, ""),
            Web::Slow => servers::nginx(files, SLOWLY),
            Web::Python => servers::python(files),
        };
        Self::open_with("", web, programs)
    }

    /// The same with these lines more in Mosquitto's configuration, and this web server.
    pub(crate) fn open_with(
        broker: &str,
        web: impl FnOnce(&[(&str, &[u8])]) -> Option<Server>,
        programs: &[&str],
    ) -> Option<Self> {
        let key = SigningKey::generate().unwrap();
        let packages: Vec<(String, Vec<u8>)> = (1..)
            .zip(programs)
            .map(|(sequence, name)| {
                let stamp = TimeStamp {
                    sequence,
                    created: sequence,
                };
                let package = pack(
                    &image_of(&format!("{name}.elf")),
                    &key,
                    &Options::new(stamp),
                );
                let package = package.unwrap_or_else(|error| panic!("{name}: {error}"));
                (format!("{name}.otaria"), package.bytes)
            })
            .collect();
        let files: Vec<(&str, &[u8])> = packages
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        Some(Self {
            broker: servers::mosquitto(&format!(
                "allow_anonymous true\nautosave_interval 1\n{broker}"
            ))?,
            web: web(&files)?,
            key,
        })
    }

    /// A new board with version A, switched off.
    pub(crate) fn device(&self, id: &str, rollback: bool) -> Device {
        let settings = self.settings(id);
        let mut device = self.device_with(&partition(&settings), id);
        device.board.rollback = rollback;
        device
    }

    /// What a board is provisioned with here.
    pub(crate) fn settings(&self, id: &str) -> Settings {
        Settings {
            device_id: Some(id.parse().unwrap()),
            broker: Some(BrokerUrl::parse(&self.broker_url()).unwrap()),
            // Nobody asks for it here, but the app misses one.
            wifi: vec![WifiNetwork::new("cable", "").unwrap()],
            signers: vec![self.key.public_key().to_sec1()],
            ..Settings::default()
        }
    }

    /// Where a board finds the broker.
    pub(crate) fn broker_url(&self) -> String {
        format!("mqtt://{HOST}:{}", self.broker.port)
    }

    /// A new board with version A and this in its NVS partition, switched off, that is known by this id.
    pub(crate) fn device_with(&self, nvs: &[u8], id: &str) -> Device {
        let dir = tempfile::tempdir().unwrap();
        let flash = dir.path().join("flash.bin");
        FlashImage::new(&image_of("a.elf"), nvs)
            .unwrap()
            .write_to(&flash)
            .unwrap();
        Device {
            board: Board {
                loader: built("loader.elf"),
                flash,
                rollback: false,
                icount: true,
                cable: Cable::User,
            },
            ear: Ear::listen(self.broker.port, id),
            id: id.to_owned(),
            dir,
            machine: None,
        }
    }

    /// Says which program a device shall run, as an operator does.
    pub(crate) fn publish(&self, device: &Device, program: &str) {
        let url = format!("http://{HOST}:{}/{program}.otaria", self.web.port);
        self.publish_url(device, &url);
    }

    /// Says what a device shall install, by its address.
    pub(crate) fn publish_url(&self, device: &Device, url: &str) {
        self.tell(device, "desired", url, true);
    }

    /// Asks a device for the last lines of its log.
    pub(crate) fn ask_for_log(&self, device: &Device) {
        let command = r#"{"id":"c1","cmd":"logs","lines":40}"#;
        self.tell(device, "cmd", command, false);
    }

    fn tell(&self, device: &Device, topic: &str, text: &str, retain: bool) {
        let topic = format!("otaria/v1/{}/{topic}", device.id);
        assert!(servers::mosquitto_pub(
            self.broker.port,
            &topic,
            text,
            retain
        ));
    }
}

/// The NVS partition with these settings.
pub(crate) fn partition(settings: &Settings) -> Vec<u8> {
    let len = DEFAULT_4MB.nvs.len as usize;
    let image = otaria_settings::host::partition_image(settings, len);
    image.unwrap().to_vec()
}

/// One board.
pub(crate) struct Device {
    pub(crate) board: Board,
    pub(crate) ear: Ear,
    id: String,
    dir: tempfile::TempDir,
    machine: Option<Machine>,
}

impl Device {
    /// Puts the cable's other end into the hands of somebody who talks in Ethernet frames.
    pub(crate) fn peer(&mut self) -> Peer {
        let (board, peer) = (self.dir.path().join("board"), self.dir.path().join("peer"));
        self.board.cable = Cable::Frames {
            board: board.clone(),
            peer: peer.clone(),
        };
        Peer::new(&peer, &board)
    }

    /// The settings in its flash.
    pub(crate) fn stored(&self) -> Settings {
        let flash = std::fs::read(&self.board.flash).unwrap();
        let region = DEFAULT_4MB.nvs;
        let bytes = &flash[region.offset as usize..][..region.len as usize];
        otaria_settings::host::read_partition(bytes).unwrap()
    }

    pub(crate) fn machine_mut(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("it is switched on")
    }

    pub(crate) fn power_on(&mut self) {
        self.machine = Some(Machine::start(&self.board, self.dir.path()).unwrap());
    }

    /// `kill -9`. Gives what was on the console.
    pub(crate) fn power_off(&mut self) -> Vec<String> {
        self.machine.take().map(Machine::kill).unwrap_or_default()
    }

    pub(crate) fn machine(&self) -> &Machine {
        self.machine.as_ref().expect("it is switched on")
    }

    /// Waits for a line on the console.
    pub(crate) fn says(&self, text: &str) -> String {
        match self.machine().expect(0, text, LIMIT) {
            Ok((_, line)) => line,
            Err(error) => panic!("{}: {error:#}", self.id),
        }
    }

    /// Waits for a message; if it does not come, tells all that is known.
    pub(crate) fn hears<T>(&self, what: &str, look: impl Fn(&[Heard]) -> Option<T>) -> T {
        match self.ear.wait(LIMIT, look) {
            Ok(found) => found,
            Err(heard) => panic!(
                "{}: {what} is not heard; heard is:\n{}\non the console:\n{}",
                self.id,
                heard.join("\n"),
                self.machine
                    .as_ref()
                    .map(|machine| machine.console().join("\n"))
                    .unwrap_or_default()
            ),
        }
    }

    /// Waits until it runs this version, confirmed, as its state says after the first `skip` messages.
    pub(crate) fn runs_confirmed(&self, skip: usize, version: &str) {
        self.hears(&format!("version {version} confirmed"), |heard| {
            heard.iter().skip(skip).find_map(|heard| match heard {
                Heard::State(state) => {
                    (state.version.as_str() == version && state.trial.is_none()).then_some(())
                }
                Heard::Event(_) | Heard::Progress(_) | Heard::Other(_) => None,
            })
        });
    }

    /// Waits for the event that ends a job.
    pub(crate) fn ends(&self) -> (EventKind, Option<FailureCode>) {
        self.hears("the end of the job", |heard| {
            heard.iter().find_map(|heard| match heard {
                Heard::Event(event) if event.event.is_final() => {
                    Some((event.event, event.failure()))
                }
                Heard::Event(_) | Heard::State(_) | Heard::Progress(_) | Heard::Other(_) => None,
            })
        })
    }

    /// Waits until so many percent of the image are in flash.
    pub(crate) fn downloads(&self, percent: u32) {
        self.hears("progress", |heard| {
            heard.iter().find_map(|heard| match heard {
                Heard::Progress(progress) => (progress.phase == Phase::Downloading
                    && progress.done >= progress.total / 100 * percent)
                    .then_some(()),
                Heard::Event(_) | Heard::State(_) | Heard::Other(_) => None,
            })
        });
    }

    /// Waits for an event of this kind.
    pub(crate) fn tells(&self, kind: EventKind) {
        self.hears(kind.name(), |heard| {
            heard
                .iter()
                .any(|heard| matches!(heard, Heard::Event(event) if event.event == kind))
                .then_some(())
        });
    }
}

/// A message of a device.
#[derive(Clone, Debug)]
#[allow(
    dead_code,
    reason = "what is not understood is for the eyes of whoever reads a failure"
)]
pub(crate) enum Heard {
    State(Box<State>),
    Event(Box<Event>),
    Progress(Progress),
    Other(String),
}

/// Listens to all that a device says.
pub(crate) struct Ear {
    heard: Arc<(Mutex<Vec<Heard>>, Condvar)>,
}

impl Ear {
    fn listen(port: u16, id: &str) -> Self {
        let heard = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let ear = Self {
            heard: Arc::clone(&heard),
        };
        let id = id.to_owned();
        // Ends with the broker.
        std::thread::spawn(move || {
            let mut options = MqttOptions::new(format!("ear-{id}"), "127.0.0.1", port);
            options.set_clean_start(true);
            let (client, mut connection) = Client::new(options, 16);
            let topic = format!("otaria/v1/{id}/+");
            let mut failures = 0;
            for notification in connection.iter() {
                match notification {
                    Ok(rumqttc::v5::Event::Incoming(Packet::ConnAck(_))) => {
                        failures = 0;
                        let _ = client.try_subscribe(topic.clone(), QoS::AtLeastOnce);
                    }
                    Ok(rumqttc::v5::Event::Incoming(Packet::Publish(publish))) => {
                        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                        let message = understand(&topic, &publish.payload);
                        heard.0.lock().unwrap().push(message);
                        heard.1.notify_all();
                    }
                    Ok(_) => {}
                    // A broker that restarts is gone for a moment.
                    Err(_) => {
                        failures += 1;
                        if failures > 600 {
                            return;
                        }
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            }
        });
        ear
    }

    /// How many messages there were.
    pub(crate) fn count(&self) -> usize {
        self.heard.0.lock().unwrap().len()
    }

    fn wait<T>(
        &self,
        limit: Duration,
        look: impl Fn(&[Heard]) -> Option<T>,
    ) -> Result<T, Vec<String>> {
        let end = Instant::now() + limit;
        let mut heard = self.heard.0.lock().unwrap();
        loop {
            if let Some(found) = look(&heard) {
                return Ok(found);
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return Err(heard.iter().map(|heard| format!("{heard:?}")).collect());
            };
            heard = self.heard.1.wait_timeout(heard, left).unwrap().0;
        }
    }
}

fn understand(topic: &str, payload: &[u8]) -> Heard {
    let known = match topic.rsplit('/').next() {
        Some("state") => serde_json::from_slice(payload).map(Heard::State).ok(),
        Some("progress") => serde_json::from_slice(payload).map(Heard::Progress).ok(),
        Some("event") => serde_json::from_slice(payload).map(Heard::Event).ok(),
        _ => None,
    };
    known.unwrap_or_else(|| Heard::Other(format!("{topic} {}", String::from_utf8_lossy(payload))))
}
