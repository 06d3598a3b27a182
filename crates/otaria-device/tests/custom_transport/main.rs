//! `examples/custom-transport`: its network against a gateway, over a line with little room. The gateway is in `gateway.rs` here,
//! the device's end is the example's own file.

// What the example has from `otaria_esp`.
extern crate self as otaria_esp;

mod far_end;
#[allow(unreachable_pub, reason = "there it is a module of a program")]
#[path = "../../../../examples/custom-transport/src/gateway.rs"]
mod gateway;

use core::future::Future;
use core::net::Ipv4Addr;

use embassy_futures::select::{Either3, select3};
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{Read, Write};
use otaria_device::board::{Clock, Instant as Moment};
use otaria_device::net::{Connect as _, ConnectError, Target};

use far_end::{Line, far_end};
use gateway::{Connection, Gateway};

/// As in `otaria-embassy`.
pub trait Uplink {
    /// Whether there is a network.
    fn is_up(&self) -> bool;
    /// The device's address.
    fn address(&self) -> Option<Ipv4Addr>;
}

struct StdClock;

impl Clock for StdClock {
    fn now(&self) -> Moment {
        Moment::from_micros(Instant::now().as_micros())
    }

    fn sleep_until(&self, at: Moment) -> impl Future<Output = ()> {
        Timer::at(Instant::from_micros(at.as_micros()))
    }

    fn unix_time(&self) -> Option<u64> {
        None
    }
}

/// Runs a test on a device whose gateway is at the other end of its line.
fn with_gateway(test: impl AsyncFnOnce(&Gateway)) {
    let gateway = Gateway::new();
    let (to_device, to_gateway) = (Line::new(), Line::new());
    let whole = select3(
        gateway.run(&to_device, &to_gateway),
        far_end(&to_gateway, &to_device),
        test(&gateway),
    );
    match embassy_futures::block_on(whole) {
        Either3::First(never) | Either3::Second(never) => never,
        Either3::Third(()) => {}
    }
}

async fn connect<'a>(gateway: &'a Gateway, host: &str) -> Result<Connection<'a>, ConnectError> {
    let target = Target {
        host,
        port: 1,
        tls: false,
    };
    // Only one of them makes anybody wait; for the others this machine may be busy.
    let patience = Duration::from_millis(if host == "mute" { 100 } else { 20_000 });
    let deadline = Moment::from_micros((Instant::now() + patience).as_micros());
    gateway.connect(&StdClock, deadline, &target).await
}

async fn echo(connection: &mut Connection<'_>, data: &[u8]) {
    let mut rest = data;
    while !rest.is_empty() {
        let sent = connection.write(rest).await.unwrap();
        rest = &rest[sent..];
    }
    let mut heard = Vec::new();
    while heard.len() < data.len() {
        let mut bytes = [0; 97];
        let len = connection.read(&mut bytes).await.unwrap();
        assert_ne!(len, 0, "closed");
        heard.extend_from_slice(&bytes[..len]);
    }
    assert_eq!(heard, data);
}

#[test]
fn the_gateway_says_whether_there_is_a_network() {
    with_gateway(async |gateway| {
        assert!(!gateway.is_up());
        Timer::after(Duration::from_millis(50)).await;
        assert!(gateway.is_up());
    });
}

#[test]
fn every_byte_goes_through_and_back() {
    with_gateway(async |gateway| {
        let mut connection = connect(gateway, "echo").await.unwrap();
        let bytes: Vec<u8> = (0..2_000_u32).map(|n| (n * 7) as u8).collect();
        echo(&mut connection, &bytes).await;
    });
}

#[test]
fn a_connection_that_does_not_come_about_is_named_and_gives_its_channel_back() {
    with_gateway(async |gateway| {
        for _ in 0..4 {
            let refused = connect(gateway, "refuses").await;
            assert!(matches!(refused, Err(ConnectError::Refused)));
        }
        for _ in 0..4 {
            let mute = connect(gateway, "mute").await;
            assert!(matches!(mute, Err(ConnectError::Timeout)));
        }
        echo(&mut connect(gateway, "echo").await.unwrap(), b"still there").await;
    });
}

#[test]
fn what_was_sent_to_a_connection_that_was_dropped_is_not_heard_by_the_next_one() {
    with_gateway(async |gateway| {
        for _ in 0..3 {
            let mut flood = connect(gateway, "flood").await.unwrap();
            assert_ne!(flood.read(&mut [0; 100]).await.unwrap(), 0);
            // The line and the buffer are full now.
            Timer::after(Duration::from_millis(20)).await;
            drop(flood);
            let mut connection = connect(gateway, "echo").await.unwrap();
            echo(&mut connection, b"nothing else").await;
        }
    });
}

#[test]
fn the_last_byte_comes_before_the_end() {
    with_gateway(async |gateway| {
        let mut flood = connect(gateway, "flood").await.unwrap();
        let mut heard = 0;
        loop {
            let mut bytes = [0; 333];
            let len = flood.read(&mut bytes).await.unwrap();
            if len == 0 {
                break;
            }
            let expected: Vec<u8> = (heard..heard + len).map(far_end::flood_byte).collect();
            assert_eq!(bytes[..len], expected);
            heard += len;
        }
        assert_eq!(heard, far_end::FLOOD);
        assert!(flood.write(b"too late").await.is_err());
    });
}

#[test]
fn three_connections_live_beside_each_other_and_a_fourth_is_an_error() {
    with_gateway(async |gateway| {
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(connect(gateway, "echo").await.unwrap());
        }
        assert!(matches!(
            connect(gateway, "echo").await,
            Err(ConnectError::Failed(_))
        ));
        for connection in &mut open {
            echo(connection, b"hello").await;
        }
    });
}
