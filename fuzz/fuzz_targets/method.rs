//! What decodes as a method encodes to a payload that decodes to the same method, and that encodes to the same octets.
#![no_main]

use leveret::protocol::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let method = match Method::decode(payload) {
        Ok(method) => method,
        Err(error) => {
            assert!(error.to_amqp_error(payload).reply_text().len() <= 255);
            return;
        }
    };
    let mut once = Vec::new();
    method.encode_payload(&mut once);
    let again = Method::decode(&once).expect("what we encode, we decode");
    assert_eq!((again.class_id(), again.method_id()), (method.class_id(), method.method_id()));
    let mut twice = Vec::new();
    again.encode_payload(&mut twice);
    // Octets and not values are compared: a NaN in a table is not equal to itself.
    assert_eq!(once, twice, "{}", method.name());
});
