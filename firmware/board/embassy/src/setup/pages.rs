//! The set-up page's web server: one request a connection, two connections at a time.

use alloc::vec;
use core::future::pending;

use embassy_futures::select::{Either, select};
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, with_timeout};
use otaria_settings::portal::{Answer, Entered, MAX_REQUEST_LEN, Portal};
use zeroize::Zeroizing;

const PORT: u16 = 80;
const RECEIVED_LEN: usize = 1024;
const SENT_LEN: usize = 1536;

/// A request has to come, and its reply to leave, in this time: browsers open connections for nothing, and nobody else has a turn
/// meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// The other side's goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves the page until something is entered, and its reply has left.
pub(super) async fn serve(stack: Stack<'_>, portal: &Portal<'_>) -> Entered {
    match select(connections(stack, portal), connections(stack, portal)).await {
        Either::First(entered) | Either::Second(entered) => entered,
    }
}

async fn connections(stack: Stack<'_>, portal: &Portal<'_>) -> Entered {
    let (mut received, mut sent) = (vec![0; RECEIVED_LEN], vec![0; SENT_LEN]);
    // It may hold a password.
    let mut request = Zeroizing::new(vec![0; MAX_REQUEST_LEN]);
    let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
    loop {
        if socket.accept(PORT).await.is_err() {
            // Only if the port were 0, or the socket in use.
            return pending().await;
        }
        let entered = with_timeout(PATIENCE, exchange(&mut socket, portal, &mut request)).await;
        request.fill(0);
        socket.close();
        // What is left of the request has to be read, or the reply may be thrown away with it.
        let _ = with_timeout(GOODBYE, async {
            let mut rest = [0; 64];
            while !matches!(socket.read(&mut rest).await, Ok(0) | Err(_)) {}
        })
        .await;
        socket.abort();
        let _ = with_timeout(GOODBYE, socket.flush()).await;
        if let Ok(Some(entered)) = entered {
            return entered;
        }
    }
}

/// One request and its reply.
async fn exchange(
    socket: &mut TcpSocket<'_>,
    portal: &Portal<'_>,
    request: &mut [u8],
) -> Option<Entered> {
    let mut len = 0;
    let answer = loop {
        match portal.answer(request.get(..len)?) {
            Answer::More => {}
            answer => break answer,
        }
        match socket.read(request.get_mut(len..)?).await {
            Ok(0) | Err(_) => return None,
            Ok(more) => len += more,
        }
    };
    let (reply, entered) = match answer {
        Answer::Reply(reply) => (reply, None),
        Answer::Try { entered, reply } => (reply, Some(entered)),
        Answer::More => return None,
    };
    let mut rest = &reply[..];
    while !rest.is_empty() {
        match socket.write(rest).await {
            // What was entered counts, whether or not the reply can be read.
            Ok(0) | Err(_) => return entered,
            Ok(written) => rest = rest.get(written..)?,
        }
    }
    let _ = with_timeout(GOODBYE, socket.flush()).await;
    entered
}
