//! What is looked at before a key signs, and what is refused: `otaria cosign`, `otaria key rotate`, `otaria key revoke`.

mod desk;

use std::fs;

use desk::Desk;

/// Keys `first`, `second` and `third`, and a package of `first` that is meant to be co-signed.
fn desk() -> Desk {
    let desk = Desk::new();
    for key in ["first", "second", "third"] {
        desk.run(&format!("otaria keygen --no-passphrase --out {key}"));
    }
    desk.run("otaria package pump-1.0.0.bin --key first.pem --cosigned --out app.otaria");
    desk
}

/// Runs a line that has to end with 1; what it says.
fn refused(desk: &Desk, line: &str) -> String {
    let output = desk.shell(line).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{line}: {said}");
    said
}

fn read(desk: &Desk, file: &str) -> Vec<u8> {
    fs::read(desk.0.path().join(file)).unwrap()
}

#[test]
fn nobody_is_asked_to_co_sign_what_no_device_would_take() {
    let desk = desk();
    let good = read(&desk, "app.otaria");
    for (name, at) in [("header", 48), ("table", 330), ("block", good.len() - 1)] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(desk.0.path().join(format!("{name}.otaria")), bad).unwrap();
    }
    fs::write(desk.0.path().join("short.otaria"), &good[..good.len() - 9]).unwrap();
    fs::write(
        desk.0.path().join("long.otaria"),
        [&good[..], b"more"].concat(),
    )
    .unwrap();
    desk.run("otaria package pump-1.0.0.bin --key first.pem --out alone.otaria");
    desk.run("otaria package pump-1.0.0.bin --key third.pem --cosigned --out third.otaria");
    let key = "--public-key second.pub.pem --signer first.pub.pem";
    for (file, why) in [
        ("header", "the header was changed after signing"),
        ("table", "the block table (byte 320 on) is refused"),
        ("block", "is damaged"),
        ("short", "truncated"),
        ("long", "goes on for 4 more"),
        ("alone", "was not made to be co-signed"),
        ("third", "is signed by key"),
    ] {
        let asks = format!("otaria cosign {file}.otaria {key} --sign-with 'touch asked; false'");
        let said = refused(&desk, &asks);
        assert!(said.contains(why), "{file}: {said}");
        let asked = desk.0.path().join("asked").exists();
        assert!(!asked, "{file}: the signer was asked");
    }
    desk.run("otaria cosign app.otaria --key second.pem --signer first.pub.pem");
    let said = refused(&desk, "otaria cosign app.otaria --key second.pem");
    assert!(said.contains("has signed the package already"), "{said}");
    desk.run("otaria cosign app.otaria --key third.pem --signer first.pub.pem");
    desk.run("otaria verify app.otaria --key first.pub.pem");
}

#[test]
fn the_epoch_of_a_record_that_another_key_signed_is_not_gone_on_with() {
    let desk = desk();
    let rotate = "otaria key rotate --release third.pub.pem --product pump --out keys.bin";
    desk.run(&format!("{rotate} --root second.pem --epoch 4294967294"));
    let planted = read(&desk, "keys.bin");
    for epoch in ["", " --epoch 4294967295"] {
        let said = refused(&desk, &format!("{rotate} --root first.pem{epoch}"));
        assert!(said.contains("choose another --out"), "{said}");
        assert_eq!(read(&desk, "keys.bin"), planted);
    }
    // Signed by the other of two root keys it is as good as one's own.
    desk.run(&format!(
        "{rotate} --root first.pem --other-root second.pem"
    ));

    // A signature that is no longer that of what is above it.
    let kept = format!("{rotate} --root first.pem --out kept.bin").replace("--out keys.bin ", "");
    desk.run(&kept);
    let mut changed = read(&desk, "kept.bin");
    changed[13] ^= 1;
    fs::write(desk.0.path().join("kept.bin"), changed).unwrap();
    let said = refused(&desk, &kept);
    assert!(said.contains("was not signed by the root key"), "{said}");
}

#[test]
fn fewer_signatures_are_enough_only_if_somebody_says_so() {
    let desk = desk();
    let rotate = "otaria key rotate --root first.pem --product pump --out keys.bin";
    let both = "--release second.pub.pem --release third.pub.pem";
    desk.run(&format!("{rotate} {both} --threshold 2"));
    let two = read(&desk, "keys.bin");
    let threshold = 9;
    assert_eq!(two[threshold], 2);

    let revoke = "otaria key revoke keys.bin --root first.pem --key third.pub.pem";
    let said = refused(&desk, revoke);
    for words in ["1 key(s) would be left", "--release", "--threshold 1"] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(read(&desk, "keys.bin"), two);
    desk.run(&format!("{revoke} --threshold 1 --out one.bin"));
    assert_eq!(read(&desk, "one.bin")[threshold], 1);
    desk.run(&format!("{revoke} --release first.pub.pem --out other.bin"));
    assert_eq!(read(&desk, "other.bin")[threshold], 2);

    // A rotation that does not speak of it leaves it as it was.
    desk.run(&format!("{rotate} {both}"));
    assert_eq!(read(&desk, "keys.bin")[threshold], 2);
    let said = refused(&desk, &format!("{rotate} --release third.pub.pem"));
    assert!(said.contains("2 signatures"), "{said}");
}
