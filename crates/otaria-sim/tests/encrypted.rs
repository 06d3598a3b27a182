//! Encrypted packages, from the packager to the confirmed image, over MQTT and HTTP.
//!
//! What is damaged or sealed wrongly is in `hostile_packages`; power that goes at every flash command in `power_cuts`, story
//! `encrypted`. Here: who can read a package, and that a download which breaks off anywhere is gone on with.

mod stage;

use embedded_storage::nor_flash::ReadNorFlash as _;
use otaria_device::encryption::DecryptionKeys;
use otaria_package::keys::{DecryptionKey, PrivateKey as _, PublicKey};
use otaria_package::pack::{CodecChoice, Options, Package, TimeStamp, pack};
use otaria_sim::device::Settings;
use otaria_sim::peers::web::Act;
use otaria_wire::messages::{EventKind, FailureCode};
use otaria_wire::package::{
    HEADER_LEN, RECIPIENT_LEN, Recipient, TABLE_ENTRY_LEN, key_associated_data,
};
use stage::{FIRST_SEQUENCE, MINUTE, Plan, SECOND, Stage, decryption_key, play, release};

const IMAGE_LEN: usize = 20_480;
const BLOCK_LEN: usize = 4096;
const BLOCKS: usize = IMAGE_LEN / BLOCK_LEN;
const PATH: &str = "/app.otaria";

fn stage(settings: fn(&mut Settings)) -> Stage {
    Stage::set(&Plan {
        image_len: IMAGE_LEN,
        settings,
        ..Plan::default()
    })
}

/// Release 1.1.0, encrypted to these keys.
fn sealed(stage: &Stage, to: &[PublicKey], codec: CodecChoice) -> Package {
    let options = Options {
        codec,
        block_len: BLOCK_LEN as u32,
        encrypt_to: to.to_vec(),
        ..Options::new(TimeStamp {
            sequence: FIRST_SEQUENCE + 1,
            created: 1_800_000_000,
        })
    };
    pack(&release("1.1.0", IMAGE_LEN), &stage.key, &options).expect("a good image")
}

fn to_the_device() -> [PublicKey; 1] {
    [decryption_key().public_key()]
}

/// The content key, by the RFC's own crate.
fn content_key(package: &Package) -> Vec<u8> {
    use hpke::aead::ChaCha20Poly1305;
    use hpke::kdf::HkdfSha256;
    use hpke::kem::DhP256HkdfSha256 as Kem;
    use hpke::{Deserializable as _, OpModeR};
    let at = HEADER_LEN + package.header.table_len as usize;
    let own: [u8; RECIPIENT_LEN] = package.bytes[at..at + RECIPIENT_LEN].try_into().unwrap();
    let own = Recipient::parse(&own);
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
        &OpModeR::Base,
        &<Kem as hpke::Kem>::PrivateKey::from_bytes(&*decryption_key().to_scalar()).unwrap(),
        &<Kem as hpke::Kem>::EncappedKey::from_bytes(&own.encapsulated).unwrap(),
        b"otaria content key v1",
        &own.sealed_key,
        &key_associated_data(&package.header.encode()),
    )
    .expect("it is sealed to the device")
}

/// Whether the bytes of `needle` lie anywhere in `hay`.
fn lies_in(needle: &[u8], hay: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

fn is_in_flash(stage: &Stage, secret: &[u8]) -> bool {
    let flash = stage.device.flash();
    lies_in(secret, &flash.peek(0, flash.capacity()))
}

fn is_confirmed(stage: &Stage) -> bool {
    stage.has("app", EventKind::Confirmed, None) && stage.running().as_deref() == Some("1.1.0")
}

/// Lets the web server close the first connection after so many bytes of the package.
fn cut_first_answer(stage: &Stage, bytes: &[u8], after: usize) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
    let mut answer = Some([head.as_bytes(), &bytes[..after]].concat());
    stage
        .web
        .set_script(Box::new(move |_| Some(vec![Act::Send(answer.take()?)])));
}

