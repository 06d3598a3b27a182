//! A word from whoever may write to the device's topics.

use crate::row::*;
use crate::stage::SECOND;
use otaria_wire::messages::FailureCode;

pub(crate) fn rows() -> Vec<Row> {
    use FailureCode::{MessageMalformed, MessageTooLarge, RetainedCommand, UrlInvalid};
    vec![
        refused(
            "a wish that is no JSON",
            |stage| stage.publish("desired", "{url:", true),
            MessageMalformed,
        ),
        refused(
            "a wish without an address",
            |stage| stage.publish("desired", r#"{"job":"x"}"#, true),
            MessageMalformed,
        ),
        refused(
            "a wish with an address that is no text",
            |stage| stage.publish("desired", r#"{"url":["http://files/a"]}"#, true),
            MessageMalformed,
        ),
        refused(
            "a wish that is not UTF-8",
            |stage| stage.publish("desired", b"http://files/\xFF\xFE", true),
            MessageMalformed,
        ),
        refused(
            "a wish whose JSON is not UTF-8",
            |stage| stage.publish("desired", b"{\"url\":\"http://files/\xFF\"}", true),
            MessageMalformed,
        ),
        refused(
            "a wish that is nested 500 deep",
            |stage| stage.publish("desired", format!("{{\"x\":{}", "[".repeat(500)), true),
            MessageMalformed,
        ),
        refused(
            "a wish with a number beyond all bounds",
            |stage| {
                let wish = format!(
                    r#"{{"url":"http://files/a","deadline":{}}}"#,
                    "9".repeat(300)
                );
                stage.publish("desired", wish, true);
            },
            MessageMalformed,
        ),
        refused(
            "a wish with a job of 65 bytes",
            |stage| {
                let wish = format!(r#"{{"url":"http://files/a","job":"{}"}}"#, "j".repeat(65));
                stage.publish("desired", wish, true);
            },
            MessageMalformed,
        ),
        refused(
            "a wish with control characters in its job",
            |stage| {
                stage.publish(
                    "desired",
                    r#"{"url":"http://files/a","job":"\u0007"}"#,
                    true,
                );
            },
            MessageMalformed,
        ),
        refused(
            "a wish of 2100 bytes",
            |stage| {
                let wish = format!(r#"{{"url":"http://files/a","x":"{}"}}"#, "x".repeat(2100));
                stage.publish("desired", wish, true);
            },
            MessageTooLarge,
        ),
        refused(
            "a wish of 60000 bytes",
            |stage| stage.publish("desired", "x".repeat(60_000), true),
            MessageTooLarge,
        ),
        refused(
            "a wish for a file of the device",
            |stage| stage.publish("desired", "file:///etc/passwd", true),
            UrlInvalid,
        ),
        refused(
            "a wish for ftp",
            |stage| stage.publish("desired", "ftp://files/a", true),
            UrlInvalid,
        ),
        refused(
            "a wish with a password in its address",
            |stage| stage.publish("desired", "http://user:secret@files/a", true),
            UrlInvalid,
        ),
        refused(
            "a wish with a line break in its address",
            |stage| stage.publish("desired", "http://files/a\r\nX-Evil: 1", true),
            UrlInvalid,
        ),
        refused(
            "a wish with an address of 600 bytes",
            |stage| stage.publish("desired", format!("http://files/{}", "x".repeat(600)), true),
            MessageTooLarge,
        ),
        refused(
            "a command that is no JSON",
            |stage| stage.publish("cmd", "reboot", false),
            MessageMalformed,
        ),
        refused(
            "a command that does not exist",
            |stage| stage.publish("cmd", r#"{"id":"1","cmd":"format"}"#, false),
            MessageMalformed,
        ),
        refused(
            "a command without an id",
            |stage| stage.publish("cmd", r#"{"cmd":"reboot"}"#, false),
            MessageMalformed,
        ),
        refused(
            "a command of 3000 bytes",
            |stage| stage.publish("cmd", format!(r#"{{"id":"{}"}}"#, "x".repeat(3000)), false),
            MessageTooLarge,
        ),
        Row {
            connections: 2..=3,
            ..refused(
                "a command that the broker keeps",
                |stage| {
                    // Only to whoever subscribes later does it come as a retained one.
                    stage.broker.restart(false);
                    stage.publish("cmd", r#"{"id":"1","cmd":"reboot"}"#, true);
                },
                RetainedCommand,
            )
        },
        Row {
            starts: TWO_STARTS + 1,
            ..done(
                "a restart that is ordered four times under one id",
                |stage| {
                    let order = r#"{"id":"restart-1","cmd":"reboot"}"#;
                    for _ in 0..3 {
                        stage.publish("cmd", order, false);
                    }
                    stage.world.run_for(20 * SECOND);
                    stage.publish("cmd", order, false);
                },
                2..=3,
            )
        },
        done(
            "a command to cancel what is not there",
            |stage| stage.publish("cmd", r#"{"id":"1","cmd":"cancel"}"#, false),
            1..=2,
        ),
        done(
            "a thousand commands to show itself",
            |stage| {
                for id in 0..1000 {
                    stage.publish("cmd", format!(r#"{{"id":"{id}","cmd":"identify"}}"#), false);
                }
            },
            1..=3,
        ),
        done(
            "a thousand wishes that are none",
            |stage| {
                for _ in 0..1000 {
                    stage.publish("desired", "{", true);
                }
            },
            1..=3,
        ),
        done(
            "five hundred wishes, each for something else",
            |stage| {
                for number in 0..500 {
                    let wish = format!(r#"{{"job":"w{number}","url":"http://files/{number}"}}"#);
                    stage.publish("desired", wish, true);
                }
            },
            1..=3,
        ),
        done(
            "the same wish a thousand times",
            |stage| {
                for _ in 0..1000 {
                    stage.wish("app", "/app.otaria");
                }
            },
            1..=3,
        ),
        Row {
            // One was begun between a wish and its withdrawal.
            downloads: 1..=2,
            ..done(
                "wishes and their withdrawal, two hundred times",
                |stage| {
                    for _ in 0..200 {
                        stage.wish("app", "/app.otaria");
                        stage.publish("desired", "", true);
                    }
                },
                1..=3,
            )
        },
        done(
            "keys that this version does not know",
            |stage| stage.publish("keys", vec![0xA5; 1500], true),
            1..=2,
        ),
    ]
}
