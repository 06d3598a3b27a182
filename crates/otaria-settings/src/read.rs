//! Settings out of flash. Nothing is written and nothing is erased here: this runs right behind the boot guard.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use embedded_storage::nor_flash::{NorFlash, NorFlashError};
use otaria_wire::FixedText;
use otaria_wire::nvs::{EntryHeader, Item, Kind, NO_CHUNK, PAGE_LEN, Page, PageError, ValueError};
use otaria_wire::partitions::Region;
use otaria_wire::settings as names;
use otaria_wire::topics::DeviceId;
use zeroize::Zeroizing;

use crate::types::{is_host, is_passphrase};
use crate::{
    BrokerUrl, Identity, MAX_CERTIFICATES_LEN, MAX_HOSTS, MAX_TIME_SERVERS, Psk, Secret,
    SecretBytes, SecretKey, Settings, SettingsError, Tls, WifiNetwork, network,
};

/// Longest payload that is kept: no setting is longer.
const MAX_VALUE_LEN: usize = MAX_CERTIFICATES_LEN;
const _: () = assert!(network::MAX_LEN <= MAX_VALUE_LEN);

/// Reads the settings in `region` of `flash`.
///
/// A blank partition, and one without Otaria's namespace, is [`Settings::default`]. This neither writes nor erases, whatever
/// lies in flash, and takes a page (4 KiB) of heap and twice the settings' own length while it runs.
///
/// # Errors
/// See [`SettingsError`]; what is damaged is named, and is never taken for a setting that is missing.
pub fn load<F: NorFlash>(flash: &mut F, region: Region) -> Result<Settings, SettingsError> {
    Found::in_flash(flash, region)?.settings()
}

/// Checks that a partition is whole sectors within the flash; how many.
pub(crate) fn check_region<F: NorFlash>(flash: &F, region: Region) -> Result<u16, SettingsError> {
    let sector = PAGE_LEN as u32;
    let aligned = region.offset.is_multiple_of(sector) && region.len.is_multiple_of(sector);
    let end = region.offset.checked_add(region.len);
    let fits = end.is_some_and(|end| usize::try_from(end).is_ok_and(|end| end <= flash.capacity()));
    let erasable = F::ERASE_SIZE > 0 && PAGE_LEN.is_multiple_of(F::ERASE_SIZE);
    match u16::try_from(region.len / sector) {
        Ok(pages) if pages > 0 && aligned && fits && erasable => Ok(pages),
        _ => Err(SettingsError::Region),
    }
}

/// An item that may be a setting, or a part of one.
struct Part {
    namespace: u8,
    name: &'static str,
    header: EntryHeader,
    /// A text without its zero byte, or a blob's bytes; empty for numbers.
    payload: Result<Zeroizing<Vec<u8>>, ValueError>,
}

/// What a partition holds of the settings' names. Of items with the same namespace, name and chunk, the newest.
#[derive(Default)]
pub(crate) struct Found {
    namespace: Option<u8>,
    parts: Vec<Part>,
}

impl Found {
    fn in_flash<F: NorFlash>(flash: &mut F, region: Region) -> Result<Self, SettingsError> {
        let pages = check_region(flash, region)?;
        let mut buffer = Zeroizing::new(vec![0; PAGE_LEN]);
        // From the oldest page to the newest. There are four as a rule, and a sort of the standard library takes 2.5 KiB of flash.
        let mut used: Vec<(u32, u16)> = Vec::new();
        let mut is_foreign = false;
        for page in 0..pages {
            let bytes = read_page(flash, region, page, &mut buffer)?;
            match Page::parse(bytes) {
                Ok(parsed) => {
                    let new = (parsed.header().sequence, page);
                    used.insert(used.partition_point(|older| *older < new), new);
                }
                Err(PageError::Blank) => {}
                // A header that was cut short has nothing behind it.
                Err(PageError::Header) => {
                    is_foreign |= bytes.iter().skip(32).any(|byte| *byte != 0xFF);
                }
                Err(PageError::Version) => return Err(SettingsError::Version),
            }
        }
        if used.is_empty() && is_foreign {
            return Err(SettingsError::NotNvs);
        }
        let mut found = Self::default();
        for (_, page) in used {
            let bytes = read_page(flash, region, page, &mut buffer)?;
            // Unstable bits, as an erase leaves them that was cut short, may read otherwise now.
            if let Ok(parsed) = Page::parse(bytes) {
                found.take_page(page, &parsed)?;
            }
        }
        Ok(found)
    }

