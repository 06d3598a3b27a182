//! `otaria token`: access for programs.

use std::fmt;

use clap::{Args, Subcommand};
use otaria_server::model::{MadeToken, NewToken, Scope, Token};
use serde::Serialize;

use crate::Context;
use crate::client::ServerArgs;

/// Make, list and revoke tokens: access for programs, as narrow and as short as they need it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Scopes: read; publish (upload and publish); operate (cancel, command, group, forget, revoke devices; hand out key
records); enroll (certificates for devices); admin (users). A token may never do more than its user.

Examples:
  otaria token create ci --scope publish --days 90
  OTARIA_TOKEN=otaria_… otaria publish app.otaria --group canary --server https://ota.lan:8443
  otaria token revoke 4g1zk3p9xa")]
pub(crate) struct Tokens {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token. It is shown once.
    Create {
        /// What it is for.
        name: String,
        /// What it may do; may be repeated, or separated by commas.
        #[arg(long, value_name = "SCOPE", required = true, value_delimiter = ',')]
        scope: Vec<Scope>,
        /// How long it counts.
        #[arg(long, value_name = "DAYS", default_value_t = 90)]
        days: u32,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List your tokens; an admin's list has everybody's.
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Revoke a token, by its id.
    Revoke {
        /// Its id.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

impl Tokens {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Create {
                name,
                scope,
                days,
                server,
            } => {
                let made = server.client()?.make_token(&NewToken {
                    name,
                    scopes: scope,
                    days,
                })?;
                ctx.output.result(&Made(made))?;
                ctx.output.note("This is the only time that it is shown.");
                Ok(())
            }
            What::List { server } => ctx.output.result(&Listed(server.client()?.tokens()?)),
            What::Revoke { id, server } => {
                server.client()?.revoke_token(&id)?;
                ctx.output.result(&Revoked { revoked: id })
            }
        }
    }
}

/// For people the secret alone, so that `TOKEN=$(otaria token create …)` works.
#[derive(Serialize)]
#[serde(transparent)]
struct Made(MadeToken);

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.secret.reveal())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Listed(Vec<Token>);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:<16} {:<28} {:<32} LEFT",
            "ID", "USER", "NAME", "SCOPES"
        )?;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        for token in &self.0 {
            let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.name()).collect();
            let left = u64::try_from(token.expires_at)
                .unwrap_or(0)
                .saturating_sub(now);
            writeln!(
                f,
                "{:<12} {:<16} {:<28} {:<32} {} days",
                token.id,
                token.user,
                token.name,
                scopes.join(","),
                left / (24 * 60 * 60),
            )?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Revoked {
    revoked: String,
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: revoked", self.revoked)
    }
}
