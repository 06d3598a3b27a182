//! URLs from a broker, and the Locations that redirects put in their place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_wire::url::Url;

fuzz_target!(|input: (&str, &str)| {
    let (base, location) = input;
    let Ok(base) = Url::parse(base) else {
        return;
    };
    if let Ok(joined) = base.join(location) {
        // A joined URL is a URL, and never one with a way to smuggle a second line into a request.
        assert!(joined.bytes().all(|byte| byte.is_ascii_graphic()));
        let _ = Url::parse(&joined);
    }
});
