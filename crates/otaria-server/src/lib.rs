//! The fleet's side of Otaria: an MQTT broker, packages over HTTP, and what is known of every device.
//!
//! ```no_run
//! use otaria_server::{Config, Server};
//!
//! # async fn run() -> Result<(), otaria_server::StartError> {
//! let running = Server::start(Config::new("data")).await?;
//! println!("devices: {:?}, people: http://{}/", running.addresses.mqtt, running.addresses.http);
//! running.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! | part | what it does |
//! |---|---|
//! | `broker` | the embedded MQTT broker; optional, any broker that speaks MQTT 5 will do |
//! | `bus` | the server as an MQTT client: reports in, outbox out |
//! | `ingest` | bytes from the broker to reports |
//! | `store` | SQLite: devices, packages, jobs, events, and the outbox |
//! | `status` | how a job's status follows from reports |
//! | `wishes` | decisions: declare, cancel, command |
//! | `rollout` | decisions about many devices: waves, gates, when to stop; [`query`] says which devices |
//! | `access` | users, tokens, and what each may do; what a device may do at the broker |
//! | `trust`, `enroll` | TLS: the server's authority, devices' certificates, and how a device is cut off |
//! | `webhooks` | whom the server tells what happens |
//! | `membership`, `neighbours` | servers that share a PostgreSQL database: which of them fit together, and what they tell each other |
//! | `home_assistant` | devices as entities of Home Assistant |
//! | [`audit`] | who changed what, in a chain that shows if an entry is changed or gone |
//! | `packages` | packages by their hash, in a directory or in a bucket |
//! | `http`, `api`, `page` | the three faces over HTTP |
//! | `metrics` | what is counted, for Prometheus |
//! | `openapi` | what is said of them to programs |
//!
//! The server is a courier. It holds no signing keys and cannot make a device run anything that the holder of the signing
//! key has not signed. What it does hold, and who may use it, is in docs/SECURITY.md.
#![forbid(unsafe_code)]

pub mod audit;
pub mod model;
pub mod query;

mod access;
mod api;
mod backup;
mod broker;
mod bus;
mod clock;
mod config;
mod enroll;
mod home_assistant;
mod http;
mod id;
mod ingest;
mod keys;
mod membership;
mod metrics;
mod neighbours;
mod openapi;
mod packages;
mod page;
mod rollout;
mod server;
mod shared;
mod status;
mod store;
mod trust;
mod webhooks;
mod wishes;

#[cfg(test)]
mod tests;

pub use access::FirstAdmin;
pub use access::rules::{AclFormat, acl};
pub use backup::{BackupError, Entry, Manifest, backup, restore};
pub use broker::BrokerError;
pub use bus::{BrokerUrl, BrokerUrlError, RetainError, retain};
pub use config::{
    Access, BrokerTls, BucketUrl, BucketUrlError, Config, Database, DatabaseUrlError, Delivery,
    DeliveryError, Downloads, HomeAssistant, Mqtt, PackageStore, PostgresUrl, PublicUrlError, Tls,
};
pub use membership::Taken;
pub use openapi::document as openapi_document;
pub use packages::BucketError;
pub use server::{Addresses, RunningServer, Server, StartError};
pub use store::StoreError;
pub use trust::{DeviceKey, PkiError, new_device_key};
