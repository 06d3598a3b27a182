//! How fast an update is in virtual time, with a W25Q's flash and a 4 Mbit/s link, against what link and flash alone would take,
//! and against the loop that most updaters are: receive, erase, write.
//!
//! Virtual time is deterministic, so the bounds are exact. `cargo test -p otaria-sim --test throughput -- --nocapture` prints the
//! figures of docs/PERFORMANCE.md.

mod stage;

use std::time::Duration;

use embassy_futures::yield_now;
use embedded_storage::nor_flash::NorFlash;
use otaria_device::http::{GetRequest, HttpClient, UrlPolicy};
use otaria_device::net::PlainTcp;
use otaria_package::pack::CodecChoice;
use otaria_sim::flash::{Op, OpKind, SimFlash, Timing};
use otaria_sim::net::{HostConfig, LinkConfig, SimNet};
use otaria_sim::peers::web::{File, WebServer};
use otaria_sim::world::{SimClock, World, paced};
use otaria_wire::partitions::{DEFAULT_4MB, Layout};
use stage::{MINUTE, Plan, Stage, release};

const IMAGE_LEN: usize = 1 << 20;
const FLASH: Timing = Timing::W25Q;
/// Payload bits a second.
const LINK: u64 = 4_000_000;

/// The device's network: a link of this speed, 5 ms away from everything, and this TCP window.
fn network(bits_per_second: u64, window: usize) -> HostConfig {
    HostConfig {
        link: LinkConfig {
            bits_per_second,
            ..LinkConfig::WIFI
        },
        window,
        ..HostConfig::device()
    }
}

/// The time for which a command keeps the chip.
fn duration(op: &Op) -> Duration {
    match op.kind {
        OpKind::SectorErase => FLASH.sector_erase,
        OpKind::BlockErase => FLASH.block_erase,
        OpKind::Write => {
            let pages = (op.addr + op.len - 1) / 256 - op.addr / 256 + 1;
            FLASH.page_program * pages
        }
    }
}

/// What the flash alone needs for an image, if every sector has to be erased.
fn pure_flash(image_len: usize) -> Duration {
    let blocks = image_len.div_ceil(65_536) as u32;
    let pages = image_len.div_ceil(256) as u32;
    FLASH.block_erase * blocks + FLASH.page_program * pages
}

/// What the flash alone needs for an image, if the slot is blank.
fn pure_writing(image_len: usize) -> Duration {
    FLASH.page_program * image_len.div_ceil(256) as u32
}

/// What the link alone needs for so many bytes.
fn pure_link(bytes: usize, bits_per_second: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 * 8.0 / bits_per_second as f64)
}

/// Where the time of an update went, from the first byte of the request to the end of the activation write.
#[derive(Debug)]
struct Measured {
    took: Duration,
    slot_erase: Duration,
    slot_write: Duration,
    journal: Duration,
    table: Duration,
    otadata: Duration,
    log: Duration,
    reading: Duration,
}

impl Measured {
    /// The time for which the flash did nothing.
    fn idle(&self) -> Duration {
        let busy = self.slot_erase
            + self.slot_write
            + self.journal
            + self.table
            + self.otadata
            + self.log
            + self.reading;
        self.took.saturating_sub(busy)
    }

    fn account(took: Duration, ops: &[Op], bytes_read: u64, layout: &Layout) -> Self {
        let mut measured = Self {
            took,
            slot_erase: Duration::ZERO,
            slot_write: Duration::ZERO,
            journal: Duration::ZERO,
            table: Duration::ZERO,
            otadata: Duration::ZERO,
            log: Duration::ZERO,
            reading: Duration::from_secs_f64(
                bytes_read as f64 / FLASH.read_bytes_per_second as f64,
            ),
        };
        let table_at = layout.journal.offset + 8 * 4096;
        for op in ops {
            let place = match op.addr {
                addr if addr >= layout.log.offset => &mut measured.log,
                addr if addr >= table_at => &mut measured.table,
                addr if addr >= layout.journal.offset => &mut measured.journal,
                addr if addr >= layout.slots[0].offset && op.kind.is_erase() => {
                    &mut measured.slot_erase
                }
                addr if addr >= layout.slots[0].offset => &mut measured.slot_write,
                _ => &mut measured.otadata,
            };
            *place += duration(op);
        }
        measured
    }
}

