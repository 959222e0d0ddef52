//! The body: JSON, the match errors, and the update in it. The checks are in `fuzz/checks/`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    checks::body(data);
});
