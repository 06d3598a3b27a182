use core::time::Duration;

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use otaria_device::board::{Clock, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::flash::Busy;
use crate::net::{HostConfig, LinkConfig, SimNet};
use crate::world::{SimClock, World};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn the_clock_counts_from_the_boot_and_sleeps_until_its_moment() {
    tokio::time::sleep(50 * MS).await;
    let clock = RealClock::boot(Busy::default());
    assert_eq!(clock.now(), Instant::ZERO);
    clock.sleep_until(Instant::from_millis(1_500)).await;
    let late = clock.now().since(Instant::from_millis(1_500));
    assert!(
        late <= MS.into(),
        "tokio's timer is exact to a millisecond: {late:?}"
    );
    assert!(clock.unix_time() > Some(1_700_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_sleep_until_never_does_not_end_and_can_be_cancelled() {
    let clock = RealClock::boot(Busy::default());
    let hour = clock.sleep_until(Instant::from_secs(3_600));
    assert!(matches!(
        select(clock.sleep_until(Instant::MAX), hour).await,
        Either::Second(())
    ));
}

#[test]
fn the_clock_is_ahead_by_what_flash_has_charged() {
    let busy = Busy::default();
    let clock = RealClock::boot(busy.clone());
    busy.charge(Duration::from_secs(100));
    assert!(clock.now() >= Instant::from_secs(100));
}

#[tokio::test]
async fn real_sockets_carry_bytes_and_the_end_of_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(b"pong").await.unwrap();
        request
    });
    let mut stream = RealNetwork.connect(addr).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(stream.read(&mut [0; 4]).await.unwrap(), 0);
    assert_eq!((&answer, &server.await.unwrap()), (b"pong", b"ping"));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_refused() {
    let addr = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = RealNetwork.connect(addr).await.err().unwrap();
    assert_eq!(
        embedded_io_async::Error::kind(&error),
        embedded_io_async::ErrorKind::ConnectionRefused
    );
}

#[tokio::test]
async fn the_system_knows_localhost_and_plain_addresses() {
    let addr = RealNetwork
        .get_host_by_name("localhost", AddrType::Either)
        .await
        .unwrap();
    assert!(addr.is_loopback());
    let addr = RealNetwork
        .get_host_by_name("127.0.0.1", AddrType::IPv4)
        .await
        .unwrap();
    assert!(addr.is_loopback());
    assert!(
        RealNetwork
            .get_host_by_name("127.0.0.1", AddrType::IPv6)
            .await
            .is_err()
    );
}

/// A server in a world that answers one byte with `len` bytes, and a client that reads them through a radio; when it has them.
fn through_radio(config: RadioConfig, switch: &RadioSwitch, world: &World, len: usize) -> Duration {
    let net = SimNet::new(world);
    let ideal = HostConfig {
        link: LinkConfig::IDEAL,
        ..HostConfig::server()
    };
    let server = net.host("server", [10, 0, 0, 1].into(), ideal);
    let client = net.host("client", [10, 0, 0, 2].into(), ideal);
    let mut listener = server.bind(80).unwrap();
    world.spawn("server", async move {
        let mut stream = listener.accept().await;
        stream.read_exact(&mut [0; 1]).await.unwrap();
        let _ = stream.write_all(&vec![7; len]).await;
    });
    let clock = SimClock::boot(world.handle(), Busy::default());
    let radio = Radio::new(client, clock, config, switch.clone());
    world.block_on(async {
        let addr = radio
            .get_host_by_name("server", AddrType::IPv4)
            .await
            .unwrap();
        let mut stream = radio.connect((addr, 80).into()).await.unwrap();
        stream.write_all(b"?").await.unwrap();
        let mut buf = [0; 4096];
        let mut received = 0;
        while received < len {
            let read = stream.read(&mut buf).await.unwrap();
            assert!(buf[..read].iter().all(|byte| *byte == 7));
            received += read;
        }
        // The next read waits until the last bytes are through.
        assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
        world.now()
    })
}

#[test]
fn a_radio_without_limits_is_transparent() {
    let took = through_radio(
        RadioConfig::default(),
        &RadioSwitch::new(),
        &World::new(1),
        100_000,
    );
    assert_eq!(took, Duration::ZERO);
}

#[test]
fn a_radio_carries_its_bandwidth_after_its_latencies() {
    let config = RadioConfig {
        bits_per_second: 1_000_000,
        latency: 20 * MS,
    };
    let took = through_radio(config, &RadioSwitch::new(), &World::new(1), 125_000);
    // A round trip each for the name, the connection and the answer, then a megabit.
    let expected = 120 * MS + 1_000 * MS;
    assert!(took >= expected && took <= expected + MS, "{took:?}");
}

#[test]
fn a_radio_that_is_switched_off_loses_nothing() {
    let world = World::new(1);
    let config = RadioConfig {
        bits_per_second: 1_000_000,
        latency: Duration::ZERO,
    };
    let switch = RadioSwitch::new();
    let (off, on) = (switch.clone(), switch.clone());
    world.at(400 * MS, move || off.set_on(false));
    world.at(60_000 * MS, move || on.set_on(true));
    let took = through_radio(config, &switch, &world, 125_000);
    assert!(
        took >= 60_600 * MS - 20 * MS && took <= 60_600 * MS + 20 * MS,
        "{took:?}"
    );
    assert!(switch.is_on());
}