struct Cut {
    name: String,
    after: usize,
    /// Blocks that the device has whole by then.
    whole: usize,
    /// The device loses its power, too.
    power: bool,
}

fn cuts(package: &Package) -> Vec<Cut> {
    let table_at = HEADER_LEN;
    let recipients_at = table_at + BLOCKS * TABLE_ENTRY_LEN;
    let blocks_at = recipients_at + RECIPIENT_LEN;
    let mut places = vec![
        ("in the header".to_owned(), 100, 0),
        ("in the table".to_owned(), table_at + 40, 0),
        ("before the recipients".to_owned(), recipients_at, 0),
        ("in the recipients".to_owned(), recipients_at + 60, 0),
        ("before block 0".to_owned(), blocks_at, 0),
    ];
    let stored = package.bytes[table_at..recipients_at].as_chunks::<TABLE_ENTRY_LEN>();
    let mut at = blocks_at;
    for (index, entry) in stored.0.iter().enumerate() {
        let len = u32::from_le_bytes(*entry.first_chunk().unwrap()) as usize;
        places.push((format!("in block {index}"), at + len / 2, index));
        places.push((format!("in the tag of block {index}"), at + len - 3, index));
        at += len;
        places.push((format!("behind block {index}"), at, index + 1));
    }
    assert_eq!(at, package.bytes.len());
    // Behind the last block nothing is missing.
    places.pop();
    let both = |(name, after, whole): (String, usize, usize)| {
        [false, true].map(|power| Cut {
            name: format!("{name}{}", if power { ", and power" } else { "" }),
            after,
            whole,
            power,
        })
    };
    places.into_iter().flat_map(both).collect()
}

fn go_on_after(cut: &Cut) -> Result<(), String> {
    let stage = stage(|_| {});
    let package = sealed(&stage, &to_the_device(), CodecChoice::Deflate);
    let secret = content_key(&package);
    stage.put(PATH, package.bytes.clone());
    cut_first_answer(&stage, &package.bytes, cut.after);
    stage.wish("app", PATH);
    let broken_off = |stage: &Stage| stage.has("app", EventKind::Retrying, None);
    if !stage.run_until(MINUTE, broken_off) {
        return Err(format!("it does not break off: {}", stage.story()));
    }
    if is_in_flash(&stage, &secret) {
        return Err("the content key lies in flash".to_owned());
    }
    if cut.power {
        stage.device.press_reset();
    }
    if !stage.run_until(10 * MINUTE, is_confirmed) {
        return Err(format!("it is not gone on with: {}", stage.story()));
    }
    let asked = stage.web.requests();
    let from = asked.get(1).and_then(|request| request.range_from);
    match (cut.whole, from) {
        (0, _) | (_, Some(1..)) => {}
        (whole, from) => return Err(format!("{whole} blocks were held, but {from:?} asked for")),
    }
    if is_in_flash(&stage, &secret) {
        return Err("the content key is left in flash".to_owned());
    }
    stage.check("1.1.0")
}

#[test]
fn a_download_that_breaks_off_anywhere_is_gone_on_with_and_confirmed() {
    let package = sealed(&stage(|_| {}), &to_the_device(), CodecChoice::Deflate);
    play(&cuts(&package), |cut| &cut.name, go_on_after);
}

