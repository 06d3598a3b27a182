//! An NVS partition image, byte for byte as Espressif's `esp-idf-nvs-partition-gen` (0.3.0) makes it of the same entries.

use esp_nvs::mem_flash::MemFlash;
use otaria_wire::nvs::{
    ENTRIES, ENTRY_LEN, EntryHeader, Kind, NO_CHUNK, Name, PAGE_LEN, PageHeader, PageState, crc,
};
use otaria_wire::settings as names;
use otaria_wire::topics::DEFAULT_ROOT;
use zeroize::Zeroizing;

use super::HostError;
use crate::{Identity, Psk, Region, Settings, SettingsError, load, network};

/// A value as NVS holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// A byte.
    U8(u8),
    /// Eight bytes.
    U64(u64),
    /// A text; its zero byte is added.
    Text(Zeroizing<String>),
    /// Bytes.
    Blob(Zeroizing<Vec<u8>>),
}

/// A setting as NVS holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, one of [`otaria_wire::settings::ALL`].
    pub name: &'static str,
    /// Its value.
    pub value: Value,
}

/// The entries that settings make, in the order of the image. What has its default makes none.
#[must_use]
pub fn entries(settings: &Settings) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut put = |name, value| entries.push(Entry { name, value });
    let text = |text: &str| Value::Text(Zeroizing::new(text.to_owned()));
    let blob = |bytes: &[u8]| Value::Blob(Zeroizing::new(bytes.to_vec()));
    let wifi_names = names::WIFI_SSID.into_iter().zip(names::WIFI_PASSWORD);
    for (network, (ssid, password)) in settings.wifi.iter().zip(wifi_names) {
        put(ssid, text(&network.ssid));
        if !network.password.is_empty() {
            put(password, text(&network.password));
        }
    }
    if let Some(broker) = &settings.broker {
        put(names::BROKER, text(&broker.address()));
        if let Some(user) = &broker.user {
            put(names::BROKER_USER, text(user));
        }
        if let Some(password) = &broker.password {
            put(names::BROKER_PASSWORD, text(password));
        }
    }
    if let Some(id) = &settings.device_id {
        put(names::DEVICE_ID, text(id));
    }
    if !settings.product.is_empty() {
        put(names::PRODUCT, text(&settings.product));
    }
    if settings.topic_root != DEFAULT_ROOT {
        put(names::TOPIC_ROOT, text(&settings.topic_root));
    }
    for (key, name) in settings.signers.iter().zip(names::SIGNERS) {
        put(name, blob(key));
    }
    if !settings.allowed_hosts.is_empty() {
        put(
            names::ALLOWED_HOSTS,
            text(&settings.allowed_hosts.join(" ")),
        );
    }
    for (name, is_set) in [
        (names::ALLOW_UNGUARDED, settings.allow_unguarded),
        (names::REQUIRE_ENCRYPTION, settings.require_encryption),
    ] {
        if is_set {
            put(name, Value::U8(1));
        }
    }
    if !settings.tls.authorities.is_empty() {
        put(names::AUTHORITIES, blob(&settings.tls.authorities));
    }
    if let Some(Identity { chain, key }) = &settings.tls.identity {
        put(names::CERTIFICATE, blob(chain));
        put(names::PRIVATE_KEY, blob(key.reveal()));
    }
    if let Some(Psk { id, key }) = &settings.tls.psk {
        put(names::PSK_ID, text(id));
        put(names::PSK, blob(key.reveal()));
    }
    if !settings.time_servers.is_empty() {
        put(names::TIME_SERVER, text(&settings.time_servers.join(" ")));
    }
    if let Some(key) = &settings.encryption_key {
        put(names::ENCRYPTION_KEY, blob(key.reveal()));
    }
    if let Some(install) = settings.install {
        put(names::INSTALL, Value::U64(install));
    }
    if let Some(password) = &settings.setup_password {
        put(names::SETUP_PASSWORD, text(password));
    }
    entries
}

