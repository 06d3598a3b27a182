//! What can be set. Everything has a default that works on one machine.

mod bucket;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use otaria_wire::messages::Desired;
use otaria_wire::topics::DEFAULT_ROOT;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::bus::BrokerUrl;
pub use bucket::{BucketUrl, BucketUrlError};

/// Largest package unless told otherwise: more than any slot of an ESP32 holds.
const MAX_PACKAGE_LEN: u64 = 32 * 1024 * 1024;

/// What the server is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept that has no place of its own: database, packages, the broker's files.
    pub data: PathBuf,
    /// Where HTTP listens; port 0 takes a free one.
    pub http: SocketAddr,
    /// Which database.
    pub database: Database,
    /// Where packages are kept.
    pub packages: PackageStore,
    /// How devices come to a package once they may have it.
    pub delivery: Delivery,
    /// Which broker.
    pub mqtt: Mqtt,
    /// What the server knows an external broker by, if that is reached with TLS, and shows it.
    pub broker_tls: BrokerTls,
    /// Where devices reach the HTTP server, such as `http://ota.example:8080`; by default made from the address that
    /// it listens on.
    pub public_url: Option<String>,
    /// First level of all topics.
    pub root: String,
    /// Largest package that is taken, in bytes.
    pub max_package_len: u64,
    /// TLS for HTTP and for the embedded broker.
    pub tls: Option<Tls>,
    /// Whether people have to log in.
    pub access: Access,
    /// Gives the user `admin` a new password, for whoever has lost theirs.
    pub reset_admin: bool,
    /// Other machines may reach a server that has no TLS or no log-in.
    pub exposed: bool,
    /// Who gets package files.
    pub downloads: Downloads,
    /// Webhooks may be at private addresses, and be reached by http.
    pub webhooks_to_private: bool,
    /// The authorities of webhooks' receivers, a PEM file, in place of those that the web trusts.
    pub webhook_ca: Option<PathBuf>,
    /// Shows devices in Home Assistant.
    pub home_assistant: Option<HomeAssistant>,
}

/// Home Assistant's broker.
#[derive(Clone, Debug)]
pub struct HomeAssistant {
    /// Where it is.
    pub broker: BrokerUrl,
    /// What it is known by, if it is reached with TLS.
    pub tls: BrokerTls,
}

/// TLS 1.3. What is not given, the server makes below `DATA/tls`.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The server's certificate chain and its private key, PEM files.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The authorities of the devices' certificates, a PEM file; the server issues none then.
    pub client_ca: Option<PathBuf>,
    /// Further names and addresses for the certificate that the server makes for itself.
    pub names: Vec<String>,
}

/// TLS to a broker that runs already. All files are PEM.
#[derive(Clone, Debug, Default)]
pub struct BrokerTls {
    /// The authorities that the broker's certificate may come from.
    pub ca: Option<PathBuf>,
    /// The server's own certificate chain and its private key, if the broker asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Whether people have to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody needs a password or a token.
    LogIn,
    /// Whoever reaches the server may do everything.
    Open,
}

/// Who gets package files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downloads {
    /// Whoever knows the address, which holds the file's SHA-256. What a device takes is decided by the signature.
    Anybody,
    /// Devices with a certificate, and people who may read.
    Known,
}

/// Where packages are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackageStore {
    /// In the data directory.
    Own,
    /// In a directory that other servers may have, too.
    Directory(PathBuf),
    /// In a bucket, which other servers may have, too.
    Bucket(BucketUrl),
}

/// How devices come to a package once they may have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The server sends it.
    Stream,
    /// The server sends them on to the bucket, with a link that is made for each request.
    Links {
        /// How long a download may begin with it.
        valid: Duration,
    },
    /// The server sends them on to an address that stays: a CDN or web server before the bucket or the directory. A package is at
    /// `ADDRESS/<first two digits>/<SHA-256>.otaria`.
    Cdn(String),
}

impl Delivery {
    /// Links that are valid for five minutes: time to connect, and for clocks that differ a little.
    pub const LINKS: Self = Self::Links {
        valid: Duration::from_secs(5 * 60),
    };
}

