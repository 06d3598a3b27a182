//! What a device reads: wishes and commands.

use super::*;
use crate::url::UrlError;

fn wish(payload: &str) -> Result<Option<Desired>, MessageError> {
    Desired::parse(payload.as_bytes())
}

fn bare(url: &str) -> Desired {
    Desired {
        url: text(url),
        ..Desired::default()
    }
}

#[test]
fn an_empty_payload_is_no_wish() {
    for payload in ["", " ", "\r\n\t "] {
        assert_eq!(wish(payload), Ok(None), "{payload:?}");
    }
}

#[test]
fn a_bare_url_is_trimmed() {
    for payload in [
        "http://host/app.otaria",
        " http://host/app.otaria\n",
        "http://host/app.otaria\r\n",
    ] {
        assert_eq!(
            wish(payload),
            Ok(Some(bare("http://host/app.otaria"))),
            "{payload:?}"
        );
    }
}

#[test]
fn a_wish_with_every_key_is_fixed() {
    let golden = std::format!(
        concat!(
            r#"{{"job":"job-1","url":"https://host/p","version":"1.2.3","image_sha256":"{}","#,
            r#""not_before":1764000000,"deadline":1764086400}}"#
        ),
        "ab".repeat(32)
    );
    let desired = Desired {
        job: Some(text("job-1")),
        url: text("https://host/p"),
        version: Some(text("1.2.3")),
        image_sha256: Some(Sha256Digest([0xAB; 32])),
        not_before: Some(1_764_000_000),
        deadline: Some(1_764_086_400),
    };
    is_fixed(&desired, &golden);
    assert_eq!(wish(&golden), Ok(Some(desired)));
    is_fixed(&bare("http://host/p"), r#"{"url":"http://host/p"}"#);
}

#[test]
fn only_the_url_is_required_and_unknown_keys_are_ignored() {
    for payload in [
        r#"{"url":"http://host/p"}"#,
        r#" { "url" : "http:\/\/host\/p" } "#,
        r#"{"url":"http://host/\u0070","job":null,"deadline":null}"#,
        r#"{"new":{"deep":[1,2,{"x":[null,true,-1.5e3]}]},"url":"http://host/p","also new":"\"\\\ud83d\ude00}"}"#,
    ] {
        assert_eq!(wish(payload), Ok(Some(bare("http://host/p"))), "{payload}");
    }
}

#[test]
fn each_bad_wish_has_its_own_refusal() {
    let long_url = std::format!("http://host/{}", "a".repeat(501));
    let long_json = std::format!(
        r#"{{"url":"http://host/p","x":"{}"}}"#,
        "a".repeat(MAX_MESSAGE_LEN)
    );
    let deep = std::format!(
        r#"{{"url":"http://host/p","x":{}1{}}}"#,
        "[".repeat(8),
        "]".repeat(8)
    );
    let shape = MessageError::Json(JsonError::Shape);
    let syntax = MessageError::Json(JsonError::Syntax);
    for (payload, error) in [
        ("{}", shape),
        (r#"{"url":null}"#, shape),
        (r#"{"url":5}"#, shape),
        (r#"{"url":["http://host/p"]}"#, shape),
        (r#"{"url":"http://host/p","url":"http://evil/p"}"#, shape),
        (r#"{"url":"http://host/p","deadline":-1}"#, shape),
        (r#"{"url":"http://host/p","deadline":1.5}"#, shape),
        (r#"{"url":"http://host/p","deadline":1e3}"#, shape),
        (r#"{"url":"http://host/p","deadline":"1"}"#, shape),
        (
            r#"{"url":"http://host/p","deadline":18446744073709551616}"#,
            shape,
        ),
        (r#"{"url":"http://host/p","image_sha256":""}"#, shape),
        (r#"{"url":"http://host/p","image_sha256":"ab"}"#, shape),
        (
            r#"{"url":"http://host/p","version":"123456789012345678901234567890123"}"#,
            shape,
        ),
        (
            r#"{"url":"http://host/p"} x"#,
            MessageError::Json(JsonError::TrailingBytes),
        ),
        (
            r#"{"url":"http://host/p"}{}"#,
            MessageError::Json(JsonError::TrailingBytes),
        ),
        (r#"{"url":"http://host/p""#, syntax),
        (r#"{"url":"http://host/p",}"#, syntax),
        (r#"{url:"http://host/p"}"#, syntax),
        ("{'url':'http://host/p'}", syntax),
        ("{\"url\":\"http://host/\n\"}", syntax),
        (r#"{"url":"http://host/\ud83d"}"#, syntax),
        (deep.as_str(), MessageError::Json(JsonError::TooDeep)),
        (long_json.as_str(), MessageError::Json(JsonError::TooLong)),
        (long_url.as_str(), MessageError::TooLong),
        (r#"{"url":""}"#, MessageError::Url(UrlError::Empty)),
        (
            r#"{"url":"ftp://host/p"}"#,
            MessageError::Url(UrlError::Scheme),
        ),
        (
            r#"{"url":"http://user:pw@host/p"}"#,
            MessageError::Url(UrlError::UserInfo),
        ),
        (r#"["http://host/p"]"#, MessageError::Url(UrlError::Scheme)),
        ("null", MessageError::Url(UrlError::Scheme)),
        ("http://host/a b", MessageError::Url(UrlError::Character)),
        ("http://höst/", MessageError::Url(UrlError::Character)),
        (r#"{"url":"http://host/p","job":""}"#, MessageError::Job),
        (r#"{"url":"http://host/p","job":"a\nb"}"#, MessageError::Job),
    ] {
        assert_eq!(wish(payload), Err(error), "{payload}");
        assert!(!std::string::ToString::to_string(&error).is_empty());
    }
    assert_eq!(
        Desired::parse(b"http://host/\xFF"),
        Err(MessageError::NotUtf8)
    );
    assert_eq!(
        Desired::parse(b"{\"url\":\"http://host/\xFF\"}"),
        Err(MessageError::Json(JsonError::NotUtf8))
    );
}

#[test]
fn refusals_have_failure_codes() {
    for (error, code) in [
        (MessageError::TooLong, FailureCode::MessageTooLarge),
        (
            MessageError::Json(JsonError::TooLong),
            FailureCode::MessageTooLarge,
        ),
        (
            MessageError::Json(JsonError::Shape),
            FailureCode::MessageMalformed,
        ),
        (MessageError::NotUtf8, FailureCode::MessageMalformed),
        (MessageError::Job, FailureCode::MessageMalformed),
        (MessageError::CommandId, FailureCode::MessageMalformed),
        (MessageError::UnknownCommand, FailureCode::MessageMalformed),
        (MessageError::Url(UrlError::Host), FailureCode::UrlInvalid),
    ] {
        assert_eq!(error.code(), code);
    }
}

#[test]
fn commands_are_fixed() {
    let command = |cmd, lines| Command {
        id: text("c-1"),
        cmd,
        lines,
    };
    is_fixed(
        &command(CommandKind::Cancel, None),
        r#"{"id":"c-1","cmd":"cancel"}"#,
    );
    is_fixed(
        &command(CommandKind::Reboot, None),
        r#"{"id":"c-1","cmd":"reboot"}"#,
    );
    is_fixed(
        &command(CommandKind::Logs, Some(50)),
        r#"{"id":"c-1","cmd":"logs","lines":50}"#,
    );
    is_fixed(
        &command(CommandKind::Identify, None),
        r#"{"id":"c-1","cmd":"identify"}"#,
    );
    let read = Command::parse(br#" {"cmd":"logs","lines":50,"id":"c-1","by":{"user":"ops"}} "#);
    assert_eq!(read, Ok(command(CommandKind::Logs, Some(50))));
}

#[test]
fn each_bad_command_has_its_own_refusal() {
    let long = std::format!(r#"{{"id":"{}","cmd":"reboot"}}"#, "x".repeat(65));
    let shape = MessageError::Json(JsonError::Shape);
    for (payload, error) in [
        ("", MessageError::Json(JsonError::Syntax)),
        ("reboot", MessageError::Json(JsonError::Syntax)),
        ("\"reboot\"", shape),
        ("[]", shape),
        ("{}", shape),
        (r#"{"cmd":"reboot"}"#, shape),
        (r#"{"id":"c-1"}"#, shape),
        (r#"{"id":1,"cmd":"reboot"}"#, shape),
        (r#"{"id":"c-1","cmd":7}"#, shape),
        (r#"{"id":"c-1","cmd":"logs","lines":65536}"#, shape),
        (r#"{"id":"c-1","cmd":"logs","lines":-1}"#, shape),
        (r#"{"id":"c-1","id":"c-2","cmd":"reboot"}"#, shape),
        (long.as_str(), shape),
        (r#"{"id":"","cmd":"reboot"}"#, MessageError::CommandId),
        (
            r#"{"id":"a\u0000b","cmd":"reboot"}"#,
            MessageError::CommandId,
        ),
        (
            r#"{"id":"c-1","cmd":"explode"}"#,
            MessageError::UnknownCommand,
        ),
        (
            r#"{"id":"c-1","cmd":"Reboot"}"#,
            MessageError::UnknownCommand,
        ),
    ] {
        assert_eq!(Command::parse(payload.as_bytes()), Err(error), "{payload}");
    }
}
