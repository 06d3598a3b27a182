//! `otaria serve` with packages elsewhere than in its directory: what is wrong is said at the start.

use std::net::TcpListener;
use std::process::Command;

/// What `otaria serve` says that does not start, and how it ends.
fn refused(arguments: &[&str], endpoint: &str) -> (Option<i32>, String) {
    let data = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_otaria"))
        .args([
            "serve",
            "--http",
            "127.0.0.1:0",
            "--mqtt-listen",
            "127.0.0.1:0",
        ])
        .arg("--data")
        .arg(data.path())
        .args(arguments)
        .env("OTARIA_CONFIG", data.path().join("logins"))
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", "AKTEST")
        .env("AWS_SECRET_ACCESS_KEY", "hush-hush")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!text.contains("hush-hush"), "{text}");
    (output.status.code(), text)
}

#[test]
fn a_place_for_packages_that_cannot_be_used_is_named_with_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let bucket = "s3://packages/ota";
    for (arguments, endpoint, code, words) in [
        (
            &["--packages", bucket][..],
            nobody.as_str(),
            1,
            "check AWS_ENDPOINT_URL",
        ),
        (
            &["--packages", "s3://Packages"],
            &nobody,
            2,
            "no name of a bucket",
        ),
        (
            &["--packages", "http://s3.lan/packages"],
            &nobody,
            2,
            "s3://BUCKET",
        ),
        (
            &["--downloads-by", "redirect"],
            &nobody,
            1,
            "--packages s3://",
        ),
        (&["--packages-cdn", "cdn.test"], &nobody, 1, "'cdn.test'"),
        (
            &[
                "--packages",
                bucket,
                "--downloads-by",
                "redirect",
                "--public-url",
                "https://ota.test",
            ],
            "http://s3.test",
            1,
            "none goes from https to http",
        ),
    ] {
        let (ended, text) = refused(arguments, endpoint);
        assert_eq!(ended, Some(code), "{text}");
        assert!(text.contains(words), "{text}");
    }
}