#[test]
fn what_lies_on_the_server_tells_nothing_of_the_image() {
    let stage = stage(|_| {});
    let plain = release("1.1.0", IMAGE_LEN);
    for codec in [CodecChoice::Stored, CodecChoice::Deflate] {
        let package = sealed(&stage, &to_the_device(), codec);
        let again = sealed(&stage, &to_the_device(), codec);
        let open = {
            let options = Options {
                codec,
                block_len: BLOCK_LEN as u32,
                ..Options::new(TimeStamp {
                    sequence: 1,
                    created: 1,
                })
            };
            pack(&plain, &stage.key, &options).unwrap()
        };
        let blocks_at = package.bytes.len() - package.stored_len() as usize;
        let (sealed, again) = (&package.bytes[blocks_at..], &again.bytes[blocks_at..]);
        let encoded = &open.bytes[open.bytes.len() - open.stored_len() as usize..];
        for piece in encoded
            .chunks_exact(16)
            .step_by(7)
            .chain(plain.chunks_exact(16).step_by(7))
        {
            let is_padding = piece.iter().all(|byte| *byte == piece[0]);
            assert!(is_padding || !lies_in(piece, sealed), "{piece:x?}");
        }
        // Another content key each time, so not even that it is the same image can be seen in the blocks.
        assert!(
            sealed
                .chunks_exact(16)
                .zip(again.chunks_exact(16))
                .all(|(one, two)| one != two)
        );
    }
}

/// A device, a package, and what becomes of it.
struct Row {
    name: &'static str,
    settings: fn(&mut Settings),
    to: fn() -> Vec<PublicKey>,
    /// `None`: it is confirmed.
    refused: Option<FailureCode>,
}

fn somebody() -> PublicKey {
    DecryptionKey::generate().expect("randomness").public_key()
}

fn keys(scalars: &[[u8; 32]]) -> DecryptionKeys {
    let mut keys = DecryptionKeys::new();
    for scalar in scalars {
        keys.add(scalar).expect("a scalar");
    }
    keys
}

const ROWS: &[Row] = &[
    Row {
        name: "a device without a key",
        settings: |settings| settings.decryption = keys(&[]),
        to: || to_the_device().to_vec(),
        refused: Some(FailureCode::NotARecipient),
    },
    Row {
        name: "a device with another key",
        settings: |settings| settings.decryption = keys(&[[1; 32], [2; 32]]),
        to: || to_the_device().to_vec(),
        refused: Some(FailureCode::NotARecipient),
    },
    Row {
        name: "a key of its own beside the product's",
        settings: |settings| {
            settings.decryption = keys(&[[1; 32], *decryption_key().to_scalar()]);
        },
        to: || to_the_device().to_vec(),
        refused: None,
    },
    Row {
        name: "one of many devices",
        settings: |_| {},
        to: || {
            let others = (0..299).map(|_| somebody());
            others.chain(to_the_device()).collect()
        },
        refused: None,
    },
    Row {
        name: "a device that demands encryption gets it",
        settings: |settings| settings.require_encryption = true,
        to: || to_the_device().to_vec(),
        refused: None,
    },
    Row {
        name: "a device that demands encryption is offered a plain package",
        settings: |settings| settings.require_encryption = true,
        to: Vec::new,
        refused: Some(FailureCode::EncryptionRequired),
    },
];

fn offer(row: &Row) -> Result<(), String> {
    let stage = stage(row.settings);
    let package = sealed(&stage, &(row.to)(), CodecChoice::Auto);
    stage.put(PATH, package.bytes);
    let before = stage.op_count();
    stage.wish("app", PATH);
    let Some(code) = row.refused else {
        if !stage.run_until(10 * MINUTE, is_confirmed) {
            return Err(stage.story());
        }
        return stage.check("1.1.0");
    };
    if !stage.run_until(MINUTE, |stage| stage.end_of("app").is_some()) {
        return Err(format!("no end: {}", stage.story()));
    }
    if !stage.has("app", EventKind::Refused, Some(code)) {
        return Err(format!("{code} is due: {}", stage.story()));
    }
    stage.world.run_for(10 * SECOND);
    match stage.slot_ops(before).total() {
        0 => stage.check("1.0.0"),
        touched => Err(format!("{touched} commands on the slot")),
    }
}

#[test]
fn who_may_read_a_package_takes_it_and_everybody_else_says_why_not() {
    play(ROWS, |row| row.name, offer);
}
