//! Where the command line keeps what it is logged in to: a file that only its owner reads.
//!
//! ```toml
//! server = "https://ota.lan:8443"          # used unless --server names another one
//!
//! [servers."https://ota.lan:8443"]
//! user = "admin"
//! token = "otaria_…"                       # sent to this server alone
//! ca = "-----BEGIN CERTIFICATE-----…"      # trusted for this server alone
//! ```

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_server::model::Secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Names another file.
const VARIABLE: &str = "OTARIA_CONFIG";

/// All servers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Logins {
    /// The one that is used unless another is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// By address.
    #[serde(default)]
    servers: BTreeMap<String, Login>,
}

/// One server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Login {
    /// The user.
    #[serde(default)]
    pub(crate) user: String,
    /// The token.
    pub(crate) token: Secret,
    /// What its certificate is checked against; else the authorities that browsers know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
}

/// A server's address as it stands in the file.
pub(crate) fn address(server: &str) -> String {
    server.trim_end_matches('/').to_owned()
}

impl Logins {
    /// Reads the file; nothing if there is none.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let Some(path) = path() else {
            return Ok(Self::default());
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        only_mine(&path)?;
        // The parser's error would show the line, in which there may be a token.
        toml::from_str(&text).map_err(|_| {
            anyhow::anyhow!(
                "{} is not what `otaria login` writes; put it right, or move it away and log in again",
                path.display()
            )
        })
    }

    /// What is known of a server.
    pub(crate) fn of(&self, server: &str) -> Option<&Login> {
        self.servers.get(&address(server))
    }

    /// Adds or replaces a server. It becomes the one that is used if `first`, or if there is none yet.
    pub(crate) fn set(&mut self, server: &str, login: Login, first: bool) {
        let server = address(server);
        if first || self.server.is_none() {
            self.server = Some(server.clone());
        }
        self.servers.insert(server, login);
    }

    /// Forgets a server.
    pub(crate) fn remove(&mut self, server: &str) -> bool {
        let server = address(server);
        if self.server.as_deref() == Some(&server) {
            self.server = None;
        }
        self.servers.remove(&server).is_some()
    }

    /// Writes the file, and says where it is.
    pub(crate) fn write(&self) -> anyhow::Result<PathBuf> {
        let path = path().with_context(|| {
            format!(
                "there is no home directory to keep the log-in in; set {VARIABLE} to a file's path"
            )
        })?;
        let text = Zeroizing::new(toml::to_string(self)?);
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| {
                write_atomically(&path, Readers::Owner, Existing::Replace, |file| {
                    file.write_all(text.as_bytes())
                })
            });
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

fn path() -> Option<PathBuf> {
    let from = |name: &str| {
        env::var_os(name)
            .filter(|text| !text.is_empty())
            .map(PathBuf::from)
    };
    from(VARIABLE).or_else(|| {
        from("XDG_CONFIG_HOME")
            .or_else(|| from("HOME").map(|home| home.join(".config")))
            .or_else(|| from("APPDATA"))
            .map(|dir| dir.join("otaria").join("config.toml"))
    })
}

#[cfg(unix)]
fn only_mine(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        bail!(
            "{0} holds tokens, and other users of this machine may read it; `chmod 600 {0}`",
            path.display()
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn only_mine(_path: &Path) -> anyhow::Result<()> {
    Ok(())
}
