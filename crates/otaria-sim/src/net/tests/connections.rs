//! Opening, closing, breaking; names.

use super::*;

#[test]
fn bytes_arrive_in_order_and_the_end_after_them() {
    let (data, _) = download(HostConfig::device(), 100_000);
    assert_eq!(data, noise(100_000));
}

#[test]
fn a_connection_takes_one_round_trip() {
    let lab = Lab::with(device(20 * MS, 0, 8192));
    lab.world.block_on(connect(&lab.device)).unwrap();
    assert_eq!(lab.world.now(), 40 * MS);
}

#[test]
fn reading_returns_zero_only_after_all_bytes_of_a_closed_peer() {
    let mut lab = Lab::new();
    let (mut client, mut server) = lab.pair();
    lab.world.block_on(async {
        server.write_all(b"last words").await.unwrap();
        drop(server);
        let mut buf = [0; 4];
        assert_eq!(client.read(&mut buf).await, Ok(4));
        assert_eq!(client.read(&mut buf).await, Ok(4));
        assert_eq!(client.read(&mut buf).await, Ok(2));
        assert_eq!(client.read(&mut buf).await, Ok(0));
        assert_eq!(client.read(&mut buf).await, Ok(0), "the end stays the end");
    });
}

#[test]
fn a_half_closed_connection_still_carries_the_other_direction() {
    let mut lab = Lab::new();
    let (mut client, mut server) = lab.pair();
    lab.world.block_on(async {
        client.write_all(b"request").await.unwrap();
        client.shutdown();
        assert_eq!(read_all(&mut server).await.unwrap(), b"request");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        assert_eq!(read_all(&mut client).await.unwrap(), b"answer");
        assert_eq!(client.write(b"more").await, Err(NetError::Closed));
    });
}

#[test]
fn a_reset_reaches_the_reader_after_what_it_has_received() {
    let mut lab = Lab::new();
    let (mut client, mut server) = lab.pair();
    lab.world.block_on(async {
        server.write_all(b"half").await.unwrap();
        server.flush().await.unwrap();
        server.reset();
        lab.world.sleep(50 * MS).await;
        let mut buf = [0; 16];
        assert_eq!(client.read(&mut buf).await, Ok(4));
        assert_eq!(client.read(&mut buf).await, Err(NetError::Reset));
        assert_eq!(client.write(b"x").await, Err(NetError::Reset));
        assert_eq!(server.read(&mut buf).await, Err(NetError::Reset));
    });
}

#[test]
fn closing_with_unread_data_resets_the_peer() {
    let mut lab = Lab::new();
    let (mut client, server) = lab.pair();
    lab.world.block_on(async {
        client.write_all(b"nobody reads this").await.unwrap();
        client.flush().await.unwrap();
        drop(server);
        assert_eq!(client.read(&mut [0; 4]).await, Err(NetError::Reset));
    });
}

#[test]
fn a_device_that_drops_its_socket_is_missed_only_when_something_is_sent_to_it() {
    let mut lab = Lab::new();
    let (client, mut server) = lab.pair();
    drop(client);
    let mut buf = [0; 4];
    let quiet = lab
        .world
        .block_on_until(Duration::from_secs(600), server.read(&mut buf));
    assert_eq!(quiet, None, "no end and no reset ever comes");
    lab.world.block_on(async {
        server.write_all(b"hello?").await.unwrap();
        assert_eq!(server.read(&mut buf).await, Err(NetError::Reset));
    });
}

#[test]
fn what_an_operating_system_has_not_sent_yet_is_sent_after_the_drop() {
    let mut lab = Lab::with(device(10 * MS, 100_000, 2048));
    lab.serve(noise(50_000));
    let device = lab.device.clone();
    let data = lab.world.block_on(async {
        let mut stream = connect(&device).await.unwrap();
        read_all(&mut stream).await.unwrap()
    });
    assert_eq!(data, noise(50_000));
}

#[test]
fn nobody_listening_is_a_refusal_after_one_round_trip() {
    let lab = Lab::with(device(20 * MS, 0, 8192));
    let result = lab.world.block_on(lab.device.connect((SERVER, 81).into()));
    assert_eq!(result.err(), Some(NetError::Refused));
    assert_eq!(lab.world.now(), 40 * MS);
}

#[test]
fn a_black_hole_times_the_attempt_out_after_two_minutes() {
    let lab = Lab::new();
    lab.server.set_black_hole(true);
    assert_eq!(
        lab.world.block_on(connect(&lab.device)).err(),
        Some(NetError::TimedOut)
    );
    assert_eq!(lab.world.now(), Duration::from_secs(127));
}

#[test]
fn an_address_without_a_host_is_a_black_hole() {
    let lab = Lab::new();
    let result = lab
        .world
        .block_on(lab.device.connect(([10, 9, 9, 9], 80).into()));
    assert_eq!(result.err(), Some(NetError::TimedOut));
}

#[test]
fn a_connection_succeeds_when_the_link_comes_back_in_time() {
    let lab = Lab::new();
    lab.device.set_link_up(false);
    let host = lab.device.clone();
    lab.world
        .at(Duration::from_secs(5), move || host.set_link_up(true));
    assert!(lab.world.block_on(connect(&lab.device)).is_ok());
    assert_eq!(
        lab.world.now(),
        Duration::from_secs(7) + 10 * MS,
        "SYNs at 0, 1, 3 and 7 s"
    );
}

#[test]
fn a_connection_attempt_can_be_cancelled() {
    let mut lab = Lab::new();
    let mut listener = lab.listener.take().unwrap();
    lab.world.block_on(async {
        let attempt = select(connect(&lab.device), lab.world.sleep(7 * MS)).await;
        assert!(
            matches!(attempt, Either::Second(())),
            "the answer is still on its way"
        );
        let mut stream = listener.accept().await;
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await, Err(NetError::Reset));
    });
}

