//! A reader of our documents: their directory, and the commands that a document shows, taken from its text.
#![allow(dead_code, reason = "every test program uses another part of the desk")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use otaria_sim::images::Stamp;
use tempfile::TempDir;

/// A file of the project.
pub(crate) fn file(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap()
}

/// The blocks of a language under a heading of a document.
pub(crate) fn blocks(document: &str, heading: &str, language: &str) -> Vec<String> {
    let text = file(document);
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap_or_else(|| panic!("{document} has no section '{heading}'"));
    section
        .split(&format!("```{language}\n"))
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .map(str::to_owned)
        .collect()
}

/// The commands in the `sh` blocks under a heading of a document, one a line unless a line says that it goes on.
pub(crate) fn commands(document: &str, heading: &str) -> Vec<String> {
    let text = blocks(document, heading, "sh").concat();
    let lines = text.replace("\\\n", "");
    lines.lines().map(str::to_owned).collect()
}

/// Puts something of the test's in the place of something of the reader's, which has to be there.
pub(crate) fn with(command: &str, theirs: &str, ours: &str) -> String {
    assert!(command.contains(theirs), "no '{theirs}' in '{command}'");
    command.replace(theirs, ours)
}

/// The reader's directory, with the firmware that they have built.
pub(crate) struct Desk(pub(crate) TempDir);

pub(crate) const BUILT: &str = "target/riscv32imc-unknown-none-elf/release";

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let image = |version| Stamp::new(version).project("pump").image();
        fs::create_dir_all(desk.0.path().join(BUILT)).unwrap();
        fs::write(desk.0.path().join(BUILT).join("pump"), image("1.1.0")).unwrap();
        fs::write(desk.0.path().join("pump-1.0.0.bin"), image("1.0.0")).unwrap();
        desk
    }

    /// The same, with keys and package made as the README says.
    pub(crate) fn with_package() -> Self {
        let desk = Self::new();
        for command in commands("README.md", "Sign a package") {
            desk.run(&command);
        }
        desk
    }

    /// The device file that the README shows.
    pub(crate) fn write_device_file(&self) {
        let [shown] = &blocks("README.md", "Update a real board", "toml")[..] else {
            panic!("another device file than before");
        };
        fs::write(self.0.path().join("device.toml"), shown).unwrap();
    }

    /// A line as a shell runs it, with `otaria` on its path.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_otaria"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("exec {line}")])
            .current_dir(self.0.path())
            .env(
                "PATH",
                format!("{}:{path}", program.parent().unwrap().display()),
            )
            .env("OTARIA_PASSPHRASE", "correct horse")
            .env("WIFI_PASSWORD", "correct horse")
            .env_remove("OTARIA_SERVER")
            .env_remove("OTARIA_MQTT")
            .env_remove("OTARIA_TOKEN")
            .env_remove("OTARIA_DATABASE")
            .env("OTARIA_CONFIG", self.0.path().join("config.toml"));
        shell
    }

    pub(crate) fn run(&self, line: &str) {
        let output = self.shell(line).output().unwrap();
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Until something is so, for two minutes.
    pub(crate) fn wait_for(&self, line: &str, is_so: impl Fn(&str) -> bool) {
        for _ in 0..2400 {
            let output = self.shell(line).output().unwrap();
            if is_so(&String::from_utf8_lossy(&output.stdout)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{line} does not come to that");
    }

    pub(crate) fn start(&self, line: &str) -> Running {
        let mut shell = self.shell(line);
        shell.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = shell.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Running { process, lines }
    }
}

/// A command that goes on until the test has seen enough.
pub(crate) struct Running {
    pub(crate) process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    /// The next line, or what says that there is none.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let len = self.lines.read_line(&mut line).unwrap();
        assert!(len > 0, "the command has ended");
        line
    }

    pub(crate) fn line_with(&mut self, text: &str) {
        while !self.line().contains(text) {}
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
