//! Asks time servers (SNTP) over embassy-net, and tells the clock.
//!
//! Whom to ask and when is [`Sntp`]'s business, what to believe the clock's. Answers count only from the address and port that
//! was asked, on a port of the device's own that is another one for each question, and with the question's random number.
//!
//! DHCP's option 42 would name servers, too, but embassy-net does not hand it on; and there is no server that is asked without
//! having been set: those of pool.ntp.org want to be asked before somebody ships devices with their names.

use core::future::pending;

use embassy_net::dns::DnsQueryType;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpEndpoint, Stack};
use embassy_time::{Duration, with_timeout};
use log::{info, warn};
use otaria_device::board::Clock;
use otaria_device::time::sntp::{PACKET_LEN, PORT, Question, SntpError};
use otaria_device::time::{Learned, Outcome, PATIENCE, Sntp};

use crate::EmbassyClock;
use crate::clock::learn_unix_time;

/// Answers that may wait: one, and one from somebody else.
const QUEUE: usize = 2;

/// Asks these servers for the rest of the boot. `seed` is random.
pub(crate) async fn ask(stack: Stack<'_>, servers: &[impl AsRef<str>], seed: u64) -> ! {
    if servers.is_empty() {
        // Without a socket, which would take the place of another.
        pending::<()>().await;
    }
    let mut sntp = Sntp::new(servers.len(), seed, EmbassyClock.now());
    let (mut came, mut received) = ([PacketMetadata::EMPTY; QUEUE], [0; QUEUE * PACKET_LEN]);
    let (mut go, mut sent) = ([PacketMetadata::EMPTY; 1], [0; PACKET_LEN]);
    let mut socket = UdpSocket::new(stack, &mut came, &mut received, &mut go, &mut sent);
    while let Some((due, index)) = sntp.next() {
        EmbassyClock.sleep_until(due).await;
        stack.wait_config_up().await;
        let Some(server) = servers.get(index).map(AsRef::as_ref) else {
            break;
        };
        let (question, port) = sntp.question();
        let patience = Duration::from_micros(PATIENCE.as_micros());
        let asked = with_timeout(
            patience,
            exchange(stack, &mut socket, server, port, question),
        )
        .await;
        // Whatever still comes to this port is gone with it.
        socket.close();
        let outcome = match asked {
            Ok(Ok(seconds)) => Outcome::Answered(learn_unix_time(seconds)),
            Ok(Err(error)) => Outcome::Refused(error),
            Err(_) => Outcome::Silence,
        };
        report(server, outcome);
        sntp.ended(EmbassyClock.now(), outcome);
    }
    pending().await
}

/// One question. Never ends without an answer of the server's; to be dropped then.
async fn exchange(
    stack: Stack<'_>,
    socket: &mut UdpSocket<'_>,
    server: &str,
    port: u16,
    question: Question,
) -> Result<u64, SntpError> {
    let found = stack.dns_query(server, DnsQueryType::A).await;
    let address = found.ok().and_then(|addresses| addresses.first().copied());
    let Some(address) = address else {
        return pending().await;
    };
    let asked = IpEndpoint::new(address, PORT);
    if socket.bind(port).is_err() || socket.send_to(&question.encode(), asked).await.is_err() {
        return pending().await;
    }
    let mut datagram = [0; PACKET_LEN];
    loop {
        // One that is too long is no answer: an extension would have to be asked for.
        let Ok((len, from)) = socket.recv_from(&mut datagram).await else {
            continue;
        };
        if from.endpoint != asked {
            continue;
        }
        match question.answer(datagram.get(..len).unwrap_or_default()) {
            Err(SntpError::NotAnAnswer) => {}
            answer => return answer,
        }
    }
}

fn report(server: &str, outcome: Outcome) {
    match outcome {
        Outcome::Answered(Learned::Taken) => info!("time: as {server} says"),
        Outcome::Answered(Learned::Doubted) => {
            warn!("time: {server} says another one; who is right is asked elsewhere");
        }
        Outcome::Answered(Learned::BeforeFloor) => {
            warn!("time: {server} says one that has passed for certain");
        }
        Outcome::Silence => warn!("time: {server} does not answer"),
        Outcome::Refused(error) => warn!("time: {server}: {error}"),
    }
}
