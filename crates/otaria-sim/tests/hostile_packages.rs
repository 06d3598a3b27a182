//! Packages that are wrong in exactly one way, offered to a device over MQTT and HTTP.
//!
//! [`otaria_package::testing`] makes them and says which code is due and how far a device gets. This table adds what a device then
//! does about it: how it reports, how often it asks for the file, and what it may do to the slot. After each row the old image
//! runs, the bootloader would start it again, nothing was asked for in the next hour that should not be, and a good update
//! succeeds.

mod stage;

use otaria_package::keys::PrivateKey as _;
use otaria_package::pack::CodecChoice;
use otaria_package::testing::{BadPackage, Material, Stage as Reached, Target};
use otaria_wire::Sha256Digest;
use otaria_wire::messages::{EventKind, FailureCode};
use stage::{
    FIRST_SEQUENCE, MINUTE, Plan, SlotOps, Stage, decryption_key, play, release, strangers_key,
    trusted_key,
};

const IMAGE_LEN: usize = 20_480;

/// What a device does about a package that has this code.
struct Due {
    /// The event that ends the job; `None` if the device keeps trying, hourly after the ninth try.
    end: Option<EventKind>,
    /// Requests until then.
    requests: usize,
    /// How often the slot may be filled from start to end.
    fillings: usize,
}

fn due(code: FailureCode, reached: Reached) -> Due {
    use FailureCode as Code;
    let (end, requests) = match code {
        // Damaged on the way, perhaps: another two times.
        Code::TableHash | Code::RecipientsHash | Code::LengthMismatch => {
            (Some(EventKind::Failed), 3)
        }
        // The block alone is asked for again.
        Code::BlockHash => (Some(EventKind::Failed), 2),
        // Damaged in flash, perhaps: all blocks once more.
        Code::ImageHash => (Some(EventKind::Failed), 2),
        // Such a file may still be growing.
        Code::EarlyClose => (None, 9),
        // The signer vouches for what cannot be used.
        Code::TableMalformed
        | Code::BlockLength
        | Code::Decode
        | Code::ContentKey
        | Code::Decrypt
        | Code::ImageMalformed
        | Code::DescriptorMismatch
        | Code::GuardMissing => (Some(EventKind::Failed), 1),
        _ => (Some(EventKind::Refused), 1),
    };
    let fillings = match reached {
        Reached::BeforeErase => 0,
        Reached::Blocks => 1,
        Reached::Image => requests,
    };
    Due {
        end,
        requests,
        fillings,
    }
}

/// A bad package, and what is said about it in the wish.
struct Row {
    package: BadPackage,
    wish: String,
}

fn rows() -> Vec<Row> {
    let (key, stranger) = (trusted_key(), strangers_key());
    let recipient = decryption_key().public_key();
    let image = release("1.1.0", IMAGE_LEN);
    let material = Material {
        image: &image,
        key: &key,
        stranger: &stranger,
        recipient: &recipient,
        target: Target {
            sequence_floor: FIRST_SEQUENCE,
            ..Target::default()
        },
    };
    let good = material.good(CodecChoice::Stored).expect("a good image");
    let declared = |name, code, more: String| Row {
        package: BadPackage {
            name,
            bytes: good.bytes.clone(),
            code,
            stage: Reached::BeforeErase,
            only_device: true,
        },
        wish: format!(r#"{{"job":"bad","url":"http://files/bad.otaria",{more}}}"#),
    };
    let other = Sha256Digest::of(b"another image");
    let mut rows = vec![
        declared(
            "another version than declared",
            FailureCode::DeclaredVersionDiffers,
            r#""version":"1.1.1""#.to_owned(),
        ),
        declared(
            "a version that was declared shorter",
            FailureCode::DeclaredVersionDiffers,
            r#""version":"1.1""#.to_owned(),
        ),
        declared(
            "another image than declared",
            FailureCode::DeclaredImageDiffers,
            format!(r#""image_sha256":"{other}""#),
        ),
    ];
    let bad = material.bad_packages().expect("a good image");
    rows.extend(bad.into_iter().map(|package| Row {
        package: as_served(package),
        wish: r#"{"job":"bad","url":"http://files/bad.otaria"}"#.to_owned(),
    }));
    rows
}

/// Our web server announces a file's length, and the device compares it as soon as it knows the table. A reader of the file alone
/// finds this one out only when the first block's digest is wrong.
fn as_served(package: BadPackage) -> BadPackage {
    match package.name {
        "a byte between table and blocks" => BadPackage {
            code: FailureCode::LengthMismatch,
            stage: Reached::BeforeErase,
            ..package
        },
        _ => package,
    }
}

fn offer(row: &Row) -> Result<(), String> {
    let BadPackage { code, stage, .. } = row.package;
    let due = due(code, stage);
    let lab = Stage::set(&Plan {
        image_len: IMAGE_LEN,
        ..Plan::default()
    });
    let before = lab.op_count();
    lab.put("/bad.otaria", row.package.bytes.clone());
    lab.publish("desired", &row.wish, true);

    let exhausted = |lab: &Stage| {
        lab.has(
            "bad",
            EventKind::Retrying,
            Some(FailureCode::RetriesExhausted),
        )
    };
    let over = |lab: &Stage| lab.end_of("bad").is_some() || exhausted(lab);
    if !lab.run_until(60 * MINUTE, over) {
        return Err(format!("no end: {}", lab.story()));
    }
    match (due.end, lab.end_of("bad")) {
        (Some(kind), Some(event)) if event.event == kind && event.failure() == Some(code) => {}
        (None, None) if lab.has("bad", EventKind::Retrying, Some(code)) => {}
        (_, found) => {
            return Err(format!("{code} is due, found {found:?}\n{}", lab.story()));
        }
    }
    let requests = lab.web.requests().len();
    if requests != due.requests {
        return Err(format!("{requests} requests\n{}", lab.story()));
    }
    if due.end.is_some() {
        lab.world.run_for(65 * MINUTE);
        if lab.web.requests().len() != requests {
            return Err(format!("it is asked for again\n{}", lab.story()));
        }
    }
    let ops = lab.slot_ops(before);
    let most = SlotOps {
        // The image has five sectors, or six if it was made longer: one block erase. Another try adds at most 8.
        erases: match due.fillings {
            0 => 0,
            _ => 1 + 8 * (due.requests - 1),
        },
        writes: 24 * due.fillings,
        written: (IMAGE_LEN as u64 + 4096) * due.fillings as u64,
    };
    if ops.erases > most.erases || ops.writes > most.writes || ops.written > most.written {
        return Err(format!("{ops:?}, at most {most:?} is due"));
    }
    lab.check("1.0.0")?;
    lab.later_update()
}

#[test]
fn every_bad_package_is_reported_by_its_code_and_harms_nothing() {
    let rows = rows();
    assert!(rows.len() >= 100);
    play(&rows, |row| row.package.name, offer);
}
