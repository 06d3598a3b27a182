//! Who may come to the embedded broker, and what they may do there.
//!
//! | who | how it is known | may |
//! |---|---|---|
//! | the server itself | a secret that is made at each start and leaves the process only over loopback | everything |
//! | with TLS: a device | its certificate, see [`gate`](super::gate); its client id has to be the same | [`rules`](crate::access::rules) |
//! | without TLS: anybody | cannot be known | everything but to be the server |
//! | whoever finds the listener for the server | - | nothing |

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mqtt5::broker::auth::{AuthProvider, AuthResult};
use mqtt5::error::Result;
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use otaria_wire::topics::{self, DeviceId, Topic};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::access::{rules, secret};

/// An answer that is there already.
type Now<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who is at the other end of a connection, as far as that is known before it says anything.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    /// Somebody on this machine, who is the server or has no business here.
    Server,
    /// Somebody without TLS.
    Anybody,
    /// A device, until it is cut off.
    Device(DeviceId, CancellationToken),
}

/// How the server comes in.
#[derive(Debug)]
pub(super) struct Server {
    /// First level of the topics.
    pub(super) root: String,
    /// Its client id, which is also its user name.
    pub(super) id: String,
    pub(super) password: String,
}

/// Which connection of each device has the last word on whether it is there: the newest of those that have said anything about it.
///
/// mqtt5 publishes the will of a connection that another one has replaced when it comes to it, which may be after the new one has
/// said that the device is there. A device that restarts at once would then count as gone for as long as it stays. A new
/// connection that says nothing takes nothing from the old one: it may have ended before it was answered.
#[derive(Debug, Default)]
struct Latest(Mutex<Connections>);

#[derive(Debug, Default)]
struct Connections {
    by_client: HashMap<String, u64>,
    /// Each connection has a number of its own.
    last: u64,
}

impl Latest {
    fn lock(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a connection that has come, higher than those before.
    fn next(&self) -> u64 {
        let mut connections = self.lock();
        connections.last += 1;
        connections.last
    }

    /// Whether a connection may say if its device is there. It has the word from then on.
    fn may_say(&self, (client, number): &(String, u64)) -> bool {
        let mut connections = self.lock();
        let newest = connections
            .by_client
            .entry(client.clone())
            .or_insert(*number);
        *newest = (*newest).max(*number);
        newest == number
    }

    fn went(&self, (client, number): &(String, u64)) {
        let mut connections = self.lock();
        if connections.by_client.get(client) == Some(number) {
            connections.by_client.remove(client);
        }
    }
}

/// Asked by the broker about everything that one connection, or the server's listener, wants.
#[derive(Debug)]
pub(super) struct Doorman {
    server: Arc<Server>,
    caller: Caller,
    latest: Arc<Latest>,
    /// The client that was let in, and its connection's number.
    client: OnceLock<(String, u64)>,
    /// The caller's place among those that arrive, until it has.
    arriving: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Drop for Doorman {
    fn drop(&mut self) {
        if let Some(client) = self.client.get() {
            self.latest.went(client);
        }
    }
}

impl Doorman {
    /// One for the listener of the server.
    pub(super) fn new(server: Server) -> Self {
        Self {
            server: Arc::new(server),
            caller: Caller::Server,
            latest: Arc::default(),
            client: OnceLock::new(),
            arriving: Mutex::default(),
        }
    }

    /// One for another caller, who holds a place among those that arrive.
    pub(super) fn with(&self, caller: Caller, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            server: Arc::clone(&self.server),
            caller,
            latest: Arc::clone(&self.latest),
            client: OnceLock::new(),
            arriving: Mutex::new(place),
        }
    }

