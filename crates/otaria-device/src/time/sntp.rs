//! One question to a time server, and its answer: SNTP (RFC 5905, section 14, and RFC 4330).
//!
//! ```text
//! 0   leap indicator (2 bits; 3: the server's clock is not set), version (3), mode (3; 3 client, 4 server)
//! 1   stratum: 0 kiss of death, 1 to 15, 16 not set
//! 2   poll interval, precision
//! 4   root delay, root dispersion
//! 12  reference identifier; of a kiss of death the reason, four letters
//! 16  reference timestamp
//! 24  origin timestamp: what the question had as its transmit timestamp
//! 32  receive timestamp
//! 40  transmit timestamp                    timestamp: seconds since 1900, modulo 2^32; fraction
//! ```
//!
//! All big-endian. The question's own timestamp is random: no clock of the device is told, and whoever has not seen the question
//! cannot answer it.

use core::fmt;

/// UDP port of time servers.
pub const PORT: u16 = 123;
/// Length of question and answer. What a server adds (extensions, a MAC) is not looked at.
pub const PACKET_LEN: usize = 48;

/// Version 4, client.
const QUESTION: u8 = 4 << 3 | 3;
const MODE_SERVER: u8 = 4;
/// Seconds from 1900 to 1970.
const UNIX_EPOCH: u32 = 2_208_988_800;
/// Timestamps begin anew in 2036. They are taken for times from 1 January 2024 on, up to 2160.
const ERA_START: u64 = 1_704_067_200;

/// Why a datagram tells no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SntpError {
    /// It is no answer, or none to this question. To be passed over: anybody may send such.
    NotAnAnswer,
    /// The server does not know the time.
    Unsynchronised,
    /// The server does not want to be asked again (DENY, RSTR).
    Denied,
    /// The server wants to be asked less often (RATE).
    TooOften,
}

impl fmt::Display for SntpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnAnswer => "not an answer to what was asked",
            Self::Unsynchronised => "the server does not know the time",
            Self::Denied => "the server does not want to be asked",
            Self::TooOften => "the server wants to be asked less often",
        })
    }
}

impl core::error::Error for SntpError {}

/// A question, by which its answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question([u8; 8]);

impl Question {
    /// A question with this random number, which must be unpredictable, and another one in each question.
    #[must_use]
    pub const fn new(random: u64) -> Self {
        Self(random.to_be_bytes())
    }

    /// The datagram to send.
    #[must_use]
    pub fn encode(&self) -> [u8; PACKET_LEN] {
        let mut packet = [0; PACKET_LEN];
        let [first, .., a, b, c, d, e, f, g, h] = &mut packet;
        *first = QUESTION;
        [*a, *b, *c, *d, *e, *f, *g, *h] = self.0;
        packet
    }

    /// The time in a datagram, in unix seconds, if it is the answer. That it came from where the question went, the caller sees to.
    ///
    /// # Errors
    /// See [`SntpError`].
    pub fn answer(&self, datagram: &[u8]) -> Result<u64, SntpError> {
        let packet: &[u8; PACKET_LEN] = datagram.first_chunk().ok_or(SntpError::NotAnAnswer)?;
        let ([head, stratum, ..], origin, sent) = (packet, field(packet, 24), field(packet, 40));
        let (leap, version, mode) = (head >> 6, head >> 3 & 0b111, head & 0b111);
        // Before anything that it says is believed, a kiss of death not excepted.
        if mode != MODE_SERVER
            || !(3..=4).contains(&version)
            || origin != u64::from_be_bytes(self.0)
        {
            return Err(SntpError::NotAnAnswer);
        }
        if *stratum == 0 {
            return Err(match packet.get(12..16) {
                Some(b"DENY" | b"RSTR") => SntpError::Denied,
                Some(b"RATE") => SntpError::TooOften,
                _ => SntpError::Unsynchronised,
            });
        }
        if leap == 3 || *stratum > 15 || sent == 0 {
            return Err(SntpError::Unsynchronised);
        }
        Ok(unix((sent >> 32) as u32))
    }
}

fn field(packet: &[u8; PACKET_LEN], at: usize) -> u64 {
    let bytes = packet.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The one time from [`ERA_START`] on that has these seconds.
fn unix(seconds: u32) -> u64 {
    let start = (ERA_START as u32).wrapping_add(UNIX_EPOCH);
    ERA_START + u64::from(seconds.wrapping_sub(start))
}
