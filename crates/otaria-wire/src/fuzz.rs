//! What has to hold for any bytes whatever: one function a format.
//!
//! Each reads `bytes` in every way that a device or a server does, and says
//! whether what was read is consistent: what decodes encodes to the same again,
//! and the same bytes in other pieces give the same result. The fuzz targets
//! and the property tests call these; nothing else does.

use crate::esp_image::{self, ImageChecker};
use crate::journal::{self, Record, RecordView};
use crate::keys::KeyRecord;
use crate::messages::{
    Command, Desired, Event, LogLine, MAX_MESSAGE_LEN, Presence, Progress, ReadJson, State,
    WriteJson, from_json, to_json,
};
use crate::otadata::{self, Entry, OtaState};
use crate::package::{
    self, BlockTable, CoSignatures, Header, RECIPIENT_LEN, Recipient, RecipientSearch, SignedHeader,
};
use crate::partitions::{self, Layout, PartitionTable};
use crate::topics::{self, DEFAULT_ROOT, Topics};
use crate::url::{MAX_LOCATION_LEN, Url};
use crate::{Sha256Digest, flash_log, nvs};

/// A package: header, then table, recipients and co-signatures.
#[must_use]
pub fn package(bytes: &[u8]) -> bool {
    let Ok(signed) = SignedHeader::parse(bytes) else {
        return true;
    };
    let header = signed.untrusted();
    let again = signed.to_bytes();
    let rest = bytes.get(package::HEADER_LEN..).unwrap_or_default();
    bytes.starts_with(&again)
        && header.identity()
            == Sha256Digest::of(bytes.get(..package::SIGNED_LEN).unwrap_or_default())
        && SignedHeader::new(header.clone(), *signed.signature()).as_ref() == Ok(&signed)
        && blocks_cover_the_image(header)
        && table_is_consistent(header, rest)
        && cosignatures_are_consistent(header, rest)
        && recipients_are_consistent(header, rest)
}

fn blocks_cover_the_image(header: &Header) -> bool {
    let count = header.block_count();
    let last = count.checked_sub(1).and_then(|last| header.plain_len(last));
    header.plain_len(count).is_none()
        && last.is_some_and(|last| {
            let before = u64::from(count - 1) * u64::from(header.block_len);
            before + u64::from(last) == u64::from(header.image_len)
        })
}

fn table_is_consistent(header: &Header, rest: &[u8]) -> bool {
    let len = usize::try_from(header.table_len).unwrap_or(usize::MAX);
    let table = rest.get(..len).unwrap_or(rest);
    // No fuzzer finds a digest, so the header is made to fit the table.
    let header = Header {
        table_sha256: Sha256Digest::of(table),
        ..header.clone()
    };
    let Ok(table) = BlockTable::check(&header, table) else {
        return true;
    };
    let stored: u64 = table.iter().map(|entry| u64::from(entry.stored_len)).sum();
    table.iter().count() as u64 == u64::from(header.block_count())
        && (0..)
            .zip(table.iter())
            .all(|(block, entry)| table.entry(block) == Some(entry) && entry.fits(&header, block))
        && table.package_len(1) == package::blocks_offset(&header, 1) + stored
}

fn recipients_are_consistent(header: &Header, rest: &[u8]) -> bool {
    let (entries, _) = rest.as_chunks::<RECIPIENT_LEN>();
    let header = Header {
        recipients_digest: package::recipients_digest(entries.as_flattened()),
        ..header.clone()
    };
    let wanted = |id: &package::KeyId| id.0.first().is_some_and(|byte| byte % 2 == 0);
    let mut whole = RecipientSearch::new();
    whole.look(entries, wanted);
    let mut one_by_one = RecipientSearch::new();
    for entry in entries {
        one_by_one.look(core::slice::from_ref(entry), wanted);
    }
    let found = whole.finish(&header);
    let first = entries.iter().map(Recipient::parse);
    let first = first.into_iter().find(|entry| wanted(&entry.key_id));
    found == Ok(first)
        && one_by_one.finish(&header) == found
        && first.is_none_or(|entry| entries.contains(&entry.encode()))
}

fn cosignatures_are_consistent(header: &Header, rest: &[u8]) -> bool {
    let Ok(cosignatures) = CoSignatures::parse(&header.key_id, rest) else {
        return true;
    };
    cosignatures.iter().count() == usize::from(cosignatures.count())
        && cosignatures.encoded_len() <= rest.len()
        && cosignatures
            .iter()
            .all(|cosignature| cosignature.key_id != header.key_id)
}

