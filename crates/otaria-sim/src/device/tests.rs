use core::cell::RefCell;
use core::future::{Future, pending};
use core::time::Duration;
use std::rc::Rc;

use embassy_futures::yield_now;
use embedded_io_async::{Read, Write};
use embedded_nal_async::TcpConnect;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use otaria_device::board::{Board, Clock, Instant, ResetReason, Slot};
use otaria_wire::otadata::{Entry, OtaState};

use super::*;
use crate::flash::{Cut, FaultPlan, FlashError, Timing};
use crate::images::Stamp;
use crate::net::{Host, HostConfig, SimNet};
use crate::real::RadioConfig;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);
const LOG: u32 = 0x3C_0000;

/// Notes, in the order in which they were made.
#[derive(Clone, Default)]
struct Notes(Rc<RefCell<Vec<String>>>);

impl Notes {
    fn add(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

/// A firmware that is a closure.
struct Program<P>(P);

impl<S: Site, P, F> Firmware<S> for Program<P>
where
    P: Fn(Env<S>) -> F + 'static,
    F: Future<Output = Exit>,
{
    fn run(&self, env: Env<S>) -> impl Future<Output = Exit> {
        (self.0)(env)
    }
}

/// A device that starts at once.
fn quick() -> Hardware {
    Hardware {
        startup: Duration::ZERO,
        ..Hardware::default()
    }
}

/// A world with one device and a server.
struct Lab {
    world: World,
    server: Host,
    device: SimDevice<WorldSite>,
}

impl Lab {
    fn with(hardware: Hardware, factory: &Factory) -> Lab {
        Lab::seeded(hardware, factory, 3)
    }

    fn seeded(hardware: Hardware, factory: &Factory, seed: u64) -> Lab {
        let world = World::new(5);
        let net = SimNet::new(&world);
        let server = net.host("server", [10, 0, 0, 1].into(), HostConfig::server());
        let host = net.host("device", [10, 0, 0, 2].into(), HostConfig::device());
        let site = WorldSite::new(world.handle(), host);
        let device = SimDevice::new(site, hardware, factory.flash(), seed);
        Lab {
            world,
            server,
            device,
        }
    }

    fn new() -> Lab {
        Lab::with(quick(), &Factory::new(&Stamp::new("1.0.0").image()))
    }

    /// Plugs the device in with this firmware.
    fn start<F: Future<Output = Exit>>(&self, program: impl Fn(Env<WorldSite>) -> F + 'static) {
        let life = self.device.clone().live(Program(program));
        self.world
            .spawn("device", async move { match life.await {} });
        self.device.plug_in();
    }

    fn reasons(&self) -> Vec<ResetReason> {
        self.device.boots().iter().map(|boot| boot.reason).collect()
    }
}

/// Does `first` in the first boot and nothing in those after it.
fn first_boot_only<F: Future<Output = Exit> + 'static>(
    first: impl Fn(Env<WorldSite>) -> F + 'static,
) -> impl Fn(Env<WorldSite>) -> core::pin::Pin<Box<dyn Future<Output = Exit>>> + 'static {
    move |env| match env.board.reset_reason() {
        ResetReason::PowerOn => Box::pin(first(env)),
        _ => Box::pin(pending()),
    }
}

#[test]
fn a_device_that_is_plugged_in_boots_the_factory_image() {
    let lab = Lab::new();
    lab.start(|env| async move {
        assert_eq!(env.booted.slot(), Some(0));
        assert_eq!(env.board.running_slot(), Some(Slot::Ota0));
        assert_eq!((env.board.chip_id(), env.board.chip_revision()), (5, 4));
        pending().await
    });
    assert!(
        lab.device.running().is_none(),
        "nothing runs before the world does"
    );
    lab.world.run_for(SECOND);
    let running = lab.device.running().unwrap();
    assert_eq!(running.image.desc.version, *"1.0.0");
    assert_eq!(lab.reasons(), [ResetReason::PowerOn]);
}

