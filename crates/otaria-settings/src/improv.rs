//! Improv via serial: a browser (ESP Web Tools, for instance) hands over the Wi-Fi network on the serial port.
//!
//! ```text
//! packet                                        RPC command                  RPC result
//!  0   6  "IMPROV"                               0  1  command                0  1  command
//!  6   1  version: 1                             1  1  length                 1  1  length
//!  7   1  type: 1 state, 2 error,                2     data                   2     texts, each with its
//!         3 RPC command, 4 RPC result                                               length in front (1)
//!  8   1  length                                Wi-Fi: length, name, length, password
//!  9      data
//!         1  sum of all bytes before, modulo 256
//! ```
//!
//! After <https://www.improv-wifi.com/serial/>, version 1. [`Improv`] does no I/O: it is given bytes, and leaves bytes to send.
//! It knows no command that sets keys, hosts or firmware, and never answers with a password.

use alloc::vec::Vec;

use zeroize::Zeroize;

use crate::WifiNetwork;

const MAGIC: &[u8; 6] = b"IMPROV";
const VERSION: u8 = 1;
const HEADER_LEN: usize = 9;
const MAX_PACKET_LEN: usize = HEADER_LEN + 255 + 1;

const STATE: u8 = 1;
const ERROR: u8 = 2;
const RPC_COMMAND: u8 = 3;
const RPC_RESULT: u8 = 4;

const WIFI: u8 = 1;
const CURRENT_STATE: u8 = 2;
const DEVICE_INFORMATION: u8 = 3;
const SCAN: u8 = 4;

/// What the device tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceInfo<'a> {
    /// Name of the firmware.
    pub firmware: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The chip, such as `esp32c3`.
    pub chip: &'a str,
    /// The device's name.
    pub name: &'a str,
}

/// How far setting up is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Ready to take a network.
    Ready = 2,
    /// A network was given and is being tried.
    Provisioning = 3,
    /// The device is in the network.
    Provisioned = 4,
}

/// What went wrong, as it is told to the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorState {
    /// Nothing.
    None = 0,
    /// A packet or a command is malformed.
    InvalidRpc = 1,
    /// There is no such command.
    UnknownRpc = 2,
    /// The network cannot be joined.
    UnableToConnect = 3,
    /// Something else, such as a second network while the first is being tried.
    Unknown = 0xFF,
}

/// What the firmware has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Join this network; then call [`Improv::connected`], having saved it, or [`Improv::failed`].
    Join(WifiNetwork),
    /// Look for networks; then call [`Improv::scanned`].
    Scan,
}

/// The device's side of the protocol.
#[derive(Debug)]
pub struct Improv<'a> {
    info: DeviceInfo<'a>,
    state: State,
    receiver: Receiver,
}

impl<'a> Improv<'a> {
    /// A device that is in its network already (`provisioned`), or not.
    #[must_use]
    pub fn new(info: DeviceInfo<'a>, provisioned: bool) -> Self {
        Self {
            info,
            state: if provisioned {
                State::Provisioned
            } else {
                State::Ready
            },
            receiver: Receiver::default(),
        }
    }

