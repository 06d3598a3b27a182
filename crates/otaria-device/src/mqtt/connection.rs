//! One connection to the broker, from opening to closing: the only place here that reads, writes and waits.

use core::convert::Infallible;

use embassy_futures::select::{Either, select};
use embassy_futures::yield_now;
use embedded_io_async::{Read, Write};

use super::codec::encode;
use super::conversation::{Conversation, Duty, Todo};
use super::mailbox::Mailbox;
use super::{MqttError, MqttSession};
use crate::board::{Clock, Duration};
use crate::net::{Connect, Link, LinkError, Target};

/// For name look-up, TCP and TLS together.
const OPENING: Duration = Duration::from_secs(15);
/// For a packet to be taken over by the network.
const SENDING: Duration = Duration::from_secs(20);
/// For the last packet of a connection that is given up.
const CLOSING: Duration = Duration::from_secs(2);

/// Opens a connection and carries messages over it until it fails: why it did, and how long it was up, if it ever was.
pub(super) async fn run<C: Connect, K: Clock, M: Mailbox>(
    session: &mut MqttSession<'_>,
    connector: &C,
    clock: &K,
    mailbox: &M,
) -> (MqttError, Option<Duration>) {
    let target = Target {
        host: session.config.host,
        port: session.config.port,
        tls: session.config.tls,
    };
    let opening = connector.connect(clock, clock.now() + OPENING, &target);
    let stream = match opening.await {
        Ok(stream) => stream,
        Err(why) => return (why.into(), None),
    };
    let mut link = Link::new(stream, clock);
    let mut conversation = Conversation::new(session, mailbox, clock.now());
    let Err(why) = converse(&mut link, clock, &mut conversation).await;
    let lasted = conversation.lasted(clock.now());
    // If it is the broker's fault, it is told. That may fail: the connection is given up anyway.
    if let Some(reason) = why.told_to_the_broker() {
        let packet = encode::disconnect(reason);
        let _ = link.send(&packet, clock.now() + CLOSING).await;
    }
    (why, lasted)
}

async fn converse<S: Read + Write, K: Clock, M: Mailbox>(
    link: &mut Link<'_, S, K>,
    clock: &K,
    conversation: &mut Conversation<'_, '_, M>,
) -> Result<Infallible, MqttError> {
    loop {
        // Each round does one of each: so neither a flood from the broker nor a full mailbox keeps the other waiting.
        let mut busy = false;
        for duty in Duty::ALL {
            match conversation.perform(duty, clock.now())? {
                Todo::Nothing => {}
                Todo::ComeAgain => busy = true,
                Todo::Send(packet, then) => {
                    link.send(packet, clock.now() + SENDING).await?;
                    conversation.sent(then, clock.now())?;
                    busy = true;
                }
            }
        }
        if busy {
            yield_now().await;
            continue;
        }
        // Until bytes come in, something is to be sent, or time is up for something.
        let until = conversation.poll_at();
        let outgoing = conversation.outgoing();
        match select(link.read(conversation.space(), until), outgoing).await {
            Either::First(Ok(n)) => conversation.filled(n, clock.now())?,
            Either::First(Err(LinkError::Timeout)) | Either::Second(()) => {}
            Either::First(Err(error)) => return Err(conversation.broken(error)),
        }
    }
}
