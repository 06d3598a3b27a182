//! Keys that change: what a device takes before, during and after. The root key is the one that the stage's device is provisioned
//! with; release keys come by key records over MQTT.

#[path = "stage/mod.rs"]
mod stage;

use otaria_package::cosign::cosign;
use otaria_package::key_record::Plan;
use otaria_package::keys::SigningKey;
use otaria_package::pack::{CodecChoice, Options, TimeStamp, pack};
use otaria_package::read::Trust;
use otaria_sim::flash::Timing;
use otaria_sim::net::{HostConfig, LinkConfig};
use otaria_wire::Sha256Digest;
use otaria_wire::journal::KeyEpoch;
use otaria_wire::messages::{EventKind, FailureCode, State};
use otaria_wire::package::{Header, SignedHeader};
use stage::{
    FIRST_SEQUENCE, MINUTE, Plan as Setting, SECOND, Stage, release, strangers_key, trusted_key,
};

const IMAGE_LEN: usize = 48 * 1024;

/// A key that nobody knows yet. Which one it is changes nothing that happens.
fn new_key() -> SigningKey {
    SigningKey::generate().expect("random numbers")
}

/// A record that this root key signed.
fn record_by(root: &SigningKey, epoch: u32, threshold: u8, keys: &[&SigningKey]) -> Vec<u8> {
    let plan = Plan {
        epoch,
        threshold,
        product: stage::PRODUCT.to_owned(),
        keys: keys.iter().map(|key| key.public_key()).collect(),
    };
    plan.sign(&[root]).expect("a record")
}

fn record(epoch: u32, keys: &[&SigningKey]) -> Vec<u8> {
    record_by(&trusted_key(), epoch, 1, keys)
}

/// A package of this release: sequences rise with `nth`.
fn package(version: &str, nth: u64, key: &SigningKey, cosigned: bool) -> Vec<u8> {
    package_of(&release(version, IMAGE_LEN), nth, key, cosigned)
}

fn package_of(image: &[u8], nth: u64, key: &SigningKey, cosigned: bool) -> Vec<u8> {
    let options = Options {
        codec: CodecChoice::Stored,
        cosigned,
        ..Options::new(TimeStamp {
            sequence: FIRST_SEQUENCE + nth,
            created: 1_800_000_000,
        })
    };
    pack(image, key, &options).expect("a good image").bytes
}

trait Keys {
    /// Offers a package under a job of this name.
    fn offer(&self, job: &str, package: Vec<u8>);

    /// Waits for the job's end, which has to be this.
    fn ends(&self, job: &str, kind: EventKind, code: Option<FailureCode>);

    fn update(&self, job: &str, package: Vec<u8>) {
        self.offer(job, package);
        self.ends(job, EventKind::Confirmed, None);
    }

    fn refuses(&self, job: &str, package: Vec<u8>, code: FailureCode) {
        self.offer(job, package);
        self.ends(job, EventKind::Refused, Some(code));
    }

    /// Publishes a key record and lets the device answer.
    fn publish_keys(&self, record: &[u8]);

    /// The epoch that the device reports.
    fn epoch(&self) -> u32;

    /// The refusals of key records so far.
    fn refused_records(&self) -> Vec<FailureCode>;
}

impl Keys for Stage {
    fn offer(&self, job: &str, package: Vec<u8>) {
        let path = format!("/{job}.otaria");
        self.put(&path, package);
        self.wish(job, &path);
    }

    fn ends(&self, job: &str, kind: EventKind, code: Option<FailureCode>) {
        let ended = self.run_until(30 * MINUTE, |stage| stage.end_of(job).is_some());
        assert!(ended, "{job} has no end\n{}", self.story());
        assert!(self.has(job, kind, code), "{job}\n{}", self.story());
    }

    fn publish_keys(&self, record: &[u8]) {
        self.publish("keys", record, true);
        self.world.run_for(2 * SECOND);
    }

    fn epoch(&self) -> u32 {
        let state = self.broker.received("/state").pop().expect("a state");
        let state: State = serde_json::from_slice(&state.payload).expect("a state");
        state.keys.expect("keys in the state").epoch
    }

    fn refused_records(&self) -> Vec<FailureCode> {
        let refused = self.events().into_iter();
        refused
            .filter(|event| event.event == EventKind::Refused && event.job.is_none())
            .filter_map(|event| event.failure())
            .collect()
    }
}

