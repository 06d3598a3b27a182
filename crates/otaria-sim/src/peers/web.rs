//! A web server for virtual time: files with ranges and entity tags, and answers written by hand for tests of bad servers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use embedded_io_async::{Read, Write};

use crate::world::Handle;

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// When its head was complete, in virtual time.
    pub at: Duration,
    /// The request target: path and query.
    pub path: String,
    /// The first byte asked for by `Range: bytes=N-`.
    pub range_from: Option<u64>,
    /// The value of `If-Range`.
    pub if_range: Option<String>,
    /// The whole head, as text.
    pub head: String,
}

/// One thing that the server does on a connection after a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Does nothing for a while.
    Wait(Duration),
    /// Stays connected and says nothing more.
    Hang,
}

/// Decides what to do with a request; `None` leaves it to the files. After the last act the connection is closed.
pub type Script = Box<dyn FnMut(&Request) -> Option<Vec<Act>>>;

/// A file and how it is served.
#[derive(Debug, Clone)]
pub struct File {
    /// Its bytes.
    pub bytes: Rc<[u8]>,
    /// A strong entity tag, with its quotes, if the server sends one.
    pub etag: Option<String>,
    /// Whether `Range` is honoured; Python's `http.server` does not.
    pub ranges: bool,
}

impl File {
    /// A file that is served as nginx would: with ranges and a strong entity tag.
    pub fn new(bytes: impl Into<Rc<[u8]>>, etag: &str) -> Self {
        File {
            bytes: bytes.into(),
            etag: Some(format!("\"{etag}\"")),
            ranges: true,
        }
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, File>,
    script: Option<Script>,
    log: Vec<Request>,
}

/// The web server. Clones are handles to the same one.
#[derive(Clone)]
pub struct WebServer {
    world: Handle,
    state: Rc<RefCell<State>>,
}

impl WebServer {
    /// A server without files.
    pub fn new(world: Handle) -> Self {
        WebServer {
            world,
            state: Rc::default(),
        }
    }

    /// Serves `file` at `path` (with its leading slash) from now on.
    pub fn put(&self, path: &str, file: File) {
        self.state.borrow_mut().files.insert(path.to_owned(), file);
    }

    /// Takes a file away.
    pub fn remove(&self, path: &str) {
        self.state.borrow_mut().files.remove(path);
    }

    /// Lets `script` look at each request first.
    pub fn set_script(&self, script: Script) {
        self.state.borrow_mut().script = Some(script);
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state.borrow().log.clone()
    }

    /// Answers one request on a connection and returns, which closes it.
    pub async fn serve<C: Read + Write>(&self, mut connection: C) {
        let Some(request) = self.read_request(&mut connection).await else {
            return;
        };
        self.state.borrow_mut().log.push(request.clone());
        for act in self.answer(&request) {
            let sent = match act {
                Act::Send(bytes) => connection.write_all(&bytes).await.is_ok(),
                Act::Wait(time) => {
                    self.world.sleep(time).await;
                    true
                }
                Act::Hang => core::future::pending().await,
            };
            if !sent {
                return;
            }
        }
        // A peer that has gone already is no concern of a server that has said all it had to say.
        let _ = connection.flush().await;
    }

    fn answer(&self, request: &Request) -> Vec<Act> {
        // The script is taken out meanwhile, so that it may use this server.
        let script = self.state.borrow_mut().script.take();
        if let Some(mut script) = script {
            let acts = script(request);
            self.state.borrow_mut().script.get_or_insert(script);
            if let Some(acts) = acts {
                return acts;
            }
        }
        vec![Act::Send(self.file_answer(request))]
    }

    fn file_answer(&self, request: &Request) -> Vec<u8> {
        let state = self.state.borrow();
        let Some(file) = state.files.get(&request.path) else {
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_vec();
        };
        let total = file.bytes.len();
        let etag = file
            .etag
            .as_ref()
            .map(|etag| format!("ETag: {etag}\r\n"))
            .unwrap_or_default();
        let unchanged = request.if_range.is_none() || request.if_range == file.etag;
        let start = request.range_from.filter(|_| file.ranges && unchanged);
        let start = start.map(|start| usize::try_from(start).unwrap_or(usize::MAX));
        let (head, body) = match start {
            Some(start) if start >= total => {
                let head = format!(
                    "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\n"
                );
                (head, &[][..])
            }
            Some(start) => {
                let body = &file.bytes[start..];
                let last = total - 1;
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{last}/{total}\r\nContent-Length: {length}\r\n"
                );
                (head, body)
            }
            None => (
                format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n"),
                &file.bytes[..],
            ),
        };
        [
            format!("{head}{etag}Connection: close\r\n\r\n").as_bytes(),
            body,
        ]
        .concat()
    }

    async fn read_request<C: Read>(&self, connection: &mut C) -> Option<Request> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0; 1];
            connection
                .read(&mut byte)
                .await
                .ok()
                .filter(|count| *count > 0)?;
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
        let range_from = header("range").and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        });
        Some(Request {
            at: self.world.now(),
            path: head.split(' ').nth(1)?.to_owned(),
            range_from,
            if_range: header("if-range"),
            head,
        })
    }
}
