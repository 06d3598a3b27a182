//! Commands: topic `cmd`, never retained.

use heapless::String;
use serde::{Deserialize, Serialize};

use super::json::{Word, message};
use super::{MAX_COMMAND_ID_LEN, MessageError, from_json, is_plain_name};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// Give up the update: stop a download, roll a trial back.
    Cancel,
    /// Restart.
    Reboot,
    /// Send the newest lines of the log.
    Logs,
    /// Show which device this is (the application decides how).
    Identify,
    /// A command of a later version; refused.
    #[serde(other)]
    Unknown,
}

impl Word for CommandKind {
    const KNOWN: &'static [Self] = &[Self::Cancel, Self::Reboot, Self::Logs, Self::Identify];
    const OTHER: Self = Self::Unknown;

    fn word(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Reboot => "reboot",
            Self::Logs => "logs",
            Self::Identify => "identify",
            Self::Unknown => "unknown",
        }
    }
}

/// A command with the id that makes a repeat harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Names this command: a second one with the same id is ignored.
    pub id: String<MAX_COMMAND_ID_LEN>,
    /// What to do.
    pub cmd: CommandKind,
    /// `logs`: how many lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u16>,
}

message! {
    Command {
        always id, always cmd, given lines,
    }
}

impl Command {
    /// Reads the payload of `cmd`.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(payload: &[u8]) -> Result<Self, MessageError> {
        let command: Self = from_json(payload)?;
        if !is_plain_name(&command.id) {
            return Err(MessageError::CommandId);
        }
        if command.cmd == CommandKind::Unknown {
            return Err(MessageError::UnknownCommand);
        }
        Ok(command)
    }
}
