//! Who may come to the embedded broker, and what they may do there.
//!
//! | who | how it is known | may |
//! |---|---|---|
//! | the server itself | a secret that is made at each start and leaves the process only over loopback | everything |
//! | with TLS: a device | its certificate, see [`gate`](super::gate); its client id has to be the same | [`rules`](crate::access::rules) |
//! | with TLS: anybody else | - | nothing |
//! | without TLS: anybody | cannot be known | everything but to be the server |

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use mqtt5::broker::auth::{AuthProvider, AuthResult};
use mqtt5::error::Result;
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;

use super::gate::Doors;
use crate::access::{rules, secret};

/// An answer that is there already.
type Now<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Asked by the broker about everything.
pub(super) struct Doorman {
    pub(super) root: String,
    /// The server's own client id, which is also its user name.
    pub(super) server: String,
    /// The server's own password.
    pub(super) password: String,
    /// With TLS: who is behind which port.
    pub(super) doors: Option<Arc<Doors>>,
}

impl Doorman {
    fn admit(&self, connect: &ConnectPacket, from: SocketAddr) -> AuthResult {
        let claims_to_be_server = connect.client_id == self.server
            || connect.username.as_deref() == Some(self.server.as_str());
        if claims_to_be_server {
            let password = connect.password.as_deref().unwrap_or_default();
            return if connect.client_id == self.server
                && secret::equal(password, self.password.as_bytes())
            {
                AuthResult::success_with_user(&self.server)
            } else {
                tracing::warn!("{from} claims to be this server, and is not");
                AuthResult::fail(ReasonCode::NotAuthorized)
            };
        }
        let Some(doors) = &self.doors else {
            return AuthResult::success();
        };
        match doors.behind(from) {
            Some(device) if *device == *connect.client_id => {
                AuthResult::success_with_user(device.as_str())
            }
            Some(device) => {
                tracing::warn!("{device} comes with another client id than its own");
                AuthResult::fail(ReasonCode::ClientIdentifierNotValid)
            }
            None => AuthResult::fail(ReasonCode::NotAuthorized),
        }
    }

    fn allows(&self, user: Option<&str>, rule: impl Fn(&str) -> bool) -> bool {
        match user {
            Some(user) if user == self.server => true,
            Some(device) => rule(device),
            None => self.doors.is_none(),
        }
    }
}

impl AuthProvider for Doorman {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        client_addr: SocketAddr,
    ) -> Now<'a, Result<AuthResult>> {
        Box::pin(std::future::ready(Ok(self.admit(connect, client_addr))))
    }

    fn authorize_publish<'a>(
        &'a self,
        _client_id: &str,
        user_id: Option<&'a str>,
        topic: &'a str,
    ) -> Now<'a, bool> {
        let rule = |device: &str| rules::may_publish(&self.root, device, topic);
        Box::pin(std::future::ready(self.allows(user_id, rule)))
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _client_id: &str,
        user_id: Option<&'a str>,
        topic_filter: &'a str,
    ) -> Now<'a, bool> {
        let rule = |device: &str| rules::may_subscribe(&self.root, device, topic_filter);
        Box::pin(std::future::ready(self.allows(user_id, rule)))
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

    fn doorman(tls: bool) -> Doorman {
        Doorman {
            root: "otaria".to_owned(),
            server: "otaria-server-1".to_owned(),
            password: "secret".to_owned(),
            doors: tls.then(Arc::<Doors>::default),
        }
    }

    const FROM: ([u8; 4], u16) = ([127, 0, 0, 1], 40_000);

    #[test]
    fn nobody_is_the_server_without_its_secret() {
        for tls in [false, true] {
            let doorman = doorman(tls);
            let server = "otaria-server-1";
            for (client, login) in [
                (server, None),
                (server, Some((server, ""))),
                (server, Some((server, "wrong"))),
                (server, Some(("x", "wrong"))),
                ("x", Some((server, "secret"))),
                ("x", Some((server, "wrong"))),
            ] {
                let result = doorman.admit(&connect(client, login), FROM.into());
                assert!(!result.authenticated, "{client} {login:?}");
            }
            let own = connect(server, Some((server, "secret")));
            let result = doorman.admit(&own, FROM.into());
            assert_eq!(result.user_id.as_deref(), Some(server));
        }
    }

    #[test]
    fn whoever_finds_the_broker_behind_the_gate_is_refused() {
        let stranger = connect("pump-1", Some(("pump-1", "x")));
        assert!(!doorman(true).admit(&stranger, FROM.into()).authenticated);
        assert!(!doorman(true).allows(None, |_| true));
        // Without TLS nobody is known, and everybody is let in.
        assert!(doorman(false).admit(&stranger, FROM.into()).authenticated);
        assert!(doorman(false).allows(None, |_| false));
    }
}
