//! `otaria rollout back`: the fleet back to the release before. Devices never take an older package; they take the old
//! image in a new one, which only the holder of the signing key can make. So this happens here, and not on the server.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::Args;
use otaria_package::pack::{DEFAULT_SLOT_SIZE, Options, TimeStamp, pack_by};
use otaria_package::read::{Trust, read_into};
use otaria_server::model::{RolloutAction, RolloutSpec, RolloutState};

use super::show::Status;
use crate::Context;
use crate::client::ServerArgs;
use crate::signer::SignerArgs;

/// Erase blocks of the flash: a slot is a whole number of them.
const SLOT_STEP: u32 = 0x1_0000;

/// Bring the devices that run a rollout's image back to an older one.
///
/// Cancels the rollout if it is under way, packages the old image again, signed and with a newer sequence, and makes a rollout of it
/// to all devices that run the new image.
#[derive(Debug, Args)]
pub(crate) struct Back {
    /// The rollout to go back from.
    id: String,

    /// The package to go back to.
    #[arg(long, value_name = "FILE")]
    package: PathBuf,

    #[command(flatten)]
    signer: SignerArgs,

    /// The name of the rollout that goes back [default: ID-back].
    #[arg(long)]
    name: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

impl Back {
    pub(super) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let client = self.server.client()?;
        let rollout = client.rollout(&self.id)?;
        let bad = client.package(&rollout.spec.package)?;

        let file = std::fs::File::open(&self.package)
            .with_context(|| format!("cannot read {}", self.package.display()))?;
        let mut image = Vec::new();
        let source = std::io::BufReader::new(file);
        let contents = read_into(source, Trust::Anyone, &[], |piece| {
            image.extend_from_slice(piece);
            Ok(())
        })
        .with_context(|| format!("{} is no package that devices take", self.package.display()))?;
        let header = &contents.header;
        if !contents.recipients.is_empty() {
            bail!(
                "{} is encrypted, and what it holds must not go out in the clear; package the old image again with \
                 `otaria package --encrypt-to`, and make a rollout of that to 'image = {}'",
                self.package.display(),
                rollout.image_sha256
            );
        }
        if header.product.as_str() != bad.product {
            bail!(
                "{} is for '{}', the rollout was for '{}'",
                self.package.display(),
                header.product.as_str(),
                bad.product
            );
        }
        if header.image_sha256 == rollout.image_sha256 {
            bail!(
                "{} has the image that the rollout brought; name the one to go back to",
                self.package.display()
            );
        }

        let now = TimeStamp::at(SystemTime::now());
        let stamp = TimeStamp {
            // Whatever sequence the newer package was given.
            sequence: now.sequence.max(bad.sequence.saturating_add(1)),
            created: now.created,
        };
        let options = Options {
            allow_unguarded: header.flags.unguarded,
            // It fitted the slots of these devices once.
            slot_size: header
                .image_len
                .next_multiple_of(SLOT_STEP)
                .max(DEFAULT_SLOT_SIZE),
            ..Options::new(stamp)
        };
        let signer = self.signer.open(self.signer.find()?)?;
        let package = pack_by(&image, &*signer, &options)
            .with_context(|| format!("{} is not packaged again", self.package.display()))?;

        match rollout.state {
            RolloutState::Running | RolloutState::Paused | RolloutState::Halted => {
                client.tell_rollout(&self.id, RolloutAction::Cancel)?;
            }
            RolloutState::Cancelled | RolloutState::Done => {}
        }
        let uploaded = client.upload(package.bytes.as_slice(), package.bytes.len() as u64)?;
        let spec = RolloutSpec {
            name: self.name.unwrap_or_else(|| format!("{}-back", self.id)),
            package: uploaded.digest,
            target: format!("image = {}", rollout.image_sha256),
            waves: Vec::new(),
            ..rollout.spec
        };
        ctx.output.result(&Status(client.create_rollout(&spec)?))
    }
}
