//! TLS, certificates and access lists, against OpenSSL, curl and Mosquitto's clients: programs that others wrote.

mod simulated;
mod site;

use std::fs;
use std::io::{Read as _, Write as _};

use otaria_server::{
    Access, AclFormat, Downloads, Mqtt, Server, StartError, Tls, acl, new_device_key,
};
use otaria_wire::topics::DeviceId;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::{Value, json};

use self::site::{Badge, Site, config, leaf, mosquitto, run, servers};

const DAY: i64 = 24 * 60 * 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_comes_with_its_certificate_and_says_only_what_is_its_own() {
    let Some(site) = Site::start().await else {
        return;
    };
    let badge = site.enroll("pump-1").await;
    site.enroll("pump-2").await;
    let online = r#"{"online":true}"#;
    // In this order over one broker: once the last has come, the others would have.
    for topic in [
        "otaria/v1/pump-2/presence",
        "otaria/v1/pump-2/desired",
        "otaria/v1/pump-1/desired",
    ] {
        site.publish(&badge, "pump-1", topic, online).await;
    }
    let own = site
        .publish(&badge, "pump-1", "otaria/v1/pump-1/presence", online)
        .await;
    assert!(own.status.success(), "{own:?}");
    site.wait_until_known("pump-1").await;
    assert!(!site.knows("pump-2").await);
    let device = site.api("GET", "devices/pump-1", &Value::Null).await;
    assert_eq!(device["wish"], Value::Null, "{device}");
    site.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_reads_only_what_is_for_it() {
    let Some(site) = Site::start().await else {
        return;
    };
    let badge = site.enroll("pump-1").await;
    for filter in [
        "otaria/v1/pump-2/desired",
        "otaria/v1/pump-2/cmd",
        "otaria/v1/+/desired",
        "otaria/v1/pump-1/#",
        "#",
        "$share/g/otaria/v1/pump-1/desired",
        "$SYS/#",
    ] {
        let mut command = site.mosquitto("mosquitto_sub", &badge, "pump-1");
        command.args(["-q", "1", "-t", filter, "-W", "30"]);
        let output = run(command).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("All subscription requests were denied"),
            "{filter}: {output:?}"
        );
    }
    // What the server sends it arrives.
    let online = r#"{"online":true}"#;
    let presence = "otaria/v1/pump-1/presence";
    site.publish(&badge, "pump-1", presence, online).await;
    site.wait_until_known("pump-1").await;
    let listen = async |until: &str| {
        let mut command = site.mosquitto("mosquitto_sub", &badge, "pump-1");
        for leaf in ["desired", "keys", "cmd"] {
            command.args(["-t", &format!("otaria/v1/pump-1/{leaf}")]);
        }
        // The broker keeps the session, and what comes for it.
        command.args(["-q", "1", "-c", "-x", "3600", "-W", "30"]);
        command.args(until.split(' '));
        run(command).await
    };
    let subscribed = listen("-E").await;
    assert!(subscribed.status.success(), "{subscribed:?}");
    let path = "devices/pump-1/commands";
    site.api("POST", path, &json!({"cmd": "identify"})).await;
    let arrived = listen("-C 1").await;
    let arrived = String::from_utf8_lossy(&arrived.stdout);
    assert!(arrived.contains(r#""cmd":"identify""#), "{arrived}");
    site.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_id_other_than_the_certificates_name_is_refused() {
    let Some(site) = Site::start().await else {
        return;
    };
    let badge = site.enroll("pump-1").await;
    for (client, reason) in [("pump-1", 0), ("pump-2", 0x85), ("otaria-server-x", 0x85)] {
        let mut session = site.s_client(site.mqtt(), Some(&badge), &[]);
        session.connect(client);
        let answer = tokio::task::spawn_blocking(move || session.connack());
        assert_eq!(answer.await.unwrap(), Some(reason), "{client}");
    }
    site.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_not_a_devices_are_refused() {
    let Some(site) = Site::start().await else {
        return;
    };
    let now = time::OffsetDateTime::now_utc();
    let stranger = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let stranger = Issuer::new(params, stranger);
    let (cert, key) = leaf("pump-1", &stranger, |_| {});
    let own_server = Badge {
        cert: site.file("server.pem"),
        key: site.file("server.key"),
    };
    // A device's certificate that signs another one.
    let device = site.enroll("pump-1").await;
    let device_key = KeyPair::from_pem(&fs::read_to_string(&device.key).unwrap()).unwrap();
    let device_pem = fs::read_to_string(&device.cert).unwrap();
    let device_as_ca = Issuer::from_ca_cert_pem(&device_pem, device_key).unwrap();
    let (under_device, under_key) = leaf("pump-2", &device_as_ca, |_| {});
    for (what, badge) in [
        ("none", None),
        (
            "of another authority",
            Some(site.badge("other", &cert, &key)),
        ),
        (
            "signed by a device",
            Some(site.badge("under", &under_device, &under_key)),
        ),
        (
            "expired",
            Some(site.forge("pump-1", |params| {
                params.not_after = now - time::Duration::seconds(DAY);
            })),
        ),
        (
            "not yet valid",
            Some(site.forge("pump-10", |params| {
                params.not_before = now + time::Duration::seconds(DAY);
            })),
        ),
        (
            "for servers",
            Some(site.forge("pump-100", |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            })),
        ),
        ("the server's own", Some(own_server)),
        ("for a wildcard", Some(site.forge("+", |_| {}))),
        (
            "for two names",
            Some(site.forge("pump-1000", |params| {
                params
                    .distinguished_name
                    .push(DnType::CustomDnType(vec![2, 5, 4, 3]), "pump-2");
            })),
        ),
    ] {
        // The authority that signed it is sent along.
        let chain = ["-cert_chain", device.cert.to_str().unwrap()];
        let chain = if what == "signed by a device" {
            &chain[..]
        } else {
            &[]
        };
        let mut session = site.s_client(site.mqtt(), badge.as_ref(), chain);
        session.connect("pump-1");
        let answer = tokio::task::spawn_blocking(move || session.connack());
        let answer = answer.await.unwrap();
        assert_eq!(answer, None, "{what}");
    }
    site.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_certificate_stands_for_its_names_and_for_tls_1_3_alone() {
    let Some(site) = Site::with(|config| {
        config.public_url = Some("https://ota.lan:8443".to_owned());
        config.tls = Some(Tls {
            names: vec!["192.0.2.7".to_owned()],
            ..Tls::default()
        });
    })
    .await
    else {
        return;
    };
    let to = site.server.addresses.http;
    let shaken = async |arguments: &[&str]| {
        let arguments = [arguments, &["-no_ign_eof"]].concat();
        let mut session = site.s_client(to, None, &arguments);
        drop(session.process.stdin.take());
        let status = tokio::task::spawn_blocking(move || session.process.wait().unwrap());
        status.await.unwrap().success()
    };
    for names in [
        ["-verify_ip", "127.0.0.1"],
        ["-verify_ip", "192.0.2.7"],
        ["-verify_hostname", "localhost"],
        ["-verify_hostname", "ota.lan"],
    ] {
        assert!(shaken(&names).await, "{names:?}");
    }
    assert!(!shaken(&["-verify_hostname", "other.lan"]).await);
    assert!(!shaken(&["-verify_ip", "192.0.2.8"]).await);
    assert!(!shaken(&["-tls1_2"]).await);
    let head = site
        .curl(
            None,
            &["-D", "-", "-o", "/dev/null", &format!("https://{to}/login")],
        )
        .await;
    let head = String::from_utf8_lossy(&head.stdout).to_lowercase();
    assert!(
        head.contains("strict-transport-security: max-age="),
        "{head}"
    );
    site.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_cut_off_at_once_and_stays_out() {
    let Some(site) = Site::with(|config| config.downloads = Downloads::Known).await else {
        return;
    };
    let (badge, other) = (site.enroll("pump-1").await, site.enroll("pump-2").await);
    let mut sessions = Vec::new();
    for (badge, client) in [(&badge, "pump-1"), (&other, "pump-2")] {
        let mut session = site.s_client(site.mqtt(), Some(badge), &[]);
        session.connect(client);
        let (reason, session) = tokio::task::spawn_blocking(move || (session.connack(), session))
            .await
            .unwrap();
        assert_eq!(reason, Some(0));
        sessions.push(session);
    }
    let stays = sessions.pop().unwrap();
    let cut = sessions.pop().unwrap();
    // A connection for downloads, which is kept open.
    let mut https = site.s_client(site.server.addresses.http, Some(&badge), &[]);
    let ask = b"GET /packages/x HTTP/1.1\r\nhost: localhost\r\n\r\n";
    https
        .process
        .stdin
        .as_mut()
        .unwrap()
        .write_all(ask)
        .unwrap();
    let (answer, https) = tokio::task::spawn_blocking(move || {
        let mut head = [0; 12];
        https.out.read_exact(&mut head).unwrap();
        (head, https)
    })
    .await
    .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404", "a device may ask");

    let answer = site
        .api("DELETE", "devices/pump-1/certificates", &Value::Null)
        .await;
    assert_eq!(answer["serials"].as_array().unwrap().len(), 1, "{answer}");
    for session in [cut, https] {
        // Nothing but the revocation ends these.
        tokio::task::spawn_blocking(move || session.ended())
            .await
            .unwrap();
    }
    let path = "devices/pump-1/certificates";
    let listed = site.api("GET", path, &Value::Null).await;
    assert!(listed["items"][0]["revoked_at"].is_i64(), "{listed}");

    let again = async |site: &Site, badge: &Badge| {
        let mut session = site.s_client(site.mqtt(), Some(badge), &[]);
        session.connect("pump-1");
        let answer = tokio::task::spawn_blocking(move || session.connack());
        answer.await.unwrap()
    };
    // What was sent would be unread when the server closes, and the alert be lost by a reset. So nothing is sent.
    let told_so = async |site: &Site, badge: &Badge| {
        let session = site.s_client(site.mqtt(), Some(badge), &[]);
        let said = tokio::task::spawn_blocking(move || session.ended());
        said.await.unwrap().contains("certificate revoked")
    };
    assert_eq!(again(&site, &badge).await, None);
    assert!(told_so(&site, &badge).await);
    let url = format!("{}/packages/x", site.server.addresses.page);
    assert!(!site.curl(Some(&badge), &[&url]).await.status.success());
    assert!(site.curl(Some(&other), &[&url]).await.status.success());
    let mut stays = stays;
    assert!(
        stays.process.try_wait().unwrap().is_none(),
        "another device was cut off"
    );
    drop(stays);

    // It is in the store, not in memory.
    let Site { server, data } = site;
    server.shutdown().await;
    let server = loop {
        match Server::start(config(data.path())).await {
            // A program that another test starts at this moment has the lock as well, until it is that program.
            Err(StartError::Locked(_)) => tokio::task::yield_now().await,
            started => break started.unwrap(),
        }
    };
    let site = Site { server, data };
    assert_eq!(again(&site, &badge).await, None);
    // With a new certificate it may come again; with the old one never.
    let new = site.enroll("pump-1").await;
    assert_eq!(again(&site, &new).await, Some(0));
    assert_eq!(again(&site, &badge).await, None);
    assert!(told_so(&site, &badge).await);
    site.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_the_operators_is_used_in_place_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = dir.path().join("devices.pem");
    fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let Some(site) = Site::with(|config| {
        config.tls = Some(Tls {
            client_ca: Some(ca.clone()),
            ..Tls::default()
        });
    })
    .await
    else {
        return;
    };
    let (cert, key) = leaf("pump-1", &issuer, |_| {});
    let theirs = site.badge("theirs", &cert, &key);
    let ours = site.forge("pump-1", |_| {});
    let tried = async |badge: &Badge| {
        let mut session = site.s_client(site.mqtt(), Some(badge), &[]);
        session.connect("pump-1");
        let answer = tokio::task::spawn_blocking(move || session.connack());
        answer.await.unwrap()
    };
    assert_eq!(tried(&theirs).await, Some(0));
    assert_eq!(tried(&ours).await, None);
    let request = new_device_key(&DeviceId::new("x").unwrap())
        .unwrap()
        .request;
    let refused = site
        .api(
            "POST",
            "devices/x/certificates",
            &json!({"request": request}),
        )
        .await;
    assert_eq!(
        refused["type"], "urn:otaria:problem:no_authority",
        "{refused}"
    );
    // Its serials are not known here, so the device itself is shut out.
    site.api("DELETE", "devices/pump-1/certificates", &Value::Null)
        .await;
    assert_eq!(tried(&theirs).await, None);
    site.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_holds_devices_to_the_access_list_that_is_printed() {
    let Some(site) = Site::start().await else {
        return;
    };
    let (one, two) = (site.enroll("pump-1").await, site.enroll("pump-2").await);
    let server = site.forge("otaria-server", |_| {});
    let list = site.data.path().join("acl");
    fs::write(&list, acl(AclFormat::Mosquitto, None).unwrap()).unwrap();
    let file = |name: &str| site.file(name).display().to_string();
    let settings = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\ntls_version tlsv1.3\nrequire_certificate true\n\
         use_identity_as_username true\nacl_file {}",
        file("ca.pem"),
        file("server.pem"),
        file("server.key"),
        list.display()
    );
    let Some(broker) = servers::mosquitto(&settings) else {
        return;
    };
    let client = |program: &str, badge: &Badge, client: &str| {
        mosquitto(program, broker.port, &site.file("ca.pem"), badge, client)
    };
    let publish = async |badge: &Badge, name: &str, topic: &str, payload: &str| {
        let mut command = client("mosquitto_pub", badge, name);
        command.args(["-q", "1", "-r", "-t", topic, "-m", payload]);
        run(command).await;
    };
    // What comes first of what is retained, in the order of the filters.
    let first = async |badge: &Badge, name: &str, filters: &[&str]| {
        let mut command = client("mosquitto_sub", badge, name);
        command.args(["-q", "1", "-C", "1", "-v", "-W", "30"]);
        for filter in filters {
            command.args(["-t", filter]);
        }
        let output = run(command).await;
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    for device in ["pump-2", "pump-1"] {
        let topic = format!("otaria/v1/{device}/desired");
        publish(&server, "s", &topic, device).await;
    }
    let own = "otaria/v1/pump-1/desired";
    for filters in [
        &["otaria/v1/pump-2/desired", own][..],
        &["otaria/v1/+/desired"],
        &["#"],
    ] {
        assert_eq!(
            first(&one, "a", filters).await,
            format!("{own} pump-1"),
            "{filters:?}"
        );
    }
    publish(&one, "a", "otaria/v1/pump-2/state", "forged").await;
    publish(&one, "a", "otaria/v1/pump-1/desired", "forged").await;
    publish(&one, "a", "otaria/v1/pump-1/state", "mine").await;
    let heard = ["otaria/v1/pump-2/state", "otaria/v1/pump-1/state"];
    assert_eq!(
        first(&server, "s", &heard).await,
        "otaria/v1/pump-1/state mine"
    );
    assert_eq!(first(&one, "a", &[own]).await, format!("{own} pump-1"));
    // Each its own.
    let theirs = "otaria/v1/pump-2/desired";
    assert_eq!(first(&two, "b", &["#"]).await, format!("{theirs} pump-2"));
    site.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_are_let_in_without_tls_or_log_in_only_if_that_was_said() {
    let data = tempfile::tempdir().unwrap();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    for (tls, access) in [
        (None, Access::LogIn),
        (None, Access::Open),
        (Some(Tls::default()), Access::Open),
    ] {
        for which in 0..2 {
            let mut config = config(data.path());
            (config.tls, config.access) = (tls.clone(), access);
            match which {
                0 => config.http = everywhere,
                _ => config.mqtt = Mqtt::Embedded { listen: everywhere },
            }
            let started = Server::start(config).await;
            assert!(
                matches!(started, Err(StartError::Exposed(..))),
                "{tls:?} {access:?}"
            );
        }
    }
    let mut config = config(data.path());
    config.http = everywhere;
    config.access = Access::LogIn;
    let server = Server::start(config).await.unwrap();
    assert!(server.first_admin.is_some());
    server.shutdown().await;
}
