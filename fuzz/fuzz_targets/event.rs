//! API Gateway's event, and the request in it. The checks are in `fuzz/checks/`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    checks::event(data);
});
