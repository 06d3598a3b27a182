//! `otaria login` and `otaria logout`.

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use otaria_server::model::Credentials;
use serde::Serialize;

use crate::Context;
use crate::client::Client;
use crate::login::{Login, Logins, address};
use crate::secret;

const VARIABLE: &str = "OTARIA_PASSWORD";

/// Log in to a server: all other commands then use it.
///
/// The password is asked for, unless --password-file or OTARIA_PASSWORD gives it. What is kept is a token for 30 days, in a
/// file that only you may read; it is sent to this server alone.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Programs need no log-in: give them a token of their own (`otaria token create`) in OTARIA_TOKEN.

Examples:
  otaria login http://127.0.0.1:8080
  otaria login https://ota.lan:8443 --ca data/tls/ca.pem --user anna")]
pub(crate) struct LogIn {
    /// The server's address.
    #[arg(value_name = "URL")]
    url: String,

    /// The user.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    user: String,

    /// Trust this authority (PEM) for this server, and no other; the server has its own in DATA/tls/ca.pem.
    #[arg(long, value_name = "FILE", env = "OTARIA_CA")]
    ca: Option<PathBuf>,

    /// Read the password from this file (its first line).
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl LogIn {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let mut logins = Logins::read()?;
        let ca = match &self.ca {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?,
            ),
            None => logins.of(&self.url).and_then(|login| login.ca.clone()),
        };
        let client = Client::new(&self.url, None, ca.as_deref())?;
        let prompt = format!("Password of {}: ", self.user);
        let password = match &self.password_file {
            Some(path) => secret::from_file(path, "password")?,
            None => match secret::from_variable(VARIABLE)? {
                Some(password) => password,
                None => secret::ask(
                    &prompt,
                    &format!(
                        "a password is needed and there is no terminal to ask on; give --password-file or set {VARIABLE}"
                    ),
                )?,
            },
        };
        let made = client.log_in(&Credentials {
            user: self.user.clone(),
            password: (*password).clone().into(),
        })?;
        let login = Login {
            user: self.user.clone(),
            token: made.secret,
            ca,
        };
        logins.set(&self.url, login, true);
        let file = logins.write()?;
        ctx.output.result(&LoggedIn {
            server: address(&self.url),
            user: self.user,
            expires_at: made.token.expires_at,
            file,
        })
    }
}

#[derive(Serialize)]
struct LoggedIn {
    server: String,
    user: String,
    expires_at: i64,
    file: PathBuf,
}

impl fmt::Display for LoggedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "logged in to {} as {}; kept in {}",
            self.server,
            self.user,
            self.file.display()
        )
    }
}

/// Log out: the token is revoked, and forgotten here.
#[derive(Debug, Args)]
pub(crate) struct LogOut {
    /// The server's address [default: the one that is used].
    #[arg(value_name = "URL")]
    url: Option<String>,
}

impl LogOut {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let mut logins = Logins::read()?;
        let server = self
            .url
            .or_else(|| logins.server.clone())
            .context("you are not logged in anywhere")?;
        let login = logins
            .of(&server)
            .cloned()
            .with_context(|| format!("you are not logged in to {server}"))?;
        let id = login.token.reveal().split('_').nth(1).map(str::to_owned);
        let client = Client::new(&server, Some(login.token), login.ca.as_deref())?;
        let revoked = id.map(|id| client.revoke_token(&id));
        logins.remove(&server);
        logins.write()?;
        if let Some(Err(error)) = revoked {
            ctx.output.note(format_args!(
                "warning: the server has not revoked the token ({error}); it runs out by itself"
            ));
        }
        ctx.output.result(&LoggedOut { server })
    }
}

#[derive(Serialize)]
struct LoggedOut {
    server: String,
}

impl fmt::Display for LoggedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "logged out of {}", self.server)
    }
}
