//! The lease against a real engine, with short times.
