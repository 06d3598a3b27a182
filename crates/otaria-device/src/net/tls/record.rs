//! Records (RFC 8446, 5), without I/O: what has come is put together and opened, what goes out is sealed.
//!
//! ```text
//! receive buffer   [ handshake messages, opened | header 5 | record, opened in its place | tag 16 ]
//! send buffer      [ header 5 | text, sealed in its place | its kind 1 | tag 16 ]
//! ```
//!
//! No more is taken from the stream than the record at hand needs. So the buffer has to be no larger than the largest record, and
//! a read that is dropped has lost nothing: what had come lies here.

use core::ops::{DerefMut, Range};

use super::keys::{TAG_LEN, Traffic};
use super::{Resources, TlsError};

/// The largest text of a record that is sent.
pub(super) const SEND_MAX: usize = 1024;
/// The send buffer.
pub(super) const SEND_LEN: usize = HEADER_LEN + SEND_MAX + 1 + TAG_LEN;
/// The receive buffer at first: for records of 4 KiB, which is what the server is asked for (RFC 6066, 4), with their padding.
pub(super) const RECEIVE_LEN: usize = HEADER_LEN + 4096 + 256;
/// The largest text of a record that is received (5.1), and of one that is sealed (5.2).
const PLAIN_MAX: usize = 1 << 14;
const SEALED_MAX: usize = PLAIN_MAX + 256;
/// So many records in a row may bring nothing: empty ones, tickets, new keys, warnings. A server that has nothing to say is silent.
const IDLE_MAX: u8 = 64;
/// The largest handshake message that is taken: a server's certificates with room to spare.
const MESSAGE_MAX: usize = 12 * 1024;

const HEADER_LEN: usize = 5;
/// What is in front of a handshake message.
pub(super) const MESSAGE_HEADER_LEN: usize = 4;

/// What a record holds (5.1).
pub(super) mod kind {
    pub(in super::super) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(in super::super) const ALERT: u8 = 21;
    pub(in super::super) const HANDSHAKE: u8 = 22;
    pub(in super::super) const APPLICATION_DATA: u8 = 23;
}

/// What was in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// Nothing that matters.
    Nothing,
    /// A piece of the handshake; see [`Records::message`].
    Handshake,
    /// Bytes for whoever reads; see [`Records::read`].
    Data,
    /// The server says nothing more.
    End,
}

/// Both directions of one connection.
pub(super) struct Records<B> {
    receive: B,
    send: B,
    /// So many bytes of handshake messages are at the beginning of `receive`.
    messages: usize,
    /// So many bytes of the next record are behind them.
    have: usize,
    /// Where in `receive` data lie that nobody has read.
    data: Range<usize>,
    reading: Option<Traffic>,
    writing: Option<Traffic>,
    /// The handshake is over.
    established: bool,
    /// Records since the last one that brought something.
    idle: u8,
}

impl<B: DerefMut<Target = [u8]>> Records<B> {
    /// Before the first record. `None` if there is no memory.
    pub(super) fn new(resources: &impl Resources<Buffer = B>) -> Option<Self> {
        Some(Self {
            receive: resources.buffer(RECEIVE_LEN)?,
            send: resources.buffer(SEND_LEN)?,
            messages: 0,
            have: 0,
            data: 0..0,
            reading: None,
            writing: None,
            established: false,
            idle: 0,
        })
    }

    /// How many bytes the record at hand still lacks; 0 if it is whole.
    pub(super) fn missing(&self) -> Result<usize, TlsError> {
        let start = self.receive.get(self.messages..).unwrap_or_default();
        let header = match start.first_chunk::<HEADER_LEN>() {
            Some(header) if self.have >= HEADER_LEN => header,
            _ => return Ok(HEADER_LEN - self.have),
        };
        let [kind, major, _, high, low] = *header;
        let known = kind::CHANGE_CIPHER_SPEC..=kind::APPLICATION_DATA;
        if major != 3 || !known.contains(&kind) {
            // Only at the very beginning can it be another protocol.
            return Err(match self.reading {
                None => TlsError::NotTls,
                Some(_) => TlsError::Protocol,
            });
        }
        let len = usize::from(u16::from_be_bytes([high, low]));
        let most = if self.reading.is_some() {
            SEALED_MAX
        } else {
            PLAIN_MAX
        };
        if len > most {
            return Err(TlsError::TooLarge);
        }
        Ok(HEADER_LEN + len - self.have)
    }

