//! How fast, how late, and how unreliable.

use super::*;

#[test]
fn a_full_link_carries_its_bandwidth() {
    let len = 1 << 20;
    let (data, took) = download(device(5 * MS, 4_000_000, 8192), len);
    assert_eq!(data.len(), len);
    // A latency until the server hears of the client, the bytes at the link's rate, a latency for the last of them.
    assert_eq!(
        took,
        Duration::from_secs_f64(len as f64 * 8.0 / 4e6) + 10 * MS
    );
}

#[test]
fn a_small_window_on_a_long_link_carries_a_window_a_round_trip() {
    let len = 1 << 20;
    let window = 4 * SEGMENT_LEN;
    let (_, took) = download(device(50 * MS, 0, window), len);
    let round_trips = len.div_ceil(window) as u32;
    // Half a round trip until the server hears of the client, half a one for the last window to arrive.
    assert_eq!(took, 100 * MS * round_trips);
}

#[test]
fn two_connections_share_a_link() {
    let mut lab = Lab::with(device(MS, 1_000_000, 16_384));
    let mut listener = lab.listener.take().unwrap();
    let handle = lab.world.handle();
    lab.world.spawn("server", async move {
        loop {
            let mut stream = listener.accept().await;
            handle.spawn("connection", async move {
                let _ = stream.write_all(&noise(125_000)).await;
            });
        }
    });
    let one = async {
        let mut stream = connect(&lab.device).await.unwrap();
        read_all(&mut stream).await.unwrap();
        lab.world.now()
    };
    let two = async {
        let mut stream = connect(&lab.device).await.unwrap();
        read_all(&mut stream).await.unwrap();
        lab.world.now()
    };
    let (one, two) = lab.world.block_on(join(one, two));
    let both = Duration::from_secs(2);
    assert!(
        one.max(two) >= both && one.max(two) < both + 10 * MS,
        "{one:?} {two:?}"
    );
    assert!(
        one.min(two) > both - 200 * MS,
        "neither starves: {one:?} {two:?}"
    );
}

#[test]
fn up_and_down_have_the_full_bandwidth_each() {
    let mut lab = Lab::with(device(MS, 1_000_000, 16_384));
    let (mut uploader, mut sink) = lab.pair();
    let (mut downloader, mut source) = lab.pair();
    let start = lab.world.now();
    lab.world.spawn("uploader", async move {
        uploader.write_all(&noise(125_000)).await.unwrap();
        uploader.shutdown();
        let _ = read_all(&mut uploader).await;
    });
    lab.world.spawn("source", async move {
        let _ = source.write_all(&noise(125_000)).await;
    });
    let (up, down) = lab
        .world
        .block_on(join(read_all(&mut sink), read_all(&mut downloader)));
    assert_eq!((up.unwrap().len(), down.unwrap().len()), (125_000, 125_000));
    let took = lab.world.now() - start;
    assert!(took >= 1_000 * MS && took < 1_010 * MS, "{took:?}");
}

#[test]
fn a_reader_that_does_not_read_stops_the_sender_at_the_window() {
    let mut lab = Lab::with(device(MS, 0, 8192));
    let (mut client, mut server) = lab.pair();
    lab.world.spawn("writer", async move {
        let _ = server.write_all(&noise(500_000)).await;
    });
    lab.world.run_for(Duration::from_secs(10));
    assert!(
        (8192 - SEGMENT_LEN as u64..=8192).contains(&lab.device.bytes_received()),
        "{}",
        lab.device.bytes_received()
    );
    let mut buf = [0; 8192];
    lab.world.block_on(client.read(&mut buf)).unwrap();
    lab.world.run_for(10 * MS);
    assert!(lab.device.bytes_received() > 8192, "reading lets more come");
}

#[test]
fn a_device_that_stands_still_lets_only_the_window_fill() {
    let mut lab = Lab::with(device(MS, 4_000_000, 8192));
    lab.serve(noise(100_000));
    let (busy, handle, host) = (Busy::default(), lab.world.handle(), lab.device.clone());
    host.set_busy(busy.clone());
    let account = busy.clone();
    let device = async {
        let mut stream = connect(&host).await.unwrap();
        let mut buf = [0; 512];
        stream.read_exact(&mut buf).await.unwrap();
        // An erase, and then a read in the very same poll.
        account.charge(150 * MS);
        let erased = handle.now();
        stream.read_exact(&mut buf).await.unwrap();
        (handle.now() - erased, host.bytes_received())
    };
    let sleeper = lab.world.handle();
    let (waited, received) =
        lab.world
            .block_on(paced(busy, move |time| sleeper.sleep(time), device));
    assert_eq!(waited, 150 * MS, "the network stack stands still as well");
    assert!(
        received <= 8192 + 512 && received > 8192 - SEGMENT_LEN as u64,
        "{received}"
    );
}

