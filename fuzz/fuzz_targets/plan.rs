//! The plan of an update, on a model of the tables. The checks are in `fuzz/checks/`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    checks::plan(data);
});
