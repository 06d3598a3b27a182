//! Improv on the serial port.

use alloc::vec::Vec;

use embassy_time::{Duration, Timer};
use otaria_settings::WifiNetwork;
use otaria_settings::improv::{Action, Improv};

use super::Neighbour;

/// How often the serial port is looked at: 58 bytes come in this time at 115,200 baud, and the smallest buffer of a chip has 64.
const LOOK: Duration = Duration::from_millis(5);
/// Most bytes in one turn, so that others have theirs.
const MOST: usize = 128;

/// The serial port that the console is on. Neither waits for the other side.
pub trait Serial {
    /// A byte that has come.
    fn read(&mut self) -> Option<u8>;

    /// Writes bytes, between two lines of the console and never inside of one. What nobody takes is dropped.
    fn write(&mut self, bytes: &[u8]);
}

/// Answers until a network is handed over.
pub(super) async fn listen(
    serial: &mut impl Serial,
    improv: &mut Improv<'_>,
    neighbours: &[Neighbour],
) -> WifiNetwork {
    let mut out = Vec::new();
    loop {
        for _ in 0..MOST {
            let Some(byte) = serial.read() else { break };
            let action = improv.receive(byte, &mut out);
            if action == Some(Action::Scan) {
                // As the radio saw them before the access point was opened: it cannot do both.
                let found = neighbours.iter();
                let found = found.map(|found| (&*found.ssid, found.rssi, found.locked));
                improv.scanned(found, &mut out);
            }
            if !out.is_empty() {
                serial.write(&out);
                out.clear();
            }
            if let Some(Action::Join(network)) = action {
                return network;
            }
        }
        Timer::after(LOOK).await;
    }
}