/// The NVS partition of `len` bytes that holds these settings and nothing else.
///
/// # Errors
/// The settings do not fit, a device would not read them back as they are, it could not know its broker, or it could open none of the
/// packages that it takes.
pub fn partition_image(settings: &Settings, len: usize) -> Result<Zeroizing<Vec<u8>>, HostError> {
    let tls = settings.broker.as_ref().is_some_and(|broker| broker.tls);
    if tls && !settings.tls.knows_servers() {
        return Err(HostError::UnknownBroker);
    }
    if settings.require_encryption && settings.encryption_key.is_none() {
        return Err(HostError::NoEncryptionKey);
    }
    let mut all = entries(settings);
    let image = image_of_entries(&all, len)?;
    // What a device saves of its network later comes in addition, and all is written anew then: onto the other half, so that a
    // power cut leaves the old settings.
    all.push(Entry {
        name: names::NETWORK,
        value: Value::Blob(Zeroizing::new(vec![0; network::MAX_LEN])),
    });
    let half = MIN_PAGES.max(len / PAGE_LEN / 2 + 1) * PAGE_LEN;
    if image_of_entries(&all, half).is_err() {
        return Err(HostError::NoRoomToChange(len));
    }
    if read_partition(&image)? != *settings {
        return Err(HostError::Refused(SettingsError::NotSaved));
    }
    Ok(image)
}

/// The settings in a partition's bytes, as the device's own reader reads them.
///
/// # Errors
/// What the device would say.
pub fn read_partition(bytes: &[u8]) -> Result<Settings, HostError> {
    let mut flash = MemFlash::from_bytes(bytes.to_vec());
    let len = u32::try_from(bytes.len());
    let region = Region {
        offset: 0,
        len: len.map_err(|_| HostError::PartitionLength(bytes.len() as u64))?,
    };
    let read = load(&mut flash, region).map_err(HostError::Refused);
    drop(Zeroizing::new(flash.into_inner()));
    read
}

/// Sectors that must be: the generator refuses fewer.
const MIN_PAGES: usize = 3;
/// All entries are in the namespace that is made first.
const NAMESPACE: u8 = 1;

/// The NVS partition of `len` bytes that holds these entries, whether or not they are settings that a device takes.
///
/// # Errors
/// The length is no partition's, or the entries do not fit.
pub fn image_of_entries(entries: &[Entry], len: usize) -> Result<Zeroizing<Vec<u8>>, HostError> {
    if !len.is_multiple_of(PAGE_LEN) || len < MIN_PAGES * PAGE_LEN {
        return Err(HostError::PartitionLength(len as u64));
    }
    let mut image = Image {
        bytes: Zeroizing::new(vec![0xFF; len]),
        pages: 0,
        entry: 0,
    };
    image.next_page()?;
    image.number(0, Kind::U8, names::NAMESPACE, &[NAMESPACE])?;
    for Entry { name, value } in entries {
        match value {
            Value::U8(value) => image.number(NAMESPACE, Kind::U8, name, &[*value]),
            Value::U64(value) => image.number(NAMESPACE, Kind::U64, name, &value.to_le_bytes()),
            Value::Text(text) => image.text(name, text),
            Value::Blob(bytes) => image.blob(name, bytes),
        }?;
    }
    Ok(image.bytes)
}

/// The image, and where its next entry goes.
struct Image {
    bytes: Zeroizing<Vec<u8>>,
    /// Pages in use; the last of them is active.
    pages: usize,
    /// Entries in use on the active page.
    entry: usize,
}

impl Image {
    fn too_long(&self) -> HostError {
        HostError::TooLong(self.bytes.len())
    }

