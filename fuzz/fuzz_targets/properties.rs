//! Content headers and property lists: what parses is written and parsed again unchanged.
#![no_main]

use leveret::protocol::{ContentHeader, PropertiesRef};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let header = match ContentHeader::parse(payload) {
        Ok(header) => header,
        Err(error) => {
            assert!(error.to_amqp_error().reply_text().len() <= 255);
            return;
        }
    };
    let mut written = Vec::new();
    header.encode_payload(&mut written);
    assert_eq!(written, payload);

    let Ok(properties) = PropertiesRef::parse(header.properties) else { return };
    let owned = properties.to_owned();
    let mut once = Vec::new();
    owned.encode(&mut once);
    let again = PropertiesRef::parse(&once).expect("what we encode, we parse");
    assert_eq!(again.headers.is_some(), properties.headers.is_some());
    assert_eq!(
        PropertiesRef { headers: None, ..again },
        PropertiesRef { headers: None, ..properties },
        "every property but the headers, whose octets may be spelled otherwise",
    );
    let mut twice = Vec::new();
    again.to_owned().encode(&mut twice);
    assert_eq!(once, twice);
});