/// The update path as it is in the device.
fn update(network: HostConfig, blank: bool) -> Measured {
    let stage = Stage::set(&Plan {
        timing: FLASH,
        network,
        image_len: IMAGE_LEN,
        ..Plan::default()
    });
    if blank {
        let slot = stage.layout.slots[1];
        stage
            .device
            .flash_mut()
            .load(slot.offset, &vec![0xFF; slot.len as usize]);
    }
    let package = stage.package("1.1.0", IMAGE_LEN, CodecChoice::Stored);
    stage.put("/app.otaria", package.bytes);
    stage.wish("measured", "/app.otaria");
    // From the connection to the web server on, look at the flash after every step of the world.
    stage
        .world
        .run_while(|| stage.web_door.visits().is_empty() && stage.world.now() < MINUTE);
    let first = stage.op_count();
    let read_before = stage.device.flash().stats().bytes_read;
    let otadata = stage.layout.otadata;
    let mut looked = first;
    let mut activated = false;
    stage.world.run_while(|| {
        let flash = stage.device.flash();
        for op in &flash.log()[looked as usize..] {
            looked += 1;
            activated |= op.kind == OpKind::Write
                && (otadata.offset..otadata.offset + otadata.len).contains(&op.addr);
        }
        // A command has taken effect at once, and keeps the chip until its time has passed.
        (!activated || flash.busy().is_busy()) && stage.world.now() < 10 * MINUTE
    });
    assert!(activated, "{}", stage.story());
    let end = stage.world.now();
    let read = stage.device.flash().stats().bytes_read;
    let start = asked_at(&stage.web, network.link);
    let ops = stage.device.flash().log()[first as usize..looked as usize].to_vec();
    let measured = Measured::account(end - start, &ops, read - read_before, &stage.layout);
    assert!(
        stage.run_until(5 * MINUTE, |stage| stage.check("1.1.0").is_ok()),
        "{}",
        stage.story()
    );
    measured
}

/// The loop: receive some bytes, erase their place, write them. After the last, the slot is activated as by Otaria. Nothing is
/// checked, kept for a resume, or read back.
fn receive_then_write(network: HostConfig, chunk: usize, erase: u32) -> Duration {
    let world = World::new(1);
    let net = SimNet::new(&world);
    let server = net.host("files", [10, 0, 0, 2].into(), HostConfig::server());
    let host = net.host("device", [10, 0, 0, 9].into(), network);
    let web = WebServer::new(world.handle());
    web.put("/image.bin", File::new(release("1.1.0", IMAGE_LEN), "1"));
    let mut listener = server.bind(80).expect("the port is free");
    let serving = web.clone();
    world.spawn("server", async move {
        serving.serve(listener.accept().await).await;
    });

    let mut flash = SimFlash::new(0x40_0000).with_timing(FLASH);
    let busy = flash.busy().clone();
    host.set_busy(busy.clone());
    let clock = SimClock::boot(world.handle(), busy.clone());
    let program = async {
        let connector = PlainTcp::new(&host);
        let mut http = HttpClient::new(&connector, &clock, UrlPolicy::ANY);
        let request = GetRequest::whole("http://files/image.bin");
        let mut response = http.get(&request).await.expect("an answer");
        let (slot, otadata) = (DEFAULT_4MB.slots[1].offset, DEFAULT_4MB.otadata.offset);
        let mut buffer = vec![0; chunk];
        for at in (0..IMAGE_LEN as u32).step_by(chunk) {
            let mut have = 0;
            while have < chunk {
                have += response.read(&mut buffer[have..]).await.expect("a body");
            }
            for (at, sector) in (at..).step_by(4096).zip(buffer.chunks(4096)) {
                let place = slot + at;
                if at.is_multiple_of(erase) {
                    flash.erase(place, place + erase).expect("an erase");
                    yield_now().await;
                }
                flash.write(place, sector).expect("a write");
                yield_now().await;
            }
        }
        flash.erase(otadata, otadata + 4096).expect("an erase");
        flash.write(otadata, &[0; 32]).expect("a write");
    };
    let sleeper = world.handle();
    world.block_on(paced(busy, |time| sleeper.sleep(time), program));
    world.now() - asked_at(&web, network.link)
}