/// A key epoch record.
#[must_use]
pub fn key_record(bytes: &[u8]) -> bool {
    let Ok(record) = KeyRecord::parse(bytes) else {
        return true;
    };
    let set = record.to_key_set();
    let mut signatures = record.signatures();
    let again = match (signatures.next(), signatures.next()) {
        (Some(first), Some(second)) => set.sign(&[first, second]),
        (Some(first), None) => set.sign(&[first]),
        (None, _) => return false,
    };
    again.is_ok_and(|again| again == *bytes)
        && set.signed_message() == record.signed_message()
        && record.says_the_same_as(bytes)
        && usize::from(set.threshold) <= set.keys.len()
}

/// An ESP image, whole and in two pieces; the first byte says where to cut.
#[must_use]
pub fn esp_image(bytes: &[u8]) -> bool {
    let Some((cut, image)) = bytes.split_first() else {
        return true;
    };
    let whole = esp_image::check(image);
    let at = usize::from(*cut).min(image.len());
    let (head, tail) = image.split_at_checked(at).unwrap_or((image, &[]));
    let mut checker = ImageChecker::new();
    let in_pieces = checker
        .update(head)
        .and_then(|()| checker.update(tail))
        .and_then(|()| checker.finish());
    whole == in_pieces
        && whole
            .ok()
            .is_none_or(|info| info.len as usize == image.len())
}

/// A partition table, and the layout in it.
#[must_use]
pub fn partitions(bytes: &[u8]) -> bool {
    let Ok(table) = PartitionTable::parse(bytes) else {
        return true;
    };
    let mut entries = heapless::Vec::<_, { partitions::MAX_PARTITIONS }>::new();
    entries.extend(table.iter().take(partitions::MAX_PARTITIONS));
    let names_are_found = table
        .iter()
        .all(|entry| table.by_name(entry.name.as_str()).is_some());
    let _ = Layout::from_table(&table);
    match partitions::encode(&entries) {
        Ok(encoded) => {
            let same =
                PartitionTable::parse(&encoded).is_ok_and(|again| again.iter().eq(table.iter()));
            names_are_found && same
        }
        // A full table without an MD5 entry has one partition more than can be encoded.
        Err(_) => !table.has_md5(),
    }
}

/// Two otadata entries: how they are read, selected from and followed.
#[must_use]
pub fn otadata(bytes: &[u8]) -> bool {
    let (cells, _) = bytes.as_chunks::<{ otadata::ENTRY_LEN }>();
    let (Some(first), Some(second)) = (cells.first(), cells.get(1)) else {
        return true;
    };
    let _ = (Entry::parse(first), Entry::parse(second));
    let [first, second] = [first, second].map(|cell| {
        // No fuzzer finds a CRC, so one is made.
        let mut cell = *cell;
        let [a, b, c, d, ..] = cell;
        let crc = otadata::seq_crc(u32::from_le_bytes([a, b, c, d]));
        if let Some(place) = cell.last_chunk_mut() {
            *place = crc.to_le_bytes();
        }
        (cell, Entry::parse(&cell).ok())
    });
    let same = |(cell, entry): &([u8; 32], Option<Entry>)| {
        entry.is_none_or(|entry| entry.encode() == *cell)
    };
    let (a, b) = (first.1, second.1);
    let in_force = otadata::select(a, b);
    let follows = (0..2).all(|slot| {
        otadata::next_seq(a, b, slot, 2).is_none_or(|seq| {
            let new = Entry::new(seq, OtaState::New);
            let after = match in_force {
                Some(selected) if selected.sector == 0 => otadata::select(a, Some(new)),
                Some(_) | None => otadata::select(Some(new), b),
            };
            new.slot(2) == slot && after.map(|selected| selected.entry) == Some(new)
        })
    });
    same(&first) && same(&second) && follows
}