    /// Takes what is on a page, which is newer than those before it.
    pub(crate) fn take_page(&mut self, number: u16, page: &Page<'_>) -> Result<(), SettingsError> {
        for item in page.items() {
            let item = item.map_err(|damaged| SettingsError::Damaged {
                page: number,
                entry: damaged.entry,
            })?;
            self.take(&item);
        }
        Ok(())
    }

    /// The settings among what was found.
    pub(crate) fn settings(&self) -> Result<Settings, SettingsError> {
        let mut settings = Settings::default();
        if let Some(namespace) = self.namespace {
            let setting = Setting {
                found: self,
                namespace,
            };
            setting.fill(&mut settings)?;
        }
        Ok(settings)
    }

    fn take(&mut self, item: &Item<'_>) {
        let header = *item.header();
        if header.namespace == 0 {
            if header.name.is(names::NAMESPACE) {
                self.namespace = header.as_u8();
            }
            return;
        }
        let known = names::ALL.into_iter().find(|name| header.name.is(name));
        let Some(name) = known else { return };
        let payload = match header.kind {
            Kind::Text => item.text().map(str::as_bytes),
            Kind::BlobPart | Kind::OldBlob => item.payload(),
            _ => Ok(&[][..]),
        };
        let part = Part {
            namespace: header.namespace,
            name,
            header,
            payload: match payload {
                Ok(payload) if payload.len() > MAX_VALUE_LEN => Err(ValueError::Length),
                other => other.map(|payload| Zeroizing::new(payload.to_vec())),
            },
        };
        let same = |known: &&mut Part| {
            (known.namespace, known.name, known.header.chunk)
                == (part.namespace, part.name, part.header.chunk)
        };
        match self.parts.iter_mut().find(same) {
            Some(known) => *known = part,
            None => self.parts.push(part),
        }
    }
}

pub(crate) fn read_page<'b, F: NorFlash>(
    flash: &mut F,
    region: Region,
    page: u16,
    buffer: &'b mut [u8],
) -> Result<&'b [u8; PAGE_LEN], SettingsError> {
    let at = u32::from(page) * PAGE_LEN as u32;
    let at = region.offset.checked_add(at).ok_or(SettingsError::Region)?;
    flash
        .read(at, buffer)
        .map_err(|error| SettingsError::Flash(error.kind()))?;
    buffer.first_chunk().ok_or(SettingsError::Region)
}

/// The settings among what was found.
struct Setting<'a> {
    found: &'a Found,
    namespace: u8,
}