#[test]
fn loss_delays_but_never_corrupts() {
    let mut config = device(5 * MS, 4_000_000, 8192);
    let (clean, fast) = download(config, 200_000);
    config.link.loss = 0.02;
    config.link.retransmit = Duration::from_millis(200);
    let (lossy, slow) = download(config, 200_000);
    assert_eq!(clean, lossy);
    let retransmissions = (slow - fast).as_millis() / 200;
    assert!(
        (1..=12).contains(&retransmissions),
        "2 % of 137 segments are about 3: {fast:?} {slow:?}"
    );
}

#[test]
fn a_link_that_loses_everything_comes_to_an_end_all_the_same() {
    let mut config = device(MS, 0, 8192);
    config.link.loss = 1.0;
    let (data, took) = download(config, 100);
    assert_eq!(data.len(), 100);
    assert!(took > Duration::from_secs(60), "{took:?}");
}

#[test]
fn a_stall_delays_everything_by_its_length() {
    let len = 500_000;
    let config = device(5 * MS, 4_000_000, 8192);
    let (_, plain) = download(config, len);
    let mut lab = Lab::with(config);
    lab.serve(noise(len));
    let host = lab.device.clone();
    lab.world
        .at(300 * MS, move || host.stall(Duration::from_secs(4)));
    let device = lab.device.clone();
    lab.world.block_on(async {
        let mut stream = connect(&device).await.unwrap();
        assert_eq!(read_all(&mut stream).await.unwrap(), noise(len));
    });
    let late = lab.world.now() - plain;
    assert!(
        late >= Duration::from_secs(4) - 15 * MS && late <= Duration::from_secs(4),
        "{late:?}"
    );
}

#[test]
fn a_short_break_of_the_link_is_survived_by_retransmission() {
    let mut lab = Lab::new();
    lab.serve(noise(500_000));
    let host = lab.device.clone();
    lab.world.at(200 * MS, move || host.set_link_up(false));
    let host = lab.device.clone();
    lab.world.at(2_000 * MS, move || host.set_link_up(true));
    let device = lab.device.clone();
    lab.world.block_on(async {
        let mut stream = connect(&device).await.unwrap();
        assert_eq!(read_all(&mut stream).await.unwrap(), noise(500_000));
    });
    assert!(
        lab.world.now() > Duration::from_millis(3_000),
        "1 s, then 2 s of time-out: {:?}",
        lab.world.now()
    );
}

#[test]
fn a_long_break_of_the_link_times_the_sender_out() {
    let mut lab = Lab::new();
    let (_client, mut server) = lab.pair();
    lab.device.set_link_up(false);
    let error = lab.world.block_on(async {
        loop {
            if let Err(error) = server.write(&[0; 1000]).await {
                return error;
            }
        }
    });
    assert_eq!(error, NetError::TimedOut);
    assert!(lab.world.now() >= HostConfig::server().give_up);
}

#[test]
fn the_same_seed_gives_the_same_times() {
    let run = |seed| {
        let world = World::new(seed);
        let net = SimNet::new(&world);
        let server = net.host("server", SERVER.into(), HostConfig::server());
        let mut config = HostConfig::device();
        config.link.loss = 0.05;
        let mut listener = server.bind(80).unwrap();
        let handle = world.handle();
        world.spawn("server", async move {
            loop {
                let mut stream = listener.accept().await;
                handle.spawn("connection", async move {
                    let _ = stream.write_all(&noise(30_000)).await;
                });
            }
        });
        let devices: Vec<_> = (10..40)
            .map(|i| {
                let (device, handle) = (
                    net.host(&format!("d{i}"), [10, 0, 0, i].into(), config),
                    world.handle(),
                );
                world.spawn("device", async move {
                    let mut stream = connect(&device).await.unwrap();
                    read_all(&mut stream).await.unwrap();
                    handle.now()
                })
            })
            .collect();
        world.block_on(async {
            let mut times = Vec::new();
            for device in devices {
                times.push(device.await);
            }
            times
        })
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
