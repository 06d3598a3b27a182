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

/// A request has to come in this time, and then its reply to leave: browsers open connections for nothing, and nobody else has a
/// turn meanwhile.
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
        let asked = with_timeout(PATIENCE, asked(&mut socket, portal, &mut request)).await;
        request.fill(0);
        let (reply, entered) = match asked {
            Ok(Some(Answer::Reply(reply))) => (reply, None),
            Ok(Some(Answer::Try { entered, reply })) => (reply, Some(entered)),
            Ok(Some(Answer::More) | None) | Err(_) => Default::default(),
        };
        // What was entered counts, whether or not the reply can be read.
        let _ = with_timeout(PATIENCE, send(&mut socket, &reply)).await;
        socket.close();
        // What is left of the request has to be read, or the reply may be thrown away with it.
        let _ = with_timeout(GOODBYE, async {
            let mut rest = [0; 64];
            while !matches!(socket.read(&mut rest).await, Ok(0) | Err(_)) {}
        })
        .await;
        socket.abort();
        let _ = with_timeout(GOODBYE, socket.flush()).await;
        if let Some(entered) = entered {
            return entered;
        }
    }
}

/// What there is to answer to one request; nothing if it does not come, or is too long.
async fn asked(
    socket: &mut TcpSocket<'_>,
    portal: &Portal<'_>,
    request: &mut [u8],
) -> Option<Answer> {
    let mut len = 0;
    loop {
        match portal.answer(request.get(..len)?) {
            Answer::More => {}
            answer => return Some(answer),
        }
        match socket.read(request.get_mut(len..)?).await {
            Ok(0) | Err(_) => return None,
            Ok(more) => len += more,
        }
    }
}

/// Sends a reply, as far as the other side takes it.
async fn send(socket: &mut TcpSocket<'_>, reply: &[u8]) {
    let mut rest = reply;
    while !rest.is_empty() {
        match socket.write(rest).await {
            Ok(written @ 1..) => rest = rest.get(written..).unwrap_or_default(),
            Ok(0) | Err(_) => return,
        }
    }
    let _ = with_timeout(GOODBYE, socket.flush()).await;
}
