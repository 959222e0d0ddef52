//! What was loaded and asked into a plan; see `src/fuzz.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    livechat_units::fuzz::plan(data);
});
