use std::cmp::Ordering;
use std::collections::BTreeMap;

use otaria_wire::messages::State;
use proptest::prelude::*;

use super::{Facts, Query, compare_versions};
use crate::model::Status;

fn state() -> State {
    serde_json::from_value(serde_json::json!({
        "device": "pump-7", "product": "pump", "version": "1.10.0", "image_sha256": "0a".repeat(32), "sequence": 1,
        "security_version": 2, "chip": "esp32c3", "chip_rev": 101, "slot": 1, "trial": null, "reset": "software",
        "boot": 5, "uptime_s": 60, "heap_free": 100_000, "heap_min": 90_000, "rssi": -71, "phase": "idle"
    }))
    .unwrap()
}

fn matches(query: &str, known: bool) -> bool {
    let state = state();
    let tags = BTreeMap::from([
        ("site".to_owned(), "berlin".to_owned()),
        ("lab".to_owned(), String::new()),
    ]);
    let groups = ["canary".to_owned()];
    let query: Query = query.parse().unwrap_or_else(|error| panic!("{error}"));
    query.matches(&Facts {
        id: "pump-7",
        online: true,
        last_seen: known.then_some(1_000),
        state: known.then_some(&state),
        tags: &tags,
        groups: &groups,
        status: known.then_some(Status::RolledBack),
        now: 1_000 + 3_600,
    })
}

#[test]
fn a_query_means_what_it_reads_like() {
    for query in [
        "all",
        "online",
        "not offline",
        "version < 1.11 and tag:site=berlin and chip:esp32c3",
        "version>1.9",
        "version = 1.10",
        "version >= 1.10.0-rc1",
        "id:pump-*",
        "id = \"pump-7\"",
        "chip_rev >= 100",
        "rssi < -70",
        "heap_min <= 90000",
        "seen >= 1h and seen < 2h",
        "tag:lab",
        "tag:site != paris",
        "group:canary",
        "group != kitchen",
        "status = rolled_back",
        "(offline or online) and not (version < 1.0 or id = other)",
        "image:0a0a*",
        "reset=software and phase = idle and boot = 5 and slot:1",
    ] {
        assert!(matches(query, true), "{query}");
    }
    for query in [
        "offline",
        "version < 1.9",
        "tag:site=paris",
        "tag:nope",
        "tag:nope != x",
        "chip != esp32c3",
        "group:kitchen",
        "online and not online",
        "id:pump",
        "seen > 2h",
    ] {
        assert!(!matches(query, true), "{query}");
    }
}

#[test]
fn and_binds_closer_than_or() {
    assert!(matches("online or offline and offline", true));
    assert!(!matches("(online or offline) and offline", true));
}

#[test]
fn what_is_not_known_matches_no_comparison() {
    for query in [
        "version < 99",
        "version >= 0",
        "version != 1.2",
        "rssi < 0",
        "rssi != 0",
        "seen > 0s",
        "status != failed",
        "product != x",
    ] {
        assert!(!matches(query, false), "{query}");
    }
}

#[test]
fn an_error_points_at_the_place() {
    for (query, column, says) in [
        ("versio < 1.2", 0, "no field 'versio'"),
        ("version < ", 10, "a value"),
        ("version 1.2", 8, "a comparison"),
        ("chip < esp32", 5, "is a text"),
        ("rssi = strong", 7, "a number"),
        ("seen > yesterday", 7, "such as 90s"),
        ("online and", 10, "a field"),
        ("online online", 7, "'and', 'or' or the end"),
        ("(online", 7, "')'"),
        ("tag site", 4, "':'"),
        ("tag:site > 3", 9, "= or !="),
        ("id = \"x", 5, "not closed"),
        ("größe = 1; x", 0, "no field 'größe'"),
        ("id:a and ; x", 9, "';' has no meaning"),
        ("", 0, "the end"),
        ("version = 1.*", 10, "no '*'"),
    ] {
        let error = query.parse::<Query>().unwrap_err();
        assert_eq!(error.column(), column, "{query}: {error}");
        assert!(error.what().contains(says), "{query}: {error}");
        let text = error.to_string();
        let mark = text.lines().last().unwrap();
        assert_eq!(mark.len(), 2 + column + 1, "{text}");
    }
}

#[test]
fn nesting_and_length_have_an_end() {
    for query in [
        "not ".repeat(5_000),
        format!("{}online", "not ".repeat(100)),
        "(".repeat(200),
        format!("id = {}", "x".repeat(2_000)),
    ] {
        query.parse::<Query>().unwrap_err();
    }
}

#[test]
fn versions_are_ordered_as_people_order_them() {
    let ascending = [
        "0.9",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.2",
        "1.0.0-alpha.10",
        "1.0.0-rc1",
        "1.0.0",
        "1.0.1",
        "1.9",
        "1.10",
        "2",
        "20261128.1",
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(compare_versions(a, b), i.cmp(&j), "{a} {b}");
        }
    }
    assert_eq!(compare_versions("1.2.0", "v1.2+7"), Ordering::Equal);
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z*.-]{1,8}", any::<String>()]
}

fn query() -> impl Strategy<Value = String> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let term = prop_oneof![
        Just("all".to_owned()),
        Just("offline".to_owned()),
        word().prop_map(move |word| format!("id != {}", quoted(&word))),
        word().prop_map(move |word| format!("tag:{}=x", quoted(&word))),
        any::<i32>().prop_map(|number| format!("rssi <= {number}")),
        any::<u16>().prop_map(|number| format!("seen > {number}m")),
        "[0-9]{1,3}\\.[0-9]{1,3}".prop_map(|version| format!("version >= {version}")),
    ];
    term.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("not ({inner})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and {b}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{a} or ({b})")),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        if let Err(error) = text.parse::<Query>() {
            prop_assert!(error.column() <= text.chars().count());
        }
    }

    #[test]
    fn no_sequence_of_words_makes_the_parser_panic(
        words in prop::collection::vec(prop_oneof![
            "and|or|not|all|online|\\(|\\)|tag|:|=|!=|<|>=|id|version|rssi|1.2|x|\"y\"|\"|seen|2d".prop_map(String::from),
        ], 0..20)
    ) {
        let _ = words.join(" ").parse::<Query>();
    }

    #[test]
    fn a_query_that_is_printed_reads_as_the_same(text in query()) {
        if let Ok(parsed) = text.parse::<Query>() {
            let printed = parsed.to_string();
            prop_assert_eq!(printed.parse::<Query>().unwrap_or_else(|error| panic!("{error}")), parsed, "{}", printed);
        }
    }

    #[test]
    fn the_order_of_versions_is_an_order(a in "[0-9a-c.-]{0,9}", b in "[0-9a-c.-]{0,9}", c in "[0-9a-c.-]{0,9}") {
        prop_assert_eq!(compare_versions(&a, &b), compare_versions(&b, &a).reverse());
        if compare_versions(&a, &b).is_le() && compare_versions(&b, &c).is_le() {
            prop_assert!(compare_versions(&a, &c).is_le(), "{} {} {}", a, b, c);
        }
    }
}
