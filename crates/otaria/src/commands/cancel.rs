//! `otaria cancel`: gives a device's update up.

use std::fmt;

use clap::Args;
use otaria_server::model;
use serde::Serialize;

use crate::Context;
use crate::client::ServerArgs;

/// Give a device's update up: a download stops, a trial is rolled back.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The device.
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

impl Cancel {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        ctx.output
            .result(&Cancelled(self.server.client()?.cancel(&self.id)?))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Cancelled(model::Cancelled);

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.job, self.0.status) {
            (Some(job), Some(status)) => write!(f, "{}: {job} is {status}", self.0.device),
            (Some(job), None) => write!(f, "{}: {job} is given up", self.0.device),
            (None, _) => write!(
                f,
                "{}: no update was open; nothing is wished for any more",
                self.0.device
            ),
        }
    }
}
