//! Tests of the messages: fixed texts, agreement with serde_json, refusals.

mod agreement;
mod inbound;
mod syntax;

use std::string::String as StdString;
use std::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::package::KeyId;
use crate::topics::DeviceId;
use crate::{FixedText, Sha256Digest};

fn text<const N: usize>(text: &str) -> heapless::String<N> {
    heapless::String::try_from(text).unwrap()
}

fn json_of(message: &dyn WriteJson) -> StdString {
    let mut buffer = [0; MAX_MESSAGE_LEN];
    StdString::from_utf8(to_json(message, &mut buffer).unwrap().to_vec()).unwrap()
}

/// Shows that a message has exactly this text, written and read by either library.
fn is_fixed<
    T: ReadJson + WriteJson + Serialize + DeserializeOwned + PartialEq + core::fmt::Debug,
>(
    message: &T,
    golden: &str,
) {
    assert_eq!(json_of(message), golden);
    assert_eq!(serde_json::to_string(message).unwrap(), golden);
    assert_eq!(from_json::<T>(golden.as_bytes()).as_ref(), Ok(message));
    assert_eq!(serde_json::from_str::<T>(golden).unwrap(), *message);
}

fn state() -> State {
    State {
        device: DeviceId::new("a1b2").unwrap(),
        product: FixedText::try_from("pump").unwrap(),
        version: FixedText::try_from("1.2.3").unwrap(),
        image_sha256: Sha256Digest([0xAB; 32]),
        sequence: 1_764_000_000_123,
        security_version: 7,
        chip: text("esp32c3"),
        chip_rev: 4,
        slot: 1,
        trial: Some(Trial {
            boots: 1,
            crashes: 2,
        }),
        reset: ResetReason::PowerOn,
        boot: 42,
        uptime_s: 17,
        heap_free: 90_000,
        heap_min: 80_000,
        rssi: Some(-60),
        ip: Some(text("192.168.1.7")),
        bootloader_rollback: Some(false),
        job: Some(text("job-1")),
        phase: Phase::Trial,
        keys: Some(TrustedKeys {
            epoch: 3,
            threshold: 2,
            ids: [KeyId([0x11; 8]), KeyId([0xEE; 8])].into_iter().collect(),
        }),
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
        rssi: None,
        confirm_ms: None,
        reconnects: None,
    }
}

fn event() -> Event {
    Event {
        install: InstallId(0x0123_4567_89AB_CDEF),
        boot: 42,
        n: 7,
        job: Some(text("job-1")),
        event: EventKind::Retrying,
        code: Some(405),
        text: Some(text("after 61440 of 987136 bytes")),
        retry_in_s: Some(30),
        timing: Some(timing()),
    }
}

