//! What a user may ask of images, without a window and without a command line.

pub mod commit;
pub mod compare;
pub mod convert;
pub mod create;
pub mod difference;
pub mod edit;
pub mod flatten;
pub mod measure;
pub mod plan;
mod rate;
pub mod rebase;
pub mod repair;
pub mod resize;
pub mod resize_disk;
pub mod sample;
pub mod snapshot;
pub mod warning;
mod write_behind;
