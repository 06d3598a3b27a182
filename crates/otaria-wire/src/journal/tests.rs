//! Tests of the journal's formats.

use core::fmt::Debug;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::Sha256Digest;
use crate::golden::hex;
use crate::messages::{Event, EventKind, InstallId, ResetReason, Timing};
use crate::package::KeyId;

const EPOCH: u32 = 0x0102_0304;
const IMAGE: Sha256Digest = Sha256Digest([0x11; 32]);
const IDENTITY: Sha256Digest = Sha256Digest([0x22; 32]);

fn text<const N: usize>(text: &str) -> heapless::String<N> {
    heapless::String::try_from(text).unwrap()
}

fn bytes_of<T: Record>(key: u16, record: &T) -> Vec<u8> {
    encode(EPOCH, key, record, &mut [0; MAX_RECORD_LEN])
        .unwrap()
        .to_vec()
}

/// Shows that a record has exactly these bytes, and that they decode to it.
fn is_fixed<T: Record + PartialEq + Debug>(key: u16, record: &T, golden: &str) {
    let golden = hex(golden);
    assert_eq!(bytes_of(key, record), golden, "{record:?}");
    let view = RecordView::parse(EPOCH, &golden).unwrap();
    assert_eq!(
        (view.kind(), view.key(), view.cells()),
        (T::KIND, key, golden.len() / CELL_LEN)
    );
    assert_eq!(view.decode::<T>().as_ref(), Ok(record));
}

fn target() -> TrialTarget {
    TrialTarget {
        slot: 1,
        image_sha256: IMAGE,
        identity: IDENTITY,
        sequence: 1_764_000_000_123,
        security_version: 7,
        job: text("j1"),
        url: text("http://h/p"),
        created: 1_764_000_000,
        timing: None,
    }
}

fn timing() -> Timing {
    Timing {
        connect_ms: 1,
        tls_ms: 2,
        receive_ms: 3,
        erase_ms: 4,
        write_ms: 5,
        verify_ms: 6,
        total_ms: 7,
        bytes: 8,
        heap_min: 9,
        rssi: Some(-60),
        confirm_ms: None,
        reconnects: None,
    }
}

fn event() -> Event {
    Event {
        install: InstallId(0x0123_4567_89AB_CDEF),
        boot: 42,
        n: 7,
        job: Some(text("j1")),
        event: EventKind::RolledBack,
        code: Some(600),
        text: Some(text("why")),
        retry_in_s: Some(30),
        timing: Some(timing()),
    }
}

#[test]
fn header_bytes_are_fixed() {
    let golden = hex("4f54415249414a31 04030201 01 000000000000000000000000000000 ed6fe31d");
    let header = HalfHeader { epoch: EPOCH };
    assert_eq!(header.encode().to_vec(), golden);
    assert_eq!(HalfHeader::parse(&header.encode()), Some(header));
}

#[test]
fn a_header_with_any_bit_flipped_is_none() {
    let cell = HalfHeader { epoch: EPOCH }.encode();
    for bit in 0..CELL_LEN * 8 {
        let mut flipped = cell;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(HalfHeader::parse(&flipped), None, "bit {bit}");
    }
    assert_eq!(HalfHeader::parse(&[0xFF; CELL_LEN]), None);
}

