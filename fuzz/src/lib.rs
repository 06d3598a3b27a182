//! What the targets that fuzz a whole client share: a world with one server that says what the fuzzer wrote.
#![forbid(unsafe_code)]

use core::time::Duration;

use embedded_io_async::{Read, Write};
use otaria_sim::flash::Busy;
use otaria_sim::net::{Host, HostConfig, LinkConfig, SimNet};
use otaria_sim::world::{SimClock, World};

/// Virtual time that a client gets for each input. All its time-outs lie below.
pub const PATIENCE: Duration = Duration::from_secs(200);

/// A device in a world with a server, and the device's clock.
pub struct Scene {
    /// The world; dropped last.
    pub world: World,
    /// The device's end of the net.
    pub device: Host,
    /// The device's clock.
    pub clock: SimClock,
    _server: Host,
}

impl Scene {
    /// A scene whose server at `server:port` waits for a first request, then writes `greeting` and `bytes` in pieces of
    /// `piece` bytes and closes the connection, each time somebody connects.
    pub fn new(port: u16, greeting: &'static [u8], piece: u8, bytes: &[u8]) -> Self {
        let world = World::new(1);
        let net = SimNet::new(&world);
        let link = LinkConfig {
            latency: Duration::from_millis(1),
            ..LinkConfig::IDEAL
        };
        let server = net.host(
            "server",
            [10, 0, 0, 1].into(),
            HostConfig {
                link,
                ..HostConfig::server()
            },
        );
        let device = net.host(
            "device",
            [10, 0, 0, 2].into(),
            HostConfig {
                link,
                ..HostConfig::device()
            },
        );
        let mut listener = server
            .bind(port)
            .expect("nobody else listens in this world");
        let bytes = bytes.to_vec();
        world.spawn("server", async move {
            loop {
                let mut stream = listener.accept().await;
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(greeting).await;
                for piece in bytes.chunks(usize::from(piece).max(1)) {
                    if stream.write_all(piece).await.is_err() {
                        break;
                    }
                }
                let _ = stream.flush().await;
            }
        });
        let clock = SimClock::boot(world.handle(), Busy::default());
        Scene {
            world,
            device,
            clock,
            _server: server,
        }
    }
}