#[test]
fn a_port_is_taken_until_its_listener_is_dropped() {
    let mut lab = Lab::new();
    assert_eq!(lab.server.bind(80).err(), Some(NetError::AddrInUse));
    lab.listener = None;
    assert_eq!(
        lab.world.block_on(connect(&lab.device)).err(),
        Some(NetError::Refused)
    );
    lab.listener = Some(lab.server.bind(80).unwrap());
    lab.pair();
    let free = lab.server.bind(0).unwrap();
    assert_ne!(free.addr(), lab.server.bind(0).unwrap().addr());
}

#[test]
fn connections_that_nobody_accepted_are_reset_with_their_listener() {
    let mut lab = Lab::new();
    let mut client = lab.world.block_on(connect(&lab.device)).unwrap();
    lab.listener = None;
    assert_eq!(
        lab.world.block_on(client.read(&mut [0; 1])),
        Err(NetError::Reset)
    );
}

#[test]
fn a_device_without_power_is_silent_and_resets_old_connections_when_it_is_back() {
    let mut lab = Lab::new();
    let (client, mut server) = lab.pair();
    lab.device.power_off();
    drop(client);
    lab.world.block_on(async {
        server.write_all(b"are you there").await.unwrap();
        lab.world.sleep(Duration::from_secs(20)).await;
        lab.device.power_on();
        assert_eq!(server.read(&mut [0; 1]).await, Err(NetError::Reset));
    });
    assert!(lab.world.now() > Duration::from_secs(20));
}

#[test]
fn a_middlebox_that_forgets_resets_both_ends() {
    let mut lab = Lab::new();
    let (mut client, mut server) = lab.pair();
    lab.device.reset_connections();
    lab.world.block_on(async {
        assert_eq!(client.read(&mut [0; 1]).await, Err(NetError::Reset));
        assert_eq!(server.write(&[0; 1]).await, Err(NetError::Reset));
    });
}

#[test]
fn flush_waits_for_the_acknowledgement() {
    let mut lab = Lab::with(device(30 * MS, 0, 8192));
    let (mut client, _server) = lab.pair();
    let start = lab.world.now();
    lab.world.block_on(async {
        client.write_all(b"ping").await.unwrap();
        assert_eq!(lab.world.now(), start);
        client.flush().await.unwrap();
    });
    assert_eq!(lab.world.now() - start, 60 * MS);
}

#[test]
fn a_full_send_buffer_makes_the_writer_wait() {
    let mut lab = Lab::with(device(30 * MS, 0, 8192));
    let (mut client, _server) = lab.pair();
    let start = lab.world.now();
    lab.world.block_on(async {
        assert_eq!(client.write(&[0; 5000]).await, Ok(4096), "as much as fits");
        assert_eq!(
            client.write(&[0; 5000]).await,
            Ok(SEGMENT_LEN),
            "when the first segment is acknowledged"
        );
    });
    assert_eq!(lab.world.now() - start, 60 * MS);
}

#[test]
fn a_cancelled_read_loses_nothing() {
    let mut lab = Lab::new();
    lab.serve(noise(50_000));
    let device = lab.device.clone();
    let data = lab.world.block_on(async {
        let mut stream = connect(&device).await.unwrap();
        let (mut all, mut buf) = (Vec::new(), [0; 700]);
        loop {
            match select(
                stream.read(&mut buf),
                lab.world.sleep(Duration::from_micros(700)),
            )
            .await
            {
                Either::First(Ok(0)) => return all,
                Either::First(len) => all.extend_from_slice(&buf[..len.unwrap()]),
                Either::Second(()) => {}
            }
        }
    });
    assert_eq!(data, noise(50_000));
}

#[test]
fn names_are_looked_up_in_one_round_trip() {
    let lab = Lab::with(device(20 * MS, 0, 8192));
    let look_up = |name, kind| lab.world.block_on(lab.device.get_host_by_name(name, kind));
    assert_eq!(look_up("Server.LAN", AddrType::IPv4), Ok(SERVER.into()));
    assert_eq!(lab.world.now(), 40 * MS);
    assert_eq!(
        look_up("server.lan", AddrType::IPv6),
        Err(NetError::UnknownName)
    );
    assert_eq!(
        look_up("nowhere.lan", AddrType::Either),
        Err(NetError::UnknownName)
    );
    assert_eq!(
        look_up("192.0.2.7", AddrType::IPv4),
        Ok([192, 0, 2, 7].into())
    );
    assert_eq!(lab.world.now(), 120 * MS, "an address needs no look-up");
}

#[test]
fn an_address_is_looked_up_into_the_callers_buffer() {
    let lab = Lab::new();
    let mut buf = [0; 64];
    let len = lab
        .world
        .block_on(lab.device.get_host_by_address(SERVER.into(), &mut buf))
        .unwrap();
    assert_eq!(&buf[..len], b"server.lan");
    let small = lab
        .world
        .block_on(lab.device.get_host_by_address(SERVER.into(), &mut buf[..3]));
    assert_eq!(small, Err(NetError::BufferTooSmall));
}

#[test]
fn without_a_link_a_look_up_times_out() {
    let lab = Lab::new();
    lab.device.set_link_up(false);
    let result = lab
        .world
        .block_on(lab.device.get_host_by_name("server.lan", AddrType::Either));
    assert_eq!(result, Err(NetError::TimedOut));
    assert_eq!(lab.world.now(), Duration::from_secs(10));
}
