//! Settings into flash: what a person may change at the device itself.
//!
//! NVS was made for many small changes. Here there are few, and the whole partition fits into memory; so everything that counts is
//! written once more, with the new networks and broker, onto pages that hold nothing, and the old pages are given back:
//!
//! | step | a cut leaves |
//! |---|---|
//! | 1 erase a page that holds nothing | a page that holds nothing: it is erased again before it is used |
//! | 2 write its items, then their marks | the same: without a header nobody reads them |
//! | 3 write its header | without its CRC, the same; with it, items that are there twice, alike |
//! | 4 the same for the last page, which has the new value | as in 1 and 2: the old value; then, at once and for good, the new one |
//! | 5 overwrite each old page's header with zeros | pages nothing of which counts any more, or that are none |
//! | 6 erase it | the same |
//!
//! If there is no page left in step 1, an old one is given back early whose items are all on others, too. There is one, for items are
//! laid onto the new pages in the order in which they lie on the old ones: so each new page has what the old one in its place had.
//! What a call had written before it was cut keeps its place in that order. (esp-nvs, which does all of NVS and
//! puts its items behind the others one by one, takes 33 kB of flash more on an ESP32-C3.)

use alloc::vec;
use alloc::vec::Vec;

use embedded_storage::nor_flash::{NorFlash, NorFlashError};
use otaria_wire::nvs::{
    ENTRIES, ENTRY_LEN, EntryHeader, Kind, NO_CHUNK, Name, PAGE_LEN, Page, PageHeader, PageState,
    crc,
};
use otaria_wire::partitions::Region;
use otaria_wire::settings as names;
use zeroize::Zeroizing;

use crate::read::{Found, check_region, read_page};
use crate::{BrokerUrl, SettingsError, WifiNetwork, load, network};

/// Saves Wi-Fi networks and broker, for the set-up page and Improv; `None` keeps the broker that is set.
///
/// No other setting can be set this way: neither keys nor hosts nor the device's id. A power cut at any time leaves either the
/// old or the new networks and broker, never a mixture. Blocks while sectors are erased: those in use, and as many again. Takes
/// as much heap as the partition is long, and 12 KiB.
///
/// What is damaged in the partition is dropped: so that a person at the set-up page can bring a device back to its network. A
/// partition without any NVS page is written anew. One that is whole but holds something that is no setting, such as a key of
/// another length, is refused and left as it is.
///
/// # Errors
/// See [`SettingsError`].
pub fn save_network<F: NorFlash>(
    flash: &mut F,
    region: Region,
    wifi: &[WifiNetwork],
    broker: Option<&BrokerUrl>,
) -> Result<(), SettingsError> {
    let pages = check_region(flash, region)?;
    let before = load(flash, region);
    let broker = match (broker, &before) {
        (_, Err(error @ SettingsError::Version)) => return Err(*error),
        (Some(broker), _) => Some(broker),
        (None, Ok(before)) => before.broker.as_ref(),
        (None, Err(SettingsError::NotNvs)) => None,
        (None, Err(error)) => return Err(*error),
    };
    let blob = network::encode(wifi, broker)?;
    Partition::read(flash, region, pages)?.save(&blob)?;
    let after = load(flash, region)?;
    // All else is in what was written, and that was read back.
    if after.wifi == wifi && after.broker.as_ref() == broker {
        Ok(())
    } else {
        Err(SettingsError::NotSaved)
    }
}

/// An item, to be written again.
#[derive(PartialEq, Eq)]
struct Item {
    header: EntryHeader,
    payload: Zeroizing<Vec<u8>>,
}

impl Item {
    /// By this two items are the same thing, one newer than the other.
    fn key(&self) -> (u8, Name, u8) {
        (self.header.namespace, self.header.name, self.header.chunk)
    }

    fn is_network_of(&self, namespace: u8) -> bool {
        self.header.namespace == namespace && self.header.name.is(names::NETWORK)
    }

    fn span(&self) -> usize {
        self.header.span.into()
    }
}