#[test]
fn each_way_to_restart_has_its_reset_reason() {
    let factory = Factory::new(&Stamp::new("1.0.0").image());
    let lab = Lab::with(Hardware::default(), &factory);
    lab.start(|mut env| async move {
        match env.board.reset_reason() {
            ResetReason::PowerOn => Exit::Panic,
            ResetReason::Panic => Exit::Reset,
            // As device code does it: the call comes back, and then nothing more is done.
            _ => {
                env.board.reset();
                pending().await
            }
        }
    });
    lab.world.run_until(SECOND - Duration::from_millis(1));
    let software = ResetReason::Software;
    assert_eq!(
        lab.reasons(),
        [ResetReason::PowerOn, ResetReason::Panic, software, software]
    );
    let at: Vec<_> = lab
        .device
        .boots()
        .iter()
        .map(|boot| boot.at.as_millis())
        .collect();
    assert_eq!(at, [0, 250, 500, 750]);
}

#[test]
fn the_reset_button_restarts_the_device() {
    let lab = Lab::new();
    lab.start(|_env| pending());
    lab.world.run_for(SECOND);
    lab.device.press_reset();
    lab.world.run_for(SECOND);
    assert_eq!(lab.reasons(), [ResetReason::PowerOn, ResetReason::External]);
}

#[test]
fn a_watchdog_that_is_not_fed_restarts_the_device() {
    let lab = Lab::new();
    lab.start(first_boot_only(|mut env| async move {
        env.board.arm_watchdog((8 * SECOND).into());
        for _ in 0..4 {
            env.clock
                .sleep_until(env.clock.now() + (5 * SECOND).into())
                .await;
            env.board.feed_watchdog();
        }
        pending().await
    }));
    lab.world.run_for(60 * SECOND);
    let boots = lab.device.boots();
    assert_eq!(lab.reasons(), [ResetReason::PowerOn, ResetReason::Watchdog]);
    assert_eq!(
        boots[1].at,
        28 * SECOND,
        "8 s after the last time it was fed"
    );
}

#[test]
fn a_watchdog_can_be_shortened_and_disarmed() {
    let lab = Lab::new();
    lab.start(first_boot_only(|mut env| async move {
        env.board.arm_watchdog(SECOND.into());
        env.board.disarm_watchdog();
        env.clock.sleep_until(Instant::from_secs(10)).await;
        env.board.arm_watchdog((100 * SECOND).into());
        env.clock.sleep_until(Instant::from_secs(20)).await;
        env.board.arm_watchdog((2 * SECOND).into());
        pending().await
    }));
    lab.world.run_for(60 * SECOND);
    assert_eq!(lab.device.boots()[1].at, 22 * SECOND);
}

#[test]
fn a_power_cut_drops_the_program_and_a_plug_starts_it_anew() {
    let lab = Lab::new();
    let notes = Notes::default();
    let noted = notes.clone();
    lab.start(move |env| {
        let notes = noted.clone();
        async move {
            for second in 1.. {
                env.clock.sleep_until(Instant::from_secs(second)).await;
                notes.add(format!("{second}"));
            }
            Exit::Panic
        }
    });
    lab.world.run_for(Duration::from_millis(2_500));
    lab.device.cut_power();
    assert!(!lab.device.powered());
    lab.world.run_for(60 * SECOND);
    assert_eq!(
        lab.device.flash_mut().read(0, &mut [0; 4]),
        Err(FlashError::PowerLost)
    );
    lab.device.plug_in();
    lab.world.run_for(Duration::from_millis(1_500));
    assert_eq!(notes.take(), ["1", "2", "1"]);
    assert_eq!(lab.reasons(), [ResetReason::PowerOn; 2]);
}

#[test]
fn a_power_cut_that_is_over_at_once_restarts_the_device_all_the_same() {
    let lab = Lab::new();
    lab.start(|_env| pending());
    lab.world.run_for(SECOND);
    lab.device.cut_power();
    lab.device.plug_in();
    lab.world.run_for(SECOND);
    assert!(lab.device.powered() && lab.device.running().is_some());
    assert_eq!(lab.reasons(), [ResetReason::PowerOn; 2]);
}