#[test]
fn after_a_rotation_the_old_key_is_refused_and_nothing_old_comes_back() {
    let stage = Stage::new();
    let (root, first, second) = (trusted_key(), new_key(), new_key());
    stage.update("by-root", package("1.1.0", 1, &root, false));

    stage.publish_keys(&record(1, &[&first]));
    assert_eq!(stage.epoch(), 1);
    let unknown = FailureCode::UnknownKey;
    stage.refuses("by-root-again", package("1.2.0", 2, &root, false), unknown);
    let shipped = package("1.2.0", 3, &first, false);
    stage.update("by-first", shipped.clone());

    stage.publish_keys(&record(2, &[&second]));
    stage.refuses(
        "by-first-again",
        package("1.3.0", 4, &first, false),
        unknown,
    );
    stage.update("by-second", package("1.3.0", 5, &second, false));

    // Whoever has the broker sends again what it once was right to take: the old record, the old packages.
    stage.publish_keys(&record(1, &[&first]));
    assert_eq!(stage.epoch(), 2);
    assert_eq!(stage.refused_records(), [FailureCode::KeysEpoch]);
    stage.refuses("replayed", shipped, unknown);
    let older = package("1.2.0", 3, &second, false);
    stage.refuses("older", older, FailureCode::SequenceNotHigher);
    stage.check("1.3.0").unwrap();
}

#[test]
fn a_record_that_no_root_key_signed_changes_nothing() {
    let stage = Stage::new();
    let (root, stranger) = (trusted_key(), strangers_key());
    let other_product = Plan {
        epoch: 1,
        threshold: 1,
        product: "valve".to_owned(),
        keys: vec![stranger.public_key()],
    };
    let mut damaged = record(1, &[&stranger]);
    *damaged.last_mut().unwrap() ^= 1;
    let rows = [
        (b"keys".to_vec(), FailureCode::KeysMalformed),
        (
            other_product.sign(&[&root]).unwrap(),
            FailureCode::KeysProduct,
        ),
        (
            record_by(&stranger, 1, 1, &[&stranger]),
            FailureCode::KeysUnknownRoot,
        ),
        (damaged, FailureCode::KeysBadSignature),
    ];
    let mut expected = Vec::new();
    for (record, code) in rows {
        stage.publish_keys(&record);
        expected.push(code);
        assert_eq!(stage.refused_records(), expected);
        assert_eq!(stage.epoch(), 0);
    }
    // What is retained is cleared: nothing is taken back by that, and nothing given.
    stage.publish_keys(b"");
    assert_eq!(stage.refused_records(), expected);
    stage.update("by-root", package("1.1.0", 1, &root, false));
}

#[test]
fn a_record_that_comes_behind_too_many_forged_ones_is_not_lost_without_a_word() {
    let stage = Stage::new();
    let release = new_key();
    for nth in 0..40 {
        let mut forged = record(1 + nth, &[&release]);
        *forged.last_mut().unwrap() ^= 1;
        stage.publish("keys", forged, false);
    }
    stage.publish_keys(&record(1, &[&release]));
    assert_eq!(stage.epoch(), 0);
    let refused = stage.refused_records();
    assert_eq!(refused.last(), Some(&FailureCode::KeysTooMany));
    // So many signatures were checked, and no more.
    let checked = |code: &&FailureCode| **code == FailureCode::KeysBadSignature;
    assert!(refused.iter().filter(checked).count() <= 21, "{refused:?}");
    stage.world.run_for(MINUTE);
    stage.publish_keys(&record(1, &[&release]));
    assert_eq!(stage.epoch(), 1);
}

