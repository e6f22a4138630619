//! Widgets without business rules, shared by panes.

pub(crate) mod chain_canvas;
pub(crate) mod columns;
pub(crate) mod context_menu;
pub(crate) mod error_box;
pub(crate) mod fact_list;
pub(crate) mod fill;
pub(crate) mod map_canvas;
pub(crate) mod map_plot;
pub(crate) mod map_strip;
pub(crate) mod partition_bar;
pub(crate) mod ring;
pub(crate) mod strip_editor;
pub(crate) mod switch_row;
pub(crate) mod usage_bar;