#[test]
fn a_cut_planned_in_the_flash_stops_the_program_in_the_middle_of_its_poll() {
    let lab = Lab::new();
    let notes = Notes::default();
    let noted = notes.clone();
    lab.device
        .flash_mut()
        .set_plan(FaultPlan::cut(4, Cut::TornBits, 1));
    lab.device.restore_power_after(Some(3 * SECOND));
    lab.start(move |env| {
        let notes = noted.clone();
        async move {
            // The bootloader's entry in otadata was op 0 and 1.
            for word in 0..8 {
                let result = env.flash.borrow_mut().write(LOG + word * 4, &[0xF0; 4]);
                notes.add(format!("{word} {}", result.is_ok()));
                yield_now().await;
            }
            pending().await
        }
    });
    lab.world.run_for(SECOND);
    assert_eq!(notes.take(), ["0 true", "1 true", "2 false"]);
    assert!(!lab.device.powered());
    lab.world.run_for(SECOND * 4);
    assert_eq!(notes.take().len(), 8, "the power came back by itself");
    assert_eq!(lab.device.boots()[1].at, 3 * SECOND);
}

#[test]
fn a_cut_planned_in_the_bootloaders_writes_is_a_power_cut_too() {
    let lab = Lab::new();
    lab.device
        .flash_mut()
        .set_plan(FaultPlan::cut(1, Cut::Before, 1));
    lab.device.restore_power_after(Some(SECOND));
    lab.start(|_env| pending());
    lab.world.run_for(5 * SECOND);
    let results: Vec<_> = lab
        .device
        .boots()
        .iter()
        .map(|boot| boot.result.map(|booted| booted.slot()))
        .collect();
    assert_eq!(results, [Err(Outage::PowerLost), Ok(Some(0))]);
}

#[test]
fn pulling_the_plug_while_flash_is_busy_tears_the_command() {
    let factory = Factory::new(&Stamp::new("1.0.0").image()).with_timing(Timing::W25Q);
    let mut torn = 0;
    for delay in 0..10 {
        let lab = Lab::seeded(quick(), &factory, delay);
        lab.device.flash_mut().load(LOG, &[0; 4096]);
        lab.start(|env| async move {
            env.clock.sleep_until(Instant::from_secs(1)).await;
            env.flash.borrow_mut().erase(LOG, LOG + 0x1000).unwrap();
            yield_now().await;
            env.flash.borrow_mut().write(LOG, &[0x55; 256]).unwrap();
            pending().await
        });
        // The first boot enters its slot in otadata and reads the image: some 46 ms.
        lab.world.run_for(Duration::from_millis(1_050 + delay));
        lab.device.cut_power();
        torn += usize::from(lab.device.flash().is_unstable(LOG));
        assert_ne!(lab.device.flash().peek(LOG, 256), [0x55; 256]);
    }
    assert!(torn > 3, "{torn}");
}

#[test]
fn a_device_with_nothing_to_boot_tries_some_times_and_then_waits_for_its_plug() {
    let lab = Lab::new();
    let table = lab.device.flash().peek(0x8000, 0xC00);
    lab.device.flash_mut().load(0x8000, &[0; 0xC00]);
    lab.start(|_env| pending());
    assert!(!lab.world.run_while(|| true), "the world comes to rest");
    let boots = lab.device.boots();
    assert_eq!(boots.len(), 10);
    assert!(
        boots
            .iter()
            .all(|boot| boot.result == Err(Outage::NothingToBoot))
    );
    lab.device.cut_power();
    lab.device.flash_mut().load(0x8000, &table);
    lab.device.plug_in();
    lab.world.run_for(SECOND);
    assert!(lab.device.running().is_some());
}