/// A record of the journal, as it is and with its CRC made good.
#[must_use]
pub fn journal(bytes: &[u8]) -> bool {
    const EPOCH: u32 = 1;
    let _ = RecordView::parse(EPOCH, bytes);
    let mut sealed = [[0xFF; journal::CELL_LEN]; journal::MAX_CELLS];
    let (cells, _) = bytes.as_chunks::<{ journal::CELL_LEN }>();
    for (place, cell) in sealed.iter_mut().zip(cells) {
        *place = *cell;
        if journal::HalfHeader::parse(cell).is_some_and(|header| header.encode() != *cell) {
            return false;
        }
    }
    let Some(journal::Cell::First { cells }) = sealed.first().map(journal::Cell::of) else {
        return true;
    };
    let Some(record) = sealed.get_mut(..cells) else {
        return false;
    };
    let _ = journal::seal(EPOCH, record);
    let Ok(view) = RecordView::parse(EPOCH, record.as_flattened()) else {
        return true;
    };
    let mut copy = [0; journal::MAX_RECORD_LEN];
    let copied = view.copy_to(EPOCH + 1, &mut copy).is_ok_and(|copy| {
        RecordView::parse(EPOCH + 1, copy)
            .is_ok_and(|again| (again.kind(), again.key()) == (view.kind(), view.key()))
    });
    copied
        && again::<journal::Install>(&view)
        && again::<journal::Boot>(&view)
        && again::<journal::Download>(&view)
        && again::<journal::Progress>(&view)
        && again::<journal::TrialTarget>(&view)
        && again::<journal::TrialCounters>(&view)
        && again::<journal::Confirmed>(&view)
        && again::<journal::Quarantine>(&view)
        && again::<journal::PendingReport>(&view)
        && again::<journal::CommandSeen>(&view)
        && again::<journal::LastCrash>(&view)
        && again::<journal::Bootloader>(&view)
        && again::<journal::TimeFloor>(&view)
        && again::<journal::Wear>(&view)
        && again::<journal::KeyEpoch>(&view)
        && again::<journal::CoSigned>(&view)
        && again::<journal::Forget>(&view)
}

/// Whether a record that decodes is the same after it was written again.
fn again<T: Record + PartialEq>(view: &RecordView<'_>) -> bool {
    let Ok(record) = view.decode::<T>() else {
        return true;
    };
    let mut bytes = [0; journal::MAX_RECORD_LEN];
    let encoded = journal::encode(1, view.key(), &record, &mut bytes);
    encoded.is_ok_and(|encoded| {
        RecordView::parse(1, encoded).is_ok_and(|view| view.decode() == Ok(record))
    })
}

/// A line of the flash log, as it is and with its CRC made good.
#[must_use]
pub fn flash_log(bytes: &[u8]) -> bool {
    const SEQUENCE: u32 = 1;
    let _ = flash_log::decode(SEQUENCE, bytes);
    let mut record = [0; flash_log::MAX_RECORD_LEN];
    for (place, byte) in record.iter_mut().zip(bytes) {
        *place = *byte;
    }
    let Some(flash_log::Cell::First { cells }) = record.first_chunk().map(flash_log::Cell::of)
    else {
        return true;
    };
    let Some(record) = record.get_mut(..cells * flash_log::CELL_LEN) else {
        return false;
    };
    flash_log::seal(SEQUENCE, record);
    let Ok(line) = flash_log::decode(SEQUENCE, record) else {
        return true;
    };
    let mut out = [0; flash_log::MAX_RECORD_LEN];
    flash_log::decode(SEQUENCE, flash_log::encode(SEQUENCE, &line, &mut out)) == Ok(line)
}

/// A page of an NVS partition, as it is and with its CRCs made good.
#[must_use]
pub fn nvs(bytes: &[u8]) -> bool {
    let mut page = [0xFF; nvs::PAGE_LEN];
    for (place, byte) in page.iter_mut().zip(bytes) {
        *place = *byte;
    }
    let as_it_is = nvs_page(&page);
    seal_nvs(&mut page);
    as_it_is && nvs_page(&page)
}

fn nvs_page(bytes: &[u8; nvs::PAGE_LEN]) -> bool {
    let Ok(page) = nvs::Page::parse(bytes) else {
        return true;
    };
    let header = page.header();
    let entries = bytes.get(64..).unwrap_or_default().as_chunks().0;
    let mut covered = 0;
    let items_agree = page.items().flatten().all(|item| {
        let header = item.header();
        covered += usize::from(header.span);
        let payload = item.payload().unwrap_or_default();
        entries.contains(&header.encode())
            && payload.len() < usize::from(header.span) * nvs::ENTRY_LEN
            && item.text().is_ok() <= (header.kind == nvs::Kind::Text)
    });
    nvs::PageHeader::parse(&header.encode()) == Ok(header)
        && items_agree
        && covered <= nvs::ENTRIES
        && page.items().count() <= nvs::ENTRIES
}

