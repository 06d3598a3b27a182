//! What is JSON and what is not, against serde_json.

use std::string::ToString;

use proptest::prelude::*;

use super::*;

/// One key of each kind, so that any value can stand behind one of them.
#[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Anything {
    s: heapless::String<32>,
    n: u64,
    i: i8,
    b: bool,
    o: Option<u16>,
}

/// A key that may be missing.
struct Lenient<'a>(&'a mut dyn ReadJson);

impl ReadJson for Lenient<'_> {
    fn blank() -> Self {
        panic!("it borrows its field")
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        self.0.read(json)
    }

    fn may_be_missing(&self) -> bool {
        true
    }
}

impl ReadJson for Anything {
    fn blank() -> Self {
        Self::default()
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        json.read_object(&mut [
            ("s", Some(&mut Lenient(&mut self.s))),
            ("n", Some(&mut Lenient(&mut self.n))),
            ("i", Some(&mut Lenient(&mut self.i))),
            ("b", Some(&mut Lenient(&mut self.b))),
            ("o", Some(&mut self.o)),
        ])
    }
}

fn read(json: &str) -> Result<Anything, JsonError> {
    from_json(json.as_bytes())
}

#[test]
fn escapes_are_decoded() {
    for (json, decoded) in [
        (r#"{"s":"\"\\\/\b\f\n\r\t"}"#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#"{"s":"\u0041\u00e9\u20AC"}"#, "Aé€"),
        (r#"{"s":"\ud83d\ude00"}"#, "😀"),
        (r#"{"s":"a\uD83D\uDE00b\u0041\n"}"#, "a😀bA\n"),
        (r#"{"s":"\\ud83d\\ude00"}"#, "\\ud83d\\ude00"),
        (r#"{"s":"\\\ud83d\ude00"}"#, "\\😀"),
        (r#"{"\u0073":"😀"}"#, "😀"),
        (r#"{"\ud83d\ude00":1,"s":"x"}"#, "x"),
    ] {
        assert_eq!(
            read(json).map(|anything| anything.s),
            Ok(text(decoded)),
            "{json}"
        );
        assert_eq!(
            serde_json::from_str::<Anything>(json).unwrap().s,
            decoded,
            "{json}"
        );
    }
}

#[test]
fn what_is_no_json_is_refused_before_it_is_read() {
    for json in [
        "",
        " ",
        "{",
        "}",
        "{]",
        "[}",
        r#"{"s"}"#,
        r#"{"s":}"#,
        r#"{"s":"x"]"#,
        r#"{"s":"x",}"#,
        r#"{,"s":"x"}"#,
        r#"{"s":"x" "n":1}"#,
        r#"{"s";"x"}"#,
        r#"{1:2}"#,
        r#"{"x":[1,]}"#,
        r#"{"x":[,1]}"#,
        r#"{"x":[1 2]}"#,
        r#"{"n":01}"#,
        r#"{"n":+1}"#,
        r#"{"n":-}"#,
        r#"{"n":1.}"#,
        r#"{"n":.5}"#,
        r#"{"n":1e}"#,
        r#"{"n":1e+}"#,
        r#"{"n":0x10}"#,
        r#"{"n":NaN}"#,
        r#"{"b":True}"#,
        r#"{"b":tru}"#,
        r#"{"x":nul}"#,
        r#"{"x":junk}"#,
        r#"{"s":"\x"}"#,
        r#"{"s":"\u004"}"#,
        r#"{"s":"\u+041"}"#,
        r#"{"s":"\uD83D"}"#,
        r#"{"s":"\uDE00\uD83D"}"#,
        r#"{"s":"\uD83D\u0041"}"#,
        r#"{"s":"\uD83D\n"}"#,
        r#"{"s":"\"#,
        r#"{"s":"x"#,
        "{\"s\":\"a\tb\"}",
        "{\"s\":\"a\0b\"}",
        "\u{feff}{}",
        "{}\u{a0}",
    ] {
        let refused = read(json);
        assert!(
            matches!(refused, Err(JsonError::Syntax | JsonError::TrailingBytes)),
            "{json}: {refused:?}"
        );
        assert!(
            serde_json::from_str::<serde_json::Value>(json).is_err(),
            "{json}"
        );
    }
}

#[test]
fn eight_levels_are_read_and_nine_are_not() {
    let nested = |levels: usize, open: &str, close: &str| {
        std::format!(
            r#"{{"x":{}{}}}"#,
            open.repeat(levels - 1),
            close.repeat(levels - 1)
        )
    };
    assert_eq!(read(&nested(8, "[", "]")), Ok(Anything::default()));
    assert_eq!(read(&nested(9, "[", "]")), Err(JsonError::TooDeep));
    let object = |levels| nested(levels, r#"{"y":"#, "}").replace(":}", ":{}}");
    assert_eq!(read(&object(7)), Ok(Anything::default()));
    assert_eq!(read(&object(8)), Err(JsonError::TooDeep));
    let unclosed = "[".repeat(MAX_MESSAGE_LEN);
    assert_eq!(read(&unclosed), Err(JsonError::TooDeep));
}

#[test]
fn the_longest_message_is_read_with_or_without_escapes() {
    let filled = |filler: &str| {
        let room = MAX_MESSAGE_LEN - r#"{"x":"","n":7}"#.len();
        let mut fill = filler.repeat(room / filler.len());
        fill.push_str(&" ".repeat(room - fill.len()));
        std::format!(r#"{{"x":"{fill}","n":7}}"#)
    };
    for filler in ["x", "\\n", "\\u0041", "\\ud83d\\ude00", "😀"] {
        let json = filled(filler);
        assert_eq!(json.len(), MAX_MESSAGE_LEN);
        assert_eq!(
            read(&json),
            Ok(Anything {
                n: 7,
                ..Anything::default()
            }),
            "{filler}"
        );
        assert_eq!(read(&std::format!("{json} ")), Err(JsonError::TooLong));
    }
}

/// JSON-like text: mostly pieces of JSON, so that a good part of it is JSON.
fn json_like() -> impl Strategy<Value = StdString> {
    let piece = prop_oneof![
        8 => proptest::sample::select(&[
            "{", "}", "[", "]", ":", ",", "\"s\"", "\"n\"", "\"x\"", "\"o\"", "1", "0", "-", ".5", "e3", "true", "null",
            " ", "\"a\\n\"", "\"\\u0041\"", "\"\\ud83d\\ude00\"", "\"\\\\\"", "\"", "\\", "{\"s\":\"", "{\"n\":", "{\"x\":[",
        ][..]).prop_map(StdString::from),
        1 => ".".prop_map(StdString::from),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Whole JSON values, at most so deep.
fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        ".{0,8}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map("s|n|i|b|o|.{0,4}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_json_to_serde_json_is_json_here(json in json_like()) {
        let theirs = serde_json::from_str::<serde_json::Value>(&json);
        let ours = read(&json);
        match theirs {
            // What is JSON is read, or its shape is wrong.
            Ok(_) => prop_assert!(matches!(ours, Ok(_) | Err(JsonError::Shape)), "{json}: {ours:?}"),
            // Numbers like 1e999 are JSON, but too large for serde_json.
            Err(error) if error.to_string().contains("out of range") => {}
            Err(_) => prop_assert!(matches!(ours, Err(JsonError::Syntax | JsonError::TrailingBytes)), "{json}: {ours:?}"),
        }
        if let Ok(ours) = ours {
            prop_assert_eq!(serde_json::from_str::<Anything>(&json).unwrap(), ours);
        }
    }

    #[test]
    fn any_value_gives_the_same_as_with_serde_json(value in json_value()) {
        let json = value.to_string();
        let theirs = serde_json::from_str::<Anything>(&json).ok();
        // serde_json also takes an array for a struct.
        if !value.is_array() {
            prop_assert_eq!(read(&json).ok(), theirs, "{}", json);
        }
    }

    #[test]
    fn any_bytes_are_handled_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_json::<Anything>(&bytes);
        let _ = Desired::parse(&bytes);
        let _ = Command::parse(&bytes);
    }
}