    /// How far setting up is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes a byte from the serial port; what is to be sent is appended to `out`. Bytes outside of packets are passed over.
    pub fn receive(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Action> {
        let request = match self.receiver.push(byte)? {
            Ok(request) => request,
            Err(error) => {
                packet(out, ERROR, &[error as u8]);
                return None;
            }
        };
        if request == (Request::Join { network: None }) || self.is_busy_for(&request) {
            let busy = self.state == State::Provisioning;
            let error = if busy {
                ErrorState::Unknown
            } else {
                ErrorState::InvalidRpc
            };
            packet(out, ERROR, &[error as u8]);
            return None;
        }
        packet(out, ERROR, &[ErrorState::None as u8]);
        match request {
            Request::Join { network } => {
                self.enter(State::Provisioning, out);
                network.map(Action::Join)
            }
            Request::CurrentState => {
                self.enter(self.state, out);
                if self.state == State::Provisioned {
                    result(out, CURRENT_STATE, &[]);
                }
                None
            }
            Request::DeviceInfo => {
                let DeviceInfo {
                    firmware,
                    version,
                    chip,
                    name,
                } = self.info;
                result(out, DEVICE_INFORMATION, &[firmware, version, chip, name]);
                None
            }
            Request::Scan => Some(Action::Scan),
        }
    }

    fn is_busy_for(&self, request: &Request) -> bool {
        matches!(request, Request::Join { .. }) && self.state == State::Provisioning
    }

    /// The network was joined and saved. `url` is where a browser finds the device, if it has a page.
    pub fn connected(&mut self, url: Option<&str>, out: &mut Vec<u8>) {
        self.enter(State::Provisioned, out);
        result(out, WIFI, url.as_slice());
    }

    /// The network could not be joined, or not be saved.
    pub fn failed(&mut self, out: &mut Vec<u8>) {
        packet(out, ERROR, &[ErrorState::UnableToConnect as u8]);
        self.enter(State::Ready, out);
    }

    /// The networks in reach: name, signal strength in dBm, whether it asks for a password.
    pub fn scanned<'n>(
        &self,
        networks: impl IntoIterator<Item = (&'n str, i8, bool)>,
        out: &mut Vec<u8>,
    ) {
        for (ssid, rssi, locked) in networks {
            let rssi = alloc::format!("{rssi}");
            result(out, SCAN, &[ssid, &rssi, if locked { "YES" } else { "NO" }]);
        }
        result(out, SCAN, &[]);
    }

    fn enter(&mut self, state: State, out: &mut Vec<u8>) {
        self.state = state;
        packet(out, STATE, &[state as u8]);
    }
}

/// Appends a packet, and a line break: the log that follows on the same port begins a line of its own.
fn packet(out: &mut Vec<u8>, kind: u8, data: &[u8]) {
    let Ok(len) = u8::try_from(data.len()) else {
        return;
    };
    let start = out.len();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[VERSION, kind, len]);
    out.extend_from_slice(data);
    let sum = sum(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&[sum, b'\n']);
}

/// Longest data of an RPC result: command and length come before it in the packet.
const MAX_RESULT_LEN: usize = 255 - 2;

/// Appends an RPC result. Texts behind the packet's length are cut.
fn result(out: &mut Vec<u8>, command: u8, texts: &[&str]) {
    let mut data = Vec::with_capacity(MAX_RESULT_LEN + 2);
    data.extend_from_slice(&[command, 0]);
    for text in texts {
        let room = (MAX_RESULT_LEN + 2).saturating_sub(data.len() + 1);
        let mut end = text.len().min(room);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (Some(text), Ok(len)) = (text.get(..end), u8::try_from(end)) else {
            continue;
        };
        if data.len() < MAX_RESULT_LEN + 2 {
            data.push(len);
            data.extend_from_slice(text.as_bytes());
        }
    }
    let len = u8::try_from(data.len().saturating_sub(2)).unwrap_or_default();
    if let Some(place) = data.get_mut(1) {
        *place = len;
    }
    packet(out, RPC_RESULT, &data);
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// A command of the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    /// `None`: no network can be like that.
    Join {
        network: Option<WifiNetwork>,
    },
    CurrentState,
    DeviceInfo,
    Scan,
}

/// Finds packets among bytes.
struct Receiver {
    packet: [u8; MAX_PACKET_LEN],
    len: usize,
}

impl Default for Receiver {
    fn default() -> Self {
        Self {
            packet: [0; MAX_PACKET_LEN],
            len: 0,
        }
    }
}

impl core::fmt::Debug for Receiver {
    /// Without the bytes: there may be a password among them.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Receiver({} bytes)", self.len)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.packet.zeroize();
    }
}

impl Receiver {
    fn push(&mut self, byte: u8) -> Option<Result<Request, ErrorState>> {
        let fits = match MAGIC.get(self.len) {
            Some(expected) => byte == *expected,
            None => self.len != MAGIC.len() || byte == VERSION,
        };
        if !fits {
            self.len = 0;
            // A packet may begin where another broke off.
            if byte != b'I' {
                return None;
            }
        }
        *self.packet.get_mut(self.len)? = byte;
        self.len += 1;
        let data_len = usize::from(*self.packet.get(..self.len)?.get(HEADER_LEN - 1)?);
        if self.len < HEADER_LEN + data_len + 1 {
            return None;
        }
        let (packet, found) = self.packet.split_at_checked(HEADER_LEN + data_len)?;
        let kind = *packet.get(HEADER_LEN - 2)?;
        let answer = match kind {
            _ if found.first() != Some(&sum(packet)) => Some(Err(ErrorState::InvalidRpc)),
            RPC_COMMAND => Some(request(packet.get(HEADER_LEN..)?)),
            // Our own packets, echoed.
            _ => None,
        };
        self.packet.zeroize();
        self.len = 0;
        answer
    }
}