/// Makes the CRCs of an NVS page good, of its header and of each entry that has a type: no fuzzer finds a CRC.
pub fn seal_nvs(page: &mut [u8; nvs::PAGE_LEN]) {
    let put = |place: Option<&mut [u8]>, crc: u32| {
        if let Some(place) = place {
            place.copy_from_slice(&crc.to_le_bytes());
        }
    };
    let crc = page.get(4..28).map_or(0, nvs::crc);
    put(page.get_mut(28..32), crc);
    let (entries, _) = page.get_mut(64..).unwrap_or_default().as_chunks_mut::<32>();
    let mut at = 0;
    while let Some((entry, behind)) = entries.get_mut(at..).and_then(<[_]>::split_first_mut) {
        let [_, kind, span, _, ..] = *entry;
        at += 1;
        let Some(kind) = nvs::Kind::ALL
            .into_iter()
            .find(|known| *known as u8 == kind)
        else {
            continue;
        };
        if kind.has_payload() {
            let [.., a, b, _, _, _, _, _, _] = *entry;
            let payload = behind
                .as_flattened()
                .get(..usize::from(u16::from_le_bytes([a, b])));
            if let Some(payload) = payload {
                put(entry.get_mut(28..32), nvs::crc(payload));
            }
            at += usize::from(span).saturating_sub(1);
        }
        let mut checked = [0; 28];
        for (place, byte) in checked
            .iter_mut()
            .zip(entry.iter().take(4).chain(entry.iter().skip(8)))
        {
            *place = *byte;
        }
        put(entry.get_mut(4..8), nvs::crc(&checked));
    }
}

/// A message of any kind.
#[must_use]
pub fn messages(bytes: &[u8]) -> bool {
    let wish = match Desired::parse(bytes) {
        Ok(Some(wish)) => Url::parse(&wish.url).is_ok() && same::<Desired>(&wish),
        Ok(None) | Err(_) => true,
    };
    let command = Command::parse(bytes)
        .ok()
        .is_none_or(|command| same(&command));
    wish && command
        && comes_back::<Presence>(bytes)
        && comes_back::<State>(bytes)
        && comes_back::<Progress>(bytes)
        && comes_back::<Event>(bytes)
        && comes_back::<LogLine>(bytes)
}

fn comes_back<T: ReadJson + WriteJson + PartialEq>(bytes: &[u8]) -> bool {
    from_json::<T>(bytes)
        .ok()
        .is_none_or(|message| same(&message))
}

fn same<T: ReadJson + WriteJson + PartialEq>(message: &T) -> bool {
    let mut buffer = [0; MAX_MESSAGE_LEN];
    match to_json(message, &mut buffer) {
        Ok(json) => from_json(json).as_ref() == Ok(message),
        // Control characters can make a text six times as long.
        Err(_) => true,
    }
}

/// A URL, a line break and a Location.
#[must_use]
pub fn url(bytes: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(bytes) else {
        return true;
    };
    let (base, location) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(url) = Url::parse_redirected(base) else {
        return Url::parse(base).is_err();
    };
    let mut joined = heapless::String::new();
    let joins = url.join(location, &mut joined).is_err() || Url::parse_redirected(&joined).is_ok();
    let mut printed = heapless::String::<{ MAX_LOCATION_LEN + 1 }>::new();
    if core::fmt::Write::write_fmt(&mut printed, format_args!("{url}")).is_err()
        || printed.len() > MAX_LOCATION_LEN
    {
        return joins;
    }
    let reads_back = Url::parse_redirected(&printed).is_ok_and(|again| {
        (
            again.scheme(),
            again.host(),
            again.port(),
            again.path(),
            again.query(),
        ) == (
            url.scheme(),
            url.host(),
            url.port(),
            url.path(),
            url.query(),
        )
    });
    joins && reads_back && url.path().starts_with('/')
}

