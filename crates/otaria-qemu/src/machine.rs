//! One run of QEMU: the virtual board with power on.

use std::io::{self, BufRead, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The program, as Debian's qemu-system-misc has it.
pub const QEMU: &str = "qemu-system-riscv32";

/// The address at which a guest in QEMU's user-mode network finds this computer's loopback.
pub const HOST: &str = "10.0.2.2";

/// Where the board's straps lie (`firmware/board/virt/src/straps.rs`).
const STRAPS: u32 = 0x8008_0FFC;

/// Where the board's network cable goes.
#[derive(Clone, Debug, Default)]
pub enum Cable {
    /// Into QEMU's user-mode network, which hands out addresses and leads to this computer at [`HOST`].
    #[default]
    User,
    /// To whoever has the other end: each Ethernet frame is a datagram between two Unix sockets.
    Frames {
        /// The board's socket, which QEMU makes.
        board: PathBuf,
        /// The other side's, which is there already.
        peer: PathBuf,
    },
}

impl Cable {
    fn netdev(&self) -> String {
        match self {
            Self::User => "user,id=net0".to_owned(),
            // QEMU's documentation, "System Emulation", -netdev dgram; since 7.2.
            Self::Frames { board, peer } => format!(
                "dgram,id=net0,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                board.display(),
                peer.display()
            ),
        }
    }
}

/// How the board is built.
#[derive(Clone, Debug)]
pub struct Board {
    /// The loader's ELF.
    pub loader: PathBuf,
    /// The flash's file, see [`crate::flash`].
    pub flash: PathBuf,
    /// The bootloader does rollback.
    pub rollback: bool,
    /// Instructions are what time is made of, 8 ns each: how long code takes does not depend on this computer.
    pub icount: bool,
    /// Where its cable goes.
    pub cable: Cable,
}

impl Board {
    /// QEMU's command line, but for console and monitor.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(QEMU);
        // RV32IMC, as an ESP32-C3 has it.
        command.args(["-M", "virt", "-cpu", "rv32,a=false,f=false,d=false"]);
        command.args(["-m", "16M", "-display", "none", "-nodefaults"]);
        command.arg("-bios").arg(&self.loader);
        command.arg("-drive").arg(format!(
            "if=pflash,unit=1,format=raw,file={}",
            self.flash.display()
        ));
        command.args(["-global", "virtio-mmio.force-legacy=false"]);
        command.arg("-netdev").arg(self.cable.netdev());
        command.args(["-device", "virtio-net-device,netdev=net0,id=nic0"]);
        if self.rollback {
            command
                .arg("-device")
                .arg(format!("loader,addr={STRAPS:#x},data=1,data-len=4"));
        }
        if self.icount {
            command.args(["-icount", "shift=3,sleep=on"]);
        }
        command
    }
}

#[derive(Debug, Default)]
struct Console {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    text: Vec<String>,
    /// The same as it came.
    bytes: Vec<u8>,
    ended: bool,
}

/// A running board. Its power goes when this is dropped.
#[derive(Debug)]
pub struct Machine {
    process: Child,
    console: Arc<Console>,
    monitor: PathBuf,
}

impl Machine {
    /// Switches the board on. `dir` is for the monitor's socket.
    ///
    /// # Errors
    /// QEMU is not installed, or does not start.
    pub fn start(board: &Board, dir: &Path) -> Result<Self> {
        let monitor = dir.join("monitor");
        let _ = std::fs::remove_file(&monitor);
        let mut command = board.command();
        command.args(["-serial", "stdio", "-qmp"]);
        command.arg(format!("unix:{},server=on,wait=off", monitor.display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::inherit());
        let mut process = command.spawn().with_context(|| {
            format!("cannot start {QEMU}; on Debian it is in the package qemu-system-misc")
        })?;
        let output = process.stdout.take().context("QEMU has no console")?;
        let console = Arc::new(Console::default());
        let written = Arc::clone(&console);
        std::thread::spawn(move || written.read(BufReader::new(output)));
        Ok(Self {
            process,
            console,
            monitor,
        })
    }

    /// Takes the power away, as `kill -9` does: nothing is finished.
    pub fn kill(mut self) -> Vec<String> {
        self.power_off();
        self.console()
    }

    fn power_off(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.console
            .wait(Duration::from_secs(5), |lines| lines.ended.then_some(()));
    }

    /// Whether QEMU has ended by itself.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn has_ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Everything on the console so far.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        self.console.lock().text.clone()
    }