#[test]
fn a_bootloader_with_rollback_gives_up_what_was_not_confirmed() {
    let hardware = Hardware {
        rollback: true,
        ..Hardware::default()
    };
    let lab = Lab::with(hardware, &Factory::new(&Stamp::new("1.0.0").image()));
    {
        let mut flash = lab.device.flash_mut();
        flash.load(0x1E_0000, &Stamp::new("1.1.0").behaviour("crash").image());
        flash.load(0xD000, &Entry::new(1, OtaState::Valid).encode());
        flash.load(0xE000, &Entry::new(2, OtaState::New).encode());
    }
    assert_eq!(lab.device.verdict().unwrap().slot(), Some(1));
    lab.start(|env| async move {
        if env.behaviour == Behaviour::Crash {
            Exit::Panic
        } else {
            pending().await
        }
    });
    lab.world.run_for(SECOND);
    let slots: Vec<_> = lab
        .device
        .boots()
        .iter()
        .map(|boot| boot.result.unwrap().slot())
        .collect();
    assert_eq!(slots, [Some(1), Some(0)]);
}

#[test]
fn a_verdict_changes_nothing() {
    let lab = Lab::new();
    assert_eq!(lab.device.verdict().unwrap().slot(), Some(0));
    assert_eq!(lab.device.flash().op_count(), 0);
    assert!(
        lab.device.flash().powered(),
        "the flash of a new device has power until it is first cut"
    );
}

#[test]
fn the_link_follows_the_access_point() {
    let hardware = Hardware {
        join: 2 * SECOND,
        ..quick()
    };
    let lab = Lab::with(hardware, &Factory::new(&Stamp::new("1.0.0").image()));
    let notes = Notes::default();
    let noted = notes.clone();
    lab.start(move |env| {
        let notes = noted.clone();
        async move {
            let mut up = true;
            loop {
                if env.board.link_up() != up {
                    up = env.board.link_up();
                    notes.add(format!(
                        "{} {up} {}",
                        env.clock.now(),
                        env.board.rssi().is_some()
                    ));
                }
                env.clock
                    .sleep_until(env.clock.now() + (SECOND / 10).into())
                    .await;
            }
        }
    });
    lab.world.run_until(10 * SECOND);
    lab.device.set_access_point(false);
    lab.world.run_until(20 * SECOND);
    lab.device.set_access_point(true);
    // Gone again before the device has joined.
    lab.world.run_until(21 * SECOND);
    lab.device.set_access_point(false);
    lab.world.run_until(22 * SECOND);
    lab.device.set_access_point(true);
    lab.world.run_until(30 * SECOND);
    assert_eq!(
        notes.take(),
        [
            "0.000s false false",
            "2.100s true true",
            "10.100s false false",
            "24.100s true true"
        ]
    );
}

#[test]
fn an_image_without_wifi_never_gets_a_link() {
    let image = Stamp::new("1.0.0").behaviour("no-wifi").image();
    let lab = Lab::with(Hardware::default(), &Factory::new(&image));
    lab.start(|env| async move {
        env.clock.sleep_until(Instant::from_secs(60)).await;
        assert!(!env.board.link_up());
        pending().await
    });
    lab.world.run_for(120 * SECOND);
    assert_eq!(lab.device.boots().len(), 1);
}

#[test]
fn a_device_reaches_a_server_and_nobody_tells_the_server_of_a_power_cut() {
    let lab = Lab::new();
    let mut listener = lab.server.bind(80).unwrap();
    let notes = Notes::default();
    let noted = notes.clone();
    lab.world.spawn("server", async move {
        let mut stream = listener.accept().await;
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.unwrap();
        noted.add(String::from_utf8_lossy(&hello));
        let end = stream.read(&mut hello).await;
        noted.add(format!("{end:?}"));
    });
    lab.start(|env| async move {
        let mut stream = env
            .network
            .connect(([10, 0, 0, 1], 80).into())
            .await
            .unwrap();
        stream.write_all(b"hello").await.unwrap();
        pending().await
    });
    lab.world.run_for(5 * SECOND);
    assert_eq!(notes.take(), ["hello"]);
    lab.device.cut_power();
    lab.world.run_for(600 * SECOND);
    assert!(notes.take().is_empty());
}

