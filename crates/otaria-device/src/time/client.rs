//! Whom to ask for the time, and when. No I/O: whoever has a UDP socket asks, and says what came of it.

use otaria_wire::Sha256Hasher;

use super::sntp::{Question, SntpError};
use super::wall::Learned;
use crate::board::{Duration, Instant};

/// Most servers.
pub const MAX_SERVERS: usize = 4;
/// How long an answer is waited for, the look-up of the server's name included.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The first question comes within this: a fleet that gets power in one moment does not ask in one moment.
const FIRST: Duration = Duration::from_secs(4);
/// Between two servers of a round.
const NEXT: Duration = Duration::from_secs(2);
/// After a round without success: doubled with each, half of it random. RFC 4330, section 10, wants at least 15 s.
const ROUND: Duration = Duration::from_secs(30);
const ROUND_MAX: Duration = Duration::from_secs(60 * 60);
/// After so many doublings the pause is the longest.
const LONGEST_ROUND: u8 = 7;
/// Between answers that were taken: the chip's clock loses less than a second.
const AGAIN: Duration = Duration::from_secs(4 * 60 * 60);
/// After an answer that nobody has confirmed so far.
const DOUBT: Duration = Duration::from_secs(64);

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a time, and the clock has said what it makes of that.
    Answered(Learned),
    /// Without an answer in [`PATIENCE`], or the server's name is not found.
    Silence,
    /// With an answer that tells no time.
    Refused(SntpError),
}

/// Asks several servers in turn.
///
/// | outcome | next |
/// |---|---|
/// | a time that was taken | the same server, after four hours |
/// | a time that is doubted | the next server after 64 s (the same one, if it is alone) |
/// | a time before the floor, silence, "does not know the time" | the next server; after all of them a pause of 30 s, doubled up to an hour |
/// | "less often" | the same, with the pause of an hour |
/// | "not at all" | the same, and this server never again in this boot |
#[derive(Debug)]
pub struct Sntp {
    servers: u8,
    at: u8,
    /// A bit for each server that does not want to be asked.
    denied: u8,
    /// Servers that have failed in this round, and rounds in which all have.
    failures: u8,
    rounds: u8,
    due: Instant,
    seed: u64,
    drawn: u64,
}

impl Sntp {
    /// Begins to ask `servers` servers, at most [`MAX_SERVERS`]. `seed` is random and secret.
    #[must_use]
    pub fn new(servers: usize, seed: u64, now: Instant) -> Self {
        let mut sntp = Self {
            servers: servers.min(MAX_SERVERS) as u8,
            at: 0,
            denied: 0,
            failures: 0,
            rounds: 0,
            due: now,
            seed,
            drawn: 0,
        };
        sntp.due = now + sntp.part_of(FIRST);
        sntp
    }

    /// When to ask next, and which server; `None` if nobody is left who wants to be asked.
    #[must_use]
    pub fn next(&self) -> Option<(Instant, usize)> {
        let is_left = self.at < self.servers && self.denied & 1 << self.at == 0;
        is_left.then_some((self.due, usize::from(self.at)))
    }

    /// The question to ask, and the UDP port to ask it from.
    pub fn question(&mut self) -> (Question, u16) {
        // The dynamic ports (RFC 6335).
        let port = 49_152 + (self.random() % 16_384) as u16;
        (Question::new(self.random()), port)
    }

    /// The question has ended.
    pub fn ended(&mut self, now: Instant, outcome: Outcome) {
        let wait = match outcome {
            Outcome::Answered(Learned::Taken) => {
                (self.failures, self.rounds) = (0, 0);
                self.due = now + AGAIN + self.part_of(AGAIN / 8);
                return;
            }
            Outcome::Answered(Learned::Doubted) => DOUBT,
            Outcome::Answered(Learned::BeforeFloor)
            | Outcome::Silence
            | Outcome::Refused(SntpError::NotAnAnswer | SntpError::Unsynchronised) => self.failed(),
            Outcome::Refused(SntpError::Denied) => {
                self.denied |= 1 << self.at;
                self.failed()
            }
            Outcome::Refused(SntpError::TooOften) => {
                (self.failures, self.rounds) = (0, LONGEST_ROUND);
                ROUND_MAX
            }
        };
        self.due = now + wait + self.part_of(wait / 2);
        self.turn();
    }

    /// One more failure; the wait until the next question.
    fn failed(&mut self) -> Duration {
        self.failures += 1;
        if self.failures < self.servers {
            return NEXT;
        }
        let wait = (ROUND * (1 << self.rounds)).min(ROUND_MAX);
        (self.failures, self.rounds) = (0, LONGEST_ROUND.min(self.rounds + 1));
        wait
    }

    /// To the next server that wants to be asked.
    fn turn(&mut self) {
        for _ in 0..self.servers {
            self.at = (self.at + 1) % self.servers;
            if self.denied & 1 << self.at == 0 {
                return;
            }
        }
    }

    fn part_of(&mut self, of: Duration) -> Duration {
        Duration::from_micros(self.random() % of.as_micros().max(1))
    }

    /// Numbers by which nobody who has seen some can tell the next.
    fn random(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        let mut hasher = Sha256Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&self.drawn.to_le_bytes());
        hasher
            .finish()
            .0
            .first_chunk()
            .copied()
            .map_or(0, u64::from_le_bytes)
    }
}
