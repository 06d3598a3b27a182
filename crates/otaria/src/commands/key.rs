//! `otaria key`: which release keys count.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_package::key_record::{Plan, key_ids, root_ids};
use otaria_package::keyfile::read_public;
use otaria_package::keys::{Keyring, PublicKey};
use otaria_package::signer::Signer;
use otaria_server::model::{KeyEpoch, PublishedKeys};
use otaria_wire::keys::KeyRecord;
use otaria_wire::package::KeyId;
use serde::Serialize;

use crate::Context;
use crate::client::ServerArgs;
use crate::output::UsageError;
use crate::passphrase::PassphraseArgs;
use crate::report::Rows;
use crate::signer::ElsewhereArgs;

/// Say which release keys count: rotate, revoke, list, publish.
///
/// The keys that devices are provisioned with are their root keys. Until a root key has signed a key record, it signs packages
/// itself; from then on the record's release keys do, and the root key can stay in a safe. A device takes a record only if its
/// epoch is higher than that of the one before, so the newest one counts wherever it comes from. See docs/KEYS.md.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria key rotate --root root.pem --release new.pub.pem --product pump --out keys.bin
  otaria key rotate --root root.pem --release new.pub.pem --keep old.pub.pem --product pump --out keys.bin
  otaria key revoke keys.bin --root root.pem --key old.pub.pem
  otaria key list keys.bin
  otaria key publish keys.bin
  mosquitto_pub -h broker.lan -t otaria/v1/pump-7/keys -q 1 -r -f keys.bin")]
pub(crate) struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Rotate(Rotate),
    Revoke(Revoke),
    List(List),
    Publish(PublishKeys),
}

impl Keys {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Rotate(rotate) => rotate.run(ctx),
            What::Revoke(revoke) => revoke.run(ctx),
            What::List(list) => list.run(ctx),
            What::Publish(publish) => publish.run(ctx),
        }
    }
}

/// Who signs the record.
#[derive(Debug, Args)]
struct RootArgs {
    /// The private root key (NAME.pem): the public half is in the devices' settings.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["sign_with", "pkcs11"], conflicts_with_all = ["sign_with", "pkcs11"]
    )]
    root: Option<PathBuf>,

    #[command(flatten)]
    elsewhere: ElsewhereArgs,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    /// A second root key that signs too, for a fleet in which some devices know only that one.
    #[arg(long, value_name = "FILE")]
    other_root: Option<PathBuf>,
}

impl RootArgs {
    /// Asks for what they need to sign.
    fn open(self) -> anyhow::Result<Roots> {
        let root = self.elsewhere.or_file(self.root.as_deref(), "--root")?;
        let other = ElsewhereArgs::default();
        let other = match &self.other_root {
            Some(path) => Some(other.or_file(Some(path), "--other-root")?),
            None => None,
        };
        let mut roots = vec![root.open(&self.passphrase)?];
        if let Some(other) = other {
            roots.push(other.open(&self.passphrase)?);
        }
        Ok(Roots(roots))
    }
}

/// Root keys that can sign.
struct Roots(Vec<Box<dyn Signer>>);

impl Roots {
    /// What a record says, if one of them has signed it: whoever can write the file could else choose the next epoch, or put a key
    /// of his own among those that a root key signs next.
    fn plan_of(&self, record: &KeyRecord<'_>) -> anyhow::Result<Option<Plan>> {
        let known = Keyring::new(self.0.iter().map(|root| root.public_key()));
        let Ok(_) = record.verify(&known) else {
            return Ok(None);
        };
        Ok(Some(Plan::of(record)?))
    }

    /// Signs a plan and writes it.
    fn make(&self, ctx: &Context, plan: &Plan, out: &Path) -> anyhow::Result<()> {
        let roots: Vec<_> = self.0.iter().map(|root| &**root).collect();
        let record = plan.sign(&roots)?;
        write_atomically(out, Readers::Umask, Existing::Replace, |file| {
            file.write_all(&record)
        })
        .with_context(|| format!("cannot write {}", out.display()))?;
        let record = parse(&record, out)?;
        ctx.output.result(&Record::new(out, &record))
    }
}

/// Make the next key record: these release keys count, and no others.
///
/// If OUT is a key record already, which the same root key has signed, the new one has the epoch after it and takes its place.
#[derive(Debug, Args)]
struct Rotate {
    #[command(flatten)]
    root: RootArgs,

    /// A public release key (NAME.pub.pem) that counts; may be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    release: Vec<PathBuf>,

    /// A public release key that counts on, beside the new ones; may be repeated.
    #[arg(long, value_name = "FILE")]
    keep: Vec<PathBuf>,

    /// How many of the keys must sign a package, 1 or 2 [default: as many as in OUT, or 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    threshold: Option<u8>,

    /// The product whose packages they sign.
    #[arg(long, value_name = "NAME")]
    product: String,

    /// The epoch, which must be higher than all before [default: the one after that of OUT, or 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epoch: Option<u32>,

    /// The key record.
    #[arg(
        long,
        alias = "output",
        value_name = "FILE",
        default_value = "keys.bin"
    )]
    out: PathBuf,
}

