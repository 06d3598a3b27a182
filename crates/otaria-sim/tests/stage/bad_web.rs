//! A web server that does as it is told, not as it should.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use embedded_io_async::{Read, Write};
use otaria_sim::net::SimStream;
use otaria_sim::world::Handle;

use super::{Front, Visit};

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// The number of requests before it.
    pub(crate) number: usize,
    /// When its head was complete.
    pub(crate) at: Duration,
    pub(crate) path: String,
    pub(crate) range_from: Option<u64>,
    pub(crate) if_range: Option<String>,
}

/// What it does, one thing after the other. After the last it closes in good order.
pub(crate) enum Act {
    Send(Vec<u8>),
    Wait(Duration),
    /// Sends a piece, waits, sends the next.
    Drip(Vec<u8>, usize, Duration),
    /// Sends this again and again, until nobody reads any more.
    Endless(Vec<u8>),
    /// Says nothing more, and stays.
    Hang,
    Reset,
}

/// What it has to serve.
#[derive(Clone)]
pub(crate) struct Files {
    /// The package that is asked for.
    pub(crate) good: Rc<[u8]>,
    /// Another good package.
    pub(crate) other: Rc<[u8]>,
    /// The image in the first package.
    pub(crate) image: Rc<[u8]>,
}

/// How it answers a GET.
pub(crate) type Answer = fn(&Ask, &Files) -> Vec<Act>;

/// What it has seen.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<Ask>>>);

impl Log {
    pub(crate) fn asks(&self) -> Vec<Ask> {
        self.0.borrow().clone()
    }
}

/// How it answers a HEAD, with which an image on trial sees whether anybody is there. The time is the world's.
pub(crate) type Presence = fn(Duration) -> Vec<Act>;

/// As it should be.
pub(crate) fn present(_: Duration) -> Vec<Act> {
    vec![Act::Send(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())]
}

/// A server that reads a request and then answers so.
pub(crate) fn answering(answer: Answer, presence: Presence, files: &Files) -> (Front, Log) {
    let log = Log::default();
    let (files, seen) = (files.clone(), log.clone());
    let front: Front = Rc::new(move |visit| {
        let (files, seen) = (files.clone(), seen.clone());
        Box::pin(async move {
            let Visit {
                mut stream, world, ..
            } = visit;
            let number = seen.0.borrow().len();
            let Some((method, ask)) = read_request(&mut stream, number, &world).await else {
                return;
            };
            if method == "HEAD" {
                return perform(presence(ask.at), stream, &world).await;
            }
            seen.0.borrow_mut().push(ask.clone());
            perform(answer(&ask, &files), stream, &world).await;
        })
    });
    (front, log)
}

/// A server that does this as soon as somebody connects.
pub(crate) fn greeting(acts: fn() -> Vec<Act>) -> Front {
    Rc::new(move |visit| Box::pin(async move { perform(acts(), visit.stream, &visit.world).await }))
}

/// Does all that, and closes.
pub(crate) async fn perform(acts: Vec<Act>, mut stream: SimStream, world: &Handle) {
    for act in acts {
        let sent = match act {
            Act::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
            Act::Wait(time) => {
                world.sleep(time).await;
                true
            }
            Act::Drip(bytes, piece, pause) => {
                let mut sent = true;
                for piece in bytes.chunks(piece) {
                    sent &= stream.write_all(piece).await.is_ok();
                    if !sent {
                        break;
                    }
                    world.sleep(pause).await;
                }
                sent
            }
            Act::Endless(bytes) => {
                // A sixteenth of a second a piece keeps virtual time going.
                while stream.write_all(&bytes).await.is_ok() {
                    world.sleep(Duration::from_millis(62)).await;
                }
                false
            }
            Act::Hang => std::future::pending().await,
            Act::Reset => {
                // What was sent before arrives before the reset does.
                let _ = stream.flush().await;
                stream.reset();
                return;
            }
        };
        if !sent {
            return;
        }
    }
    let _ = stream.flush().await;
}

async fn read_request(
    stream: &mut SimStream,
    number: usize,
    world: &Handle,
) -> Option<(String, Ask)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    let range = header("range");
    let mut words = head.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let ask = Ask {
        number,
        at: world.now(),
        path,
        range_from: range.and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        }),
        if_range: header("if-range"),
    };
    Some((method, ask))
}
