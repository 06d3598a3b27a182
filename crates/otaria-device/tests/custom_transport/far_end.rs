//! The gateway, and the line to it.

use core::convert::Infallible;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::pipe::Pipe;
use embedded_io_async::{ErrorType, Read, Write};

/// Bytes that the peer called "flood" sends before it closes.
pub(crate) const FLOOD: usize = 20_000;

pub(crate) fn flood_byte(at: usize) -> u8 {
    (at % 251) as u8
}

/// One direction of the line: as much room as a UART has.
pub(crate) struct Line(Pipe<CriticalSectionRawMutex, 128>);

impl Line {
    pub(crate) fn new() -> Self {
        Self(Pipe::new())
    }

    async fn put(&self, frame: &[u8]) {
        let mut bytes = vec![0xC0];
        for byte in frame {
            match byte {
                0xC0 => bytes.extend([0xDB, 0xDC]),
                0xDB => bytes.extend([0xDB, 0xDD]),
                byte => bytes.push(*byte),
            }
        }
        bytes.push(0xC0);
        self.0.write_all(&bytes).await;
    }

    /// What lies between two ends, without escapes.
    async fn take(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        let mut escaped = false;
        loop {
            let mut byte = [0];
            self.0.read(&mut byte).await;
            match (byte[0], escaped) {
                (0xC0, _) if frame.is_empty() => {}
                (0xC0, _) => return frame,
                (0xDB, _) => {}
                (0xDC, true) => frame.push(0xC0),
                (0xDD, true) => frame.push(0xDB),
                (byte, _) => frame.push(byte),
            }
            escaped = byte == [0xDB];
        }
    }
}

impl ErrorType for &Line {
    type Error = Infallible;
}

impl Read for &Line {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        Ok(self.0.read(buf).await)
    }
}

impl Write for &Line {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Infallible> {
        Ok(self.0.write(buf).await)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A gateway whose peers are called after what they do.
pub(crate) async fn far_end(from_device: &Line, to_device: &Line) -> ! {
    // The device was reset in the middle of a frame; and an answer to the boot before comes late.
    to_device.0.write_all(&[1, 2, 3, 0xC0]).await;
    to_device.put(b"O\0").await;
    to_device.put(b"U\0\x01").await;
    let mut peers = [const { String::new() }; 3];
    loop {
        let frame = from_device.take().await;
        let [kind, channel, data @ ..] = frame.as_slice() else {
            panic!("a frame of {} bytes", frame.len());
        };
        let peer = &mut peers[usize::from(*channel)];
        match kind {
            b'C' => {
                peer.clear();
                to_device.put(&[b'C', *channel]).await;
            }
            b'O' => {
                let name = core::str::from_utf8(data).unwrap();
                *peer = name.strip_suffix(":1").unwrap().to_owned();
                match peer.as_str() {
                    "refuses" => to_device.put(&[b'R', *channel]).await,
                    "mute" => {}
                    "flood" => flood(*channel, to_device).await,
                    _ => to_device.put(&[b'O', *channel]).await,
                }
            }
            b'D' if peer == "echo" => {
                to_device.put(&[&[b'D', *channel], data].concat()).await;
            }
            b'D' => {}
            other => panic!("a frame of kind {other}"),
        }
    }
}

async fn flood(channel: u8, to_device: &Line) {
    to_device.put(&[b'O', channel]).await;
    let bytes: Vec<u8> = (0..FLOOD).map(flood_byte).collect();
    for data in bytes.chunks(200) {
        to_device.put(&[&[b'D', channel], data].concat()).await;
    }
    to_device.put(&[b'C', channel]).await;
}
