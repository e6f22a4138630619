//! Platter's engine: virtual disk images, their backing chains, the partition tables and file
//! systems inside them, read natively.
//!
//! The engine blocks, and knows neither GTK nor, outside `job`, an async runtime. Layers, each importing only
//! those before it (`tests/tidy.rs` keeps this true):
//!
//! | layer | modules | is |
//! |---|---|---|
//! | 0 | [`error`], [`units`], [`codec`], [`control`], [`phrase`] | words everyone uses |
//! | 1 | [`storage`] | bytes at offsets, no format |
//! | 2 | [`image`], [`table`], [`fs`] | what the bytes mean; none knows the others |
//! | 3 | [`chain`], [`disk`] | images joined through their backing files, seen as one guest disk |
//! | 4 | [`inspect`] | what a guest disk contains |
//! | 5 | [`journal`] | changes of a disk that survive a crash and can be undone |
//! | 6 | [`op`] | what a user may ask of images |
//! | 7 | [`plot`] | toolkit-free geometry of what the window draws |
//! | 8 | `job` (feature `jobs`) | operations in the background: queue, progress, cancel |
//!
//! Nothing here trusts an image: every number read from one is checked before it is used.

pub mod chain;
pub mod codec;
pub mod control;
pub mod disk;
pub mod error;
pub mod fs;
pub mod image;
pub mod inspect;
#[cfg(feature = "jobs")]
pub mod job;
pub mod journal;
pub mod op;
pub mod phrase;
pub mod plot;
pub mod storage;
pub mod table;
pub mod units;

pub use control::{Cancelled, Control, Stop};
pub use error::{Error, ErrorKind, Result};

/// The application id: bus name, desktop file, icon and resource base all derive from it.
pub const APP_ID: &str = "io.github.platter.Platter";
