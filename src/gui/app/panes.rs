//! The views of an image, and what all of them are told. New panes are added here; see
//! [`crate::pane`].

use std::ops::Range;

use relm4::prelude::*;
use relm4::{Sender, adw};

use super::AppInput;
use crate::background::Background;
use crate::chain_pane::ChainPane;
use crate::i18n::gettext;
use crate::map::MapPane;
use crate::overview::Overview;
use crate::pane::{PaneInit, PaneInput};
use crate::partitions::{Partitions, PartitionsInput};
use crate::settings::Settings;
use crate::snapshots::Snapshots;

/// The names of the views in the stack, in their order: also that of Ctrl+1, Ctrl+2…
pub(super) const VIEWS: [&str; 5] = ["overview", "partitions", "map", "chain", "snapshots"];

/// All panes.
pub(super) struct Panes {
    /// Shows one of them.
    pub(super) stack: adw::ViewStack,
    overview: Controller<Overview>,
    partitions: Controller<Partitions>,
    map: Controller<MapPane>,
    chain: Controller<ChainPane>,
    snapshots: Controller<Snapshots>,
}

#[allow(
    clippy::useless_conversion,
    reason = "a pane without messages of its own takes the window's as they are"
)]
impl Panes {
    pub(super) fn launch(
        background: &Background,
        settings: &Settings,
        input: &Sender<AppInput>,
    ) -> Self {
        let init = || PaneInit {
            background: background.clone(),
            settings: settings.clone(),
        };
        let overview = Overview::builder()
            .launch(init())
            .forward(input, AppInput::Pane);
        let partitions = Partitions::builder()
            .launch(init())
            .forward(input, AppInput::Pane);
        let map = MapPane::builder()
            .launch(init())
            .forward(input, AppInput::Pane);
        let chain = ChainPane::builder()
            .launch(init())
            .forward(input, AppInput::Pane);

        let snapshots = Snapshots::builder()
            .launch(init())
            .forward(input, AppInput::Pane);

        let stack = adw::ViewStack::builder()
            .vexpand(true)
            .hhomogeneous(false)
            .vhomogeneous(false)
            .build();
        let [
            overview_name,
            partitions_name,
            map_name,
            chain_name,
            snapshots_name,
        ] = VIEWS;
        stack
            .add_titled(overview.widget(), Some(overview_name), &gettext("Overview"))
            .set_icon_name(Some("platter-overview-symbolic"));
        stack
            .add_titled(
                partitions.widget(),
                Some(partitions_name),
                &gettext("Partitions"),
            )
            .set_icon_name(Some("platter-partitions-symbolic"));
        stack
            .add_titled(map.widget(), Some(map_name), &gettext("Map"))
            .set_icon_name(Some("platter-map-symbolic"));
        stack
            .add_titled(chain.widget(), Some(chain_name), &gettext("Chain"))
            .set_icon_name(Some("platter-chain-symbolic"));
        stack
            .add_titled(
                snapshots.widget(),
                Some(snapshots_name),
                &gettext("Snapshots"),
            )
            .set_icon_name(Some("platter-snapshots-symbolic"));
        let changed = input.clone();
        stack.connect_visible_child_name_notify(move |_| changed.emit(AppInput::ViewChanged));
        let panes = Self {
            stack,
            overview,
            partitions,
            map,
            chain,
            snapshots,
        };
        panes.tell_visibility();
        panes
    }

    /// Tells every pane the same.
    pub(super) fn tell(&self, input: &PaneInput) {
        self.overview.emit(input.clone().into());
        self.partitions.emit(input.clone().into());
        self.map.emit(input.clone().into());
        self.chain.emit(input.clone().into());
        self.snapshots.emit(input.clone().into());
    }

    /// Makes a view visible.
    pub(super) fn present(&self, name: &str) {
        self.stack.set_visible_child_name(name);
    }

    /// Tells every pane whether it is visible.
    pub(super) fn tell_visibility(&self) {
        let shown = self.stack.visible_child_name();
        let visible = |name: &str| PaneInput::Visible(shown.as_deref() == Some(name));
        self.overview.emit(visible(VIEWS[0]).into());
        self.partitions.emit(visible(VIEWS[1]).into());
        self.map.emit(visible(VIEWS[2]).into());
        self.chain.emit(visible(VIEWS[3]).into());
        self.snapshots.emit(visible(VIEWS[4]).into());
    }

    /// Shows a segment of the strip in the Partitions pane.
    pub(super) fn show_partition(&self, segment: usize) {
        self.present(VIEWS[1]);
        // Before the news from the stack arrives: there must be something to select in.
        self.partitions.emit(PaneInput::Visible(true).into());
        self.partitions
            .emit(PartitionsInput::SegmentSelected(segment));
    }

    /// Shows guest bytes in the Map pane.
    pub(super) fn reveal_on_map(&self, range: Range<u64>) {
        self.present(VIEWS[2]);
        self.map.emit(PaneInput::Reveal(range).into());
    }
}