    /// Where the next `missing` bytes go. A server that sends larger records than it was asked for costs a larger buffer.
    pub(super) fn space(
        &mut self,
        missing: usize,
        resources: &impl Resources<Buffer = B>,
    ) -> Result<&mut [u8], TlsError> {
        let start = self.messages + self.have;
        self.reserve(start + missing, resources)?;
        self.receive
            .get_mut(start..start + missing)
            .ok_or(TlsError::TooLarge)
    }

    /// Makes the receive buffer at least so large.
    fn reserve(
        &mut self,
        len: usize,
        resources: &impl Resources<Buffer = B>,
    ) -> Result<(), TlsError> {
        if self.receive.len() >= len {
            return Ok(());
        }
        let mut larger = resources.buffer(len).ok_or(TlsError::NoMemory)?;
        let kept = self.messages + self.have;
        if let (Some(to), Some(from)) = (larger.get_mut(..kept), self.receive.get(..kept)) {
            to.copy_from_slice(from);
        }
        self.receive = larger;
        Ok(())
    }

    /// So many bytes have come into the space.
    pub(super) const fn filled(&mut self, len: usize) {
        self.have += len;
    }

    /// Opens the record, which is whole.
    pub(super) fn open(&mut self) -> Result<Opened, TlsError> {
        let opened = self.open_record()?;
        self.idle = match opened {
            Opened::Data if !self.data.is_empty() => 0,
            Opened::Handshake if !self.established => 0,
            _ => self.idle + 1,
        };
        match self.idle {
            0..=IDLE_MAX => Ok(opened),
            _ => Err(TlsError::Protocol),
        }
    }

    fn open_record(&mut self) -> Result<Opened, TlsError> {
        let record = self
            .receive
            .get_mut(self.messages..self.messages + self.have)
            .ok_or(TlsError::Protocol)?;
        let (header, body) = record
            .split_at_mut_checked(HEADER_LEN)
            .ok_or(TlsError::Protocol)?;
        self.have = 0;
        let outer = header.first().copied().unwrap_or_default();
        if outer == kind::CHANGE_CIPHER_SPEC && !self.established {
            // Old equipment on the way likes to see one (appendix D.4).
            return match body {
                [1] => Ok(Opened::Nothing),
                _ => Err(TlsError::Protocol),
            };
        }
        let (kind, len) = match &mut self.reading {
            None => (outer, body.len()),
            Some(keys) if outer == kind::APPLICATION_DATA => {
                let (text, tag) = body
                    .split_last_chunk_mut::<TAG_LEN>()
                    .ok_or(TlsError::BadRecord)?;
                keys.open(header, text, tag)?;
                // The kind, and then any number of zeros (5.4).
                let at = text.iter().rposition(|byte| *byte != 0);
                let at = at.ok_or(TlsError::Protocol)?;
                (text.get(at).copied().unwrap_or_default(), at)
            }
            Some(_) => return Err(TlsError::Protocol),
        };
        if len > PLAIN_MAX {
            return Err(TlsError::TooLarge);
        }
        let start = self.messages + HEADER_LEN;
        let text = start..start + len;
        // A handshake message is in records that follow each other (5.1).
        if self.messages > 0 && !matches!(kind, kind::HANDSHAKE | kind::ALERT) {
            return Err(TlsError::Protocol);
        }
        match kind {
            kind::HANDSHAKE if len > 0 => {
                self.receive.copy_within(text, self.messages);
                self.messages += len;
                Ok(Opened::Handshake)
            }
            kind::ALERT => self.alerted(text),
            kind::APPLICATION_DATA if self.established => {
                self.data = text;
                Ok(Opened::Data)
            }
            _ => Err(TlsError::Protocol),
        }
    }

    fn alerted(&self, text: Range<usize>) -> Result<Opened, TlsError> {
        use super::error::alert;
        match self.receive.get(text) {
            Some(&[_, alert::CLOSE_NOTIFY]) if self.established => Ok(Opened::End),
            Some(&[_, alert::CLOSE_NOTIFY]) => Err(TlsError::Closed),
            Some(&[_, alert::USER_CANCELED]) => Ok(Opened::Nothing),
            Some(&[_, number]) => Err(TlsError::Alert(number)),
            _ => Err(TlsError::Protocol),
        }
    }

