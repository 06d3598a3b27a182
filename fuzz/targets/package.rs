//! Package header, block table and co-signatures, as a device reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_wire::package::{BlockTable, CoSignatures, HEADER_LEN, SignedHeader};

fuzz_target!(|bytes: &[u8]| {
    let Ok(signed) = SignedHeader::parse(bytes) else {
        return;
    };
    // What parses encodes to the same bytes: nothing was read over.
    assert_eq!(signed.to_bytes()[..], bytes[..HEADER_LEN]);
    let header = signed.untrusted();
    for block in 0..header.block_count() {
        assert!(
            header
                .plain_len(block)
                .is_some_and(|len| len > 0 && len <= header.block_len)
        );
    }
    assert_eq!(header.plain_len(header.block_count()), None);
    let rest = &bytes[HEADER_LEN..];
    let table = &rest[..rest.len().min(header.table_len as usize)];
    if let Ok(table) = BlockTable::check(header, table) {
        assert_eq!(table.iter().count() as u32, header.block_count());
    }
    let _ = CoSignatures::parse(signed.key_id(), rest);
});
