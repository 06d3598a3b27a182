//! What a device may do at the broker: one table, for the embedded broker and for the access lists of others.

use std::fmt::Write as _;

use otaria_wire::topics::{self, DEFAULT_ROOT, DeviceId, NameError, Topic};

/// The user as which a server of ours comes to somebody else's broker, unless its address says otherwise.
const SERVER_USER: &str = "otaria-server";
/// Where a device's id stands in the topics of access lists.
const MOSQUITTO_USER: &str = "%u";
const EMQX_USER: &str = "${username}";

/// Whether a device reads this topic. The other way round it writes it; nothing is both.
fn is_read(topic: Topic) -> bool {
    match topic {
        Topic::Desired | Topic::Cmd | Topic::Keys => true,
        Topic::Presence | Topic::State | Topic::Progress | Topic::Event | Topic::Log => false,
    }
}

/// Whether a device may publish to a topic: what it reports, under its own id.
pub(crate) fn may_publish(root: &str, device: &str, topic: &str) -> bool {
    topics::parse(root, topic).is_some_and(|(of, topic)| of == device && !is_read(topic))
}

/// Whether a device may subscribe to a filter: to what is for it, by its name. No wildcard and no shared subscription.
pub(crate) fn may_subscribe(root: &str, device: &str, filter: &str) -> bool {
    topics::parse(root, filter).is_some_and(|(of, topic)| of == device && is_read(topic))
}

/// Somebody else's broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclFormat {
    /// `acl_file` of Mosquitto 2.
    Mosquitto,
    /// `acl.conf` of EMQX 5.
    Emqx,
}

/// The same rules for another broker, with the settings that they need as comments.
///
/// # Errors
/// When the first level of topics is no name.
pub fn acl(format: AclFormat, root: Option<&str>) -> Result<String, NameError> {
    let root = root.unwrap_or(DEFAULT_ROOT);
    // Checked like a device's id, which is what keeps wildcards out.
    DeviceId::new(root)?;
    let of = |who: &str, topic: Topic| format!("{root}/v1/{who}/{}", topic.leaf());
    let (reads, writes): (Vec<Topic>, Vec<Topic>) =
        Topic::ALL.into_iter().partition(|topic| is_read(*topic));
    // The server hears what devices report and what others declare; it also takes back what is retained of a device
    // that is forgotten.
    let server_reads = writes.iter().copied().chain([Topic::Desired]);
    let server_writes = reads.iter().copied().chain([Topic::Presence, Topic::State]);
    let mut text = String::new();
    let line = |text: &mut String, line: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
    };
    match format {
        AclFormat::Mosquitto => {
            text.push_str(MOSQUITTO_HEAD);
            line(&mut text, format_args!("user {SERVER_USER}"));
            for topic in server_reads {
                line(&mut text, format_args!("topic read {}", of("+", topic)));
            }
            for topic in server_writes {
                line(&mut text, format_args!("topic write {}", of("+", topic)));
            }
            text.push_str("\n# A device: the user is its certificate's common name.\n");
            for topic in reads {
                let topic = of(MOSQUITTO_USER, topic);
                line(&mut text, format_args!("pattern read {topic}"));
            }
            for topic in writes {
                let topic = of(MOSQUITTO_USER, topic);
                line(&mut text, format_args!("pattern write {topic}"));
            }
        }
        AclFormat::Emqx => {
            let list = |who: &str, topics: Vec<Topic>| {
                let topics: Vec<_> = topics
                    .into_iter()
                    .map(|topic| format!("\"{}\"", of(who, topic)))
                    .collect();
                topics.join(", ")
            };
            text.push_str(EMQX_HEAD);
            let user = format!("{{user, \"{SERVER_USER}\"}}");
            let (heard, said) = (
                list("+", server_reads.collect()),
                list("+", server_writes.collect()),
            );
            line(
                &mut text,
                format_args!("{{allow, {user}, subscribe, [{heard}]}}."),
            );
            line(
                &mut text,
                format_args!("{{allow, {user}, publish, [{said}]}}."),
            );
            text.push_str("\n%% A device: the user is its certificate's common name.\n");
            let (heard, said) = (list(EMQX_USER, reads), list(EMQX_USER, writes));
            line(
                &mut text,
                format_args!("{{allow, all, subscribe, [{heard}]}}."),
            );
            line(
                &mut text,
                format_args!("{{allow, all, publish, [{said}]}}."),
            );
            text.push_str("\n{deny, all}.\n");
        }
    }
    Ok(text)
}

