//! A body into an update; see `src/fuzz.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    livechat_units::fuzz::body(data);
});