#[test]
fn record_bytes_are_fixed() {
    is_fixed(
        0,
        &Install {
            install: 0x0123_4567_89AB_CDEF,
        },
        "01010000cb804faeefcdab896745230100000000000000000000000000000000",
    );
    is_fixed(
        0,
        &Boot { count: 42 },
        "02010000708669f82a0000000000000000000000000000000000000000000000",
    );
    is_fixed(
        0,
        &Download {
            identity: IDENTITY,
            job: text("j1"),
            url: text("http://h/p"),
            etag: text("\"e\""),
            ..Download::default()
        },
        "03020000916fde0d222222222222222222222222222222222222222222222222
         80222222222222222202006a310a00687474703a2f2f682f7003002265220000",
    );
    is_fixed(
        0,
        &Download {
            identity: IDENTITY,
            job: text("j1"),
            url: text("http://h/p"),
            etag: text("\"e\""),
            version: Some(text("1.2.3")),
            image_sha256: Some(IMAGE),
            not_before: Some(0),
            deadline: Some(1_764_000_000),
        },
        "030400002893d52f222222222222222222222222222222222222222222222222
         80222222222222222202006a310a00687474703a2f2f682f7003002265220f05
         8000312e322e3311111111111111111111111111111111111111111111111111
         8011111111111111000000000000000000812469000000000000000000000000",
    );
    is_fixed(
        0,
        &Progress {
            identity8: [0x22; 8],
            blocks_held: 3,
            erased_to: 0x1_0000,
            erasing_to: 0x2_0000,
            slot: 0,
        },
        "040100001bcc2fc5222222222222222203000000010000000200000000000000",
    );
    is_fixed(
        0,
        &Progress {
            identity8: [0x22; 8],
            blocks_held: 3,
            erased_to: 0x1_0000,
            erasing_to: 0x2_0000,
            slot: 2,
        },
        "04010000106de788222222222222222203000000010000000200020000000000",
    );
    is_fixed(
        0,
        &target(),
        "0504000024cd60ab011111111111111111111111111111111111111111111111
         8011111111111111111122222222222222222222222222222222222222222222
         80222222222222222222227be897b69a0100000700000002006a310a00687474
         80703a2f2f682f70008124690000000000000000000000000000000000000000",
    );
    is_fixed(
        0,
        &TrialTarget {
            timing: Some(Timing {
                reconnects: Some(10),
                ..timing()
            }),
            ..target()
        },
        "050500007ed5c0d1011111111111111111111111111111111111111111111111
         8011111111111111111122222222222222222222222222222222222222222222
         80222222222222222222227be897b69a0100000700000002006a310a00687474
         80703a2f2f682f700081246900000000b0010000000200000003000000040000
         80000500000006000000070000000800000009000000c40a0000000000000000",
    );
    // As an earlier version wrote it.
    is_fixed(
        0,
        &TrialTarget {
            created: 0,
            ..target()
        },
        "0504000092f6b836011111111111111111111111111111111111111111111111
         8011111111111111111122222222222222222222222222222222222222222222
         80222222222222222222227be897b69a0100000700000002006a310a00687474
         80703a2f2f682f70000000000000000000000000000000000000000000000000",
    );
    is_fixed(
        0,
        &TrialCounters {
            identity8: [0x22; 8],
            stage: TrialStage::RollingBack,
            boots: 4,
            crashes: 3,
            reactivations: 1,
            code: 600,
        },
        "06010000ace03cf8222222222222222202040301580200000000000000000000",
    );
    is_fixed(
        0,
        &Confirmed {
            slot: 1,
            image_sha256: IMAGE,
            identity: IDENTITY,
            sequence: 1_764_000_000_123,
            security_version: 7,
        },
        "070300007d593ed9011111111111111111111111111111111111111111111111
         8011111111111111111122222222222222222222222222222222222222222222
         80222222222222222222227be897b69a01000007000000000000000000000000",
    );
    is_fixed(
        5,
        &Quarantine {
            identity: IDENTITY,
            job_hash8: [0x33; 8],
            code: 600,
            order: 9,
        },
        "08020500072a004f222222222222222222222222222222222222222222222222
         8022222222222222223333333333333333580209000000000000000000000000",
    );
    is_fixed(
        0,
        &PendingReport {
            event: Some(event()),
        },
        "09030000268858d401093fefcdab89674523012a0000000700000058021e0000
         8000010000000200000003000000040000000500000006000000070000000800
         80000009000000c402006a310300776879000000000000000000000000000000",
    );
    is_fixed(
        0,
        &PendingReport {
            event: Some(Event {
                timing: Some(Timing {
                    confirm_ms: Some(10),
                    reconnects: Some(11),
                    ..timing()
                }),
                ..event()
            }),
        },
        "09030000a429320c0109ffefcdab89674523012a0000000700000058021e0000
         8000010000000200000003000000040000000500000006000000070000000800
         80000009000000c402006a3103007768790a0000000b00000000000000000000",
    );
    is_fixed(
        0,
        &PendingReport { event: None },
        "090100007467f802000000000000000000000000000000000000000000000000",
    );
    is_fixed(
        7,
        &CommandSeen {
            id_hash8: [0x44; 8],
            order: 9,
        },
        "0a010700b77f3b7f444444444444444409000000000000000000000000000000",
    );
    is_fixed(
        0,
        &LastCrash {
            boot: 41,
            reset: ResetReason::Watchdog,
            pc: 0x4200_1234,
            uptime_s: 17,
            text: text("boom"),
        },
        "0b01000092790d43290000000434120042110000000400626f6f6d0000000000",
    );
    is_fixed(
        0,
        &Bootloader { rollback: true },
        "0c0100003a0bbf84010000000000000000000000000000000000000000000000",
    );
    is_fixed(
        0,
        &TimeFloor {
            seconds: 1_764_000_000,
        },
        "0d010000b6a8f799008124690000000000000000000000000000000000000000",
    );
    is_fixed(
        0,
        &KeyEpoch {
            record: [0x4F; 3].into_iter().collect(),
        },
        "0e0100006014a8b903004f4f4f00000000000000000000000000000000000000",
    );
    is_fixed(
        0,
        &CoSigned {
            identity8: [0x22; 8],
            key_id: KeyId([0x44; 8]),
            signature: [0x55; 64],
        },
        "0f030000cc20a3a8222222222222222244444444444444445555555555555555
         8055555555555555555555555555555555555555555555555555555555555555
         8055555555555555555555555555555555555555555555555555000000000000",
    );
    is_fixed(
        0,
        &Wear {
            owed_s: 7_200,
            sequence: 1_764_000_000_000,
            identity8: [0x22; 8],
            blocks_held: 3,
        },
        "100100009f830a6d201c000000e897b69a010000222222222222222203000000",
    );
    is_fixed(
        5,
        &Forget { kind: 8 },
        "7f010500fd505f58080000000000000000000000000000000000000000000000",
    );
}