impl<'a> Setting<'a> {
    /// Takes every setting that is there, each straight into its place: where one cannot be read there is only one value to drop.
    fn fill(&self, settings: &mut Settings) -> Result<(), SettingsError> {
        match self.blob(names::NETWORK)? {
            Some(blob) => (settings.wifi, settings.broker) = network::decode(&blob)?,
            None => {
                self.wifi(&mut settings.wifi)?;
                settings.broker = self.broker()?;
            }
        }
        settings.device_id = self.name(names::DEVICE_ID)?;
        if let Some(root) = self.name(names::TOPIC_ROOT)? {
            settings.topic_root = root.to_string();
        }
        let product = self.text(names::PRODUCT)?.unwrap_or_default();
        if FixedText::<32>::try_from(product).is_err() {
            return Err(invalid(
                names::PRODUCT,
                "at most 32 printable ASCII characters",
            ));
        }
        settings.product = product.to_string();
        self.signers(&mut settings.signers)?;
        self.hosts(names::ALLOWED_HOSTS, MAX_HOSTS, &mut settings.allowed_hosts)?;
        settings.allow_unguarded = self.flag(names::ALLOW_UNGUARDED)?;
        settings.require_encryption = self.flag(names::REQUIRE_ENCRYPTION)?;
        self.tls(&mut settings.tls)?;
        let time_servers = &mut settings.time_servers;
        self.hosts(names::TIME_SERVER, MAX_TIME_SERVERS, time_servers)?;
        settings.encryption_key = self.private_key(names::ENCRYPTION_KEY)?;
        if let Some(part) = self.part(names::INSTALL, NO_CHUNK) {
            settings.install = Some(part.header.as_u64().ok_or(kind(names::INSTALL))?);
        }
        settings.setup_password = match self.text(names::SETUP_PASSWORD)? {
            Some(text) if !is_passphrase(text) => {
                return Err(invalid(
                    names::SETUP_PASSWORD,
                    "a password of 8 to 63 printable ASCII characters",
                ));
            }
            text => text.map(Secret::from),
        };
        Ok(())
    }

