//! Key records as the API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The newest key record of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyEpoch {
    /// The product.
    pub product: String,
    /// Rises with each record.
    pub epoch: u32,
    /// How many of the keys must have signed a package.
    pub threshold: u8,
    /// Ids of the release keys.
    pub keys: Vec<String>,
    /// Ids of the root keys that are said to have signed it.
    pub roots: Vec<String>,
    /// When it came.
    pub uploaded_at: i64,
    /// Devices of the product.
    pub devices: u64,
    /// Those that say that they go by it.
    pub in_force: u64,
}

/// A key record that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublishedKeys {
    /// What it says.
    #[serde(flatten)]
    pub epoch: KeyEpoch,
    /// Devices that it was sent to now.
    pub told: u64,
}