/// Why packages cannot be delivered so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// Only a bucket has links.
    #[error(
        "links are for packages in a bucket; keep them in one (--packages s3://…), or let the server send them"
    )]
    NoBucket,
    /// Devices could not use addresses below it.
    #[error(
        "'{0}' is not an address like https://HOST[:PORT][/PATH] that devices can be sent on to"
    )]
    Unusable(String),
    /// Devices do not follow from `https` to `http`.
    #[error(
        "devices would be sent on from {from} to {to}, and none goes from https to http: use TLS there, too"
    )]
    Downgrade {
        /// The server's public address.
        from: String,
        /// Where to.
        to: String,
    },
}

/// Which database.
#[derive(Clone, Debug)]
pub enum Database {
    /// SQLite, in the data directory: for one server.
    File,
    /// PostgreSQL, which several servers may share.
    Postgres(PostgresUrl),
}

/// The address of a PostgreSQL database: `postgres://USER:PASSWORD@HOST[:PORT]/DATABASE`, with what `libpq` takes behind a `?`,
/// such as `sslmode=verify-full`. Where it says no `sslmode`, a database on another machine is reached with TLS or not at all:
/// libpq's default would fall back to plain text, and with it the password to whoever is in between.
#[derive(Clone)]
pub struct PostgresUrl(pub(crate) Box<PgConnectOptions>);

/// Why a text is not the address of a database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Another scheme, or none.
    #[error("a database's address starts with postgres://")]
    Scheme,
    /// What follows cannot be used.
    #[error("the address of the database cannot be used: {0}")]
    Unusable(String),
}

impl FromStr for PostgresUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(DatabaseUrlError::Scheme);
        }
        let options: PgConnectOptions = text
            .parse()
            .map_err(|error: sqlx::Error| DatabaseUrlError::Unusable(error.to_string()))?;
        let (_, parameters) = text.split_once('?').unwrap_or_default();
        let says = ["sslmode=", "ssl-mode="];
        let says = parameters
            .split('&')
            .any(|one| says.iter().any(|name| one.starts_with(name)))
            || std::env::var_os("PGSSLMODE").is_some();
        let options = match says || is_this_machine(&options) {
            true => options,
            false => options.ssl_mode(PgSslMode::Require),
        };
        Ok(Self(Box::new(options)))
    }
}

/// Whether what is said to a database stays on this machine.
fn is_this_machine(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host
            .trim_matches(['[', ']'])
            .parse()
            .is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Without the password.
impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresUrl")
            .field("host", &self.0.get_host())
            .field("database", &self.0.get_database())
            .finish_non_exhaustive()
    }
}

/// Which broker.
#[derive(Clone, Debug)]
pub enum Mqtt {
    /// One in this process.
    Embedded {
        /// Where it listens; port 0 takes a free one.
        listen: SocketAddr,
    },
    /// One that runs already.
    External(BrokerUrl),
}

/// Why a public address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// Devices could not use addresses below it.
    #[error("'{0}' is not an address like http://HOST[:PORT][/PATH] that devices can use")]
    Unusable(String),
}

impl Config {
    /// The defaults: this machine only, the usual ports.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            data: data.into(),
            http: SocketAddr::new(local, 8080),
            database: Database::File,
            packages: PackageStore::Own,
            delivery: Delivery::Stream,
            mqtt: Mqtt::Embedded {
                listen: SocketAddr::new(local, 1883),
            },
            broker_tls: BrokerTls::default(),
            public_url: None,
            root: DEFAULT_ROOT.to_owned(),
            max_package_len: MAX_PACKAGE_LEN,
            tls: None,
            access: Access::LogIn,
            reset_admin: false,
            exposed: false,
            downloads: Downloads::Anybody,
            webhooks_to_private: false,
            webhook_ca: None,
            home_assistant: None,
        }
    }
}

