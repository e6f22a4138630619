//! Toolkit-free geometry of what the window draws: map cells, partition bar, chain layout, and
//! their hit tests.

pub mod chain;