#[test]
fn reports_are_fixed() {
    is_fixed(&Presence { online: true }, r#"{"online":true}"#);
    is_fixed(&Presence { online: false }, r#"{"online":false}"#);
    let image = "ab".repeat(32);
    is_fixed(
        &state(),
        &std::format!(
            concat!(
                r#"{{"device":"a1b2","product":"pump","version":"1.2.3","image_sha256":"{}","sequence":1764000000123,"#,
                r#""security_version":7,"chip":"esp32c3","chip_rev":4,"slot":1,"trial":{{"boots":1,"crashes":2}},"#,
                r#""reset":"power_on","boot":42,"uptime_s":17,"heap_free":90000,"heap_min":80000,"rssi":-60,"#,
                r#""ip":"192.168.1.7","bootloader_rollback":false,"job":"job-1","phase":"trial","#,
                r#""keys":{{"epoch":3,"threshold":2,"ids":["1111111111111111","eeeeeeeeeeeeeeee"]}}}}"#
            ),
            image
        ),
    );
    is_fixed(
        &State {
            trial: None,
            rssi: None,
            ip: None,
            bootloader_rollback: None,
            job: None,
            keys: None,
            ..state()
        },
        &std::format!(
            concat!(
                r#"{{"device":"a1b2","product":"pump","version":"1.2.3","image_sha256":"{}","sequence":1764000000123,"#,
                r#""security_version":7,"chip":"esp32c3","chip_rev":4,"slot":1,"trial":null,"#,
                r#""reset":"power_on","boot":42,"uptime_s":17,"heap_free":90000,"heap_min":80000,"rssi":null,"#,
                r#""ip":null,"bootloader_rollback":null,"job":null,"phase":"trial"}}"#
            ),
            image
        ),
    );
    is_fixed(
        &Progress {
            job: Some(text("job-1")),
            phase: Phase::Downloading,
            done: 65536,
            total: 987_136,
            rate: 26_000,
        },
        r#"{"job":"job-1","phase":"downloading","done":65536,"total":987136,"rate":26000}"#,
    );
    is_fixed(
        &event(),
        concat!(
            r#"{"install":"0123456789abcdef","boot":42,"n":7,"job":"job-1","event":"retrying","code":405,"#,
            r#""text":"after 61440 of 987136 bytes","retry_in_s":30,"timing":{"connect_ms":1,"tls_ms":2,"#,
            r#""receive_ms":3,"erase_ms":4,"write_ms":5,"verify_ms":6,"total_ms":7,"bytes":8,"heap_min":9,"rssi":null}}"#
        ),
    );
    is_fixed(
        &Timing {
            confirm_ms: Some(10),
            reconnects: Some(0),
            ..timing()
        },
        concat!(
            r#"{"connect_ms":1,"tls_ms":2,"receive_ms":3,"erase_ms":4,"write_ms":5,"verify_ms":6,"total_ms":7,"bytes":8,"#,
            r#""heap_min":9,"rssi":null,"confirm_ms":10,"reconnects":0}"#
        ),
    );
    is_fixed(
        &Event {
            job: None,
            event: EventKind::Accepted,
            code: None,
            text: None,
            retry_in_s: None,
            timing: None,
            ..event()
        },
        r#"{"install":"0123456789abcdef","boot":42,"n":7,"job":null,"event":"accepted"}"#,
    );
    is_fixed(
        &LogLine {
            n: 3,
            boot: 42,
            t_ms: 123_456_789,
            level: Level::Warn,
            text: text("say \"hi\"\t\u{1}é"),
        },
        "{\"n\":3,\"boot\":42,\"t_ms\":123456789,\"level\":\"warn\",\"text\":\"say \\\"hi\\\"\\t\\u0001é\"}",
    );
}

#[test]
fn names_in_json_are_the_names_in_code() {
    let name = |json: StdString| json.trim_matches('"').into();
    for kind in EventKind::ALL {
        let json: StdString = name(json_of(&kind));
        assert_eq!(json, kind.name());
        assert_eq!(EventKind::from_number(kind.number()), Some(kind));
    }
    assert_eq!(EventKind::from_number(0), None);
    assert_eq!(EventKind::from_number(15), None);
    let phases = [
        Phase::Idle,
        Phase::Checking,
        Phase::Downloading,
        Phase::Verifying,
        Phase::Activating,
        Phase::Rebooting,
        Phase::Trial,
        Phase::Unknown,
    ];
    for phase in phases {
        let json: StdString = name(json_of(&phase));
        assert_eq!(json, phase.name());
    }
    for number in 0..=8 {
        let reason = ResetReason::from_number(number);
        let json: StdString = name(json_of(&reason));
        assert_eq!(json, reason.name());
        assert_eq!(reason.number(), if number < 8 { number } else { 0 });
    }
    for number in 0..=5 {
        let level = Level::from_number(number);
        let json: StdString = name(json_of(&level));
        assert_eq!(json, level.name());
        assert_eq!(level.number(), if number < 5 { number } else { 0 });
    }
}

#[test]
fn event_numbers_are_fixed() {
    let names: Vec<_> = EventKind::ALL
        .iter()
        .map(|kind| (kind.number(), kind.name()))
        .collect();
    assert_eq!(
        names,
        [
            (1, "accepted"),
            (2, "resumed"),
            (3, "retrying"),
            (4, "downloaded"),
            (5, "verified"),
            (6, "activated"),
            (7, "trial_started"),
            (8, "confirmed"),
            (9, "rolled_back"),
            (10, "failed"),
            (11, "refused"),
            (12, "already_running"),
            (13, "cancelled"),
            (14, "superseded"),
        ]
    );
    let last: Vec<_> = EventKind::ALL
        .iter()
        .filter(|kind| kind.is_final())
        .map(|kind| kind.number())
        .collect();
    assert_eq!(last, [8, 9, 10, 11, 12, 13, 14]);
}

#[test]
fn names_of_later_versions_are_unknown_not_refused() {
    let event: Event =
        from_json(br#"{"install":"0000000000000001","boot":1,"n":1,"event":"teleported","code":65535,"new":[{}]}"#)
            .unwrap();
    assert_eq!(
        (event.event, event.code, event.failure(), event.job),
        (EventKind::Unknown, Some(65535), None, None)
    );
    let progress: Progress =
        from_json(br#"{"phase":"dreaming","done":1,"total":2,"rate":3}"#).unwrap();
    assert_eq!(progress.phase, Phase::Unknown);
}

#[test]
fn any_report_without_control_characters_fits_its_buffer() {
    let quotes = |len: usize| "\"".repeat(len);
    let state = State {
        device: DeviceId::new(&"d".repeat(40)).unwrap(),
        product: FixedText::try_from(quotes(32).as_str()).unwrap(),
        version: FixedText::try_from(quotes(32).as_str()).unwrap(),
        sequence: u64::MAX,
        security_version: u32::MAX,
        chip: text(&quotes(16)),
        chip_rev: u16::MAX,
        slot: u8::MAX,
        trial: Some(Trial {
            boots: u8::MAX,
            crashes: u8::MAX,
        }),
        boot: u32::MAX,
        uptime_s: u32::MAX,
        heap_free: u32::MAX,
        heap_min: u32::MAX,
        rssi: Some(i8::MIN),
        ip: Some(text(&"f".repeat(45))),
        job: Some(text(&quotes(MAX_JOB_LEN))),
        keys: Some(TrustedKeys {
            epoch: u32::MAX,
            threshold: u8::MAX,
            ids: [KeyId([0xEE; 8]); 4].into_iter().collect(),
        }),
        ..state()
    };
    let max = u32::MAX;
    let event = Event {
        install: InstallId(u64::MAX),
        boot: max,
        n: max,
        job: Some(text(&quotes(MAX_JOB_LEN))),
        event: EventKind::AlreadyRunning,
        code: Some(u16::MAX),
        text: Some(text(&quotes(MAX_TEXT_LEN))),
        retry_in_s: Some(max),
        timing: Some(Timing {
            connect_ms: max,
            tls_ms: max,
            receive_ms: max,
            erase_ms: max,
            write_ms: max,
            verify_ms: max,
            total_ms: max,
            bytes: max,
            heap_min: max,
            rssi: Some(i8::MIN),
            confirm_ms: Some(max),
            reconnects: Some(max),
        }),
    };
    let line = LogLine {
        n: max,
        boot: max,
        t_ms: u64::MAX,
        level: Level::Error,
        text: text(&quotes(MAX_LOG_TEXT_LEN)),
    };
    for len in [
        json_of(&state).len(),
        json_of(&event).len(),
        json_of(&line).len(),
    ] {
        assert!(len <= MAX_REPORT_LEN, "{len}");
    }
}

#[test]
fn a_buffer_that_is_too_short_is_named() {
    assert_eq!(
        to_json(&Presence { online: true }, &mut [0; 14]),
        Err(JsonError::TooLong)
    );
    assert!(to_json(&Presence { online: true }, &mut [0; 15]).is_ok());
    assert_eq!(to_json(&state(), &mut []), Err(JsonError::TooLong));
}

#[test]
fn an_install_id_is_16_digits() {
    assert_eq!("00000000000000ff".parse(), Ok(InstallId(255)));
    for bad in [
        "",
        "ff",
        "0x000000000000ff",
        "00000000000000fg",
        "00000000000000ff0",
    ] {
        assert!(bad.parse::<InstallId>().is_err(), "{bad}");
    }
}

#[test]
fn failure_numbers_are_fixed() {
    let codes: Vec<_> = FailureCode::ALL
        .iter()
        .map(|code| (code.number(), code.name()))
        .collect();
    assert_eq!(codes, FAILURES);
}

#[test]
fn failures_are_found_by_number_and_explained() {
    for (index, code) in FailureCode::ALL.iter().enumerate() {
        assert_eq!(FailureCode::from_number(code.number()), Some(*code));
        assert!(
            index == 0 || FailureCode::ALL[index - 1] < *code,
            "{code} is out of order"
        );
        assert!(
            FailureCode::ALL[..index]
                .iter()
                .all(|earlier| earlier.name() != code.name())
        );
        assert!(
            code.explanation().ends_with('.') && code.explanation().len() < MAX_TEXT_LEN,
            "{code}"
        );
        let first_of_group = FailureCode::ALL
            .iter()
            .find(|other| other.group() == code.group())
            .unwrap();
        assert_eq!(
            first_of_group.number() / 100,
            code.number() / 100,
            "{code} is in the wrong group"
        );
    }
    assert_eq!(FailureCode::from_number(0), None);
}

/// Never changed, only added to: servers and journals of any version hold these numbers.
const FAILURES: &[(u16, &str)] = &[
    (100, "not_a_package"),
    (101, "unsupported_version"),
    (102, "unsupported_flags"),
    (103, "unsupported_codec"),
    (104, "unsupported_cipher"),
    (105, "header_malformed"),
    (106, "unknown_key"),
    (107, "bad_signature"),
    (108, "wrong_product"),
    (109, "wrong_chip"),
    (110, "wrong_chip_revision"),
    (111, "image_too_large"),
    (112, "sequence_not_higher"),
    (113, "security_version_too_low"),
    (114, "unguarded_refused"),
    (115, "declared_version_differs"),
    (116, "declared_image_differs"),
    (117, "quarantined"),
    (118, "base_mismatch"),
    (119, "unsupported_signature_algorithm"),
    (120, "not_a_recipient"),
    (121, "encryption_required"),
    (122, "not_enough_signatures"),
    (200, "table_hash"),
    (201, "table_malformed"),
    (202, "block_hash"),
    (203, "block_length"),
    (204, "decode"),
    (205, "recipients_hash"),
    (206, "content_key"),
    (207, "decrypt"),
    (300, "image_hash"),
    (301, "image_malformed"),
    (302, "descriptor_mismatch"),
    (303, "guard_missing"),
    (400, "dns"),
    (401, "connect"),
    (402, "tls"),
    (403, "timeout_connect"),
    (404, "timeout_head"),
    (405, "stalled"),
    (406, "early_close"),
    (407, "http_status"),
    (408, "http_malformed"),
    (409, "head_too_large"),
    (410, "too_many_redirects"),
    (411, "redirect_refused"),
    (412, "url_invalid"),
    (413, "url_refused"),
    (414, "range_mismatch"),
    (415, "length_mismatch"),
    (416, "content_changed"),
    (417, "no_network"),
    (418, "tls_no_certificate"),
    (419, "tls_expired"),
    (420, "tls_wrong_name"),
    (421, "tls_unknown_authority"),
    (422, "tls_not_an_authority"),
    (423, "tls_bad_certificate"),
    (424, "tls_refused"),
    (425, "tls_no_memory"),
    (500, "flash_erase"),
    (501, "flash_write"),
    (502, "flash_read"),
    (503, "journal_full"),
    (504, "otadata_write"),
    (600, "trial_crashed"),
    (601, "trial_boots_exhausted"),
    (602, "health_check_failed"),
    (603, "trial_no_network"),
    (604, "trial_timeout"),
    (605, "bootloader_refused"),
    (606, "rolled_back_by_bootloader"),
    (607, "trial_image_lost"),
    (700, "cancelled"),
    (701, "superseded"),
    (702, "deadline_passed"),
    (703, "not_yet"),
    (704, "retries_exhausted"),
    (705, "busy"),
    (706, "low_resources"),
    (707, "trial_open"),
    (708, "time_unknown"),
    (709, "key_revoked"),
    (710, "begun_too_often"),
    (800, "message_malformed"),
    (801, "message_too_large"),
    (802, "retained_command"),
    (803, "keys_malformed"),
    (804, "keys_product"),
    (805, "keys_epoch"),
    (806, "keys_unknown_root"),
    (807, "keys_bad_signature"),
    (808, "keys_too_many"),
    (900, "logic_bug"),
];