/// Checks an address for devices, or makes one from where HTTP listens. Without a slash at the end.
pub(crate) fn public_url(
    given: Option<&str>,
    listening: SocketAddr,
    tls: bool,
) -> Result<String, PublicUrlError> {
    let url = match given {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!(
            "{}://{}",
            if tls { "https" } else { "http" },
            SocketAddr::new(reachable(listening.ip()), listening.port())
        ),
    };
    if is_usable(&url, "/packages") {
        Ok(url)
    } else {
        Err(PublicUrlError::Unusable(url))
    }
}

/// Checks how packages are delivered, for a server that devices reach at `public_url`.
pub(crate) fn delivery(
    given: Delivery,
    packages: &PackageStore,
    public_url: &str,
) -> Result<Delivery, DeliveryError> {
    let (checked, to) = match (given, packages) {
        (Delivery::Stream, _) => return Ok(Delivery::Stream),
        (Delivery::Links { .. }, PackageStore::Own | PackageStore::Directory(_)) => {
            return Err(DeliveryError::NoBucket);
        }
        (links @ Delivery::Links { .. }, PackageStore::Bucket(bucket)) => {
            let at = bucket.endpoint().unwrap_or("https://Amazon S3").to_owned();
            (links, at)
        }
        (Delivery::Cdn(url), _) => {
            let url = url.trim_end_matches('/').to_owned();
            if !is_usable(&url, "/00") {
                return Err(DeliveryError::Unusable(url));
            }
            (Delivery::Cdn(url.clone()), url)
        }
    };
    if public_url.starts_with("https://") && to.starts_with("http://") {
        let from = public_url.to_owned();
        return Err(DeliveryError::Downgrade { from, to });
    }
    Ok(checked)
}

/// Whether devices can use addresses of packages that begin so.
fn is_usable(url: &str, folder: &str) -> bool {
    let longest = format!("{url}{folder}/{}.otaria", "0".repeat(64));
    !url.contains(['?', '#']) && matches!(Desired::parse(longest.as_bytes()), Ok(Some(_)))
}

