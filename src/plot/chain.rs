//! Layout of a family of images: a forest from left (what stands on nothing) to right (overlays),
//! each node in the middle of its overlays, edges as curves between them.

use crate::chain::graph::FamilyGraph;

/// Sizes of the drawing, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// Width of a node.
    pub node_width: f64,
    /// Height of a node.
    pub node_height: f64,
    /// Space between a node and its overlays.
    pub column_gap: f64,
    /// Space between nodes of a column.
    pub row_gap: f64,
    /// Space around everything.
    pub margin: f64,
}

/// A node's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Links between it and its root.
    pub column: usize,
}

/// An edge from a backing file to an overlay: a cubic curve that leaves and arrives horizontally.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// The node that is stood on.
    pub backing: usize,
    /// The node that stands on it.
    pub overlay: usize,
    /// Start, first control point, second control point, end.
    pub curve: [(f64, f64); 4],
}

/// The finished layout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChainLayout {
    /// One place a node of the graph.
    pub places: Vec<Place>,
    /// All edges.
    pub edges: Vec<Edge>,
    /// Size of the drawing.
    pub width: f64,
    /// Size of the drawing.
    pub height: f64,
}

impl ChainLayout {
    /// Lays out `graph`; `mirrored` for right-to-left writing.
    #[must_use]
    pub fn new(graph: &FamilyGraph, metrics: &Metrics, mirrored: bool) -> Self {
        let mut rows = Rows {
            graph,
            step: metrics.node_height + metrics.row_gap,
            next: metrics.margin,
            places: vec![
                Place {
                    x: 0.0,
                    y: 0.0,
                    column: 0
                };
                graph.nodes.len()
            ],
        };
        for root in graph.roots() {
            rows.place(root);
        }
        let mut layout = Self {
            places: rows.places,
            ..Self::default()
        };
        layout.set_columns(metrics, mirrored);
        layout.height = layout
            .places
            .iter()
            .map(|place| place.y)
            .fold(0.0, f64::max)
            + metrics.node_height
            + metrics.margin;
        layout.add_edges(graph, metrics, mirrored);
        layout
    }

    /// The node to go to from `node` when an arrow key points that way.
    #[must_use]
    pub fn neighbour(&self, node: usize, direction: Direction) -> Option<usize> {
        let from = self.places.get(node)?;
        let ahead = |place: &Place| match direction {
            Direction::Left => place.x < from.x,
            Direction::Right => place.x > from.x,
            Direction::Up => place.column == from.column && place.y < from.y,
            Direction::Down => place.column == from.column && place.y > from.y,
        };
        // Sideways the nearest column counts first; related nodes are placed nearest in height.
        let distance = |place: &Place| {
            let (dx, dy) = ((place.x - from.x).abs(), (place.y - from.y).abs());
            dx * 1000.0 + dy
        };
        let candidates = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| ahead(place));
        candidates
            .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))
            .map(|(index, _)| index)
    }

    fn set_columns(&mut self, metrics: &Metrics, mirrored: bool) {
        let step = metrics.node_width + metrics.column_gap;
        let last = self
            .places
            .iter()
            .map(|place| place.column)
            .max()
            .unwrap_or(0);
        self.width = to_f64(last) * step + metrics.node_width + 2.0 * metrics.margin;
        for place in &mut self.places {
            let left = metrics.margin + to_f64(place.column) * step;
            place.x = if mirrored {
                self.width - left - metrics.node_width
            } else {
                left
            };
        }
    }

    fn add_edges(&mut self, graph: &FamilyGraph, metrics: &Metrics, mirrored: bool) {
        for (backing, node) in graph.nodes.iter().enumerate() {
            for &overlay in &node.overlays {
                let (from, to) = (self.places[backing], self.places[overlay]);
                let (near, far) = if mirrored {
                    (0.0, metrics.node_width)
                } else {
                    (metrics.node_width, 0.0)
                };
                let middle = metrics.node_height / 2.0;
                let (start, end) = (
                    (from.x + near, from.y + middle),
                    (to.x + far, to.y + middle),
                );
                let bend = f64::midpoint(start.0, end.0);
                let curve = [start, (bend, start.1), (bend, end.1), end];
                self.edges.push(Edge {
                    backing,
                    overlay,
                    curve,
                });
            }
        }
    }
}

/// Where an arrow key points.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Towards smaller x.
    Left,
    /// Towards greater x.
    Right,
    /// Towards smaller y.
    Up,
    /// Towards greater y.
    Down,
}