    /// The active page's bytes.
    fn page(&mut self) -> Result<&mut [u8; PAGE_LEN], HostError> {
        let error = self.too_long();
        let at = self.pages.checked_sub(1).map(|page| page * PAGE_LEN);
        let bytes = at.and_then(|at| self.bytes.get_mut(at..));
        bytes.and_then(|bytes| bytes.first_chunk_mut()).ok_or(error)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> Result<(), HostError> {
        let error = self.too_long();
        let place = self.page()?.get_mut(at..at + bytes.len());
        place.ok_or(error)?.copy_from_slice(bytes);
        Ok(())
    }

    fn header(&mut self, state: PageState) -> Result<(), HostError> {
        let sequence = u32::try_from(self.pages.saturating_sub(1)).unwrap_or(u32::MAX);
        self.put(0, &PageHeader { state, sequence }.encode())
    }

    fn next_page(&mut self) -> Result<(), HostError> {
        // The last page stays blank: NVS needs it to make room.
        if (self.pages + 2) * PAGE_LEN > self.bytes.len() {
            return Err(self.too_long());
        }
        if self.pages > 0 {
            self.header(PageState::Full)?;
        }
        self.pages += 1;
        self.entry = 0;
        self.header(PageState::Active)
    }

    /// Appends whole entries and marks them written.
    fn entries(&mut self, bytes: &[u8]) -> Result<(), HostError> {
        self.put(64 + self.entry * ENTRY_LEN, bytes)?;
        for _ in 0..bytes.len().div_ceil(ENTRY_LEN) {
            let entry = self.entry;
            if let Some(states) = self.page()?.get_mut(32 + entry / 4) {
                *states &= !(1 << (2 * (entry % 4)));
            }
            self.entry += 1;
        }
        Ok(())
    }

    fn number(
        &mut self,
        namespace: u8,
        kind: Kind,
        name: &str,
        value: &[u8],
    ) -> Result<(), HostError> {
        if self.entry >= ENTRIES {
            self.next_page()?;
        }
        let header = EntryHeader {
            namespace,
            kind,
            span: 1,
            chunk: NO_CHUNK,
            name: field(name),
            data: data(value),
        };
        self.entries(&header.encode())
    }

    fn payload(
        &mut self,
        kind: Kind,
        name: &str,
        chunk: u8,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        let too_long = self.too_long();
        let span = bytes.len().div_ceil(ENTRY_LEN) + 1;
        let (Ok(span), Ok(len)) = (u8::try_from(span), u16::try_from(bytes.len())) else {
            return Err(too_long);
        };
        let [a, b] = len.to_le_bytes();
        let [c, d, e, f] = crc(bytes).to_le_bytes();
        let header = EntryHeader {
            namespace: NAMESPACE,
            kind,
            span,
            chunk,
            name: field(name),
            data: [a, b, 0xFF, 0xFF, c, d, e, f],
        };
        self.entries(&header.encode())?;
        self.entries(bytes)
    }

    fn text(&mut self, name: &str, text: &str) -> Result<(), HostError> {
        let bytes = Zeroizing::new([text.as_bytes(), &[0]].concat());
        // The generator leaves the last entry of a page to others than texts.
        if self.entry + 1 + bytes.len().div_ceil(ENTRY_LEN) >= ENTRIES {
            self.next_page()?;
        }
        self.payload(Kind::Text, name, NO_CHUNK, &bytes)
    }

    fn blob(&mut self, name: &str, bytes: &[u8]) -> Result<(), HostError> {
        if self.entry >= ENTRIES {
            self.next_page()?;
        }
        let too_long = self.too_long();
        let (mut rest, mut parts) = (bytes, 0u8);
        loop {
            let room = (ENTRIES - 1).saturating_sub(self.entry) * ENTRY_LEN;
            let (part, others) = rest.split_at(room.min(rest.len()));
            self.payload(Kind::BlobPart, name, parts, part)?;
            parts = parts
                .checked_add(1)
                .ok_or(HostError::TooLong(bytes.len()))?;
            rest = others;
            if !rest.is_empty() || room - part.len() < ENTRY_LEN {
                self.next_page()?;
            }
            if rest.is_empty() {
                break;
            }
        }
        let len = u32::try_from(bytes.len()).map_err(|_| too_long)?;
        let [a, b, c, d] = len.to_le_bytes();
        self.number(NAMESPACE, Kind::BlobIndex, name, &[a, b, c, d, parts, 0])
    }
}

fn field(name: &str) -> Name {
    Name::new(name).expect("the names of the settings fit: otaria-wire tests that")
}

/// A value's field, padded.
fn data(value: &[u8]) -> [u8; 8] {
    let mut field = [0xFF; 8];
    for (place, byte) in field.iter_mut().zip(value) {
        *place = *byte;
    }
    field
}