    /// The caller has subscribed, which is what costs the broker time, or takes too long over it: the next one may come.
    pub(super) fn arrived(&self) {
        self.arriving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn admit(&self, connect: &ConnectPacket, from: SocketAddr) -> AuthResult {
        let server = &self.server;
        let claims_to_be_server =
            connect.client_id == server.id || connect.username.as_deref() == Some(&*server.id);
        if claims_to_be_server {
            let password = connect.password.as_deref().unwrap_or_default();
            let is_server = connect.client_id == server.id
                && matches!(self.caller, Caller::Server)
                && secret::equal(password, server.password.as_bytes());
            if !is_server {
                tracing::warn!("{from} claims to be this server, and is not");
                return AuthResult::fail(ReasonCode::NotAuthorized);
            }
            return AuthResult::success_with_user(&server.id);
        }
        match &self.caller {
            Caller::Anybody => AuthResult::success(),
            Caller::Device(device, cut)
                if **device == *connect.client_id && !cut.is_cancelled() =>
            {
                AuthResult::success_with_user(device.as_str())
            }
            Caller::Device(device, _) => {
                tracing::warn!("{device} comes with another client id than its own");
                AuthResult::fail(ReasonCode::ClientIdentifierNotValid)
            }
            Caller::Server => AuthResult::fail(ReasonCode::NotAuthorized),
        }
    }

    /// Whether somebody who is no device may do everything.
    fn may_all(&self, user: Option<&str>) -> bool {
        match &self.caller {
            Caller::Server => user == Some(&self.server.id),
            Caller::Anybody => true,
            Caller::Device(..) => false,
        }
    }

    fn may_publish(&self, user: Option<&str>, topic: &str) -> bool {
        let presence_of = topics::parse(&self.server.root, topic)
            .filter(|(_, topic)| *topic == Topic::Presence)
            .map(|(device, _)| device);
        let is_replaced = self.client.get().is_some_and(|client| {
            presence_of == Some(client.0.as_str()) && !self.latest.may_say(client)
        });
        let Caller::Device(device, cut) = &self.caller else {
            return self.may_all(user) && !is_replaced;
        };
        // The will of a device that is cut off is still published: it says that the device is gone.
        rules::may_publish(&self.server.root, device.as_str(), topic)
            && (!cut.is_cancelled() || presence_of.is_some())
            && !is_replaced
    }

    fn may_subscribe(&self, user: Option<&str>, filter: &str) -> bool {
        let Caller::Device(device, cut) = &self.caller else {
            return self.may_all(user);
        };
        !cut.is_cancelled() && rules::may_subscribe(&self.server.root, device.as_str(), filter)
    }
}

impl AuthProvider for Doorman {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        client_addr: SocketAddr,
    ) -> Now<'a, Result<AuthResult>> {
        let result = self.admit(connect, client_addr);
        // The server's listener has one doorman for all who come there.
        if result.authenticated && !matches!(self.caller, Caller::Server) {
            let client = &connect.client_id;
            self.client
                .get_or_init(|| (client.clone(), self.latest.next()));
        }
        Box::pin(std::future::ready(Ok(result)))
    }

    fn authorize_publish<'a>(
        &'a self,
        _client_id: &str,
        user_id: Option<&'a str>,
        topic: &'a str,
    ) -> Now<'a, bool> {
        // Devices subscribe first.
        self.arrived();
        Box::pin(std::future::ready(self.may_publish(user_id, topic)))
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _client_id: &str,
        user_id: Option<&'a str>,
        topic_filter: &'a str,
    ) -> Now<'a, bool> {
        Box::pin(std::future::ready(
            self.may_subscribe(user_id, topic_filter),
        ))
    }
}

#[cfg(test)]
mod tests {
    use mqtt5::Properties;

    use super::*;

    fn connect(client: &str, login: Option<(&str, &str)>) -> ConnectPacket {
        let mut packet = ConnectPacket {
            protocol_version: 5,
            clean_start: true,
            keep_alive: 0,
            client_id: client.to_owned(),
            username: None,
            password: None,
            will: None,
            properties: Properties::default(),
            will_properties: Properties::default(),
        };
        if let Some((user, password)) = login {
            packet.username = Some(user.to_owned());
            packet.password = Some(password.as_bytes().to_vec());
        }
        packet
    }

    fn doorman(caller: Caller) -> Doorman {
        let server = Server {
            root: "otaria".to_owned(),
            id: SERVER.to_owned(),
            password: "secret".to_owned(),
        };
        Doorman::new(server).with(caller, None)
    }