struct Rows<'a> {
    graph: &'a FamilyGraph,
    step: f64,
    next: f64,
    places: Vec<Place>,
}

impl Rows<'_> {
    /// Places the tree under `root` in post-order without recursion: a hostile folder may hold a
    /// chain as long as the graph.
    fn place(&mut self, root: usize) {
        let mut stack = vec![(root, 0_usize, 0_usize)];
        while let Some((node, column, visited)) = stack.pop() {
            let overlays = &self.graph.nodes[node].overlays;
            if let Some(&overlay) = overlays.get(visited) {
                stack.push((node, column, visited + 1));
                stack.push((overlay, column + 1, 0));
                continue;
            }
            let y = match (overlays.first(), overlays.last()) {
                (Some(&first), Some(&last)) => {
                    f64::midpoint(self.places[first].y, self.places[last].y)
                }
                _ => {
                    let y = self.next;
                    self.next += self.step;
                    y
                }
            };
            self.places[node] = Place { x: 0.0, y, column };
        }
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a graph has at most a few hundred nodes"
)]
fn to_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::graph::{Kinship, Node};

    const METRICS: Metrics = Metrics {
        node_width: 100.0,
        node_height: 40.0,
        column_gap: 50.0,
        row_gap: 10.0,
        margin: 5.0,
    };

    /// A graph from the backing node of each node.
    fn graph(backings: &[Option<usize>]) -> FamilyGraph {
        let mut graph = FamilyGraph::default();
        for &backing in backings {
            graph.nodes.push(Node {
                path: None,
                name: String::new(),
                kinship: Kinship::Relative,
                format: None,
                virtual_size: None,
                allocated_size: None,
                snapshots: 0,
                link: None,
                missing: false,
                backing,
                overlays: Vec::new(),
            });
        }
        for (node, backing) in backings.iter().enumerate() {
            if let Some(backing) = *backing {
                graph.nodes[backing].overlays.push(node);
            }
        }
        graph
    }

    #[test]
    fn a_node_stands_in_the_middle_of_its_overlays() {
        let layout = ChainLayout::new(&graph(&[Some(1), None, Some(1), Some(1)]), &METRICS, false);
        assert_eq!(layout.places[1].x, 5.0);
        assert_eq!(layout.places[0].x, 155.0);
        let ys: Vec<_> = layout.places.iter().map(|place| place.y).collect();
        assert_eq!(ys, [5.0, 55.0, 55.0, 105.0]);
        assert_eq!((layout.width, layout.height), (260.0, 150.0));
        assert_eq!(layout.edges.len(), 3);
        assert_eq!(layout.edges[0].curve[0], (105.0, 75.0));
        assert_eq!(layout.edges[0].curve[3], (155.0, 25.0));
    }

    #[test]
    fn no_two_nodes_overlap() {
        let layout = ChainLayout::new(
            &graph(&[
                Some(1),
                Some(2),
                None,
                Some(2),
                Some(3),
                Some(3),
                None,
                Some(6),
            ]),
            &METRICS,
            false,
        );
        for (index, a) in layout.places.iter().enumerate() {
            for b in &layout.places[index + 1..] {
                assert!(a.x != b.x || (a.y - b.y).abs() >= 50.0, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn mirrored_is_the_mirror_image() {
        let graph = graph(&[Some(1), None]);
        let (plain, mirrored) = (
            ChainLayout::new(&graph, &METRICS, false),
            ChainLayout::new(&graph, &METRICS, true),
        );
        for (a, b) in plain.places.iter().zip(&mirrored.places) {
            assert_eq!(a.x + METRICS.node_width, mirrored.width - b.x);
        }
    }

    #[test]
    fn arrows_follow_the_picture() {
        let layout = ChainLayout::new(&graph(&[Some(1), None, Some(1)]), &METRICS, false);
        assert_eq!(layout.neighbour(0, Direction::Left), Some(1));
        assert_eq!(layout.neighbour(0, Direction::Down), Some(2));
        assert_eq!(layout.neighbour(2, Direction::Up), Some(0));
        assert_eq!(layout.neighbour(1, Direction::Left), None);
        assert!(layout.neighbour(1, Direction::Right).is_some());
    }

    #[test]
    fn a_long_chain_does_not_recurse() {
        let backings: Vec<_> = (0..10_000)
            .map(|node| (node > 0).then(|| node - 1))
            .collect();
        assert_eq!(
            ChainLayout::new(&graph(&backings), &METRICS, false).places[9_999].column,
            9_999
        );
    }
}
