//! What people and scripts see: a result is one JSON document or text on standard output, everything else goes to
//! standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

/// The command line was understood by the parser but asks for something contradictory. Ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// The result was printed already and it is bad news, such as a package that does not verify. Ends with exit code 1
/// and says nothing more.
#[derive(Debug, thiserror::Error)]
#[error("the result is negative")]
pub(crate) struct Negative;

/// `otaria logs … | head` closes our standard output: the reader has seen enough, nothing failed. Only what lists without an
/// end of its own ends for this reason; everything else goes on, and ends with what came of it.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
struct ReaderGone;

/// Where results and notes go, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// JSON for scripts, or text for people.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a script is reading. Commands with live displays ask; others hand over a result and let it choose.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints the result of a command: pretty JSON, or its `Display`. That nobody reads it does not change it.
    pub(crate) fn result<T: Serialize + Display>(self, value: &T) -> anyhow::Result<()> {
        let mut text = if self.json {
            serde_json::to_string_pretty(value)?
        } else {
            value.to_string()
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        whether_or_not_read(print(&text))
    }

    /// Prints one JSON object on one line, for commands that report as they go. Says nothing to people, and goes on when
    /// nobody reads.
    pub(crate) fn json_line<T: Serialize>(self, value: &T) -> anyhow::Result<()> {
        whether_or_not_read(self.listed_json(value))
    }

    /// The same in a list without an end of its own: an error when nobody reads any more.
    pub(crate) fn listed_json<T: Serialize>(self, value: &T) -> anyhow::Result<()> {
        if self.json {
            print(&(serde_json::to_string(value)? + "\n"))?;
        }
        Ok(())
    }

    /// Prints one of a list: one JSON object on one line, or one line of text. An error when nobody reads any more.
    pub(crate) fn listed<T: Serialize>(self, value: &T, text: impl Display) -> anyhow::Result<()> {
        match self.json {
            true => self.listed_json(value),
            false => print(&format!("{text}\n")),
        }
    }

    /// A remark beside the result, on standard error. A failure to print it is not worth failing for.
    pub(crate) fn note(self, text: impl Display) {
        if !self.json {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Says why a command failed, with every cause, and chooses the exit code.
    pub(crate) fn failure(self, error: &anyhow::Error) -> ExitCode {
        if error.is::<Negative>() {
            return ExitCode::from(1);
        }
        if error.is::<ReaderGone>() {
            return ExitCode::SUCCESS;
        }
        if self.json {
            let document = serde_json::json!({
                "error": error.to_string(),
                "causes": error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>(),
            });
            // One line, also after lines that a program has read already.
            let _ = writeln!(io::stdout().lock(), "{document}");
        }
        let mut err = io::stderr().lock();
        let _ = writeln!(err, "error: {error}");
        for cause in error.chain().skip(1) {
            let _ = writeln!(err, "  because: {cause}");
        }
        ExitCode::from(if error.is::<UsageError>() { 2 } else { 1 })
    }
}

fn whether_or_not_read(printed: anyhow::Result<()>) -> anyhow::Result<()> {
    match printed {
        Err(error) if error.is::<ReaderGone>() => Ok(()),
        printed => printed,
    }
}

/// Prints what is neither text for people nor JSON, such as a script. An error when nobody reads any more.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        other => other.context("cannot write to standard output"),
    }
}