/// A page that holds something.
struct InUse {
    page: u16,
    sequence: u32,
    /// The last page of those that were written together, which makes them count.
    is_last: bool,
    bytes: Zeroizing<Vec<u8>>,
}

struct Partition<'a, F> {
    flash: &'a mut F,
    region: Region,
    pages: u16,
    /// By sequence: the newest is the last.
    in_use: Vec<InUse>,
}

impl<'a, F: NorFlash> Partition<'a, F> {
    fn read(flash: &'a mut F, region: Region, pages: u16) -> Result<Self, SettingsError> {
        let mut in_use: Vec<InUse> = Vec::with_capacity(pages.into());
        for page in 0..pages {
            let mut bytes = Zeroizing::new(vec![0; PAGE_LEN]);
            if let Ok(parsed) = Page::parse(read_page(flash, region, page, &mut bytes)?) {
                let PageHeader { state, sequence } = parsed.header();
                let used = InUse {
                    page,
                    sequence,
                    is_last: state == PageState::Active,
                    bytes,
                };
                let before = in_use.partition_point(|known| known.sequence <= sequence);
                in_use.insert(before, used);
            }
        }
        Ok(Self {
            flash,
            region,
            pages,
            in_use,
        })
    }

    /// All that counts, in the order of its places. What a call has begun to write that was cut is a copy of what was first.
    fn all_items(&self) -> Vec<Item> {
        let last = self.in_use.iter().rev().find(|used| used.is_last);
        let written = last.map(|last| last.sequence);
        let is_begun = |used: &InUse| Some(used.sequence) > written;
        let mut items = self.items(&is_begun);
        for item in self.items(&|used| !is_begun(used)) {
            if !items.iter().any(|begun| begun.key() == item.key()) {
                items.push(item);
            }
        }
        items
    }

