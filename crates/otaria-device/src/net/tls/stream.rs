//! An open connection with TLS.

use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};

use super::handshake::{Handshake, KEY_UPDATE, NEW_SESSION_TICKET, Step};
use super::record::{Opened, Records, SEND_MAX, kind};
use super::{Resources, TlsError};
use crate::net::ConnectError;
use crate::settings::TlsConfig;
use crate::time::ValidityTime;

/// Why reading or writing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Tls(TlsError),
    Io(ErrorKind),
}

impl From<TlsError> for Fault {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<Fault> for ConnectError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Tls(error) => Self::Tls(error),
            Fault::Io(kind) => Self::Failed(kind),
        }
    }
}

impl Fault {
    /// What those above see, who know nothing of TLS.
    const fn kind(self) -> ErrorKind {
        match self {
            Self::Io(kind) => kind,
            Self::Tls(TlsError::Alert(_) | TlsError::Closed) => ErrorKind::ConnectionAborted,
            Self::Tls(TlsError::NoMemory) => ErrorKind::OutOfMemory,
            Self::Tls(_) => ErrorKind::InvalidData,
        }
    }
}

/// An open connection with TLS. Dropping it closes it, without a close_notify: both protocols above say themselves when they are
/// through.
///
/// A write that is dropped may have left half a record behind: the connection is over then, for reads, too, and says so.
///
/// Reads are cancel-safe: one waits for nothing but the stream below it, and whatever that has given lies in the buffers before
/// anything else is waited for. What a KeyUpdate of the server asks for in return is sent with the next write, as RFC 8446, 4.6.3
/// has it, so that no read ever writes.
pub struct TlsStream<'r, S, R: Resources> {
    tcp: S,
    resources: &'r R,
    records: Records<R::Buffer>,
    /// The server wants the device's keys changed.
    owes_update: bool,
    /// How it ended. After that there is nothing more.
    end: Option<Result<(), Fault>>,
}

impl<'r, S: Read + Write, R: Resources> TlsStream<'r, S, R> {
    /// Shakes hands over `tcp`. Nothing but the handshake has been sent when it returns, and the server has proved who it is.
    /// Also returns a moment that has passed, as an authority has signed.
    pub(super) async fn open(
        tcp: S,
        resources: &'r R,
        config: &TlsConfig<'_>,
        host: &str,
        time: ValidityTime,
    ) -> Result<(Self, Option<u64>), ConnectError> {
        let records = Records::new(resources).ok_or(ConnectError::Tls(TlsError::NoMemory))?;
        let mut stream = Self {
            tcp,
            resources,
            records,
            owes_update: false,
            end: None,
        };
        match stream.shake_hands(config, host, time).await {
            Ok(passed) => Ok((stream, passed)),
            Err(fault) => {
                stream.tell(fault).await;
                Err(fault.into())
            }
        }
    }

    async fn shake_hands(
        &mut self,
        config: &TlsConfig<'_>,
        host: &str,
        time: ValidityTime,
    ) -> Result<Option<u64>, Fault> {
        let resources = self.resources;
        let mut handshake = Handshake::new(config, host, time, &|bytes| resources.random(bytes))?;
        let len = handshake.hello(self.records.text())?;
        self.send(kind::HANDSHAKE, len).await?;
        loop {
            let Some(message) = self.records.message()? else {
                match self.receive().await? {
                    Opened::Nothing | Opened::Handshake => continue,
                    Opened::Data => return Err(TlsError::Protocol.into()),
                    Opened::End => return Err(TlsError::Closed.into()),
                }
            };
            let len = message.len();
            let step = handshake.receive(message)?;
            self.records.done(len);
            match step {
                Step::GoOn => {}
                Step::Seal => {
                    let (reading, writing) = handshake.keys()?;
                    self.records.read_with(reading)?;
                    self.records.write_with(writing);
                }
                Step::Answer => break,
            }
        }
        let (reading, writing) = handshake.data_keys()?;
        self.records.read_with(reading)?;
        let room = handshake.flight_len();
        let len = handshake.flight(self.records.scratch(room, resources)?)?;
        let mut sent = 0;
        while sent < len {
            let piece = self.records.load(sent, len);
            self.send(kind::HANDSHAKE, piece).await?;
            sent += piece;
        }
        self.records.write_with(writing);
        self.records.establish();
        self.tcp.flush().await.map_err(io)?;
        Ok(handshake.passed())
    }

