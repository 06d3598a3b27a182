//! Espressif's own tool agrees that the images here are good. It ends with 0 either way, so what it prints is read.

mod common;

use common::esptool::image_info;
use common::python_has;
use otaria_sim::images::{DEMO_ESP32C3, Stamp};
use otaria_wire::esp_image;

#[test]
fn esptool_finds_the_demo_image_and_its_releases_valid() {
    if !python_has("esptool") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let releases = [
        DEMO_ESP32C3.to_vec(),
        Stamp::new("1.1.0").size(65_536).image(),
        Stamp::new("1.2.0")
            .behaviour("crash")
            .secure_version(9)
            .size(262_144)
            .image(),
    ];
    for image in releases {
        esp_image::check(&image).expect("our own check agrees");
        let verdict = image_info(&image, dir.path());
        assert_eq!(
            (verdict.checksum.as_str(), verdict.hash.as_str()),
            ("valid", "valid")
        );
    }
}

#[test]
fn esptool_finds_a_flipped_byte() {
    if !python_has("esptool") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let good = Stamp::new("1.1.0").size(8192).image();
    let flipped = |at: usize| {
        let mut image = good.clone();
        image[at] ^= 1;
        image_info(&image, dir.path())
    };
    let data = flipped(5000);
    assert_ne!(data.checksum, "valid");
    assert_ne!(data.hash, "valid");
    let hash = flipped(good.len() - 1);
    assert_eq!(hash.checksum, "valid");
    assert_ne!(hash.hash, "valid");
}