    /// The next handshake message, if it is whole.
    pub(super) fn message(&self) -> Result<Option<&[u8]>, TlsError> {
        let messages = self.receive.get(..self.messages).unwrap_or_default();
        let Some(&[_, first, second, third]) = messages.first_chunk() else {
            return Ok(None);
        };
        let body = u32::from_be_bytes([0, first, second, third]) as usize;
        if body > MESSAGE_MAX {
            return Err(TlsError::TooLarge);
        }
        Ok(messages.get(..MESSAGE_HEADER_LEN + body))
    }

    /// The first message, of so many bytes, has been dealt with.
    pub(super) fn done(&mut self, len: usize) {
        self.receive.copy_within(len..self.messages, 0);
        self.messages -= len;
    }

    /// What comes from here on is sealed with other keys. No message may go on over that (5.1).
    pub(super) fn read_with(&mut self, keys: Traffic) -> Result<(), TlsError> {
        if self.messages > 0 {
            return Err(TlsError::Protocol);
        }
        self.reading = Some(keys);
        Ok(())
    }

    /// What is sent from here on is sealed with these keys.
    pub(super) fn write_with(&mut self, keys: Traffic) {
        self.writing = Some(keys);
    }

    /// The handshake is over: from here on data may come.
    pub(super) const fn establish(&mut self) {
        self.established = true;
    }

    /// The keys of one direction after a KeyUpdate of the other side.
    pub(super) fn update_reading(&mut self) -> Result<(), TlsError> {
        match &mut self.reading {
            Some(keys) if self.messages == 0 => keys.update(),
            _ => Err(TlsError::Protocol),
        }
    }

    /// The keys of one direction after a KeyUpdate of ours.
    pub(super) fn update_writing(&mut self) -> Result<(), TlsError> {
        self.writing.as_mut().map_or(Ok(()), Traffic::update)
    }

    /// Takes data that have come. 0 if there are none.
    pub(super) fn read(&mut self, out: &mut [u8]) -> usize {
        let data = self.receive.get(self.data.clone()).unwrap_or_default();
        let len = data.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..len), data.get(..len)) {
            to.copy_from_slice(from);
        }
        self.data.start += len;
        len
    }

    /// A place for a message of up to `len` bytes that is not received: free as long as nothing else is.
    pub(super) fn scratch(
        &mut self,
        len: usize,
        resources: &impl Resources<Buffer = B>,
    ) -> Result<&mut [u8], TlsError> {
        if self.messages > 0 || self.have > 0 {
            return Err(TlsError::Protocol);
        }
        self.reserve(len, resources)?;
        Ok(&mut self.receive)
    }

    /// Moves part of what was written into the scratch to where [`seal`](Self::seal) expects it. Returns how much.
    pub(super) fn load(&mut self, from: usize, to: usize) -> usize {
        let len = to.saturating_sub(from).min(SEND_MAX);
        let source = self.receive.get(from..from + len).unwrap_or_default();
        if let Some(room) = self.send.get_mut(HEADER_LEN..HEADER_LEN + source.len()) {
            room.copy_from_slice(source);
        }
        len
    }

    /// Where the text of the next record is written.
    pub(super) fn text(&mut self) -> &mut [u8] {
        self.send
            .get_mut(HEADER_LEN..HEADER_LEN + SEND_MAX)
            .unwrap_or_default()
    }

    /// The record of so many bytes of text, ready to be sent.
    pub(super) fn seal(&mut self, kind: u8, len: usize) -> Result<&[u8], TlsError> {
        let (header, rest) = self
            .send
            .split_at_mut_checked(HEADER_LEN)
            .ok_or(TlsError::TooLarge)?;
        let (outer, sealed) = match &self.writing {
            None => (kind, len),
            Some(_) => (kind::APPLICATION_DATA, len + 1 + TAG_LEN),
        };
        let [high, low] = (sealed as u16).to_be_bytes();
        header.copy_from_slice(&[outer, 3, 3, high, low]);
        if let Some(keys) = &mut self.writing {
            let (text, tag) = rest
                .get_mut(..sealed)
                .and_then(<[u8]>::split_last_chunk_mut::<TAG_LEN>)
                .ok_or(TlsError::TooLarge)?;
            if let Some(last) = text.last_mut() {
                *last = kind;
            }
            *tag = keys.seal(header, text)?;
        }
        self.send
            .get(..HEADER_LEN + sealed)
            .ok_or(TlsError::TooLarge)
    }
}
