//! Key records on their way from whoever holds a root key to the devices. The server is a courier here too: it holds no private
//! key and knows no root key. It keeps the newest record of each product, and publishes it retained to every device of the
//! product, those that appear later included. Devices decide whether it is good.

use otaria_package::key_record::{key_ids, root_ids};
use otaria_wire::keys::{KeyRecord, KeyRecordError};
use otaria_wire::topics::Topic;

use crate::audit::Action;
use crate::model::{KeyEpoch, PublishedKeys};
use crate::shared::Shared;
use crate::store::{KeyEpochRow, StoreError, Tx};

/// Why a key record is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("{0}")]
    Malformed(#[from] KeyRecordError),
    #[error(
        "the key record of \"{product}\" here has epoch {held}, and this one {offered}; devices take only a higher one"
    )]
    Epoch {
        product: String,
        offered: u32,
        held: u32,
    },
    #[error("there is no key record of \"{0}\" here")]
    NoProduct(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Shared {
    /// Takes a record, and sends it to the devices of its product. The one that is here already is taken again, and sent to
    /// nobody who has it.
    pub(crate) async fn publish_keys(
        &self,
        bytes: &[u8],
        now: i64,
    ) -> Result<PublishedKeys, KeysError> {
        let record = KeyRecord::parse(bytes)?;
        let product = record.product().as_str();
        let epoch = record.epoch();
        let mut tx = self.store.write().await?;
        if let Some((held, known)) = tx.key_epoch(product).await?
            && (epoch < held || (epoch == held && known != bytes))
        {
            return Err(KeysError::Epoch {
                product: product.to_owned(),
                offered: epoch,
                held,
            });
        }
        tx.set_key_epoch(product, epoch, bytes, now).await?;
        let mut told = 0;
        for device in tx.devices_of(product).await? {
            told += u64::from(self.send_keys(&mut tx, &device, product, now).await?);
        }
        tx.audit(Action::KeysPublish, product, &format!("epoch {epoch}"))
            .await?;
        tx.commit().await?;
        self.outbox_ready.notify_one();
        let epochs = self.key_epochs().await?;
        let epoch = epochs.into_iter().find(|epoch| epoch.product == product);
        let epoch = epoch.ok_or(StoreError::Unexpected("key_epochs"))?;
        Ok(PublishedKeys { epoch, told })
    }

    /// Forgets a product's record, such as one that no device takes. What devices go by stays in force.
    pub(crate) async fn forget_keys(&self, product: &str) -> Result<(), KeysError> {
        let mut tx = self.store.write().await?;
        if !tx.remove_key_epoch(product).await? {
            return Err(KeysError::NoProduct(product.to_owned()));
        }
        tx.audit(Action::KeysForget, product, "").await?;
        Ok(tx.commit().await?)
    }

    /// The newest record of each product.
    pub(crate) async fn key_epochs(&self) -> Result<Vec<KeyEpoch>, StoreError> {
        let rows = self.store.key_epochs().await?;
        rows.into_iter().map(shown).collect()
    }

    /// Sends a device the record of its product, if there is one and it was not sent before; whether it was sent now.
    pub(crate) async fn send_keys(
        &self,
        tx: &mut Tx,
        device: &str,
        product: &str,
        now: i64,
    ) -> Result<bool, StoreError> {
        let Some((epoch, record)) = tx.key_epoch(product).await? else {
            return Ok(false);
        };
        if !tx.tell_keys(device, product, epoch).await? {
            return Ok(false);
        }
        if let Ok(message) = self.message(device, Topic::Keys, record) {
            tx.send(&message, now).await?;
        }
        Ok(true)
    }

    /// Puts the records into the outbox again for all devices that have had one: the broker may have lost them.
    pub(crate) async fn send_keys_again(&self, tx: &mut Tx, now: i64) -> Result<(), StoreError> {
        for (device, product) in tx.devices_with_keys().await? {
            if let Some((_, record)) = tx.key_epoch(&product).await?
                && let Ok(message) = self.message(&device, Topic::Keys, record)
            {
                tx.send(&message, now).await?;
            }
        }
        Ok(())
    }
}

fn shown(row: KeyEpochRow) -> Result<KeyEpoch, StoreError> {
    let record = KeyRecord::parse(&row.record).map_err(|_| StoreError::Unexpected("key_epochs"))?;
    Ok(KeyEpoch {
        threshold: record.threshold(),
        keys: key_ids(&record),
        roots: root_ids(&record),
        product: row.product,
        epoch: row.epoch,
        uploaded_at: row.uploaded_at,
        devices: row.devices,
        in_force: row.in_force,
    })
}
