//! What a device is told over MQTT, and what a server is told by devices.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_wire::messages::{
    Command, Desired, Event, LogLine, Presence, Progress, State, from_json, to_json,
};
use otaria_wire::url::Url;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(desired)) = Desired::parse(bytes) {
        let _ = Url::parse(&desired.url);
    }
    let _ = Command::parse(bytes);
    let _ = from_json::<Presence>(bytes);
    let _ = from_json::<Progress>(bytes);
    let _ = from_json::<LogLine>(bytes);
    if let Ok(event) = from_json::<Event>(bytes) {
        let mut buffer = [0; 4096];
        let text = to_json(&event, &mut buffer).expect("what was read can be written");
        assert_eq!(
            from_json::<Event>(text).expect("what was written can be read"),
            event
        );
    }
    let _ = from_json::<State>(bytes);
});