/// The host in a public address, with the brackets of an IPv6 address.
pub(crate) fn host_of(public_url: &str) -> &str {
    let authority = public_url
        .split_once("://")
        .map_or("", |(_, rest)| rest.split('/').next().unwrap_or(rest));
    match authority.find(']') {
        Some(end) => authority.get(..=end).unwrap_or(authority),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

/// What the server's own certificate names: how devices reach it, and this machine itself.
pub(crate) fn server_names(
    public_url: &str,
    listening: IpAddr,
    given: &[String],
) -> BTreeSet<String> {
    let host = host_of(public_url);
    let host = host.trim_matches(['[', ']']);
    let local = [
        Ipv4Addr::LOCALHOST.to_string(),
        Ipv6Addr::LOCALHOST.to_string(),
        "localhost".to_owned(),
        reachable(listening).to_string(),
        host.to_owned(),
    ];
    given
        .iter()
        .cloned()
        .chain(local)
        // Written as certificates have them, so that a name is recognised.
        .map(|name| match name.parse::<IpAddr>() {
            Ok(ip) => ip.to_string(),
            Err(_) => name.to_ascii_lowercase(),
        })
        .collect()
}

/// An address of this machine that others can use.
fn reachable(listening: IpAddr) -> IpAddr {
    if !listening.is_unspecified() {
        return listening;
    }
    // Connecting a UDP socket sends nothing; it only asks for the route. The addresses are for documentation.
    let (any, elsewhere): (IpAddr, IpAddr) = match listening {
        IpAddr::V4(_) => (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 1).into(),
        ),
        IpAddr::V6(_) => (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        ),
    };
    let route = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((elsewhere, 9))?;
        socket.local_addr()
    };
    match (route(), listening) {
        (Ok(address), _) => address.ip(),
        (Err(_), IpAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
        (Err(_), IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_devices_is_made_from_where_the_server_listens() {
        let made = |listening: &str| public_url(None, listening.parse().unwrap(), false).unwrap();
        assert_eq!(made("127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(made("[::1]:8080"), "http://[::1]:8080");
        assert!(!made("0.0.0.0:8080").contains("0.0.0.0"));
        assert!(made("0.0.0.0:8080").ends_with(":8080"));
    }

    #[test]
    fn a_database_elsewhere_is_reached_with_tls_unless_its_address_says_how() {
        let mode = |url: &str| match url.parse::<PostgresUrl>().unwrap().0.get_ssl_mode() {
            PgSslMode::Disable => "disable",
            PgSslMode::Allow => "allow",
            PgSslMode::Prefer => "prefer",
            PgSslMode::Require => "require",
            PgSslMode::VerifyCa => "verify-ca",
            PgSslMode::VerifyFull => "verify-full",
        };
        for (url, expected) in [
            ("postgres://o:p@db.lan/o", "require"),
            ("postgres://o:p@db.lan/o?application_name=a", "require"),
            ("postgres://10.0.0.1/o", "require"),
            ("postgres://[fd00::1]/o", "require"),
            ("postgres://db.lan/o?sslmode=disable", "disable"),
            ("postgres://db.lan/o?sslmode=prefer", "prefer"),
            ("postgres://db.lan/o?sslmode=verify-full", "verify-full"),
            ("postgres://localhost/o", "prefer"),
            ("postgres://127.0.0.1:5433/o", "prefer"),
            ("postgres://[::1]/o", "prefer"),
            ("postgres://o@localhost/o?host=/run/postgresql", "prefer"),
        ] {
            assert_eq!(mode(url), expected, "{url}");
        }
    }

    #[test]
    fn the_host_of_an_address_keeps_its_brackets() {
        for (url, host) in [
            ("https://ota.lan:8443/ota", "ota.lan"),
            ("http://10.0.0.1", "10.0.0.1"),
            ("https://[fe80::1]:8443", "[fe80::1]"),
        ] {
            assert_eq!(host_of(url), host);
        }
    }

    #[test]
    fn an_address_that_devices_cannot_use_is_refused() {
        let local = "127.0.0.1:1".parse().unwrap();
        let ok = |given: &str| public_url(Some(given), local, false);
        assert_eq!(
            ok("http://ota.example/"),
            Ok("http://ota.example".to_owned())
        );
        assert_eq!(
            ok("https://ota.example:8443/ota"),
            Ok("https://ota.example:8443/ota".to_owned())
        );
        let long = format!("http://{}", "a".repeat(500));
        for bad in [
            "",
            "ota.example",
            "ftp://ota.example",
            "http://u:p@h",
            "http://h/?a",
            "http://h/#a",
            long.as_str(),
        ] {
            assert!(ok(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_are_sent_on_only_to_where_they_can_follow() {
        let directory = PackageStore::Directory("packages".into());
        let at = |endpoint: &str| {
            let settings = [("AWS_ENDPOINT_URL".to_owned(), endpoint.to_owned())];
            PackageStore::Bucket(BucketUrl::new("s3://packages", settings).unwrap())
        };
        let cdn = |url: &str| Delivery::Cdn(url.to_owned());
        let plain = "http://ota.test";
        let tls = "https://ota.test";
        let no =
            |given, packages: &PackageStore, public| delivery(given, packages, public).unwrap_err();

        assert_eq!(
            no(Delivery::LINKS, &directory, plain),
            DeliveryError::NoBucket
        );
        assert_eq!(
            delivery(Delivery::LINKS, &at("http://s3.lan"), plain),
            Ok(Delivery::LINKS)
        );
        assert_eq!(delivery(Delivery::LINKS, &at(""), tls), Ok(Delivery::LINKS));
        let error = no(Delivery::LINKS, &at("http://s3.lan"), tls);
        assert!(matches!(error, DeliveryError::Downgrade { .. }), "{error}");

        let usable = delivery(cdn("https://cdn.test/ota/"), &directory, tls);
        assert_eq!(usable, Ok(cdn("https://cdn.test/ota")));
        let error = no(cdn("http://cdn.test"), &directory, tls);
        assert!(matches!(error, DeliveryError::Downgrade { .. }), "{error}");
        for bad in ["cdn.test", "https://cdn.test/?a=b", "s3://packages"] {
            let error = no(cdn(bad), &directory, plain);
            assert!(matches!(error, DeliveryError::Unusable(_)), "{error}");
        }
    }
}