#[test]
fn behaviours_are_read_from_the_image() {
    let of = |word: &str| Behaviour::of_image(&Stamp::new("1.0.0").behaviour(word).image());
    assert_eq!(of("good"), Behaviour::Good);
    assert_eq!(of("crash"), Behaviour::Crash);
    assert_eq!(of("hang"), Behaviour::Hang);
    assert_eq!(of("unhealthy"), Behaviour::Unhealthy);
    assert_eq!(of("never-healthy"), Behaviour::NeverHealthy);
    assert_eq!(of("no-wifi"), Behaviour::NoWifi);
    assert_eq!(
        of("crash-after:90"),
        Behaviour::CrashAfter(Duration::from_secs(90))
    );
    assert_eq!(of("crash-on:101"), Behaviour::CrashOn(101));
    assert_eq!(of("crash-on:101").on(101), Behaviour::Crash);
    assert_eq!(of("crash-on:101").on(4), Behaviour::Good);
    assert_eq!(of("hang").on(101), Behaviour::Hang);
    for word in [
        "",
        "crash-after:soon",
        "crash-after:",
        "crash-on:new",
        "dance",
        "crash:1",
    ] {
        assert_eq!(of(word), Behaviour::Good, "{word:?}");
    }
    for image in [
        &b""[..],
        b"OTARIA-SIM:",
        b"OTARIA-SIM:crash",
        b"OTARIA-SIM:\xFF;",
    ] {
        assert_eq!(Behaviour::of_image(image), Behaviour::Good, "{image:?}");
    }
}

#[test]
fn the_devices_of_a_factory_start_alike_and_go_their_own_ways() {
    let factory = Factory::new(&Stamp::new("1.0.0").image());
    let (mut one, two) = (factory.flash(), factory.flash());
    one.erase(0xD000, 0xE000).unwrap();
    one.write(LOG, &[0; 4]).unwrap();
    assert_eq!(two.peek(LOG, 4), [0xFF; 4]);
    assert_eq!(factory.layout().slots[0].offset, 0x10000);
}

#[test]
fn thousands_of_devices_live_in_one_world() {
    let world = World::new(1);
    let net = SimNet::new(&world);
    let factory = Factory::new(&Stamp::new("1.0.0").size(256 * 1024).image());
    let devices: Vec<_> = (0..2_000u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            let host = net.host(
                &format!("d{number}"),
                [10, 1, high, low].into(),
                HostConfig::device(),
            );
            let site = WorldSite::new(world.handle(), host);
            let device = SimDevice::new(site, Hardware::default(), factory.flash(), number.into());
            let life = device
                .clone()
                .live(Program(|mut env: Env<WorldSite>| async move {
                    let wait = Duration::from_millis(env.board.random_u64() % 10_000);
                    env.clock.sleep_until(env.clock.now() + wait.into()).await;
                    pending().await
                }));
            world.spawn("device", async move { match life.await {} });
            device.plug_in();
            device
        })
        .collect();
    world.run_for(20 * SECOND);
    assert!(devices.iter().all(|device| device.running().is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_device_also_lives_in_real_time() {
    let site = RealSite::new(RadioConfig::default());
    let factory = Factory::new(&Stamp::new("1.0.0").image()).with_timing(Timing::W25Q);
    let device = SimDevice::new(site, Hardware::default(), factory.flash(), 1);
    let life = device
        .clone()
        .live(Program(|env: Env<RealSite>| async move {
            match env.board.reset_reason() {
                ResetReason::PowerOn => Exit::Reset,
                _ => pending().await,
            }
        }));
    device.plug_in();
    let cut = async {
        tokio::time::sleep(5 * SECOND).await;
        device.cut_power();
        tokio::time::sleep(5 * SECOND).await;
        device.plug_in();
        tokio::time::sleep(5 * SECOND).await;
    };
    embassy_futures::select::select(life, cut).await;
    let reasons: Vec<_> = device.boots().iter().map(|boot| boot.reason).collect();
    let software = ResetReason::Software;
    assert_eq!(
        reasons,
        [
            ResetReason::PowerOn,
            software,
            ResetReason::PowerOn,
            software
        ]
    );
    assert!(device.running().is_some());
}
