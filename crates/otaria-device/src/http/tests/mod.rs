//! The client against scripted servers, in virtual time.

mod bodies;
mod properties;
mod requests;

use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

use super::*;
use crate::board::Instant;
use crate::net::testing::{Dial, FakeClock, FakeNet, Wire, run};

/// Where [`Bench`] keeps the requests that it got.
type Requests = Rc<core::cell::RefCell<Vec<String>>>;

/// Servers, one for each connection, and what they were asked.
struct Bench {
    clock: Rc<FakeClock>,
    dials: Vec<Dial>,
    requests: Requests,
    dialed: Vec<(Instant, String)>,
    policy: UrlPolicy<'static>,
}

/// What came of a whole download.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    status: u16,
    start: u64,
    total_len: Option<u64>,
    etag: Option<String>,
    body: Vec<u8>,
    /// `Ok` if the body ended as it should.
    end: Result<(), HttpError>,
}

impl Bench {
    fn new() -> Self {
        Self {
            clock: Rc::default(),
            dials: Vec::new(),
            requests: Rc::default(),
            dialed: Vec::new(),
            policy: UrlPolicy::ANY,
        }
    }

    fn dial(mut self, dial: Dial) -> Self {
        self.dials.push(dial);
        self
    }

    /// The next connection is to a server that does `act` when it has got a whole request.
    fn server(self, mut act: impl FnMut(&mut Wire) + 'static) -> Self {
        let requests = self.requests.clone();
        let mut request = String::new();
        self.dial(Dial::open(move |bytes: &[u8], wire: &mut Wire| {
            request.push_str(core::str::from_utf8(bytes).unwrap());
            if request.ends_with("\r\n\r\n") {
                requests.borrow_mut().push(core::mem::take(&mut request));
                act(wire);
            }
        }))
    }

    /// The next connection is to a server that answers with `answer` and closes.
    fn answer(self, answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        self.server(move |wire| {
            wire.send(&answer);
            wire.close();
        })
    }

    fn get(&mut self, request: &GetRequest<'_>) -> Result<Got, HttpError> {
        self.get_in_pieces(request, 1000)
    }

    /// Reads the body in pieces of `piece` bytes.
    fn get_in_pieces(&mut self, request: &GetRequest<'_>, piece: usize) -> Result<Got, HttpError> {
        let net = FakeNet::new(&self.clock, self.dials.drain(..));
        let clock = self.clock.clone();
        let mut client = HttpClient::new(&net, &*clock, self.policy);
        let download = async {
            let mut response = client.get(request).await?;
            let mut got = Got {
                status: response.status(),
                start: response.start(),
                total_len: response.total_len(),
                etag: response.etag().map(String::from),
                body: Vec::new(),
                end: Ok(()),
            };
            let mut buf = std::vec![0; piece];
            loop {
                let read = response.read(&mut buf).await;
                match read {
                    Ok(0) => break,
                    Ok(n) => got.body.extend_from_slice(&buf[..n]),
                    Err(error) => {
                        got.end = Err(error);
                        break;
                    }
                }
            }
            assert_eq!(response.received(), got.body.len() as u64);
            let again = response.read(&mut buf).await;
            assert_eq!(again, got.end.map(|()| 0), "the end stays the end");
            Ok(got)
        };
        let got = run(&clock, Instant::MAX, download).expect("the client waits for ever");
        self.dialed = net.dialed.borrow().clone();
        got
    }

    fn whole(&mut self) -> Result<Got, HttpError> {
        self.get(&GetRequest::whole("http://h/f"))
    }
}

/// A request for the rest of a file.
const REST: GetRequest<'_> = GetRequest {
    url: "http://h/f",
    range_from: Some(5),
    if_range: Some("\"e\""),
};
