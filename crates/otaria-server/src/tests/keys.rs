use otaria_package::key_record::Plan;
use otaria_wire::keys::KeyRecord;

use super::*;
use crate::model::{KeyEpoch, Page, PublishedKeys};

/// A key record of the product whose devices the tests have.
pub(super) fn record(epoch: u32, product: &str) -> Vec<u8> {
    let plan = Plan {
        epoch,
        threshold: 1,
        product: product.to_owned(),
        keys: vec![SigningKey::generate().unwrap().public_key()],
    };
    plan.sign(&[&*KEY]).unwrap()
}

impl Bench {
    async fn put_keys(&self, record: &[u8]) -> Reply {
        self.send(Method::PUT, "/api/v1/keys", &[], record.to_vec())
            .await
    }

    /// The key records that wait for devices: whose, and which epoch.
    async fn keys_waiting(&self) -> Vec<(String, u32)> {
        let rows = self.outbox().await.into_iter();
        rows.filter(|row| row.message.topic.ends_with("/keys"))
            .map(|row| {
                assert!(row.message.retain && row.message.expires_at.is_none());
                let device = row.message.topic.split('/').nth(2).unwrap().to_owned();
                let record = KeyRecord::parse(&row.message.payload).unwrap();
                (device, record.epoch())
            })
            .collect()
    }
}

#[tokio::test]
async fn a_key_record_goes_to_every_device_of_its_product_now_and_later() {
    let bench = Bench::new().await;
    for device in ["d1", "d2"] {
        bench.device_runs(device, &other_image(), "1.0.0").await;
    }
    let product = bench.device("d1").await.state.unwrap().product;
    let product = product.as_str();
    let first = record(1, product);
    let published: PublishedKeys = bench.put_keys(&first).await.json();
    assert_eq!((published.epoch.epoch, published.told), (1, 2));
    bench.put_keys(&record(7, "another-product")).await;
    let to = |device: &str, epoch| (device.to_owned(), epoch);
    assert_eq!(bench.keys_waiting().await, [to("d1", 1), to("d2", 1)]);

    bench.all_sent().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    assert_eq!(bench.keys_waiting().await, [], "it has had it");
    bench.device_runs("d3", &other_image(), "1.0.0").await;
    assert_eq!(bench.keys_waiting().await, [to("d3", 1)]);

    bench.put_keys(&record(2, product)).await;
    let all = [to("d1", 2), to("d2", 2), to("d3", 2)];
    assert_eq!(bench.keys_waiting().await, all);
    let epochs = bench
        .get("/api/v1/keys")
        .await
        .json::<Page<KeyEpoch>>()
        .items;
    let shown: Vec<_> = epochs
        .iter()
        .map(|epoch| (epoch.product.as_str(), epoch.epoch, epoch.devices))
        .collect();
    assert_eq!(shown, [("another-product", 7, 0), (product, 2, 3)]);
    assert_eq!(epochs[1].roots, [KEY.public_key().key_id().to_string()]);
}

#[tokio::test]
async fn a_lower_epoch_and_another_record_of_the_same_one_are_refused() {
    let bench = Bench::new().await;
    let held = record(5, "pump");
    assert_eq!(bench.put_keys(&held).await.status, StatusCode::OK);
    assert_eq!(bench.put_keys(&held).await.status, StatusCode::OK);
    for epoch in [4, 5] {
        let refused = bench.put_keys(&record(epoch, "pump")).await;
        assert_eq!(refused.problem(), "keys_epoch");
    }
    let not_a_record = bench.put_keys(b"keys").await;
    assert_eq!(not_a_record.status, StatusCode::BAD_REQUEST);
    // One that no device takes can be done away with.
    let forget = async || {
        bench
            .send(Method::DELETE, "/api/v1/keys/pump", &[], Body::empty())
            .await
            .status
    };
    assert_eq!(forget().await, StatusCode::NO_CONTENT);
    assert_eq!(forget().await, StatusCode::NOT_FOUND);
    assert_eq!(
        bench.put_keys(&record(1, "pump")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn who_goes_by_a_record_is_counted_by_what_devices_report() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let product = bench.device("d1").await.state.unwrap().product;
    bench.put_keys(&record(3, product.as_str())).await;
    let in_force = async || {
        let epochs = bench
            .get("/api/v1/keys")
            .await
            .json::<Page<KeyEpoch>>()
            .items;
        epochs[0].in_force
    };
    assert_eq!(in_force().await, 0);
    let mut says = state("d1", &other_image(), "1.0.0", None, "idle");
    says["keys"] = json!({"epoch": 3, "threshold": 1, "ids": ["0123456789abcdef"]});
    bench.report("d1", "state", &says).await;
    assert_eq!(in_force().await, 1);
    let state = bench.device("d1").await.state.unwrap();
    assert_eq!(state.keys.unwrap().epoch, 3);
}

#[tokio::test]
async fn a_broker_that_has_lost_everything_gets_the_records_again() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let product = bench.device("d1").await.state.unwrap().product;
    bench.put_keys(&record(1, product.as_str())).await;
    bench.all_sent().await;
    bench
        .shared
        .redeclare(&Default::default(), &Default::default())
        .await
        .unwrap();
    assert_eq!(bench.keys_waiting().await, [("d1".to_owned(), 1)]);
}