#[test]
fn kinds_are_distinct_and_in_range() {
    let kinds = [
        Install::KIND,
        Boot::KIND,
        Download::KIND,
        Progress::KIND,
        TrialTarget::KIND,
        TrialCounters::KIND,
        Confirmed::KIND,
        Quarantine::KIND,
        PendingReport::KIND,
        CommandSeen::KIND,
        LastCrash::KIND,
        Bootloader::KIND,
        TimeFloor::KIND,
        Wear::KIND,
        KeyEpoch::KIND,
        CoSigned::KIND,
        Forget::KIND,
    ];
    for (index, kind) in kinds.iter().enumerate() {
        assert!((1..=0x7F).contains(kind));
        assert!(!kinds[..index].contains(kind));
    }
}

#[test]
fn the_longest_payloads_fit() {
    let job = text::<64>(&"j".repeat(64));
    let url = text::<512>(&"u".repeat(512));
    let download = Download {
        identity: IDENTITY,
        job: job.clone(),
        url: url.clone(),
        etag: text(&"e".repeat(64)),
        version: Some(text(&"v".repeat(32))),
        image_sha256: Some(IMAGE),
        not_before: Some(u64::MAX),
        deadline: Some(u64::MAX),
    };
    let timing = Some(Timing {
        confirm_ms: Some(1),
        reconnects: Some(2),
        ..timing()
    });
    let longest_target = TrialTarget {
        job: job.clone(),
        url,
        timing,
        ..target()
    };
    let report = Event {
        job: Some(job),
        text: Some(text(&"t".repeat(160))),
        timing,
        ..event()
    };
    let keys = KeyEpoch {
        record: [0; crate::keys::MAX_LEN].into_iter().collect(),
    };
    assert_eq!(bytes_of(0, &keys).len(), CELL_LEN * 15);
    assert_eq!(bytes_of(0, &download).len(), CELL_LEN * 25);
    assert_eq!(bytes_of(0, &longest_target).len(), CELL_LEN * 24);
    assert_eq!(
        bytes_of(
            0,
            &PendingReport {
                event: Some(report)
            }
        )
        .len(),
        CELL_LEN * 10
    );
}

/// A payload of any length.
#[derive(Debug, PartialEq)]
struct Raw<const N: usize>([u8; N]);

impl<const N: usize> Record for Raw<N> {
    const KIND: u8 = 0x70;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.bytes(&self.0);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self(payload.array()))
    }
}

#[test]
fn a_payload_fills_32_cells_and_not_a_byte_more() {
    let full = Raw([0xA5; MAX_PAYLOAD_LEN]);
    let bytes = bytes_of(0, &full);
    assert_eq!(bytes.len(), MAX_RECORD_LEN);
    assert_eq!(RecordView::parse(EPOCH, &bytes).unwrap().decode(), Ok(full));
    let more = Raw([0xA5; MAX_PAYLOAD_LEN + 1]);
    assert_eq!(
        encode(EPOCH, 0, &more, &mut [0; MAX_RECORD_LEN]),
        Err(RecordError::TooLong)
    );
    assert_eq!(bytes_of(0, &Raw([])).len(), CELL_LEN);
    assert_eq!(bytes_of(0, &Raw([1; 24])).len(), CELL_LEN);
    assert_eq!(bytes_of(0, &Raw([1; 25])).len(), 2 * CELL_LEN);
}