fn request(data: &[u8]) -> Result<Request, ErrorState> {
    const INVALID: ErrorState = ErrorState::InvalidRpc;
    let [command, len, data @ ..] = data else {
        return Err(INVALID);
    };
    if data.len() != usize::from(*len) {
        return Err(INVALID);
    }
    match *command {
        WIFI => {
            let (ssid, rest) = text(data).ok_or(INVALID)?;
            let (password, rest) = text(rest).ok_or(INVALID)?;
            if !rest.is_empty() {
                return Err(INVALID);
            }
            Ok(Request::Join {
                network: WifiNetwork::new(ssid, password).ok(),
            })
        }
        CURRENT_STATE => Ok(Request::CurrentState),
        DEVICE_INFORMATION => Ok(Request::DeviceInfo),
        SCAN => Ok(Request::Scan),
        _ => Err(ErrorState::UnknownRpc),
    }
}

fn text(data: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = data.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((core::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INFO: DeviceInfo<'static> = DeviceInfo {
        firmware: "otaria",
        version: "1.2.3",
        chip: "esp32c3",
        name: "desk-1",
    };

    fn command(data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet(&mut bytes, RPC_COMMAND, data);
        bytes
    }

    fn feed(improv: &mut Improv<'_>, bytes: &[u8]) -> (Vec<Action>, Vec<u8>) {
        let mut out = Vec::new();
        let actions = bytes
            .iter()
            .filter_map(|byte| improv.receive(*byte, &mut out));
        let actions = actions.collect();
        (actions, out)
    }

    const NO_ERROR: &[u8] = b"IMPROV\x01\x02\x01\x00\xe1\n";
    const READY: &[u8] = b"IMPROV\x01\x01\x01\x02\xe2\n";
    const PROVISIONING: &[u8] = b"IMPROV\x01\x01\x01\x03\xe3\n";
    const PROVISIONED: &[u8] = b"IMPROV\x01\x01\x01\x04\xe4\n";

    /// The example of the specification.
    const JOIN: &[u8] = b"IMPROV\x01\x03\x20\x01\x1e\x0cMyWirelessAP\x10mysecurepassword\xc1";

    #[test]
    fn the_specification_s_example_is_a_network_to_join() {
        let mut improv = Improv::new(INFO, false);
        let (actions, out) = feed(&mut improv, JOIN);
        let network = WifiNetwork::new("MyWirelessAP", "mysecurepassword").unwrap();
        assert_eq!(actions, [Action::Join(network)]);
        assert_eq!(out, [NO_ERROR, PROVISIONING].concat());
        let mut out = Vec::new();
        improv.connected(Some("http://10.0.0.7"), &mut out);
        let url = b"IMPROV\x01\x04\x12\x01\x10\x0fhttp://10.0.0.7";
        assert_eq!(out, [PROVISIONED, url, &[sum(url)], b"\n"].concat());
    }

    #[test]
    fn a_network_that_cannot_be_joined_is_reported_and_another_may_follow() {
        let mut improv = Improv::new(INFO, false);
        let join = command(b"\x01\x0b\x01a\x08password");
        assert_eq!(feed(&mut improv, &join).0.len(), 1);
        // While it is being tried, no other is taken.
        let (actions, out) = feed(&mut improv, &join);
        assert!(actions.is_empty() && out.contains(&0xFF));
        let mut out = Vec::new();
        improv.failed(&mut out);
        assert_eq!(out, [b"IMPROV\x01\x02\x01\x03\xe4\n", READY].concat());
        assert_eq!(feed(&mut improv, &join).0.len(), 1);
    }

    #[test]
    fn state_and_device_are_told() {
        let mut improv = Improv::new(INFO, false);
        let (_, out) = feed(&mut improv, b"IMPROV\x01\x03\x02\x02\x00\xe5");
        assert_eq!(out, [NO_ERROR, READY].concat());
        let mut improv = Improv::new(INFO, true);
        let (_, out) = feed(&mut improv, b"IMPROV\x01\x03\x02\x02\x00\xe5");
        let empty = b"IMPROV\x01\x04\x02\x02\x00";
        assert_eq!(
            out,
            [NO_ERROR, PROVISIONED, empty, &[sum(empty)], b"\n"].concat()
        );
        let (_, out) = feed(&mut improv, &command(b"\x03\x00"));
        let info = b"IMPROV\x01\x04\x1e\x03\x1c\x06otaria\x051.2.3\x07esp32c3\x06desk-1";
        assert_eq!(out, [NO_ERROR, info, &[sum(info)], b"\n"].concat());
    }

    #[test]
    fn networks_in_reach_are_listed_and_the_list_ends() {
        let mut improv = Improv::new(INFO, false);
        assert_eq!(feed(&mut improv, &command(b"\x04\x00")).0, [Action::Scan]);
        let mut out = Vec::new();
        improv.scanned([("home", -60, true), ("café", -7, false)], &mut out);
        let texts = [
            &b"\x04\x0d\x04home\x03-60\x03YES"[..],
            b"\x04\x0c\x05caf\xc3\xa9\x02-7\x02NO",
            b"\x04\x00",
        ];
        let mut expected = Vec::new();
        for text in texts {
            packet(&mut expected, RPC_RESULT, text);
        }
        assert_eq!(out, expected);
    }

    #[test]
    fn what_is_wrong_is_said_and_unknown_commands_do_nothing() {
        let error = |bytes: &[u8]| {
            let (actions, out) = feed(&mut Improv::new(INFO, false), bytes);
            assert!(actions.is_empty());
            out.get(9).copied()
        };
        let mut bad_sum = command(b"\x02\x00");
        bad_sum[11] ^= 1;
        assert_eq!(error(&bad_sum), Some(ErrorState::InvalidRpc as u8));
        for (data, expected) in [
            (&b""[..], ErrorState::InvalidRpc),
            (b"\x01", ErrorState::InvalidRpc),
            (b"\x01\x05", ErrorState::InvalidRpc),
            (b"\x01\x03\x01a\x09", ErrorState::InvalidRpc),
            (b"\x01\x02\x00\x00", ErrorState::InvalidRpc),
            (b"\x01\x07\x01a\x04horse", ErrorState::InvalidRpc),
            (b"\x01\x04\x01\xff\x00", ErrorState::InvalidRpc),
            // Host name and device name, which are not for strangers.
            (b"\x05\x01a", ErrorState::UnknownRpc),
            (b"\x06\x01a", ErrorState::UnknownRpc),
            (b"\xff\x00", ErrorState::UnknownRpc),
        ] {
            assert_eq!(error(&command(data)), Some(expected as u8), "{data:?}");
        }
        // Another version, and other types, are not for us.
        assert_eq!(error(b"IMPROV\x02\x03\x02\x02\x00\xe6"), None);
        assert_eq!(error(PROVISIONED), None);
    }

    #[test]
    fn long_texts_are_cut_to_the_packet() {
        let long = "é".repeat(300);
        let mut out = Vec::new();
        result(&mut out, DEVICE_INFORMATION, &[&long, "b", &long]);
        assert_eq!(out.len(), usize::from(out[8]) + 11);
        assert_eq!(out[10], out[8] - 2);
    }

    proptest! {
        #[test]
        fn a_command_is_found_behind_any_bytes(noise in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut improv = Improv::new(INFO, false);
            let _ = feed(&mut improv, &noise);
            // What is left of a packet that the noise began takes at most one packet's length.
            let _ = feed(&mut improv, &[0; MAX_PACKET_LEN]);
            let mut improv = Improv { state: State::Ready, ..improv };
            prop_assert_eq!(feed(&mut improv, &command(b"\x04\x00")).0, [Action::Scan]);
        }

        #[test]
        fn any_command_is_answered(data in proptest::collection::vec(any::<u8>(), 0..=255)) {
            let (_, out) = feed(&mut Improv::new(INFO, false), &command(&data));
            prop_assert!(out.starts_with(MAGIC));
        }
    }
}
