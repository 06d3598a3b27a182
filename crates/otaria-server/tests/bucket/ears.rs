//! What can be heard of a server: its log, and all that goes through its broker.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that several may add to.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Heard {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

/// All that this process logs, as much as anybody can ask of it; what the store in it logs is not the server's.
pub(crate) struct Log(Heard);

impl Log {
    pub(crate) fn start() -> Self {
        let heard = Heard::default();
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("trace,s3s=off,s3s_fs=off"))
            .with_writer(heard.clone())
            .init();
        Self(heard)
    }

    pub(crate) fn heard(&self) -> String {
        self.0.text()
    }
}

/// Whoever listens to the broker.
pub(crate) struct Operator(Heard);

impl Operator {
    pub(crate) async fn listen(broker: SocketAddr) -> Self {
        let options = MqttOptions::new("operator", broker.ip().to_string(), broker.port());
        let (client, mut events) = AsyncClient::new(options, 16);
        let all = client.subscribe("otaria/v1/#", QoS::AtLeastOnce);
        all.await.unwrap();
        let heard = Heard::default();
        let writer = heard.clone();
        tokio::spawn(async move {
            let _client = client;
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(Packet::Publish(message)) = event {
                    let mut all = writer.0.lock().unwrap();
                    all.extend_from_slice(&message.payload);
                    all.push(b'\n');
                }
            }
        });
        Self(heard)
    }

    pub(crate) fn heard(&self) -> String {
        self.0.text()
    }
}
