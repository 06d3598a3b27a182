//! Golden bytes are those of Espressif's generator (esp-idf-nvs-partition-gen 0.3.0).

use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::golden::hex;

/// The start of the page that the generator makes of
/// `otaria,namespace,,` `wifi_ssid,data,string,home` `unguarded,data,u8,1` `install,data,u64,1311768467463790320`
/// `signer0,data,hex2bin,04000102…3f`.
const GOLDEN: &str = "
feffffff 00000000 feffffffffffffffffffffffffffffffffffffff 842dbab9 ; header
aaaaaaffffffffffffffffffffffffffffffffffffffffffffffffffffffffff     ; states
000101ff 437cb40b 6f746172696100000000000000000000 01ffffffffffffff ; namespace 1
012102ff cf369a8c 776966695f7373696400000000000000 0500ffffb7e37d6d ; wifi_ssid
686f6d6500ffffffffffffffffffffffffffffffffffffffffffffffffffffff
012102ff 661fdd45 776966695f7061737300000000000000 0e00ffffcb36b68d ; wifi_pass
636f727265637420686f72736500ffffffffffffffffffffffffffffffffffff
010101ff 4cca8022 756e6775617264656400000000000000 01ffffffffffffff ; unguarded
010801ff b8a7b008 696e7374616c6c000000000000000000 f0debc9a78563412 ; install
01420400 2ba2c25d 7369676e657230000000000000000000 4100ffff1e1346f4 ; signer0, part 0
04000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e
1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e
3fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff
014801ff 5424db09 7369676e657230000000000000000000 410000000100ffff ; signer0, index
";

pub(crate) fn golden_page() -> [u8; PAGE_LEN] {
    let mut page = [0xFF; PAGE_LEN];
    let bytes = hex(GOLDEN);
    page[..bytes.len()].copy_from_slice(&bytes);
    page
}

fn names(page: &[u8; PAGE_LEN]) -> Vec<Result<String, u8>> {
    let items = Page::parse(page).unwrap().items();
    items
        .map(|item| {
            item.map(|item| std::format!("{:?}", item.header().name))
                .map_err(|damaged| damaged.entry)
        })
        .collect()
}

fn set_state(page: &mut [u8; PAGE_LEN], entry: usize, state: u8) {
    let shift = 2 * (entry % 4);
    let byte = &mut page[32 + entry / 4];
    *byte = *byte & !(0b11 << shift) | state << shift;
}

#[test]
fn what_espressif_s_generator_writes_is_read() {
    let page = golden_page();
    let parsed = Page::parse(&page).unwrap();
    assert_eq!(
        parsed.header(),
        PageHeader {
            state: PageState::Active,
            sequence: 0
        }
    );
    let items: Vec<Item<'_>> = parsed.items().map(Result::unwrap).collect();
    let [namespace, ssid, password, unguarded, install, part, index] = items[..] else {
        panic!("{items:?}");
    };
    assert!(namespace.header().name.is("otaria"));
    assert_eq!(
        (namespace.header().namespace, namespace.header().as_u8()),
        (0, Some(1))
    );
    assert!(ssid.header().name.is("wifi_ssid"));
    assert_eq!(
        (ssid.text(), password.text()),
        (Ok("home"), Ok("correct horse"))
    );
    assert_eq!(unguarded.header().as_u8(), Some(1));
    assert_eq!(install.header().as_u64(), Some(0x1234_5678_9ABC_DEF0));
    assert_eq!(index.header().as_blob_index(), Some((65, 1, 0)));
    assert_eq!(part.header().chunk, 0);
    let key: Vec<u8> = [4].into_iter().chain(0..64).collect();
    assert_eq!(part.payload(), Ok(&key[..]));
    assert_eq!(part.text(), Err(ValueError::Kind));
}

#[test]
fn headers_encode_to_the_generator_s_bytes() {
    let page = golden_page();
    let header: &[u8; 32] = page.first_chunk().unwrap();
    assert_eq!(PageHeader::parse(header).unwrap().encode(), *header);
    let entries = page[64..].as_chunks().0;
    for entry in [0, 1, 3, 5, 6, 7, 11] {
        let header = EntryHeader::parse(&entries[entry]).unwrap();
        assert_eq!(header.encode(), entries[entry]);
    }
}

#[test]
fn a_password_does_not_show_in_debug_output() {
    let page = golden_page();
    for item in Page::parse(&page).unwrap().items() {
        let text = std::format!("{item:?}");
        assert!(!text.contains("horse") && !text.contains("home"), "{text}");
    }
}

