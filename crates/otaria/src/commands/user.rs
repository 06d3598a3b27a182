//! `otaria user`: who may log in.

use std::fmt;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use otaria_server::model::{NewPassword, NewUser, Role, Secret, User};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::Context;
use crate::client::ServerArgs;
use crate::secret;

const VARIABLE: &str = "OTARIA_NEW_PASSWORD";

/// Add, list and remove those who may log in, and change passwords.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Roles: a viewer looks; an operator also publishes, commands devices and gives them certificates; an admin also does this.

Examples:
  otaria user add anna --role operator
  otaria user list
  otaria user passwd                    (your own)
  otaria user remove anna")]
pub(crate) struct Users {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Add a user. The password is asked for.
    Add {
        /// The name: letters, digits, '.', '_', '-', '@'.
        name: String,
        /// viewer, operator or admin.
        #[arg(long, value_name = "ROLE")]
        role: Role,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List all users.
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Set another password: your own, or, as an admin, somebody else's. What was logged in with the old one is not any more.
    Passwd {
        /// Whose, if not your own.
        name: Option<String>,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a user, with all their tokens.
    Remove {
        /// The name.
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Args)]
struct PasswordArgs {
    /// Read the new password from this file (its first line) instead of OTARIA_NEW_PASSWORD or the terminal.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordArgs {
    fn choose(&self) -> anyhow::Result<Secret> {
        let password = match &self.password_file {
            Some(path) => secret::from_file(path, "password")?,
            None => match secret::from_variable(VARIABLE)? {
                Some(password) => password,
                None => {
                    let first = ask("New password: ")?;
                    if *first != *ask("The same again: ")? {
                        bail!("the two passwords differ; nothing was changed");
                    }
                    first
                }
            },
        };
        Ok((*password).clone().into())
    }
}

fn ask(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    secret::ask(
        prompt,
        &format!(
            "a password is needed and there is no terminal to ask on; give --password-file or set {VARIABLE}"
        ),
    )
}

impl Users {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Add {
                name,
                role,
                password,
                server,
            } => {
                let client = server.client()?;
                let password = password.choose()?;
                let user = client.add_user(&NewUser {
                    name,
                    role,
                    password,
                })?;
                ctx.output.result(&Listed(vec![user]))
            }
            What::List { server } => ctx.output.result(&Listed(server.client()?.users()?)),
            What::Passwd {
                name,
                password,
                server,
            } => {
                let client = server.client()?;
                let old = match &name {
                    Some(_) => None,
                    None => Some(match secret::from_variable("OTARIA_PASSWORD")? {
                        Some(old) => old,
                        None => ask("Present password: ")?,
                    }),
                };
                let change = NewPassword {
                    old: old.map(|old| (*old).clone().into()),
                    new: password.choose()?,
                };
                client.set_password(name.as_deref(), &change)?;
                ctx.output.result(&Done {
                    user: name,
                    done: "password_changed",
                    text: "the password is changed; whoever was logged in with the old one logs in again",
                })
            }
            What::Remove { name, server } => {
                server.client()?.remove_user(&name)?;
                ctx.output.result(&Done {
                    user: Some(name),
                    done: "removed",
                    text: "removed, with all sessions and tokens",
                })
            }
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Listed(Vec<User>);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for user in &self.0 {
            writeln!(f, "{:<24} {}", user.name, user.role)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Done {
    user: Option<String>,
    done: &'static str,
    #[serde(skip)]
    text: &'static str,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "{user}: {}", self.text),
            None => f.write_str(self.text),
        }
    }
}