const MOSQUITTO_HEAD: &str = "\
# Otaria: what devices and the server may do. For Mosquitto 2, with these lines in mosquitto.conf:
#
#   per_listener_settings true
#   listener 8883
#   cafile /etc/mosquitto/otaria/ca.pem          # the authority of the devices' certificates
#   certfile /etc/mosquitto/otaria/server.pem
#   keyfile /etc/mosquitto/otaria/server.key
#   tls_version tlsv1.3
#   require_certificate true
#   use_identity_as_username true                # a device is who its certificate says
#   acl_file /etc/mosquitto/otaria/acl
#
# The server comes with a certificate for \"otaria-server\", or on a listener of its own with a password.
# Who is not named here may nothing.

";

const EMQX_HEAD: &str = "\
%% Otaria: what devices and the server may do. For EMQX 5 (etc/acl.conf), with these settings:
%%
%%   listeners.ssl.default.ssl_options.verify = verify_peer
%%   listeners.ssl.default.ssl_options.fail_if_no_peer_cert = true
%%   mqtt.peer_cert_as_username = cn
%%   mqtt.peer_cert_as_clientid = cn
%%   authorization.no_match = deny
%%
%% The server comes as user \"otaria-server\".

";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_writes_what_it_reports_and_nothing_else() {
        let may = |topic: &str| may_publish("otaria", "pump-1", topic);
        for leaf in ["presence", "state", "progress", "event", "log"] {
            assert!(may(&format!("otaria/v1/pump-1/{leaf}")), "{leaf}");
            assert!(!may(&format!("otaria/v1/pump-2/{leaf}")), "{leaf}");
            assert!(!may(&format!("other/v1/pump-1/{leaf}")), "{leaf}");
        }
        for topic in [
            "otaria/v1/pump-1/desired",
            "otaria/v1/pump-1/cmd",
            "otaria/v1/pump-1/keys",
            "otaria/v1/pump-1/else",
            "otaria/v1/pump-1",
            "otaria/v2/pump-1/state",
            "otaria/v1/pump-10/state",
            "$SYS/broker/uptime",
            "",
        ] {
            assert!(!may(topic), "{topic}");
        }
    }

    #[test]
    fn a_device_reads_what_is_for_it_and_nothing_else() {
        let may = |filter: &str| may_subscribe("otaria", "pump-1", filter);
        for leaf in ["desired", "cmd", "keys"] {
            assert!(may(&format!("otaria/v1/pump-1/{leaf}")), "{leaf}");
            assert!(!may(&format!("otaria/v1/pump-2/{leaf}")), "{leaf}");
        }
        for filter in [
            "#",
            "+/+/+/+",
            "otaria/#",
            "otaria/v1/#",
            "otaria/v1/+/desired",
            "otaria/v1/pump-1/#",
            "otaria/v1/pump-1/+",
            "otaria/v1/pump-1/state",
            "$share/g/otaria/v1/pump-1/desired",
            "$share/g/otaria/v1/+/desired",
            "$SYS/#",
            "",
        ] {
            assert!(!may(filter), "{filter}");
        }
    }

    #[test]
    fn access_lists_name_every_topic_and_no_wildcard_for_devices() {
        for format in [AclFormat::Mosquitto, AclFormat::Emqx] {
            let text = acl(format, Some("plant")).unwrap();
            for topic in Topic::ALL {
                assert!(text.contains(&format!("/{}", topic.leaf())), "{topic:?}");
            }
            let devices = text.split("A device:").nth(1).unwrap();
            assert!(!devices.contains(['+', '#']) && devices.contains("plant/v1/"));
        }
        assert!(acl(AclFormat::Emqx, Some("a/#")).is_err());
    }
}