#[test]
fn no_payload_can_pass_for_the_start_of_a_record() {
    // A payload that is itself records, cell by cell.
    let inner = bytes_of(0, &Boot { count: 1 });
    let mut payload = [0; MAX_PAYLOAD_LEN];
    for (place, byte) in payload.iter_mut().zip(inner.iter().cycle()) {
        *place = *byte;
    }
    let bytes = bytes_of(0, &Raw(payload));
    for cell in bytes.chunks(CELL_LEN).skip(1) {
        assert_eq!(Cell::of(cell.try_into().unwrap()), Cell::Continuation);
    }
}

#[test]
fn cells_are_told_apart() {
    let cell = |start: &[u8], rest: u8| {
        let mut cell = [rest; CELL_LEN];
        cell[..start.len()].copy_from_slice(start);
        Cell::of(&cell)
    };
    assert_eq!(cell(&[], 0xFF), Cell::Erased);
    assert_eq!(cell(&[0xFF, 0xFE], 0xFF), Cell::Damaged);
    assert_eq!(cell(&[0x80], 0xFF), Cell::Continuation);
    assert_eq!(cell(&[0x81], 0xFF), Cell::Damaged);
    assert_eq!(cell(&[0], 0), Cell::Damaged);
    assert_eq!(cell(&[1, 1], 0), Cell::First { cells: 1 });
    assert_eq!(cell(&[0x7F, 32], 0), Cell::First { cells: 32 });
    assert_eq!(cell(&[1, 0], 0), Cell::Damaged);
    assert_eq!(cell(&[1, 33], 0), Cell::Damaged);
}

