mod connections;
mod faulty;
mod links;

use core::time::Duration;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};

use super::*;
use crate::flash::Busy;
use crate::world::{World, paced};

const MS: Duration = Duration::from_millis(1);
const SERVER: [u8; 4] = [10, 0, 0, 1];
const DEVICE: [u8; 4] = [10, 0, 0, 2];

/// A server and a device, with the server listening on port 80.
struct Lab {
    world: World,
    server: Host,
    device: Host,
    listener: Option<Listener>,
}

impl Lab {
    fn with(config: HostConfig) -> Lab {
        let world = World::new(7);
        let net = SimNet::new(&world);
        let server = net.host("server.lan", SERVER.into(), HostConfig::server());
        let device = net.host("device.lan", DEVICE.into(), config);
        let listener = Some(server.bind(80).unwrap());
        Lab {
            world,
            server,
            device,
            listener,
        }
    }

    fn new() -> Lab {
        Lab::with(HostConfig::device())
    }

    /// A connection: the device's end and the server's.
    fn pair(&mut self) -> (SimStream, SimStream) {
        let mut listener = self.listener.take().unwrap();
        let device = self.device.clone();
        let (client, server) = self
            .world
            .block_on(join(connect(&device), listener.accept()));
        self.listener = Some(listener);
        (client.unwrap(), server)
    }

    /// Starts a server that writes `data` to the first connection and closes it.
    fn serve(&mut self, data: Vec<u8>) {
        let mut listener = self.listener.take().unwrap();
        self.world.spawn("server", async move {
            let mut stream = listener.accept().await;
            let _ = stream.write_all(&data).await;
        });
    }
}

async fn connect(host: &Host) -> Result<SimStream, NetError> {
    host.connect((SERVER, 80).into()).await
}

fn link(latency: Duration, bits_per_second: u64) -> LinkConfig {
    LinkConfig {
        latency,
        bits_per_second,
        ..LinkConfig::IDEAL
    }
}

fn device(latency: Duration, bits_per_second: u64, window: usize) -> HostConfig {
    HostConfig {
        link: link(latency, bits_per_second),
        window,
        ..HostConfig::device()
    }
}

async fn read_all(stream: &mut SimStream) -> Result<Vec<u8>, NetError> {
    let mut all = Vec::new();
    let mut buf = [0; 2048];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(all),
            len => all.extend_from_slice(&buf[..len]),
        }
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    fastrand::Rng::with_seed(1).fill(&mut data);
    data
}

/// Downloads `len` bytes over a link; what arrived, and when.
fn download(config: HostConfig, len: usize) -> (Vec<u8>, Duration) {
    let mut lab = Lab::with(config);
    lab.serve(noise(len));
    let device = lab.device.clone();
    lab.world.block_on(async {
        let mut stream = connect(&device).await.unwrap();
        (read_all(&mut stream).await.unwrap(), lab.world.now())
    })
}
