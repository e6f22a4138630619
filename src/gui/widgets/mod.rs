//! Widgets without business rules, shared by panes.

pub(crate) mod usage_bar;
