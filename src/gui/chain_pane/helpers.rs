//! What the Chain pane says of a node: pure functions.

use platter::ErrorKind;
use platter::chain::graph::{FamilyGraph, Kinship, Node};
use platter::chain::{Chain, LinkProblem, LinkState};

use crate::describe;
use crate::format;
use crate::i18n::{counted, fill, gettext};

/// How a small mark on a node is coloured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    /// A plain fact.
    Info,
    /// Worth a second look.
    Warning,
    /// Something is wrong.
    Error,
}

/// All that a node shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeText {
    /// The file's name.
    pub(crate) name: String,
    /// Short marks beside it.
    pub(crate) marks: Vec<(Tone, String)>,
    /// The line below: format, what it holds.
    pub(crate) facts: String,
    /// Everything, for screen readers, the line below the graph and the tooltip.
    pub(crate) sentence: String,
    /// What it alone holds, as a part of what the fullest image shown holds, 0 to 1.
    pub(crate) share: Option<f64>,
}

impl NodeText {
    /// The text of `graph.nodes[index]`.
    pub(crate) fn new(graph: &FamilyGraph, index: usize, chain: &Chain) -> Self {
        let node = &graph.nodes[index];
        let marks = marks(node, chain);
        let facts = facts(node);
        Self {
            name: node.name.clone(),
            sentence: sentence(graph, node, &marks, &facts),
            marks,
            facts,
            share: share(graph, node),
        }
    }
}

/// "4 images in this family · 9 in ~/VMs".
pub(crate) fn summary(graph: &FamilyGraph, in_folder: usize, folder: &str) -> String {
    let shown = u64::try_from(graph.nodes.len()).unwrap_or(u64::MAX);
    let family = counted("{n} image shown", "{n} images shown", shown, &[]);
    let found = counted(
        "{n} image found in {folder}",
        "{n} images found in {folder}",
        u64::try_from(in_folder).unwrap_or(u64::MAX),
        &[("folder", folder)],
    );
    let mut text = format!("{family} · {found}");
    if graph.omitted > 0 {
        let omitted = u64::try_from(graph.omitted).unwrap_or(u64::MAX);
        text += " · ";
        text += &counted("{n} more not shown", "{n} more not shown", omitted, &[]);
    }
    text
}

/// Width in pixels of the edge to a layer that holds `bytes`: one pixel more for every factor of
/// eight above 1 MiB, so that a gigabyte differs visibly from a megabyte.
pub(crate) fn edge_width(bytes: Option<u64>) -> f64 {
    let mebibytes = bytes.unwrap_or(0) >> 20;
    1.5 + f64::from(mebibytes.checked_ilog2().unwrap_or(0)) / 3.0
}

fn marks(node: &Node, chain: &Chain) -> Vec<(Tone, String)> {
    let mut marks = Vec::new();
    let link = node.link.and_then(|link| chain.links().get(link));
    if node.kinship == Kinship::Active {
        marks.push((Tone::Info, gettext("open")));
    }
    match link.map(|link| &link.state) {
        Some(LinkState::Broken(problem) | LinkState::HeaderOnly(_, problem)) => {
            marks.push((Tone::Error, problem_mark(problem)));
        }
        None if node.missing => marks.push((Tone::Error, gettext("missing"))),
        _ => {}
    }
    if link.is_some_and(|link| link.unstable) {
        marks.push((Tone::Warning, gettext("in use")));
    }
    if !node.overlays.is_empty() {
        let overlays = u64::try_from(node.overlays.len()).unwrap_or(u64::MAX);
        let text = counted("{n} depends on it", "{n} depend on it", overlays, &[]);
        marks.push((Tone::Warning, text));
    }
    marks
}

/// What is wrong with a link, in a word or two.
fn problem_mark(problem: &LinkProblem) -> String {
    match problem {
        LinkProblem::Missing => gettext("missing"),
        LinkProblem::Cyclic => gettext("cycle"),
        LinkProblem::TooDeep => gettext("too deep"),
        LinkProblem::WrongFormat { .. } => gettext("wrong format"),
        LinkProblem::NotAllowed(_) => gettext("not allowed"),
        LinkProblem::Remote(_) => gettext("remote"),
        LinkProblem::Encrypted(_) => gettext("encrypted"),
        LinkProblem::Unreadable(error) if error.kind() == ErrorKind::Unsupported => {
            gettext("not supported")
        }
        LinkProblem::Unreadable(_) => gettext("unreadable"),
    }
}

fn facts(node: &Node) -> String {
    let mut facts = Vec::new();
    if let Some(format) = node.format {
        facts.push(describe::format_label(format).to_owned());
    }
    if let Some(allocated) = node.allocated_size {
        let template = match node.backing {
            // Translators: what an overlay holds itself, beside its backing file.
            Some(_) => gettext("adds {size}"),
            None => gettext("holds {size}"),
        };
        facts.push(fill(&template, &[("size", &format::size(allocated))]));
    }
    if node.missing && node.link.is_some() && node.path.is_some() {
        // Translators: on the node of a missing file; a click asks where it is.
        facts.push(gettext("Locate…"));
    }
    if node.snapshots > 0 {
        let snapshots = u64::try_from(node.snapshots).unwrap_or(u64::MAX);
        facts.push(counted("{n} snapshot", "{n} snapshots", snapshots, &[]));
    }
    facts.join(" · ")
}

fn sentence(graph: &FamilyGraph, node: &Node, marks: &[(Tone, String)], facts: &str) -> String {
    let mut parts = vec![node.name.clone()];
    parts.extend(marks.iter().map(|(_, text)| text.clone()));
    if !facts.is_empty() {
        parts.push(facts.replace(" · ", ", "));
    }
    if let Some(size) = node.virtual_size {
        let size = format::size(size);
        parts.push(fill(&gettext("virtual size {size}"), &[("size", &size)]));
    }
    if let Some(backing) = node.backing {
        let name = &graph.nodes[backing].name;
        parts.push(fill(&gettext("stands on {name}"), &[("name", name)]));
    }
    parts.join(", ")
}

fn share(graph: &FamilyGraph, node: &Node) -> Option<f64> {
    let most = graph
        .nodes
        .iter()
        .filter_map(|node| node.allocated_size)
        .max()?;
    #[allow(clippy::cast_precision_loss, reason = "a bar of some hundred pixels")]
    let share = node.allocated_size? as f64 / most.max(1) as f64;
    Some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_grow_with_what_a_layer_holds() {
        let widths = [
            None,
            Some(1 << 20),
            Some(1 << 24),
            Some(1 << 34),
            Some(u64::MAX),
        ];
        let widths = widths.map(edge_width);
        assert!(widths.is_sorted());
        assert!(widths[4] < 20.0);
    }
}
