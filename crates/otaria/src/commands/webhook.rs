//! `otaria webhook`: who is told what happens.

use std::fmt;

use clap::{Args, Subcommand};
use otaria_server::model::{
    Delivery, DeliveryState, MadeWebhook, NewWebhook, Webhook, WebhookEvent,
};
use serde::Serialize;

use crate::Context;
use crate::client::ServerArgs;

/// Add, list, test and remove webhooks: who is told what happens, by HTTPS.
///
/// Messages are signed as Standard Webhooks has it; docs/API.md says what is in them, and how long they are tried.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Events: rollout.state, update.failed, update.confirmed, device.appeared.

Examples:
  otaria webhook add https://hooks.example/otaria --event update.failed --event rollout.state
  otaria webhook test 4g1zk3p9xa
  otaria webhook log 4g1zk3p9xa")]
pub(crate) struct Webhooks {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Add a webhook. The secret that its messages are signed with is shown once.
    Add {
        /// Where messages are sent.
        url: String,
        /// What it is told; may be repeated, or separated by commas. Everything unless given.
        #[arg(long, value_name = "EVENT", value_delimiter = ',')]
        event: Vec<WebhookEvent>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List webhooks, with what they have not taken and why.
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Send a message that tells nothing, and say what came of it.
    Test {
        /// The webhook's id.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the newest messages of a webhook.
    Log {
        /// The webhook's id.
        id: String,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a webhook, and the messages that it has not taken.
    Remove {
        /// The webhook's id.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

impl Webhooks {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Add { url, event, server } => {
                let new = NewWebhook { url, events: event };
                let made = server.client()?.add_webhook(&new)?;
                let id = made.webhook.id.clone();
                ctx.output.result(&Made(made))?;
                let note = format!(
                    "This is the only time that the secret is shown. `otaria webhook test {id}` sends a message."
                );
                ctx.output.note(&note);
                Ok(())
            }
            What::List { server } => ctx.output.result(&Listed(server.client()?.webhooks()?)),
            What::Test { id, server } => {
                let sent = server.client()?.test_webhook(&id)?;
                if sent.state != DeliveryState::Delivered {
                    let reason = sent.reason.unwrap_or_default();
                    anyhow::bail!("the message was not taken: {reason}");
                }
                ctx.output.result(&Log(vec![sent]))
            }
            What::Log { id, limit, server } => {
                let log = server.client()?.deliveries(&id, limit)?;
                ctx.output.result(&Log(log))
            }
            What::Remove { id, server } => {
                server.client()?.remove_webhook(&id)?;
                ctx.output.result(&Removed { removed: id })
            }
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Made(MadeWebhook);

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "webhook {}", self.0.webhook.id)?;
        write!(f, "secret  {}", self.0.secret.reveal())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Listed(Vec<Webhook>);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:>7} {:>8}  URL", "ID", "WAITING", "GIVEN UP")?;
        for webhook in &self.0 {
            let Webhook {
                id,
                url,
                waiting,
                given_up,
                ..
            } = webhook;
            writeln!(f, "{id:<12} {waiting:>7} {given_up:>8}  {url}")?;
            let events: Vec<_> = webhook.events.iter().map(|event| event.name()).collect();
            writeln!(f, "{:<12} {}", "", events.join(", "))?;
            if let Some(reason) = &webhook.reason {
                writeln!(f, "{:<12} the last try failed: {reason}", "")?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Log(Vec<Delivery>);

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sent in &self.0 {
            let state = match sent.state {
                DeliveryState::Waiting => "waiting",
                DeliveryState::Delivered => "taken",
                DeliveryState::GivenUp => "given up",
            };
            let tries = sent.tries;
            write!(
                f,
                "{} {:<17} {state}, tries: {tries}",
                sent.message, sent.event
            )?;
            if let Some(reason) = &sent.reason {
                write!(f, ": {reason}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Removed {
    removed: String,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: removed", self.removed)
    }
}
