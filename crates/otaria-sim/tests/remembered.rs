//! What a device knows after a power cut, and what it may forget.

#[path = "stage/mod.rs"]
mod stage;

use otaria_package::pack::CodecChoice;
use otaria_wire::messages::{EventKind, FailureCode};
use stage::{MINUTE, SECOND, Stage};

const IMAGE_LEN: usize = 100 * 1024;

/// A stage with a package, whose server cannot be reached.
fn server_away() -> Stage {
    let stage = Stage::new();
    let package = stage.package("1.1.0", IMAGE_LEN, CodecChoice::Stored);
    stage.put("/app.otaria", package.bytes);
    stage.web_host.set_black_hole(true);
    stage
}

/// Power goes for a minute; after that the server is there.
fn power_cut(stage: &Stage) {
    stage.device.cut_power();
    stage.world.run_for(MINUTE);
    stage.all_is_well();
    stage.device.plug_in();
}

#[test]
fn no_refused_message_makes_a_device_forget_a_wish_that_only_its_journal_has() {
    for (topic, message) in [
        ("cmd", "no command"),
        ("desired", "{"),
        ("desired", "ftp://files/a"),
    ] {
        let stage = server_away();
        stage.publish(
            "desired",
            r#"{"job":"app","url":"http://files/app.otaria"}"#,
            false,
        );
        stage.world.run_for(5 * SECOND);
        stage.publish(topic, message, false);
        stage.world.run_for(5 * SECOND);
        power_cut(&stage);
        let confirmed = |stage: &Stage| stage.has("app", EventKind::Confirmed, None);
        assert!(
            stage.run_until(10 * MINUTE, confirmed),
            "after {message:?}\n{}",
            stage.story()
        );
        stage.check("1.1.0").unwrap();
    }
}

#[test]
fn what_a_wish_declares_holds_after_a_power_cut() {
    let stage = server_away();
    let wish = r#"{"job":"app","url":"http://files/app.otaria","version":"9.9.9"}"#;
    stage.publish("desired", wish, false);
    stage.world.run_for(5 * SECOND);
    power_cut(&stage);
    let over = |stage: &Stage| stage.end_of("app").is_some();
    assert!(stage.run_until(10 * MINUTE, over), "{}", stage.story());
    let end = stage.end_of("app").unwrap();
    assert_eq!(end.failure(), Some(FailureCode::DeclaredVersionDiffers));
    stage.check("1.0.0").unwrap();
}