    /// Of the items on these pages that have the same key the newest, as a reader sees it.
    fn items(&self, on: &dyn Fn(&InUse) -> bool) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        for used in self.in_use.iter().filter(|used| on(used)) {
            let Some(Ok(page)) = used.bytes.first_chunk().map(Page::parse) else {
                continue;
            };
            for found in page.items().flatten() {
                let header = *found.header();
                let payload = match (header.kind.has_payload(), found.payload()) {
                    (false, _) => &[],
                    (true, Ok(payload)) => payload,
                    (true, Err(_)) => continue,
                };
                let item = Item {
                    header,
                    payload: Zeroizing::new(payload.to_vec()),
                };
                items.retain(|known| known.key() != item.key());
                items.push(item);
            }
        }
        items
    }

    /// Writes what counts once more, with the new networks and broker. Before that it is read as the device will read it: what
    /// it could not use then is not begun.
    fn save(&mut self, blob: &[u8]) -> Result<(), SettingsError> {
        let mut items = self.all_items();
        let namespace = namespace(&mut items)?;
        items.retain(|item| !item.is_network_of(namespace));
        let groups = items.len();
        items.extend(network_items(namespace, blob)?);
        let first = match self.in_use.last() {
            Some(newest) => newest.sequence.checked_add(1).ok_or(SettingsError::Full)?,
            None => 0,
        };
        let pages = on_pages(&items, groups, first)?;
        let mut found = Found::default();
        for (number, (header, items)) in (0..).zip(&pages) {
            let bytes = page_bytes(*header, items)?;
            let page = bytes.first_chunk().map(Page::parse);
            let Some(Ok(page)) = page else {
                return Err(SettingsError::NotSaved);
            };
            found.take_page(number, &page)?;
        }
        found.settings()?;
        for (header, items) in pages {
            self.write_page(first, header, items)?;
        }
        // By their sequence: one that was given back early may be in use again.
        while let Some(old) = self.in_use.iter().find(|used| used.sequence < first) {
            self.give_back(old.page)?;
        }
        Ok(())
    }

    /// A page that holds nothing. If there is none, one from before sequence `first` whose items are all on others, too.
    fn spare(&mut self, first: u32) -> Result<u16, SettingsError> {
        let is_spare = |page: &u16| !self.in_use.iter().any(|used| used.page == *page);
        if let Some(page) = (0..self.pages).find(is_spare) {
            return Ok(page);
        }
        let all = self.items(&|_| true);
        let mut old = self.in_use.iter().filter(|used| used.sequence < first);
        let redundant = old.find(|old| {
            let others = self.items(&|used| used.page != old.page);
            all.iter().all(|item| others.contains(item))
        });
        let page = redundant.ok_or(SettingsError::Full)?.page;
        self.give_back(page)?;
        Ok(page)
    }

    fn write_page(
        &mut self,
        first: u32,
        header: PageHeader,
        items: &[Item],
    ) -> Result<(), SettingsError> {
        let page = self.spare(first)?;
        let bytes = page_bytes(header, items)?;
        self.erase(page)?;
        let entries: usize = items.iter().map(Item::span).sum();
        let len = ITEMS + entries * ENTRY_LEN;
        for part in [ITEMS..len, MARKS..ITEMS] {
            let at = part.start;
            self.write(page, at, bytes.get(part).unwrap_or_default())?;
        }
        // Before its header says that it counts.
        if !self.holds_without_header(page, &bytes)? {
            return Err(SettingsError::NotSaved);
        }
        self.write(page, 0, bytes.get(..MARKS).unwrap_or_default())?;
        self.in_use.push(InUse {
            page,
            sequence: header.sequence,
            is_last: header.state == PageState::Active,
            bytes,
        });
        Ok(())
    }

    /// Nothing of it counts any more. An erase that is cut could leave a header that reads well in front of items that do not.
    fn give_back(&mut self, page: u16) -> Result<(), SettingsError> {
        self.in_use.retain(|used| used.page != page);
        self.write(page, 0, &[0; MARKS])?;
        self.erase(page)
    }

    fn holds_without_header(&mut self, page: u16, bytes: &[u8]) -> Result<bool, SettingsError> {
        let mut found = Zeroizing::new(vec![0; PAGE_LEN]);
        let found = read_page(self.flash, self.region, page, &mut found)?;
        let (head, rest) = found.split_at(MARKS);
        Ok(head.iter().all(|byte| *byte == 0xFF) && Some(rest) == bytes.get(MARKS..))
    }

    fn place(&self, page: u16, at: usize) -> Result<u32, SettingsError> {
        let at = u32::try_from(usize::from(page) * PAGE_LEN + at).ok();
        at.and_then(|at| self.region.offset.checked_add(at))
            .ok_or(SettingsError::Region)
    }

    fn erase(&mut self, page: u16) -> Result<(), SettingsError> {
        let (from, to) = (self.place(page, 0)?, self.place(page, PAGE_LEN)?);
        let erased = self.flash.erase(from, to);
        erased.map_err(|error| SettingsError::Flash(error.kind()))
    }

    fn write(&mut self, page: u16, at: usize, bytes: &[u8]) -> Result<(), SettingsError> {
        let at = self.place(page, at)?;
        let written = self.flash.write(at, bytes);
        written.map_err(|error| SettingsError::Flash(error.kind()))
    }
}

/// Where the entries' marks lie in a page, two bits each; the header is before them.
const MARKS: usize = 32;
/// Where the entries lie.
const ITEMS: usize = 64;

/// A page with its header.
type Planned<'i> = (PageHeader, &'i [Item]);

/// Which items go onto which page, from sequence `first` on; the last `items` from `network` on make the others count.
fn on_pages(items: &[Item], network: usize, first: u32) -> Result<Vec<Planned<'_>>, SettingsError> {
    let mut pages = Vec::new();
    let (mut rest, mut before_network, mut sequence) = (items, network, first);
    while !rest.is_empty() {
        let fitting = fitting(rest, before_network);
        let (now, later) = rest.split_at_checked(fitting).ok_or(SettingsError::Full)?;
        if now.is_empty() {
            return Err(SettingsError::Full);
        }
        let state = if later.is_empty() {
            PageState::Active
        } else {
            PageState::Full
        };
        pages.push((PageHeader { state, sequence }, now));
        sequence = sequence.checked_add(1).ok_or(SettingsError::Full)?;
        before_network = before_network.saturating_sub(fitting);
        rest = later;
    }
    Ok(pages)
}

