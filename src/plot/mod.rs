//! Toolkit-free geometry of what the window draws: map cells, partition bar, chain layout, and
//! their hit tests.

pub mod allocation;
pub mod bar;
pub mod cell;
pub mod chain;
pub mod extents;
mod grid;
pub mod hilbert;
pub mod layout;
pub mod raster;
pub mod strip;
pub mod summary;
pub mod svg;
pub mod tiles;
