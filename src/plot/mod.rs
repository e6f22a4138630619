//! Toolkit-free geometry of what the window draws: map cells, partition bar, chain layout, and
//! their hit tests.

pub mod cell;
pub mod chain;
pub mod hilbert;
pub mod summary;
pub mod tiles;
