use super::*;

#[tokio::test]
async fn a_decision_and_its_messages_are_one() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let package = bench.upload(package("1.1.0")).await;
    {
        // A process that dies before the commit: the transaction is dropped.
        let mut tx = bench.shared.store.write().await.unwrap();
        tx.set_wish("d1", Some("http://h/x"), NOW).await.unwrap();
        let message = bench
            .shared
            .message(
                "d1",
                otaria_wire::topics::Topic::Desired,
                b"http://h/x".to_vec(),
            )
            .unwrap();
        tx.send(&message, NOW).await.unwrap();
    }
    assert!(bench.outbox().await.is_empty());
    assert_eq!(bench.device("d1").await.wish, None);

    bench.publish(&package, json!("all")).await;
    let before = bench.outbox().await;
    assert_eq!(before.len(), 1);
    let bench = bench.restarted().await;
    assert_eq!(
        bench.outbox().await,
        before,
        "a process that dies after the commit has it still to send"
    );
    assert!(bench.device("d1").await.wish.is_some());
}

#[tokio::test]
async fn numbers_of_sent_messages_are_not_given_again() {
    let bench = Bench::new().await;
    let send = async |payload: &[u8]| {
        let mut tx = bench.shared.store.write().await.unwrap();
        let message = bench
            .shared
            .message("d1", otaria_wire::topics::Topic::Desired, payload.to_vec())
            .unwrap();
        tx.send(&message, NOW).await.unwrap();
        tx.commit().await.unwrap();
        bench.outbox().await.last().unwrap().id
    };
    let first = send(b"http://h/1").await;
    let mut tx = bench.shared.store.write().await.unwrap();
    tx.sent(&[first]).await.unwrap();
    tx.commit().await.unwrap();
    let second = send(b"http://h/2").await;
    assert!(
        second > first,
        "the bus asks for what comes after the last number that it has seen"
    );
}

#[tokio::test]
async fn what_is_declared_is_declared_again_to_a_broker_that_has_forgotten() {
    let bench = Bench::new().await;
    for id in ["d1", "d2"] {
        bench.device_runs(id, &other_image(), "1.0.0").await;
    }
    let package = bench.upload(package("1.1.0")).await;
    bench.publish(&package, json!("all")).await;
    let sent = bench.outbox().await;
    let mut tx = bench.shared.store.write().await.unwrap();
    tx.sent(&sent.iter().map(|row| row.id).collect::<Vec<_>>())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    bench.shared.redeclare().await.unwrap();
    let again = bench.outbox().await;
    let messages = |rows: &[OutboxRow]| {
        rows.iter()
            .map(|row| row.message.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(messages(&again), messages(&sent));
}

#[tokio::test]
async fn the_instance_keeps_its_name() {
    let bench = Bench::new().await;
    let name = bench.shared.store.instance().await.unwrap();
    let bench = bench.restarted().await;
    assert_eq!(bench.shared.store.instance().await.unwrap(), name);
}
