//! `otaria audit`: who changed what.

use std::fmt;
use std::str::FromStr;

use clap::{Args, Subcommand};
use otaria_server::audit::verify;
use otaria_server::model::{AuditEnd, AuditEntry, AuditPage, Outcome};
use serde::Serialize;

use crate::Context;
use crate::client::{Client, ServerArgs};
use crate::output::Negative;
use crate::text::utc;

/// Show who changed what at the server, and check that nobody has changed that.
///
/// Each entry holds the hash of the one before, so one that is changed or removed shows. Keep the head that `verify` prints in
/// another place: given with --head, it also shows if somebody who can write the whole database has made another chain.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria audit list --limit 20
  otaria audit verify
  otaria audit verify --head 1742:6a0f…")]
pub(crate) struct Audit {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the newest entries, newest first.
    List {
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Follow the chain through all entries; names the first that is missing or changed.
    Verify {
        /// A head that was printed earlier: it must be in the chain still.
        #[arg(long, value_name = "N:HASH")]
        head: Option<Head>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

impl Audit {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        match self.what {
            What::List { limit, server } => {
                let (trail, _) = read(&server.client()?, limit)?;
                ctx.output.result(&Listed(trail))
            }
            What::Verify { head, server } => {
                let (mut trail, last) = read(&server.client()?, usize::MAX)?;
                trail.reverse();
                let verdict = Verdict::new(&trail, &last, head);
                ctx.output.result(&verdict)?;
                match verdict.problem {
                    None => Ok(()),
                    Some(_) => Err(Negative.into()),
                }
            }
        }
    }
}

/// The newest entries, newest first, and the ends of the chain: the head as it was at first, the checkpoint as it was at last.
fn read(client: &Client, limit: usize) -> anyhow::Result<(Vec<AuditEntry>, Ends)> {
    let mut trail = Vec::new();
    let mut head = None;
    let mut after: Option<String> = None;
    loop {
        let page: AuditPage = client.audit(after.as_deref(), limit.saturating_sub(trail.len()))?;
        let head = *head.get_or_insert(page.head);
        trail.extend(page.items);
        after = page.next;
        if after.is_none() || trail.len() >= limit {
            let checkpoint = page.checkpoint;
            trail.truncate(limit);
            return Ok((trail, Ends { head, checkpoint }));
        }
    }
}

struct Ends {
    head: AuditEnd,
    checkpoint: AuditEnd,
}

/// A head as it is printed and given again.
#[derive(Clone, Copy, Debug)]
struct Head(AuditEnd);

impl FromStr for Head {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "a head is a number, a colon and 64 hexadecimal digits, as `otaria audit verify` prints it";
        let (n, hash) = text.split_once(':').ok_or(wanted)?;
        Ok(Self(AuditEnd {
            n: n.parse().map_err(|_| wanted)?,
            hash: hash.parse().map_err(|_| wanted)?,
        }))
    }
}

/// What became of the check.
#[derive(Serialize)]
struct Verdict {
    valid: bool,
    entries: usize,
    head: AuditEnd,
    checkpoint: AuditEnd,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Verdict {
    /// `trail` is oldest first.
    fn new(trail: &[AuditEntry], ends: &Ends, noted: Option<Head>) -> Self {
        let problem = match verify(ends.checkpoint, trail, ends.head) {
            Err(broken) => Some(broken.to_string()),
            Ok(()) => noted.and_then(|Head(noted)| contradiction(trail, ends, noted)),
        };
        Self {
            valid: problem.is_none(),
            entries: trail.len(),
            head: ends.head,
            checkpoint: ends.checkpoint,
            problem,
        }
    }
}

/// Why a head that was noted earlier does not belong to this chain.
fn contradiction(trail: &[AuditEntry], ends: &Ends, noted: AuditEnd) -> Option<String> {
    let known = trail.iter().map(|entry| AuditEnd {
        n: entry.n,
        hash: entry.hash,
    });
    let here = known.chain([ends.checkpoint]).find(|end| end.n == noted.n);
    match here {
        Some(here) if here == noted => None,
        Some(_) => Some(format!(
            "entry {} is not the one that you have noted: this is another chain",
            noted.n
        )),
        None if noted.n < ends.checkpoint.n => Some(format!(
            "entry {} was removed for its age, so the head that you have noted cannot be compared; note the present one",
            noted.n
        )),
        None => Some(format!(
            "entry {}, which you have noted, is not there: the chain ends before it",
            noted.n
        )),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.problem {
            return write!(
                f,
                "The audit trail is broken: {problem}.\nWhat comes before it is as it was written."
            );
        }
        writeln!(f, "The audit trail is whole: {} entries.", self.entries)?;
        if self.checkpoint.n > 0 {
            writeln!(
                f,
                "Up to entry {}, they were removed for their age.",
                self.checkpoint.n
            )?;
        }
        write!(f, "head {}:{}", self.head.n, self.head.hash)
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Listed(Vec<AuditEntry>);

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("Nothing was changed yet.");
        }
        for entry in &self.0 {
            let who = entry.user.as_deref().unwrap_or(entry.by.name());
            let token = entry
                .token
                .as_ref()
                .map_or(String::new(), |token| format!(" ({token})"));
            let from = entry.from.as_deref().unwrap_or("-");
            let refused = match entry.outcome {
                Outcome::Done => "",
                Outcome::Refused => "refused: ",
            };
            writeln!(
                f,
                "{:>6}  {}  {who}{token}  {from}  {} {}  {refused}{}",
                entry.n,
                utc(u64::try_from(entry.at).unwrap_or_default()),
                entry.action,
                // A stranger may have chosen it: no control characters on a terminal.
                entry.object.escape_debug(),
                entry.detail.escape_debug(),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(n: u64, byte: u8) -> AuditEnd {
        let hash = format!("{byte:02x}").repeat(32);
        AuditEnd {
            n,
            hash: hash.parse().unwrap(),
        }
    }

    #[test]
    fn a_head_that_was_noted_shows_another_chain_and_a_shorter_one() {
        let ends = Ends {
            head: end(5, 1),
            checkpoint: end(5, 1),
        };
        let noted = |head: &str| Verdict::new(&[], &ends, Some(head.parse().unwrap()));
        let same = format!("5:{}", "01".repeat(32));
        assert!(noted(&same).valid);
        assert_eq!(
            format!("head {same}"),
            noted(&same).to_string().lines().last().unwrap()
        );
        for (n, says) in [
            (5, "another chain"),
            (6, "is not there"),
            (4, "for its age"),
        ] {
            let verdict = noted(&format!("{n}:{}", "02".repeat(32)));
            assert!(!verdict.valid);
            assert!(verdict.problem.unwrap().contains(says), "{n}");
        }
        assert!("5".parse::<Head>().is_err() && "5:xy".parse::<Head>().is_err());
    }
}