#[test]
fn a_record_with_any_bit_flipped_is_refused() {
    let bytes = bytes_of(3, &target());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(RecordView::parse(EPOCH, &flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn a_record_that_a_cut_left_is_refused() {
    let bytes = bytes_of(0, &target());
    for len in 0..bytes.len() {
        let mut torn = bytes.clone();
        torn[len..].fill(0xFF);
        // The last cell ends with zeros, which are not yet programmed bits here.
        assert!(RecordView::parse(EPOCH, &torn).is_err(), "{len}");
        assert!(RecordView::parse(EPOCH, &bytes[..len]).is_err(), "{len}");
    }
}

#[test]
fn a_record_of_another_epoch_does_not_count() {
    let bytes = bytes_of(0, &Boot { count: 1 });
    assert_eq!(
        RecordView::parse(EPOCH + 1, &bytes),
        Err(RecordError::BadCrc)
    );
}

#[test]
fn a_record_of_another_kind_is_not_decoded() {
    let bytes = bytes_of(0, &Boot { count: 1 });
    let view = RecordView::parse(EPOCH, &bytes).unwrap();
    assert_eq!(view.decode::<Install>(), Err(RecordError::OtherKind));
}

#[test]
fn an_unknown_record_is_carried_over_whole() {
    let bytes = bytes_of(9, &Raw([0xA5; 100]));
    let mut out = [0; MAX_RECORD_LEN];
    let copy = RecordView::parse(EPOCH, &bytes)
        .unwrap()
        .copy_to(EPOCH + 1, &mut out)
        .unwrap();
    let view = RecordView::parse(EPOCH + 1, copy).unwrap();
    assert_eq!((view.kind(), view.key()), (0x70, 9));
    assert_eq!(view.decode(), Ok(Raw([0xA5; 100])));
    assert_eq!(RecordView::parse(EPOCH, copy), Err(RecordError::BadCrc));
}

/// The fields of a quarantine record, as an earlier version without `order` had them.
struct EarlierQuarantine;

impl Record for EarlierQuarantine {
    const KIND: u8 = Quarantine::KIND;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.digest(&IDENTITY);
        payload.bytes(&[0x33; 8]);
        payload.u16(600);
    }

    fn read(_: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self)
    }
}

#[test]
fn fields_that_an_earlier_version_did_not_know_read_as_zero() {
    let bytes = bytes_of(0, &EarlierQuarantine);
    let expected = Quarantine {
        identity: IDENTITY,
        job_hash8: [0x33; 8],
        code: 600,
        order: 0,
    };
    assert_eq!(
        RecordView::parse(EPOCH, &bytes).unwrap().decode(),
        Ok(expected)
    );
    assert_eq!(
        RecordView::parse(EPOCH, &bytes_of(0, &Raw::<0>([])))
            .unwrap()
            .decode(),
        Ok(Raw([0; 200])),
        "a payload reads as zero behind its end"
    );
}

/// What an earlier version, which knew no timing, reads of a trial's target.
#[derive(Debug, PartialEq)]
struct EarlierTarget(Sha256Digest, heapless::String<512>);

impl Record for EarlierTarget {
    const KIND: u8 = TrialTarget::KIND;

    fn write(&self, _: &mut PayloadWriter<'_>) {}

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        let (_slot, _image, identity) = (payload.u8(), payload.digest(), payload.digest());
        let (_sequence, _security, _job) = (payload.u64(), payload.u32(), payload.text::<64>()?);
        Some(Self(identity, payload.text()?))
    }
}

#[test]
fn an_earlier_version_reads_a_target_with_timing() {
    let bytes = bytes_of(
        0,
        &TrialTarget {
            timing: Some(timing()),
            ..target()
        },
    );
    assert_eq!(
        RecordView::parse(EPOCH, &bytes).unwrap().decode(),
        Ok(EarlierTarget(IDENTITY, text("http://h/p")))
    );
}

#[test]
fn payloads_that_say_nothing_known_are_malformed() {
    fn read<T: Record>(payload: &[u8]) -> Option<T> {
        let mut out = [0; MAX_RECORD_LEN];
        PayloadWriter::new(&mut out).bytes(payload);
        T::read(&mut PayloadReader::new(out.as_chunks().0))
    }
    assert_eq!(read::<Bootloader>(&[2]), None);
    assert_eq!(read::<TrialCounters>(&[0; 20]), None);
    assert_eq!(read::<PendingReport>(&[2]), None);
    assert_eq!(read::<PendingReport>(&[1, 99]), None);
    // A text that is too long for its field, and one that is not UTF-8.
    assert_eq!(
        read::<LastCrash>(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 97, 0]),
        None
    );
    assert_eq!(
        read::<LastCrash>(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0xFF]),
        None
    );
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        epoch in any::<u32>(), key in any::<u16>(), identity in any::<[u8; 32]>(),
        job in ".{0,16}", url in "[ -~]{0,512}", etag in "[ -~]{0,64}", version in any::<Option<u8>>(),
        image in any::<Option<[u8; 32]>>(), not_before in any::<Option<u64>>(), deadline in any::<Option<u64>>(),
    ) {
        let download = Download {
            identity: Sha256Digest(identity), job: crate::clip(&job), url: text(&url), etag: text(&etag),
            version: version.map(|n| text(&std::format!("{n}.0"))), image_sha256: image.map(Sha256Digest),
            not_before, deadline,
        };
        let mut out = [0xEE; MAX_RECORD_LEN];
        let bytes = encode(epoch, key, &download, &mut out).unwrap();
        let view = RecordView::parse(epoch, bytes).unwrap();
        prop_assert_eq!(view.key(), key);
        prop_assert_eq!(view.decode::<Download>(), Ok(download));
    }

    #[test]
    fn reports_and_targets_with_any_fields_missing_come_back(
        has in any::<u8>(), boot in any::<u32>(), kind in 0..EventKind::ALL.len(), code in any::<u16>(), rssi in any::<i8>(),
        number in any::<u32>(),
    ) {
        let some = |bit: u8| has & bit != 0;
        let full = event();
        let timing = full.timing.map(|timing| Timing {
            rssi: some(32).then_some(rssi),
            confirm_ms: some(64).then_some(number),
            reconnects: some(128).then_some(number),
            ..timing
        });
        let event = Event {
            boot,
            event: EventKind::ALL[kind],
            job: full.job.filter(|_| some(1)),
            code: some(2).then_some(code),
            text: full.text.filter(|_| some(4)),
            retry_in_s: full.retry_in_s.filter(|_| some(8)),
            timing: timing.filter(|_| some(16)),
            ..full
        };
        let target = TrialTarget { timing: event.timing, ..target() };
        let bytes = bytes_of(0, &target);
        prop_assert_eq!(RecordView::parse(EPOCH, &bytes).unwrap().decode(), Ok(target));
        let report = PendingReport { event: Some(event) };
        let bytes = bytes_of(0, &report);
        prop_assert_eq!(RecordView::parse(EPOCH, &bytes).unwrap().decode(), Ok(report));
    }
}
