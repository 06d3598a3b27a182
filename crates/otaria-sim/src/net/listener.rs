//! The listening side.

use core::cell::RefCell;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Poll, Waker};
use std::collections::VecDeque;
use std::rc::Rc;

use super::host::HostInner;
use super::{NetError, SimStream};

/// How many connections wait for `accept`; the SYN of a further one is ignored.
const BACKLOG: usize = 128;

/// Connections that nobody has accepted yet.
#[derive(Default)]
pub(super) struct Waiting {
    streams: RefCell<VecDeque<SimStream>>,
    acceptor: RefCell<Option<Waker>>,
}

impl Waiting {
    pub(super) fn is_full(&self) -> bool {
        self.streams.borrow().len() >= BACKLOG
    }

    /// Keeps the server's end of a new connection and hands the client's on.
    pub(super) fn take(&self, (client, server): (SimStream, SimStream)) -> SimStream {
        self.streams.borrow_mut().push_back(server);
        if let Some(waker) = self.acceptor.take() {
            waker.wake();
        }
        client
    }
}

/// Takes connections on a port. Dropping it frees the port; connections that nobody accepted are reset.
pub struct Listener {
    host: Rc<HostInner>,
    port: u16,
    waiting: Rc<Waiting>,
}

impl Listener {
    pub(super) fn bind(host: Rc<HostInner>, port: u16) -> Result<Self, NetError> {
        let waiting = Rc::<Waiting>::default();
        let mut listeners = host.listeners.borrow_mut();
        if listeners.contains_key(&port) {
            return Err(NetError::AddrInUse);
        }
        listeners.insert(port, waiting.clone());
        drop(listeners);
        Ok(Listener {
            host,
            port,
            waiting,
        })
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.host.addr, self.port)
    }

    /// The next connection.
    pub async fn accept(&mut self) -> SimStream {
        poll_fn(|cx| {
            if let Some(stream) = self.waiting.streams.borrow_mut().pop_front() {
                return Poll::Ready(stream);
            }
            self.waiting.acceptor.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.host.listeners.borrow_mut();
        // After a power cut the port may be another listener's already.
        if listeners
            .get(&self.port)
            .is_some_and(|waiting| Rc::ptr_eq(waiting, &self.waiting))
        {
            listeners.remove(&self.port);
        }
        drop(listeners);
        for mut stream in self.waiting.streams.take() {
            stream.reset();
        }
    }
}