#[test]
fn other_messages_keep_no_key_record_away() {
    let stage = Stage::new();
    let release = new_key();
    for nth in 0..40 {
        let command = format!(r#"{{"id":"{nth}","cmd":"identify"}}"#);
        stage.publish("cmd", command, false);
    }
    stage.publish_keys(&record(1, &[&release]));
    assert_eq!(stage.epoch(), 1);
}

#[test]
fn a_damaged_record_is_reported_at_boot_and_nobody_signs_until_it_comes_again() {
    let stage = Stage::new();
    let release = new_key();
    let good = record(1, &[&release]);
    stage.publish_keys(&good);
    stage.publish("keys", "", true);
    stage.device.cut_power();
    stage.world.run_for(SECOND);
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    stage.write_journal(&KeyEpoch {
        record: damaged.iter().copied().collect(),
    });
    stage.device.plug_in();
    stage.world.run_for(10 * SECOND);
    assert_eq!(stage.refused_records(), [FailureCode::KeysBadSignature]);
    let by_root = package("1.1.0", 1, &trusted_key(), false);
    stage.refuses("by-root", by_root, FailureCode::UnknownKey);
    stage.publish_keys(&good);
    stage.update("by-release", package("1.1.0", 2, &release, false));
}

#[test]
fn a_package_that_brings_its_own_key_is_refused() {
    let stage = Stage::new();
    let stranger = strangers_key();
    // By all the ways in which it could: the key id in the header, a co-signature, a key record, the key's bytes.
    stage.publish_keys(&record_by(&stranger, 9, 1, &[&stranger]));
    let mut own = package("1.1.0", 1, &stranger, true);
    own = cosign(&own, Trust::Anyone, &new_key()).unwrap();
    own.extend(stranger.public_key().to_sec1());
    stage.refuses("own-key", own, FailureCode::UnknownKey);
    assert_eq!(stage.slot_ops(0).total(), 0);
    stage.check("1.0.0").unwrap();
}

#[test]
fn keys_outlive_a_power_cut_and_need_no_broker_to_do_so() {
    let stage = Stage::new();
    let first = new_key();
    stage.publish("keys", record(1, &[&first]), false);
    stage.world.run_for(2 * SECOND);
    stage.device.cut_power();
    stage.world.run_for(SECOND);
    stage.device.plug_in();
    stage.world.run_for(10 * SECOND);
    assert_eq!(stage.epoch(), 1);
    let by_root = package("1.1.0", 1, &trusted_key(), false);
    stage.refuses("by-root", by_root, FailureCode::UnknownKey);
    // The image that comes by the new key goes by it, too.
    stage.update("by-first", package("1.1.0", 2, &first, false));
    stage.update("by-first-too", package("1.2.0", 3, &first, false));
    assert_eq!(stage.epoch(), 1);
}

#[test]
fn a_package_that_came_before_its_key_is_looked_at_again() {
    let stage = Stage::new();
    let first = new_key();
    let early = package("1.1.0", 1, &first, false);
    stage.refuses("early", early, FailureCode::UnknownKey);
    stage.publish_keys(&record(1, &[&first]));
    let confirmed = |stage: &Stage| stage.has("early", EventKind::Confirmed, None);
    assert!(stage.run_until(10 * MINUTE, confirmed), "{}", stage.story());
    stage.check("1.1.0").unwrap();
}

/// A stage whose device downloads for a minute.
fn slow() -> Stage {
    let mut network = HostConfig::device();
    network.link = LinkConfig {
        bits_per_second: 40_000,
        ..LinkConfig::WIFI
    };
    Stage::set(&Setting {
        network,
        ..Setting::default()
    })
}

#[test]
fn a_download_whose_key_is_revoked_is_stopped_before_activation() {
    let stage = slow();
    let (first, second) = (new_key(), new_key());
    stage.publish_keys(&record(1, &[&first]));
    let image = release("1.1.0", 160 * 1024);
    stage.offer("revoked", package_of(&image, 1, &first, false));
    let begun = stage.run_until(5 * MINUTE, |stage| stage.slot_ops(0).writes > 0);
    assert!(begun, "{}", stage.story());
    stage.publish_keys(&record(2, &[&second]));
    stage.ends(
        "revoked",
        EventKind::Cancelled,
        Some(FailureCode::KeyRevoked),
    );
    assert!(!stage.has("revoked", EventKind::Activated, None));
    stage.check("1.0.0").unwrap();
    stage.update("by-second", package("1.2.0", 2, &second, false));
    stage.check("1.2.0").unwrap();
}

#[test]
fn a_download_goes_on_when_its_key_stays() {
    let stage = slow();
    let (first, second) = (new_key(), new_key());
    stage.publish_keys(&record(1, &[&first]));
    let image = release("1.1.0", 160 * 1024);
    stage.offer("kept", package_of(&image, 1, &first, false));
    stage.run_until(5 * MINUTE, |stage| stage.slot_ops(0).writes > 0);
    stage.publish_keys(&record(2, &[&second, &first]));
    stage.ends("kept", EventKind::Confirmed, None);
    assert_eq!(
        stage.web.requests().len(),
        2,
        "one GET, and the trial's probe"
    );
}

#[test]
fn a_key_that_is_revoked_while_the_image_is_read_back_activates_nothing() {
    // Flash so slow that reading the image back takes six seconds.
    let stage = Stage::set(&Setting {
        timing: Timing {
            read_bytes_per_second: 8_000,
            ..Timing::INSTANT
        },
        image_len: IMAGE_LEN,
        ..Setting::default()
    });
    let (first, second) = (new_key(), new_key());
    stage.publish_keys(&record(1, &[&first]));
    stage.offer("revoked", package("1.1.0", 1, &first, false));
    let downloaded = |stage: &Stage| stage.has("revoked", EventKind::Downloaded, None);
    assert!(stage.run_until(MINUTE, downloaded), "{}", stage.story());
    stage.publish_keys(&record(2, &[&second]));
    let verified = |stage: &Stage| stage.has("revoked", EventKind::Verified, None);
    assert!(!verified(&stage), "too late to test anything");
    stage.ends(
        "revoked",
        EventKind::Cancelled,
        Some(FailureCode::KeyRevoked),
    );
    assert!(verified(&stage), "too early to test anything");
    assert!(!stage.has("revoked", EventKind::Activated, None));
    stage.check("1.0.0").unwrap();
}

#[test]
fn a_key_that_is_revoked_while_the_rest_is_asked_for_brings_nothing_more_into_flash() {
    let stage = slow();
    let (first, second) = (new_key(), new_key());
    stage.publish_keys(&record(1, &[&first]));
    let image = release("1.1.0", 160 * 1024);
    stage.offer("revoked", package_of(&image, 1, &first, false));
    stage.run_until(5 * MINUTE, |stage| stage.slot_ops(0).writes > 100);
    stage.device.cut_power();
    stage.web_host.set_black_hole(true);
    stage.world.run_for(SECOND);
    stage.device.plug_in();
    stage.world.run_for(3 * SECOND);
    stage.publish_keys(&record(2, &[&second]));
    assert_eq!(stage.epoch(), 2, "{}", stage.story());
    let before = stage.op_count();
    stage.web_host.set_black_hole(false);
    stage.ends(
        "revoked",
        EventKind::Cancelled,
        Some(FailureCode::KeyRevoked),
    );
    assert_eq!(stage.slot_ops(before).total(), 0, "{}", stage.story());
}

/// A device that asks for two signatures of two keys.
fn two_of_two(stage: &Stage) -> (SigningKey, SigningKey) {
    let (first, second) = (new_key(), new_key());
    stage.publish_keys(&record_by(&trusted_key(), 1, 2, &[&first, &second]));
    assert_eq!(stage.epoch(), 1);
    (first, second)
}

#[test]
fn one_key_that_signs_twice_counts_once() {
    let stage = Stage::new();
    let (first, _) = two_of_two(&stage);
    let too_few = FailureCode::NotEnoughSignatures;
    stage.refuses("alone", package("1.1.0", 1, &first, false), too_few);

    // The packager does not do it, so it is done by hand: the signer's own signature once more.
    let meant = package("1.1.0", 2, &first, true);
    let signed = SignedHeader::parse(&meant).unwrap();
    let at = meant.len() - IMAGE_LEN - 1;
    let own = [&[1][..], &signed.key_id().0, signed.signature()].concat();
    let twice = [&meant[..at], &own, &meant[at + 1..]].concat();
    stage.refuses("twice", twice, FailureCode::BadSignature);
    let stranger = cosign(&meant, Trust::Anyone, &strangers_key()).unwrap();
    stage.refuses("with-a-stranger", stranger, too_few);
    assert_eq!(stage.slot_ops(0).total(), 0);
}

#[test]
fn two_keys_that_sign_are_two_and_a_bad_co_signature_is_none() {
    let stage = Stage::new();
    let (first, second) = two_of_two(&stage);
    let meant = package("1.1.0", 1, &first, true);
    let mut bad = cosign(&meant, Trust::Anyone, &second).unwrap();
    let last = bad.len() - IMAGE_LEN - 1;
    bad[last] ^= 1;
    stage.refuses("bad", bad, FailureCode::BadSignature);
    // Whoever else has signed it does not matter.
    let stranger = cosign(&meant, Trust::Anyone, &strangers_key()).unwrap();
    let cosigned = cosign(&stranger, Trust::Anyone, &second).unwrap();
    stage.update("both", cosigned);
    stage.check("1.1.0").unwrap();
}

#[test]
fn a_co_signed_download_is_gone_on_with_after_a_power_cut() {
    let stage = slow();
    let (first, second) = two_of_two(&stage);
    let image = release("1.1.0", 160 * 1024);
    let package = cosign(&package_of(&image, 1, &first, true), Trust::Anyone, &second).unwrap();
    stage.offer("cut", package);
    stage.run_until(5 * MINUTE, |stage| stage.slot_ops(0).writes > 100);
    stage.device.cut_power();
    stage.world.run_for(SECOND);
    stage.device.plug_in();
    stage.ends("cut", EventKind::Confirmed, None);
    let ranges: Vec<_> = stage
        .web
        .requests()
        .iter()
        .map(|ask| ask.range_from)
        .collect();
    assert!(ranges.iter().any(Option::is_some), "{ranges:?}");
    stage.check("1.1.0").unwrap();
}

#[test]
fn a_second_signature_that_is_asked_for_meanwhile_is_asked_of_the_download_too() {
    let stage = slow();
    let (first, second) = (new_key(), new_key());
    stage.publish_keys(&record(1, &[&first, &second]));
    let image = release("1.1.0", 160 * 1024);
    for (job, epoch, cosigned) in [("alone", 2, false), ("both", 4, true)] {
        stage.publish_keys(&record(epoch, &[&first, &second]));
        let mut package = package_of(&image, u64::from(epoch), &first, cosigned);
        if cosigned {
            package = cosign(&package, Trust::Anyone, &second).unwrap();
        }
        let before = stage.slot_ops(0).writes;
        stage.offer(job, package);
        stage.run_until(5 * MINUTE, |stage| stage.slot_ops(0).writes > before);
        let stricter = record_by(&trusted_key(), epoch + 1, 2, &[&first, &second]);
        stage.publish_keys(&stricter);
        match cosigned {
            true => stage.ends(job, EventKind::Confirmed, None),
            false => stage.ends(
                job,
                EventKind::Refused,
                Some(FailureCode::NotEnoughSignatures),
            ),
        }
    }
    stage.check("1.1.0").unwrap();
}

#[test]
fn empty_and_short_signatures_digests_and_key_ids_are_refused() {
    let stage = Stage::new();
    let key = trusted_key();
    let good = package("1.1.0", 1, &key, false);
    // Cut off where a field begins, and in the middle of it: key id, image and table digest, signature.
    for end in [0, 8, 56, 60, 64, 80, 96, 112, 256, 288, 319] {
        stage.offer("short", good[..end].to_vec());
        stage.world.run_for(MINUTE);
    }
    assert_eq!(stage.slot_ops(0).total(), 0);
    let with = |change: fn(&mut Header)| {
        let mut header = SignedHeader::parse(&good).unwrap().untrusted().clone();
        change(&mut header);
        let signature = key.sign(&header.signed_message());
        let signed = SignedHeader::new(header, signature).unwrap();
        [&signed.to_bytes(), &good[320..]].concat()
    };
    let mut no_signature = good.clone();
    no_signature[256..320].fill(0);
    stage.refuses("no-signature", no_signature, FailureCode::BadSignature);
    let no_key = with(|header| header.key_id.0 = [0; 8]);
    stage.refuses("no-key", no_key, FailureCode::UnknownKey);
    let no_table = with(|header| header.table_sha256 = Sha256Digest::ZERO);
    stage.offer("no-table", no_table);
    stage.ends("no-table", EventKind::Failed, Some(FailureCode::TableHash));
    assert_eq!(stage.slot_ops(0).total(), 0);
    let no_image = with(|header| header.image_sha256 = Sha256Digest::ZERO);
    stage.offer("no-image", no_image);
    stage.ends("no-image", EventKind::Failed, Some(FailureCode::ImageHash));
    stage.check("1.0.0").unwrap();
}
