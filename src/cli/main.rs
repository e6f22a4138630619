//! `platter-img`: the engine without a window.

fn main() {}