    /// Tells the server why it is over, if that is its business and the network lets it.
    async fn tell(&mut self, fault: Fault) {
        if let Fault::Tls(error) = fault
            && let Some(number) = error.alert()
        {
            // 2: fatal, as all are.
            if let Some(text) = self.records.text().first_chunk_mut() {
                *text = [2, number];
            }
            let _ = self.send(kind::ALERT, 2).await;
            let _ = self.tcp.flush().await;
        }
    }

    /// Waits for a record, and opens it. Cancel-safe.
    async fn receive(&mut self) -> Result<Opened, Fault> {
        loop {
            let missing = self.records.missing()?;
            if missing == 0 {
                return Ok(self.records.open()?);
            }
            let space = self.records.space(missing, self.resources)?;
            match self.tcp.read(space).await {
                // Without a close_notify it may be somebody on the way who ends it here.
                Ok(0) => return Err(TlsError::Closed.into()),
                Ok(len) => self.records.filled(len.min(missing)),
                Err(error) => return Err(io(error)),
            }
        }
    }

    /// Deals with what servers say once the handshake is over.
    fn messages(&mut self) -> Result<(), TlsError> {
        while let Some(message) = self.records.message()? {
            let len = message.len();
            let update = match *message {
                // Sessions are not resumed: each handshake looks at the certificate.
                [NEW_SESSION_TICKET, ..] => None,
                [KEY_UPDATE, _, _, _, wanted @ (0 | 1)] => Some(wanted == 1),
                _ => return Err(TlsError::Protocol),
            };
            self.records.done(len);
            if let Some(wanted) = update {
                self.records.update_reading()?;
                self.owes_update |= wanted;
            }
        }
        Ok(())
    }

    async fn read_data(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        loop {
            let len = self.records.read(buf);
            if len > 0 || buf.is_empty() {
                return Ok(len);
            }
            match self.receive().await? {
                Opened::Nothing | Opened::Data => {}
                Opened::Handshake => self.messages()?,
                Opened::End => return Ok(0),
            }
        }
    }

    async fn write_data(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        if self.owes_update {
            let update = [KEY_UPDATE, 0, 0, 1, 0];
            if let Some(text) = self.records.text().first_chunk_mut() {
                *text = update;
            }
            self.send(kind::HANDSHAKE, update.len()).await?;
            self.records.update_writing()?;
            self.owes_update = false;
        }
        let bytes = bytes.get(..SEND_MAX).unwrap_or(bytes);
        if let Some(text) = self.records.text().get_mut(..bytes.len()) {
            text.copy_from_slice(bytes);
        }
        self.send(kind::APPLICATION_DATA, bytes.len()).await?;
        Ok(bytes.len())
    }

    /// Seals so many bytes of text, and sends them.
    async fn send(&mut self, kind: u8, len: usize) -> Result<(), Fault> {
        let mut rest = self.records.seal(kind, len)?;
        while !rest.is_empty() {
            match self.tcp.write(rest).await {
                Ok(0) => return Err(Fault::Io(ErrorKind::WriteZero)),
                Ok(len) => rest = rest.get(len..).unwrap_or_default(),
                Err(error) => return Err(io(error)),
            }
        }
        Ok(())
    }
}

fn io(error: impl embedded_io_async::Error) -> Fault {
    Fault::Io(error.kind())
}

impl<S, R: Resources> ErrorType for TlsStream<'_, S, R> {
    type Error = ErrorKind;
}

impl<S: Read + Write, R: Resources> Read for TlsStream<'_, S, R> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        if let Some(end) = self.end {
            return end.map(|()| 0).map_err(Fault::kind);
        }
        let read = self.read_data(buf).await;
        match read {
            Ok(0) if !buf.is_empty() => self.end = Some(Ok(())),
            Ok(_) => {}
            Err(fault) => self.end = Some(Err(fault)),
        }
        read.map_err(Fault::kind)
    }
}

impl<S: Read + Write, R: Resources> Write for TlsStream<'_, S, R> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        if let Some(Err(fault)) = self.end {
            return Err(fault.kind());
        }
        // Unless this write comes to its end.
        let before = self.end.replace(Err(Fault::Io(ErrorKind::Interrupted)));
        let written = self.write_data(bytes).await;
        self.end = match written {
            Ok(_) => before,
            Err(fault) => Some(Err(fault)),
        };
        written.map_err(Fault::kind)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.tcp.flush().await.map_err(|error| error.kind())
    }
}