    fn name(&self, name: &'static str) -> Result<Option<DeviceId>, SettingsError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match DeviceId::new(text) {
            Ok(id) => Ok(Some(id)),
            Err(_) => Err(invalid(name, "1 to 40 letters, digits, '_' or '-'")),
        }
    }

    fn wifi(&self, networks: &mut Vec<WifiNetwork>) -> Result<(), SettingsError> {
        for (ssid, password) in names::WIFI_SSID.into_iter().zip(names::WIFI_PASSWORD) {
            if let Some(ssid) = self.text(ssid)? {
                let password = self.text(password)?.unwrap_or_default();
                networks.push(WifiNetwork::new(ssid, password)?);
            }
        }
        Ok(())
    }

    fn broker(&self) -> Result<Option<BrokerUrl>, SettingsError> {
        let Some(address) = self.text(names::BROKER)? else {
            return Ok(None);
        };
        let broker = BrokerUrl::parse(address)?;
        let password = self.text(names::BROKER_PASSWORD)?.map(Secret::from);
        Ok(Some(match self.text(names::BROKER_USER)? {
            Some(user) => broker.with_credentials(user, password)?,
            None => broker,
        }))
    }

    fn signers(&self, signers: &mut Vec<[u8; 65]>) -> Result<(), SettingsError> {
        for name in names::SIGNERS {
            let Some(blob) = self.blob(name)? else {
                continue;
            };
            match <[u8; 65]>::try_from(&blob[..]) {
                Ok(point) if point.starts_with(&[4]) => signers.push(point),
                _ => return Err(invalid(name, "an uncompressed P-256 point of 65 bytes")),
            }
        }
        Ok(())
    }

    fn hosts(
        &self,
        name: &'static str,
        most: usize,
        hosts: &mut Vec<String>,
    ) -> Result<(), SettingsError> {
        let text = self.text(name)?.unwrap_or_default();
        for host in text.split_ascii_whitespace() {
            if hosts.len() == most || !is_host(host) {
                return Err(invalid(name, "a list of host names"));
            }
            hosts.push(host.to_string());
        }
        Ok(())
    }

    fn tls(&self, tls: &mut Tls) -> Result<(), SettingsError> {
        if let Some(mut authorities) = self.blob(names::AUTHORITIES)? {
            tls.authorities = core::mem::take(&mut *authorities);
        }
        let (chain, key) = (
            self.blob(names::CERTIFICATE)?,
            self.private_key(names::PRIVATE_KEY)?,
        );
        tls.identity = match (chain, key) {
            (None, None) => None,
            (Some(mut chain), Some(key)) => Some(Identity {
                chain: core::mem::take(&mut *chain),
                key,
            }),
            (Some(_), None) => {
                return Err(invalid(names::PRIVATE_KEY, "there beside the certificate"));
            }
            (None, Some(_)) => return Err(invalid(names::CERTIFICATE, "there beside its key")),
        };
        tls.psk = match (self.text(names::PSK_ID)?, self.blob(names::PSK)?) {
            (None, None) => None,
            (Some(id), Some(mut key)) => Some(Psk {
                id: id.to_string(),
                key: SecretBytes::new(core::mem::take(&mut *key)),
            }),
            (Some(_), None) => return Err(invalid(names::PSK, "there beside its name")),
            (None, Some(_)) => return Err(invalid(names::PSK_ID, "there beside the key")),
        };
        tls.check()
    }

    fn private_key(&self, name: &'static str) -> Result<Option<SecretKey>, SettingsError> {
        let Some(blob) = self.blob(name)? else {
            return Ok(None);
        };
        match <[u8; 32]>::try_from(&blob[..]) {
            Ok(scalar) => Ok(Some(SecretKey::new(scalar))),
            Err(_) => Err(invalid(name, "a P-256 private key of 32 bytes")),
        }
    }

    fn flag(&self, name: &'static str) -> Result<bool, SettingsError> {
        let Some(part) = self.part(name, NO_CHUNK) else {
            return Ok(false);
        };
        match part.header.as_u8() {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(_) => Err(invalid(name, "0 or 1")),
            None => Err(kind(name)),
        }
    }

    fn part(&self, name: &str, chunk: u8) -> Option<&'a Part> {
        let parts = self.found.parts.iter();
        parts.into_iter().find(|part| {
            (part.namespace, part.name, part.header.chunk) == (self.namespace, name, chunk)
        })
    }

    fn text(&self, name: &'static str) -> Result<Option<&'a str>, SettingsError> {
        let Some(part) = self.part(name, NO_CHUNK) else {
            return Ok(None);
        };
        if part.header.kind != Kind::Text {
            return Err(kind(name));
        }
        let text = core::str::from_utf8(bytes(part)?);
        text.map(Some).map_err(|_| SettingsError::Unreadable {
            name,
            why: ValueError::Text,
        })
    }

    fn blob(&self, name: &'static str) -> Result<Option<Zeroizing<Vec<u8>>>, SettingsError> {
        let Some(index) = self.part(name, NO_CHUNK) else {
            return Ok(None);
        };
        if index.header.kind == Kind::OldBlob {
            return Ok(Some(Zeroizing::new(bytes(index)?.to_vec())));
        }
        let (len, count, first) = index.header.as_blob_index().ok_or(kind(name))?;
        let wrong_length = SettingsError::Unreadable {
            name,
            why: ValueError::Length,
        };
        let len = usize::try_from(len).map_err(|_| wrong_length)?;
        let end = first.checked_add(count).ok_or(wrong_length)?;
        if len > MAX_VALUE_LEN {
            return Err(wrong_length);
        }
        let mut blob = Zeroizing::new(Vec::with_capacity(len));
        for chunk in first..end {
            let part = self.part(name, chunk).ok_or(wrong_length)?;
            if part.header.kind != Kind::BlobPart {
                return Err(kind(name));
            }
            let bytes = bytes(part)?;
            // Within what was reserved: a vector that grows leaves copies of secrets behind.
            if blob.len() + bytes.len() > len {
                return Err(wrong_length);
            }
            blob.extend_from_slice(bytes);
        }
        if blob.len() != len {
            return Err(wrong_length);
        }
        Ok(Some(blob))
    }
}

fn bytes(part: &Part) -> Result<&[u8], SettingsError> {
    match &part.payload {
        Ok(payload) => Ok(payload),
        Err(why) => Err(SettingsError::Unreadable {
            name: part.name,
            why: *why,
        }),
    }
}

pub(crate) fn invalid(name: &'static str, expected: &'static str) -> SettingsError {
    SettingsError::Invalid { name, expected }
}

fn kind(name: &'static str) -> SettingsError {
    SettingsError::Unreadable {
        name,
        why: ValueError::Kind,
    }
}