    fn device(cut: &CancellationToken) -> Caller {
        Caller::Device(DeviceId::new("pump-1").unwrap(), cut.clone())
    }

    const SERVER: &str = "otaria-server-1";
    const FROM: ([u8; 4], u16) = ([127, 0, 0, 1], 40_000);

    #[test]
    fn nobody_is_the_server_without_its_secret_and_its_listener() {
        let own = connect(SERVER, Some((SERVER, "secret")));
        let cut = CancellationToken::new();
        for caller in [Caller::Server, Caller::Anybody, device(&cut)] {
            let doorman = doorman(caller);
            for (client, login) in [
                (SERVER, None),
                (SERVER, Some((SERVER, ""))),
                (SERVER, Some((SERVER, "wrong"))),
                (SERVER, Some(("x", "wrong"))),
                ("x", Some((SERVER, "secret"))),
                ("x", Some((SERVER, "wrong"))),
            ] {
                let result = doorman.admit(&connect(client, login), FROM.into());
                assert!(!result.authenticated, "{client} {login:?}");
            }
            let result = doorman.admit(&own, FROM.into());
            assert_eq!(
                result.user_id.as_deref(),
                matches!(doorman.caller, Caller::Server).then_some(SERVER)
            );
        }
    }

    #[test]
    fn whoever_finds_the_servers_listener_is_refused() {
        let stranger = connect("pump-1", Some(("pump-1", "x")));
        let inner = doorman(Caller::Server);
        assert!(!inner.admit(&stranger, FROM.into()).authenticated);
        assert!(!inner.may_publish(None, "otaria/v1/pump-1/state"));
        // Without TLS nobody is known, and everybody is let in.
        let outer = doorman(Caller::Anybody);
        assert!(outer.admit(&stranger, FROM.into()).authenticated);
        assert!(outer.may_publish(None, "any"));
    }

    #[test]
    fn a_device_is_who_its_certificate_says_until_it_is_cut_off() {
        let cut = CancellationToken::new();
        let doorman = doorman(device(&cut));
        let as_id = |id| doorman.admit(&connect(id, None), FROM.into()).authenticated;
        assert!(as_id("pump-1") && !as_id("pump-2"));
        let me = Some("pump-1");
        assert!(doorman.may_publish(me, "otaria/v1/pump-1/state"));
        assert!(!doorman.may_publish(me, "otaria/v1/pump-2/state"));
        assert!(doorman.may_subscribe(me, "otaria/v1/pump-1/desired"));
        cut.cancel();
        assert!(!as_id("pump-1"));
        assert!(!doorman.may_publish(me, "otaria/v1/pump-1/state"));
        assert!(!doorman.may_subscribe(me, "otaria/v1/pump-1/desired"));
        assert!(
            doorman.may_publish(me, "otaria/v1/pump-1/presence"),
            "its will says that it is gone"
        );
    }

    #[tokio::test]
    async fn the_will_of_a_connection_that_was_replaced_says_nothing_any_more() {
        let cut = CancellationToken::new();
        for caller in [Caller::Anybody, device(&cut)] {
            let old = doorman(caller.clone());
            let new = old.with(caller.clone(), None);
            let me = Some("pump-1");
            let of = async |doorman: &Doorman, leaf| {
                let topic = format!("otaria/v1/pump-1/{leaf}");
                doorman.authorize_publish("pump-1", me, &topic).await
            };
            let hello = connect("pump-1", None);
            old.authenticate(&hello, FROM.into()).await.unwrap();
            assert!(of(&old, "presence").await);
            new.authenticate(&hello, FROM.into()).await.unwrap();
            assert!(
                of(&old, "presence").await,
                "the new one may end before it says anything"
            );
            assert!(of(&new, "presence").await);
            assert!(!of(&old, "presence").await && of(&old, "event").await);
            // The old one ends after the new one has come, and takes nothing of it along.
            drop(old);
            let newest = new.with(caller, None);
            newest.authenticate(&hello, FROM.into()).await.unwrap();
            assert!(of(&newest, "presence").await && !of(&new, "presence").await);
            drop(newest);
            assert!(of(&new, "presence").await);
        }
    }
}