/// A topic name.
#[must_use]
pub fn topic(bytes: &[u8]) -> bool {
    let Ok(name) = core::str::from_utf8(bytes) else {
        return true;
    };
    topics::parse(DEFAULT_ROOT, name).is_none_or(|(device, topic)| {
        Topics::new(DEFAULT_ROOT, device)
            .is_ok_and(|topics| topics.name(topic) == name && topics.parse(name) == Some(topic))
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::keys::KeySet;
    use crate::package::CoSignature;

    /// A target's name, the target, and bytes that get past its first checks.
    type Target = (&'static str, fn(&[u8]) -> bool, Vec<u8>);

    fn targets() -> Vec<Target> {
        let mut image = std::vec![100];
        image.extend(crate::esp_image::test_image::TestImage::good().build());
        let mut package = b"OTARIAP1\x40\x01\0\0\0\0\x01\0".to_vec();
        package.extend([
            5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0x10, 0, 0, 36, 0, 0, 0,
        ]);
        package.resize(160, 0);
        package.push(b'p');
        package.resize(192, 0);
        package.push(b'v');
        package.resize(320, 0);
        package.extend([0x10, 0, 0, 0]);
        package.resize(356 + 72 * 2, 7);
        let table = partitions::encode(&partitions::default_4mb_partitions()).unwrap();
        let record = journal::Download {
            identity: Sha256Digest::EMPTY,
            job: crate::clip("job"),
            url: crate::clip("http://host/p"),
            etag: crate::clip("\"e\""),
            ..journal::Download::default()
        };
        let mut record_bytes = [0; journal::MAX_RECORD_LEN];
        let record_bytes = journal::encode(1, 0, &record, &mut record_bytes).unwrap();
        let mut line = std::vec![0; 64];
        line[..4].copy_from_slice(&[1, 2, 3, 20]);
        line[32] = 0x80;
        let mut entries = Entry::new(1, OtaState::Valid).encode().to_vec();
        entries.extend(Entry::new(2, OtaState::New).encode());
        let keys = KeySet {
            epoch: 1,
            threshold: 1,
            product: crate::FixedText::try_from("pump").unwrap(),
            keys: [[4; 65]].into_iter().collect(),
        };
        let signature = CoSignature {
            key_id: package::KeyId([1; 8]),
            signature: &[2; 64],
        };
        std::vec![
            ("package", super::package, package),
            (
                "key_record",
                super::key_record,
                keys.sign(&[signature]).unwrap().to_vec(),
            ),
            ("esp_image", super::esp_image, image),
            ("partitions", super::partitions, table[..320].to_vec()),
            ("otadata", super::otadata, entries),
            ("journal", super::journal, record_bytes.to_vec()),
            ("flash_log", super::flash_log, line),
            ("nvs", super::nvs, crate::nvs::golden_page()[..512].to_vec()),
            (
                "messages",
                super::messages,
                br#"{"url":"http://host/p","job":"a\ud83d\ude00"}"#.to_vec()
            ),
            ("url", super::url, b"http://host:81/a/b?c\n../d".to_vec()),
            ("topic", super::topic, b"otaria/v1/a1b2/event".to_vec()),
        ]
    }

    #[test]
    fn the_seeds_are_good() {
        let [
            package,
            keys,
            image,
            table,
            otadata,
            journal,
            line,
            nvs,
            wish,
            url,
            topic,
        ] = targets()
            .try_into()
            .map(|targets: [Target; 11]| targets.map(|(_, _, seed)| seed))
            .unwrap();
        let signed = SignedHeader::parse(&package).unwrap();
        let table_bytes = &package[320..356];
        let header = Header {
            table_sha256: Sha256Digest::of(table_bytes),
            ..signed.untrusted().clone()
        };
        assert!(BlockTable::check(&header, table_bytes).is_ok());
        assert!(KeyRecord::parse(&keys).is_ok());
        assert!(esp_image::check(&image[1..]).is_ok());
        assert!(PartitionTable::parse(&table).is_ok());
        assert!(
            otadata
                .as_chunks()
                .0
                .iter()
                .all(|cell| Entry::parse(cell).is_ok())
        );
        assert!(RecordView::parse(1, &journal).is_ok());
        assert_eq!(
            flash_log::Cell::of(line.first_chunk().unwrap()),
            flash_log::Cell::First { cells: 2 }
        );
        let mut page = [0xFF; crate::nvs::PAGE_LEN];
        page[..nvs.len()].copy_from_slice(&nvs);
        assert_eq!(
            crate::nvs::Page::parse(&page)
                .unwrap()
                .items()
                .flatten()
                .count(),
            7
        );
        assert!(Desired::parse(&wish).is_ok());
        assert!(
            Url::parse(
                core::str::from_utf8(&url)
                    .unwrap()
                    .split('\n')
                    .next()
                    .unwrap()
            )
            .is_ok()
        );
        assert!(topics::parse(DEFAULT_ROOT, core::str::from_utf8(&topic).unwrap()).is_some());
    }

    #[test]
    fn every_seed_and_every_cut_of_it_is_consistent() {
        for (name, target, seed) in targets() {
            for len in 0..=seed.len() {
                assert!(target(&seed[..len]), "{name} {len}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_consistent(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for (name, target, _) in targets() {
                prop_assert!(target(&bytes), "{}", name);
            }
        }

        #[test]
        fn changed_seeds_are_consistent(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            for (name, target, mut seed) in targets() {
                for (at, byte) in &changes {
                    let at = at.index(seed.len());
                    seed[at] = *byte;
                }
                prop_assert!(target(&seed), "{}", name);
            }
        }
    }
}