    /// Sends bytes to the board's serial port.
    ///
    /// # Errors
    /// QEMU does not take them.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self.process.stdin.as_mut().context("QEMU has no console")?;
        input.write_all(bytes)?;
        Ok(input.flush()?)
    }

    /// How many bytes the serial port has sent so far.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.console.lock().bytes.len()
    }

    /// Waits until the serial port has sent these bytes, and a line break at some time after, behind the first `skip` bytes; what
    /// came with them.
    ///
    /// # Errors
    /// With the whole console, if they do not come in time or QEMU ends.
    pub fn expect_bytes(&self, skip: usize, bytes: &[u8], limit: Duration) -> Result<Vec<u8>> {
        let found = self.console.wait(limit, |lines| {
            let new = lines.bytes.get(skip..).unwrap_or_default();
            if new.windows(bytes.len()).any(|some| some == bytes) {
                return Some(Some(new.to_vec()));
            }
            lines.ended.then_some(None)
        });
        found.flatten().with_context(|| {
            format!(
                "the serial port does not send {:?} within {limit:?}; it says:\n{}",
                String::from_utf8_lossy(bytes),
                self.console().join("\n")
            )
        })
    }

    /// Waits until a line after the first `skip` ones contains `text`; gives that line's number and itself.
    ///
    /// # Errors
    /// With the whole console, if it does not come in time or QEMU ends.
    pub fn expect(&self, skip: usize, text: &str, limit: Duration) -> Result<(usize, String)> {
        let found = self.console.wait(limit, |lines| {
            let found = (lines.text.iter().enumerate().skip(skip))
                .find(|(_, line)| line.contains(text))
                .map(|(number, line)| (number, line.clone()));
            match found {
                Some(found) => Some(Some(found)),
                None => lines.ended.then_some(None),
            }
        });
        match found.flatten() {
            Some(found) => Ok(found),
            None => bail!(
                "the console does not say {text:?} within {limit:?}; it says:\n{}",
                self.console().join("\n")
            ),
        }
    }

    /// Plugs the network cable in or out.
    ///
    /// # Errors
    /// QEMU's monitor does not answer.
    pub fn set_link(&self, up: bool) -> Result<()> {
        let command =
            format!(r#"{{"execute":"set_link","arguments":{{"name":"nic0","up":{up}}}}}"#);
        let mut monitor = UnixStream::connect(&self.monitor).context("QEMU's monitor")?;
        monitor.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut answers = BufReader::new(monitor.try_clone()?);
        // QMP specification (docs/interop/qmp-spec): a greeting, then one answer a command; events may come between.
        let mut answer = |want: &str| -> Result<()> {
            loop {
                let mut line = String::new();
                if answers.read_line(&mut line)? == 0 {
                    bail!("QEMU's monitor has closed");
                }
                let value: serde_json::Value = serde_json::from_str(&line)?;
                if value.get("error").is_some() {
                    bail!("QEMU's monitor: {line}");
                }
                if value.get(want).is_some() {
                    return Ok(());
                }
            }
        };
        answer("QMP")?;
        monitor.write_all(b"{\"execute\":\"qmp_capabilities\"}\n")?;
        answer("return")?;
        monitor.write_all(command.as_bytes())?;
        monitor.write_all(b"\n")?;
        answer("return")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power_off();
    }
}

impl Console {
    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        // A reader that panicked has left whole lines.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, mut output: impl BufRead) {
        let mut line = Vec::new();
        while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let mut lines = self.lock();
            lines.text.push(text);
            lines.bytes.append(&mut line);
            drop(lines);
            self.grown.notify_all();
        }
        self.lock().ended = true;
        self.grown.notify_all();
    }

    fn wait<T>(&self, limit: Duration, look: impl Fn(&Lines) -> Option<T>) -> Option<T> {
        let end = Instant::now() + limit;
        let mut lines = self.lock();
        loop {
            if let Some(found) = look(&lines) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            lines = match self.grown.wait_timeout(lines, left) {
                Ok((lines, _)) => lines,
                Err(error) => error.into_inner().0,
            };
        }
    }
}