/// When the first byte of the first request left the device.
fn asked_at(web: &WebServer, link: LinkConfig) -> Duration {
    let request = web.requests()[0].clone();
    request.at - link.latency - pure_link(request.head.len(), link.bits_per_second)
}

fn ratio(took: Duration, of: Duration) -> f64 {
    took.as_secs_f64() / of.as_secs_f64()
}

#[test]
fn an_update_of_a_mebibyte_is_close_to_what_flash_and_link_allow_and_quicker_than_the_loop() {
    for window in [8 * 1024, 16 * 1024] {
        let network = network(LINK, window);
        let measured = update(network, false);
        let flash = pure_flash(IMAGE_LEN);
        let link = pure_link(IMAGE_LEN, LINK);
        let bound = flash.max(link);
        println!("window {window}: flash alone {flash:?}, link alone {link:?}");
        println!(
            "  update               {:>8.3} s, {:.3} of the larger; flash idle {:?}\n    {measured:?}",
            measured.took.as_secs_f64(),
            ratio(measured.took, bound),
            measured.idle(),
        );
        for (chunk, erase) in [(4096, 4096), (16_384, 4096), (16_384, 65_536)] {
            let loops = receive_then_write(network, chunk, erase);
            println!(
                "  loop {chunk:>5}, erase {erase:>5} {:>8.3} s, {:.3}",
                loops.as_secs_f64(),
                ratio(loops, bound)
            );
            assert!(
                measured.took < loops,
                "window {window}: the loop of {chunk} takes {loops:?}, the update {:?}",
                measured.took
            );
        }
        assert!(ratio(measured.took, bound) <= 1.15, "{measured:?}");
    }
}

#[test]
fn a_blank_slot_costs_no_erase() {
    for window in [8 * 1024, 16 * 1024] {
        let measured = update(network(LINK, window), true);
        let bound = pure_writing(IMAGE_LEN).max(pure_link(IMAGE_LEN, LINK));
        println!(
            "window {window}, blank slot: {:.3} s, {:.3} of writing alone; flash idle {:?}\n  {measured:?}",
            measured.took.as_secs_f64(),
            ratio(measured.took, bound),
            measured.idle(),
        );
        assert_eq!(measured.slot_erase, Duration::ZERO);
        assert!(ratio(measured.took, bound) <= 1.15, "{measured:?}");
    }
}

/// What the update does and the loop does not: reading the image back, the journal, header and table.
const EXTRA: Duration = Duration::from_millis(250);

/// Other links and windows, for the figures: where the link bounds the update, a window that is smaller than what the link
/// carries during an erase costs the difference, and the loop loses as much.
#[test]
fn on_slower_and_quicker_links_an_update_is_not_slower_than_the_loop_either() {
    for bits_per_second in [500_000, 1_000_000, 2_000_000, 8_000_000, 20_000_000] {
        for window in [4 * 1024, 8 * 1024, 16 * 1024] {
            let network = network(bits_per_second, window);
            let measured = update(network, false);
            let bound = pure_flash(IMAGE_LEN).max(pure_link(IMAGE_LEN, bits_per_second));
            let loops = [4096, 65_536].map(|erase| receive_then_write(network, 16_384, erase));
            println!(
                "{:>5} kbit/s, window {window:>5}: update {:>7.3} s, {:.3}; loops {:.3}, {:.3}",
                bits_per_second / 1000,
                measured.took.as_secs_f64(),
                ratio(measured.took, bound),
                ratio(loops[0], bound),
                ratio(loops[1], bound),
            );
            for loops in loops {
                assert!(measured.took < loops + EXTRA, "{measured:?}, {loops:?}");
            }
        }
    }
}
