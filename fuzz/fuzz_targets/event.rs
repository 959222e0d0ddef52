//! API Gateway's event into a request; see `src/fuzz.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    livechat_units::fuzz::event(data);
});
