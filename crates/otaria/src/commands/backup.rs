//! `otaria backup` and `otaria restore`: what a server on one machine keeps.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use otaria_server::{Manifest, backup, restore};
use serde::Serialize;

use crate::Context;
use crate::commands::{database, package_store};

/// Copy all that a server keeps, while it works, into a new directory.
///
/// Database, packages, and the private keys of `--tls`, each with its SHA-256. Packages in a bucket stay there. Keep it as secret as the server's own directory. What
/// the embedded broker keeps is not in it: devices report again.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria backup --data ./data backup-2027-01-31
  otaria backup --data ./data --packages s3://packages/ota backup-2027-01-31
  otaria restore backup-2027-01-31 --data ./data")]
pub(crate) struct Backup {
    /// The directory of `otaria serve`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Its --packages, if `otaria serve` was given a directory or a bucket; what is in a bucket is looked for, and stays there.
    #[arg(long, value_name = "PLACE")]
    packages: Option<String>,

    /// Where the copy goes; must not be there yet.
    to: PathBuf,
}

/// Put a backup into a directory for `otaria serve` that is not there yet, or empty.
///
/// Every byte is checked before the directory gets its name. A backup of an earlier version is brought up to date when the server starts.
/// With --database, what was in the server's file goes to an empty PostgreSQL database: start `otaria serve` with the same --database then.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria restore backup-2027-01-31 --data ./data
  otaria restore backup-2027-01-31 --data ./data --database postgres://otaria:password@db.lan/otaria")]
pub(crate) struct Restore {
    /// The backup.
    from: PathBuf,

    /// The directory for `otaria serve`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// The PostgreSQL database for `otaria serve`, which must be empty; without it, a file in --data.
    #[arg(
        long,
        value_name = "URL",
        env = "OTARIA_DATABASE",
        hide_env_values = true
    )]
    database: Option<String>,
}

#[derive(Serialize)]
struct Done<'a> {
    files: usize,
    bytes: u64,
    made_at: i64,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<&'a str>,
    #[serde(skip)]
    what: &'a str,
}

impl Backup {
    pub(crate) async fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let packages = package_store(self.packages.as_deref())?;
        let made = backup(&self.data, &packages, &self.to).await?;
        tell(ctx, &made, &format!("in {}", self.to.display()))
    }
}

impl Restore {
    pub(crate) async fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let restored =
            restore(&self.from, &self.data, &database(self.database.as_deref())?).await?;
        tell(
            ctx,
            &restored,
            &format!("restored to {}", self.data.display()),
        )
    }
}

fn tell(ctx: &Context, manifest: &Manifest, what: &str) -> anyhow::Result<()> {
    ctx.output.result(&Done {
        files: manifest.files.len(),
        bytes: manifest.bytes(),
        made_at: manifest.made_at,
        version: &manifest.version,
        bucket: manifest.bucket.as_deref(),
        what,
    })
}

impl fmt::Display for Done<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = HumanBytes(self.bytes);
        write!(f, "{} files, {bytes}, {}", self.files, self.what)?;
        match self.bucket {
            Some(bucket) => write!(f, "; the packages are in {bucket}"),
            None => Ok(()),
        }
    }
}
