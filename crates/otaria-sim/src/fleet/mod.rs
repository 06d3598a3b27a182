//! Many simulated devices in real time, on a thread of their own, among real brokers and web servers.
//!
//! The devices are not `Send`: they live on the fleet's thread, and [`Fleet`] sends it orders. Dropping the fleet takes the power
//! of all devices.

mod inspection;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use embedded_storage::nor_flash::ReadNorFlash;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

pub use inspection::Inspection;

use crate::device::{Factory, Hardware, OtariaApp, RealSite, Settings, SimDevice};
use crate::flash::{SimFlash, Timing};
use crate::real::RadioConfig;

/// What a device of a fleet is built of.
#[derive(Clone)]
pub struct Blueprint {
    /// What it is told about itself.
    pub settings: Settings,
    /// The image that its factory puts into slot 0.
    pub image: Arc<[u8]>,
    /// What lies in its flash instead of what the factory puts there: the flash of an earlier run.
    pub flash: Option<Vec<u8>>,
    /// The chip.
    pub hardware: Hardware,
    /// How fast its flash is.
    pub timing: Timing,
    /// Whether all its flash commands are kept for [`Inspection::ops`].
    pub log_flash: bool,
    /// How fast its radio is.
    pub radio: RadioConfig,
    /// Decides its chance.
    pub seed: u64,
}

impl Blueprint {
    /// A device in a hurry, for tests of many: flash that takes no time, a fast radio, a trial of seconds, and no long waits
    /// for a server that was away.
    pub fn hasty(mut settings: Settings, image: Arc<[u8]>, seed: u64) -> Self {
        let ms = |ms| Duration::from_millis(ms).into();
        let policy = &mut settings.timing.policy;
        policy.soak = ms(1_000);
        policy.grace = ms(500);
        policy.probe = ms(2_000);
        policy.farewell = ms(2_000);
        policy.backoff.first = ms(1_000);
        policy.backoff.longest = ms(5_000);
        policy.backoff.slow = ms(5_000);
        Blueprint {
            settings,
            image,
            flash: None,
            hardware: Hardware::default(),
            timing: Timing::INSTANT,
            log_flash: false,
            radio: RadioConfig {
                bits_per_second: 4_000_000,
                latency: Duration::from_millis(5),
            },
            seed,
        }
    }
}

enum Order {
    CutPower(usize, Duration),
    HideAccessPoint(usize, Duration),
    Inspect(oneshot::Sender<Vec<Inspection>>),
    ReadFlash(usize, oneshot::Sender<Option<Vec<u8>>>),
}

/// Running devices.
pub struct Fleet {
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Builds the devices and gives them power.
    ///
    /// # Errors
    /// If the operating system has no thread or no timer for them.
    pub fn start(blueprints: Vec<Blueprint>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("fleet".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, run(blueprints, inbox)))?;
        Ok(Fleet {
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Takes a device's power for a while, wherever it stands, also in the middle of a flash command.
    pub fn cut_power(&self, device: usize, off_for: Duration) {
        self.order(Order::CutPower(device, off_for));
    }

    /// Takes a device's Wi-Fi for a while.
    pub fn hide_access_point(&self, device: usize, gone_for: Duration) {
        self.order(Order::HideAccessPoint(device, gone_for));
    }

    /// What lies in the flash of each device, read without the device's help; `None` if the devices' thread has ended.
    pub async fn inspect(&self) -> Option<Vec<Inspection>> {
        let (answer, inspections) = oneshot::channel();
        self.order(Order::Inspect(answer));
        inspections.await.ok()
    }

    /// The whole flash of a device; `None` if there is no such device, or if the devices' thread has ended.
    pub async fn read_flash(&self, device: usize) -> Option<Vec<u8>> {
        let (answer, flash) = oneshot::channel();
        self.order(Order::ReadFlash(device, answer));
        flash.await.ok().flatten()
    }

    fn order(&self, order: Order) {
        // The thread ends only after this end of the channel is dropped.
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic on the fleet's thread has been printed there.
            let _ = thread.join();
        }
    }
}

struct Member {
    device: SimDevice<RealSite>,
    layout: otaria_wire::partitions::Layout,
    access_point_losses: u32,
}

async fn run(blueprints: Vec<Blueprint>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut members = build(blueprints);
    while let Some(order) = orders.recv().await {
        match order {
            Order::CutPower(index, off_for) => {
                if let Some(member) = members.get(index) {
                    let device = member.device.clone();
                    device.cut_power();
                    tokio::task::spawn_local(async move {
                        tokio::time::sleep(off_for).await;
                        device.plug_in();
                    });
                }
            }
            Order::HideAccessPoint(index, gone_for) => {
                if let Some(member) = members.get_mut(index) {
                    member.access_point_losses += 1;
                    let device = member.device.clone();
                    device.set_access_point(false);
                    tokio::task::spawn_local(async move {
                        tokio::time::sleep(gone_for).await;
                        device.set_access_point(true);
                    });
                }
            }
            // An asker who has gone away needs no answer.
            Order::Inspect(answer) => {
                let inspections = members.iter().map(|member| {
                    Inspection::of(&member.device, &member.layout, member.access_point_losses)
                });
                let _ = answer.send(inspections.collect());
            }
            Order::ReadFlash(index, answer) => {
                let whole = |flash: &SimFlash| flash.peek(0, flash.capacity());
                let _ = answer.send(
                    members
                        .get(index)
                        .map(|member| whole(&member.device.flash())),
                );
            }
        }
    }
}

/// Devices with the same image share its sectors until they change them.
fn build(blueprints: Vec<Blueprint>) -> Vec<Member> {
    let mut factories: HashMap<*const u8, Factory> = HashMap::new();
    let mut members = Vec::with_capacity(blueprints.len());
    for blueprint in blueprints {
        let factory = factories
            .entry(blueprint.image.as_ptr())
            .or_insert_with(|| Factory::new(&blueprint.image));
        let mut flash = factory.flash().with_timing(blueprint.timing);
        if blueprint.log_flash {
            flash = flash.with_log();
        }
        if let Some(content) = &blueprint.flash {
            flash.load(0, content);
        }
        let layout = factory.layout();
        let device = SimDevice::new(
            RealSite::new(blueprint.radio),
            blueprint.hardware,
            flash,
            blueprint.seed,
        );
        tokio::task::spawn_local(device.clone().live(OtariaApp::new(blueprint.settings)));
        device.plug_in();
        members.push(Member {
            device,
            layout,
            access_point_losses: 0,
        });
    }
    members
}