/// The bytes of a page with these items, in this order.
fn page_bytes(header: PageHeader, items: &[Item]) -> Result<Zeroizing<Vec<u8>>, SettingsError> {
    let mut bytes = Zeroizing::new(vec![0xFF; PAGE_LEN]);
    if let Some(place) = bytes.first_chunk_mut() {
        *place = header.encode();
    }
    let mut entry = 0;
    for item in items {
        for written in entry..entry + item.span() {
            if let Some(marks) = bytes.get_mut(MARKS + written / 4) {
                *marks &= !(1 << (2 * (written % 4)));
            }
        }
        let at = ITEMS + entry * ENTRY_LEN;
        let whole = [&item.header.encode()[..], &item.payload];
        let whole = Zeroizing::new(whole.concat());
        let place = bytes.get_mut(at..at + whole.len());
        place.ok_or(SettingsError::Full)?.copy_from_slice(&whole);
        entry += item.span();
    }
    Ok(bytes)
}

/// How many of these items go onto a page. Those from `network` on stay together: that page's header is what makes them count.
fn fitting(items: &[Item], network: usize) -> usize {
    let (mut entries, mut count) = (0, 0);
    for item in items {
        entries += item.span();
        if entries > ENTRIES {
            return if count > network { network } else { count };
        }
        count += 1;
    }
    count
}

/// The number of Otaria's namespace; if there is none, an item that names it is added.
fn namespace(items: &mut Vec<Item>) -> Result<u8, SettingsError> {
    let ours = |item: &Item| item.header.namespace == 0 && item.header.name.is(names::NAMESPACE);
    if let Some(number) = items.iter().rfind(|item| ours(item)) {
        // What cannot be read as a number names nothing, and is of no use to anybody.
        if let Some(number) = number.header.as_u8() {
            return Ok(number);
        }
        items.retain(|item| !ours(item));
    }
    let is_taken = |number: u8| {
        items.iter().any(|item| {
            let header = &item.header;
            header.namespace == number || (header.namespace == 0 && header.as_u8() == Some(number))
        })
    };
    let number = (1..NO_CHUNK).find(|number| !is_taken(*number));
    let number = number.ok_or(SettingsError::Full)?;
    let mut data = [0xFF; 8];
    data[0] = number;
    items.push(Item {
        header: EntryHeader {
            namespace: 0,
            kind: Kind::U8,
            span: 1,
            chunk: NO_CHUNK,
            name: name(names::NAMESPACE)?,
            data,
        },
        payload: Zeroizing::default(),
    });
    Ok(number)
}

/// The blob's one part, and its index.
fn network_items(namespace: u8, blob: &[u8]) -> Result<[Item; 2], SettingsError> {
    let span = blob.len().div_ceil(ENTRY_LEN) + 1;
    let (Ok(len), Ok(span)) = (u16::try_from(blob.len()), u8::try_from(span)) else {
        return Err(SettingsError::Full);
    };
    let [low, high] = len.to_le_bytes();
    let [a, b, c, d] = crc(blob).to_le_bytes();
    let header = EntryHeader {
        namespace,
        kind: Kind::BlobPart,
        span,
        chunk: 0,
        name: name(names::NETWORK)?,
        data: [low, high, 0xFF, 0xFF, a, b, c, d],
    };
    let part = Item {
        header,
        payload: Zeroizing::new(blob.to_vec()),
    };
    let index = Item {
        header: EntryHeader {
            kind: Kind::BlobIndex,
            span: 1,
            chunk: NO_CHUNK,
            data: [low, high, 0, 0, 1, 0, 0xFF, 0xFF],
            ..header
        },
        payload: Zeroizing::default(),
    };
    Ok([part, index])
}

fn name(name: &'static str) -> Result<Name, SettingsError> {
    Name::new(name).ok_or(SettingsError::Full)
}
