//! Platter's window.

fn main() {}