#[test]
fn an_item_that_is_not_wholly_marked_written_is_passed_over_with_its_payload() {
    for (entry, state) in [(1, 0b11), (1, 0b00), (1, 0b01), (2, 0b11), (2, 0b00)] {
        let mut page = golden_page();
        set_state(&mut page, entry, state);
        let names = names(&page);
        assert!(
            names.iter().all(Result::is_ok),
            "{entry} {state}: {names:?}"
        );
        assert_eq!(names.len(), 6);
        assert!(!names.contains(&Ok(
            "\"wifi_ssid\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"".to_string()
        )));
    }
}

#[test]
fn a_written_entry_whose_crc_fails_is_an_error_and_the_rest_is_read() {
    let mut page = golden_page();
    page[64 + 32 + 9] ^= 1;
    let names = names(&page);
    // Its payload is no item either.
    assert_eq!(names[1..3], [Err(1), Err(2)]);
    assert_eq!(names.len(), 8);
}

#[test]
fn a_payload_whose_crc_fails_is_an_error_of_that_item_alone() {
    let mut page = golden_page();
    page[64 + 2 * 32] ^= 1;
    let items: Vec<_> = Page::parse(&page)
        .unwrap()
        .items()
        .map(Result::unwrap)
        .collect();
    assert_eq!(items[1].text(), Err(ValueError::Crc));
    assert_eq!(items[2].text(), Ok("correct horse"));
}

#[test]
fn a_payload_that_looks_like_an_item_is_not_read_as_one() {
    let forged = EntryHeader {
        namespace: 1,
        kind: Kind::U8,
        span: 1,
        chunk: NO_CHUNK,
        name: Name::new("unguarded").unwrap(),
        data: [1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    };
    let mut page = golden_page();
    page[64 + 2 * 32..64 + 3 * 32].copy_from_slice(&forged.encode());
    let found = Page::parse(&page).unwrap().items().flatten();
    let unguarded = found.filter(|item| item.header().name.is("unguarded"));
    assert_eq!(unguarded.count(), 1);
}

#[test]
fn the_place_of_an_item_that_was_given_up_may_hold_others() {
    let mut page = golden_page();
    // A header alone was written in front of wifi_pass, whose span would hide it.
    let entry: &[u8; 32] = page[64 + 5 * 32..64 + 6 * 32].as_array().unwrap();
    let given_up = EntryHeader {
        kind: Kind::Text,
        span: 4,
        ..EntryHeader::parse(entry).unwrap()
    };
    page[64 + 2 * 32..64 + 3 * 32].copy_from_slice(&given_up.encode());
    for entry in [1, 2] {
        set_state(&mut page, entry, 0b01);
    }
    let names = names(&page);
    assert!(names.iter().all(Result::is_ok), "{names:?}");
    assert_eq!(names.len(), 6);
}

#[test]
fn a_span_past_the_end_and_a_span_of_nothing_are_damage() {
    for span in [0, 126, 127, 255] {
        let mut page = golden_page();
        let entry: &[u8; 32] = page[96..128].as_array().unwrap();
        let header = EntryHeader {
            span,
            ..EntryHeader::parse(entry).unwrap()
        };
        page[96..128].copy_from_slice(&header.encode());
        assert_eq!(names(&page)[1], Err(1), "{span}");
    }
}

#[test]
fn pages_that_hold_nothing_are_told_apart() {
    let error = |change: &dyn Fn(&mut [u8; PAGE_LEN])| {
        let mut page = golden_page();
        change(&mut page);
        Page::parse(&page).map(|page| page.header().state)
    };
    assert_eq!(error(&|_| {}), Ok(PageState::Active));
    assert_eq!(error(&|page| page[0] = 0xFC), Ok(PageState::Full));
    assert_eq!(error(&|page| page[0] = 0xF8), Ok(PageState::Freeing));
    assert_eq!(error(&|page| page[0] = 0xF0), Err(PageError::Header));
    assert_eq!(error(&|page| page[4] = 1), Err(PageError::Header));
    assert_eq!(error(&|page| page[..32].fill(0xFF)), Err(PageError::Blank));
    let version_1 = |page: &mut [u8; PAGE_LEN]| {
        page[8] = 0xFF;
        let crc = crc(&page[4..28]);
        page[28..32].copy_from_slice(&crc.to_le_bytes());
    };
    assert_eq!(error(&version_1), Err(PageError::Version));
}
