//! Secrets from a file, the environment, or the terminal: an argument could be read by every process on the machine.

use std::env;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

/// The first line of a file; `what` names the file in errors.
pub(crate) fn from_file(path: &Path, what: &str) -> anyhow::Result<Zeroizing<String>> {
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .with_context(|| format!("cannot read the {what} file {}", path.display()))?;
    let line = text.lines().next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_owned()))
}

/// An environment variable, if it is set.
pub(crate) fn from_variable(name: &str) -> anyhow::Result<Option<Zeroizing<String>>> {
    match env::var(name) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => bail!("{name} is not UTF-8"),
    }
}

/// Asks at the terminal; `without` is the error where there is none.
pub(crate) fn ask(prompt: &str, without: &str) -> anyhow::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        bail!("{without}");
    }
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .with_context(|| format!("cannot read what is typed at \"{}\"", prompt.trim()))
}
