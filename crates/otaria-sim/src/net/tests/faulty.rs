//! The fault injector.

use super::*;

/// What a client reads of "0123456789" through a network with these faults.
fn read_with(faults: &[ConnectionFault]) -> (Result<Vec<u8>, ErrorKind>, Vec<usize>) {
    let mut lab = Lab::new();
    lab.serve(b"0123456789".to_vec());
    let net = Faulty::new(lab.device.clone());
    faults.iter().for_each(|fault| net.plan(0, *fault));
    lab.world.block_on(async {
        let (mut all, mut reads, mut buf) = (Vec::new(), Vec::new(), [0; 64]);
        let mut stream = match net.connect((SERVER, 80).into()).await {
            Ok(stream) => stream,
            Err(error) => return (Err(embedded_io_async::Error::kind(&error)), reads),
        };
        loop {
            match stream.read(&mut buf).await {
                Ok(0) => return (Ok(all), reads),
                Ok(len) => {
                    reads.push(len);
                    all.extend_from_slice(&buf[..len]);
                }
                Err(error) => return (Err(embedded_io_async::Error::kind(&error)), reads),
            }
        }
    })
}

#[test]
fn without_faults_nothing_changes() {
    assert_eq!(read_with(&[]), (Ok(b"0123456789".to_vec()), vec![10]));
}

#[test]
fn a_refusal_a_reset_an_early_end_and_a_flipped_bit_are_injected() {
    assert_eq!(
        read_with(&[ConnectionFault::Refuse]).0,
        Err(ErrorKind::ConnectionRefused)
    );
    assert_eq!(
        read_with(&[ConnectionFault::ResetAfter(3)]),
        (Err(ErrorKind::ConnectionReset), vec![3])
    );
    assert_eq!(
        read_with(&[ConnectionFault::EndAfter(3)]).0,
        Ok(b"012".to_vec())
    );
    let flip = ConnectionFault::Flip { at: 4, mask: 1 };
    assert_eq!(
        read_with(&[ConnectionFault::Dribble(3), flip]),
        (Ok(b"0123556789".to_vec()), vec![3, 3, 3, 1])
    );
}

#[test]
fn a_hanging_attempt_and_a_silent_peer_never_end() {
    let mut lab = Lab::new();
    lab.serve(b"0123456789".to_vec());
    let net = Faulty::new(lab.device.clone());
    net.plan(0, ConnectionFault::Hang);
    net.plan(1, ConnectionFault::SilentAfter(4));
    let hour = Duration::from_secs(3600);
    assert!(
        lab.world
            .block_on_until(hour, net.connect((SERVER, 80).into()))
            .is_none()
    );
    let mut stream = lab
        .world
        .block_on(net.connect((SERVER, 80).into()))
        .ok()
        .unwrap();
    let mut buf = [0; 10];
    assert_eq!(lab.world.block_on(stream.read(&mut buf)), Ok(4));
    assert!(
        lab.world
            .block_on_until(3 * hour, stream.read(&mut buf))
            .is_none()
    );
    assert_eq!(net.attempts(), 2);
}

#[test]
fn writing_is_reset_after_the_given_number_of_bytes() {
    let lab = Lab::new();
    let net = Faulty::new(lab.device.clone());
    net.always(ConnectionFault::ResetAfterWriting(5));
    let mut stream = lab
        .world
        .block_on(net.connect((SERVER, 80).into()))
        .ok()
        .unwrap();
    assert_eq!(lab.world.block_on(stream.write(&[0; 9])), Ok(5));
    let error = lab.world.block_on(stream.write(&[0; 4])).unwrap_err();
    assert_eq!(error, FaultyError::Injected(ErrorKind::ConnectionReset));
    net.clear();
    let mut stream = lab
        .world
        .block_on(net.connect((SERVER, 80).into()))
        .ok()
        .unwrap();
    assert_eq!(lab.world.block_on(stream.write(&[0; 9])), Ok(9));
}

#[test]
fn look_ups_fail_as_often_as_planned() {
    let lab = Lab::new();
    let net = Faulty::new(lab.device.clone());
    net.fail_lookups(1);
    let look_up = || {
        lab.world
            .block_on(net.get_host_by_name("server.lan", AddrType::Either))
    };
    assert_eq!(look_up(), Err(FaultyLookup::Injected));
    assert_eq!(look_up(), Ok(SERVER.into()));
}