impl Rotate {
    fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let bytes = match fs::read(&self.out) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", self.out.display()));
            }
        };
        let record = bytes.as_ref().map(|bytes| parse(bytes, &self.out));
        let record = record.transpose()?;
        let keys = public_keys(self.release.iter().chain(&self.keep))?;
        let roots = self.root.open()?;
        let before = match &record {
            Some(record) => Some(roots.plan_of(record)?.with_context(|| {
                format!(
                    "{} was not signed by the root key that is to sign the next record, so its epoch is anybody's word; choose \
                     another --out, and an --epoch above that of `otaria key list`",
                    self.out.display()
                )
            })?),
            None => None,
        };
        let epoch = match (self.epoch, &before) {
            (_, Some(before)) if before.product != self.product => bail!(
                "{} is the key record of \"{}\"; choose another --out",
                self.out.display(),
                before.product
            ),
            (Some(epoch), Some(before)) if epoch <= before.epoch => bail!(
                "epoch {epoch} is not higher than that of {}, {}: devices would refuse it",
                self.out.display(),
                before.epoch
            ),
            (Some(epoch), _) => epoch,
            (None, Some(before)) => before.next_epoch()?,
            (None, None) => 1,
        };
        let plan = Plan {
            epoch,
            threshold: (self.threshold)
                .or_else(|| Some(before?.threshold))
                .unwrap_or(1),
            product: self.product,
            keys,
        };
        roots.make(ctx, &plan, &self.out)
    }
}

/// Make the next key record without a key, which counts no more: wherever it signs, devices refuse it.
#[derive(Debug, Args)]
struct Revoke {
    /// The key record, which the new one replaces: one that the root key has signed.
    file: PathBuf,

    #[command(flatten)]
    root: RootArgs,

    /// The key: its public file, or its id; may be repeated.
    #[arg(long, value_name = "FILE|ID", required = true)]
    key: Vec<String>,

    /// A public release key that takes its place.
    #[arg(long, value_name = "FILE")]
    release: Vec<PathBuf>,

    /// How many of the keys must sign a package, 1 or 2 [default: as many as before].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    threshold: Option<u8>,

    /// Where to write the record [default: in place of the old one].
    #[arg(long, alias = "output", value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Revoke {
    fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let bytes = read(&self.file)?;
        let record = parse(&bytes, &self.file)?;
        let revoked = self
            .key
            .iter()
            .map(|key| key_id(key))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let instead = public_keys(&self.release)?;
        let roots = self.root.open()?;
        let before = roots.plan_of(&record)?.context(
            "the key record was not signed by the root key that is to sign the next one, so its keys may be anybody's; name those \
             that shall count with `otaria key rotate`",
        )?;
        let plan = before.without(&revoked, instead, self.threshold)?;
        let out = self.out.as_ref().unwrap_or(&self.file);
        roots.make(ctx, &plan, out)
    }
}

/// Show a key record, or those that a server gives to devices.
#[derive(Debug, Args)]
struct List {
    /// The key record; without one, the server is asked.
    file: Option<PathBuf>,

    #[command(flatten)]
    server: ServerArgs,
}

impl List {
    fn run(self, ctx: &Context) -> anyhow::Result<()> {
        match &self.file {
            Some(file) => {
                let bytes = read(file)?;
                ctx.output.result(&Record::new(file, &parse(&bytes, file)?))
            }
            None => ctx.output.result(&Epochs(self.server.client()?.keys()?)),
        }
    }
}

/// Hand a key record to the server, which gives it to every device of its product, now and later.
#[derive(Debug, Args)]
struct PublishKeys {
    /// The key record.
    #[arg(default_value = "keys.bin")]
    file: PathBuf,

    #[command(flatten)]
    server: ServerArgs,
}

impl PublishKeys {
    fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let bytes = read(&self.file)?;
        // A slip is noticed here, and not by a fleet.
        parse(&bytes, &self.file)?;
        let published = self.server.client()?.publish_keys(&bytes)?;
        ctx.output.result(&Published(published))
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn parse<'a>(bytes: &'a [u8], path: &Path) -> anyhow::Result<KeyRecord<'a>> {
    KeyRecord::parse(bytes).with_context(|| format!("{} is no key record", path.display()))
}

fn public_keys<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> anyhow::Result<Vec<PublicKey>> {
    Ok(paths
        .into_iter()
        .map(|path| read_public(path))
        .collect::<Result<_, _>>()?)
}

fn key_id(text: &str) -> anyhow::Result<KeyId> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let path = Path::new(text);
    if !path.exists() {
        return Err(UsageError(format!(
            "{text} is neither a key's id (16 hexadecimal digits) nor a file"
        ))
        .into());
    }
    Ok(read_public(path)?.key_id())
}

/// A key record in a file.
#[derive(Serialize)]
struct Record<'p> {
    file: &'p Path,
    product: String,
    epoch: u32,
    threshold: u8,
    keys: Vec<String>,
    roots: Vec<String>,
}

impl<'p> Record<'p> {
    fn new(file: &'p Path, record: &KeyRecord<'_>) -> Self {
        Self {
            file,
            product: record.product().to_string(),
            epoch: record.epoch(),
            threshold: record.threshold(),
            keys: key_ids(record),
            roots: root_ids(record),
        }
    }
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Rows::new()
            .row("key record", self.file.display().to_string())
            .row("product", &self.product)
            .row("epoch", self.epoch.to_string())
            .row("signatures", format!("{} of these keys", self.threshold))
            .row("keys", self.keys.join(", "))
            .row("signed by", format!("root {}", self.roots.join(", ")))
            .fmt(f)
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Epochs(Vec<KeyEpoch>);

impl fmt::Display for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20} {:>6} {:>6} {:>9}  KEYS",
            "PRODUCT", "EPOCH", "NEEDS", "DEVICES"
        )?;
        for epoch in &self.0 {
            writeln!(
                f,
                "{:<20} {:>6} {:>6} {:>9}  {}",
                epoch.product,
                epoch.epoch,
                epoch.threshold,
                format!("{}/{}", epoch.in_force, epoch.devices),
                epoch.keys.join(", ")
            )?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Published(PublishedKeys);

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PublishedKeys { epoch, told } = &self.0;
        write!(
            f,
            "{}: epoch {} goes to {told} device(s), and to those that appear later",
            epoch.product, epoch.epoch
        )
    }
}
