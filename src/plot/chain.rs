//! Layout of a family of images: a forest from left (what stands on nothing) to right (overlays),
//! each node in the middle of its overlays, edges as curves between them. Where there is no room
//! for that, a list: overlays below what they stand on, each a step further in.

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
    /// Width of the node.
    pub width: f64,
    /// Links between it and its root.
    pub column: usize,
}

/// An edge from a backing file to an overlay: a cubic curve that arrives horizontally.
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
    /// One node below the other.
    is_list: bool,
    /// From right to left.
    mirrored: bool,
}

/// A node that is further in than this many steps is drawn no further in: it keeps a width.
const MOST_STEPS_IN: usize = 6;

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
                    width: metrics.node_width,
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
            mirrored,
            ..Self::default()
        };
        layout.set_columns(metrics);
        layout.set_height(metrics);
        layout.add_edges(graph, metrics);
        layout
    }

    /// Lays out `graph` as a list that is `width` pixels wide; a step further in is the row gap and
    /// the margin together, as far as `metrics.node_width` is left for the node.
    #[must_use]
    pub fn list(graph: &FamilyGraph, metrics: &Metrics, width: f64, mirrored: bool) -> Self {
        let room = (width - 2.0 * metrics.margin).max(metrics.node_width);
        let spare = (room - metrics.node_width) / to_f64(MOST_STEPS_IN);
        let step = (metrics.row_gap + metrics.margin).min(spare);
        let mut layout = Self {
            places: Vec::new(),
            width: room + 2.0 * metrics.margin,
            is_list: true,
            mirrored,
            ..Self::default()
        };
        let nowhere = Place {
            x: metrics.margin,
            y: metrics.margin,
            width: room,
            column: 0,
        };
        layout.places = vec![nowhere; graph.nodes.len()];
        let mut y = metrics.margin;
        // Without recursion, as a hostile folder may hold a chain as long as the graph.
        let roots = graph.roots().into_iter().rev();
        let mut open: Vec<(usize, usize)> = roots.map(|root| (root, 0)).collect();
        while let Some((node, column)) = open.pop() {
            let inset = to_f64(column.min(MOST_STEPS_IN)) * step;
            layout.places[node] = Place {
                x: metrics.margin + if mirrored { 0.0 } else { inset },
                y,
                width: room - inset,
                column,
            };
            y += metrics.node_height + metrics.row_gap;
            let overlays = graph.nodes[node].overlays.iter().rev();
            open.extend(overlays.map(|overlay| (*overlay, column + 1)));
        }
        layout.set_height(metrics);
        layout.add_elbows(graph, metrics, step);
        layout
    }

    /// The node to go to from `node` when an arrow key points that way.
    #[must_use]
    pub fn neighbour(&self, node: usize, direction: Direction) -> Option<usize> {
        let from = self.places.get(node)?;
        if self.is_list {
            return self.list_neighbour(node, direction);
        }
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

    /// Up and down through the list; inwards to an overlay, outwards to what a node stands on.
    fn list_neighbour(&self, node: usize, direction: Direction) -> Option<usize> {
        let from = self.places.get(node)?.y;
        let ys = self.places.iter().map(|place| place.y).enumerate();
        let inwards = match direction {
            Direction::Up => {
                let above = ys.filter(|(_, y)| *y < from);
                return above.max_by(|a, b| a.1.total_cmp(&b.1)).map(|it| it.0);
            }
            Direction::Down => {
                let below = ys.filter(|(_, y)| *y > from);
                return below.min_by(|a, b| a.1.total_cmp(&b.1)).map(|it| it.0);
            }
            Direction::Left => self.mirrored,
            Direction::Right => !self.mirrored,
        };
        let mut edges = self.edges.iter();
        if inwards {
            edges.find(|edge| edge.backing == node).map(|it| it.overlay)
        } else {
            edges.find(|edge| edge.overlay == node).map(|it| it.backing)
        }
    }

    fn set_height(&mut self, metrics: &Metrics) {
        let lowest = self.places.iter().map(|place| place.y).fold(0.0, f64::max);
        self.height = lowest + metrics.node_height + metrics.margin;
    }

    fn set_columns(&mut self, metrics: &Metrics) {
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
            place.x = if self.mirrored {
                self.width - left - metrics.node_width
            } else {
                left
            };
        }
    }

    /// Down from the outer edge of what is stood on, and into the overlay.
    fn add_elbows(&mut self, graph: &FamilyGraph, metrics: &Metrics, step: f64) {
        for (backing, node) in graph.nodes.iter().enumerate() {
            for &overlay in &node.overlays {
                let (from, to) = (self.places[backing], self.places[overlay]);
                let (x, near) = if self.mirrored {
                    (from.x + from.width - step / 2.0, to.x + to.width)
                } else {
                    (from.x + step / 2.0, to.x)
                };
                let start = (x, from.y + metrics.node_height);
                let end = (near, to.y + metrics.node_height / 2.0);
                let corner = (x, end.1);
                self.edges.push(Edge {
                    backing,
                    overlay,
                    curve: [start, corner, corner, end],
                });
            }
        }
    }

    fn add_edges(&mut self, graph: &FamilyGraph, metrics: &Metrics) {
        for (backing, node) in graph.nodes.iter().enumerate() {
            for &overlay in &node.overlays {
                let (from, to) = (self.places[backing], self.places[overlay]);
                let (near, far) = if self.mirrored {
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
            self.places[node].y = y;
            self.places[node].column = column;
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
    fn a_list_is_as_wide_as_it_may_be_and_has_overlays_below() {
        let graph = graph(&[Some(1), None, Some(1), Some(0)]);
        let layout = ChainLayout::list(&graph, &METRICS, 300.0, false);
        assert_eq!(layout.width, 300.0);
        let places: Vec<_> = layout.places.iter().map(|it| (it.x, it.y)).collect();
        assert_eq!(
            places,
            [(20.0, 55.0), (5.0, 5.0), (20.0, 155.0), (35.0, 105.0)]
        );
        assert!(layout.places.iter().all(|it| it.x + it.width == 295.0));
        assert!(layout.height >= 200.0);
        for edge in &layout.edges {
            let [start, _, _, end] = edge.curve;
            assert!(start.0 < end.0 && start.1 < end.1, "{edge:?}");
        }
        let mirrored = ChainLayout::list(&graph, &METRICS, 300.0, true);
        assert!(mirrored.places.iter().all(|it| it.x == 5.0));
        assert!(mirrored.places[3].width < mirrored.places[0].width);
    }

    #[test]
    fn arrows_go_through_a_list() {
        let graph = graph(&[Some(1), None, Some(1), Some(0)]);
        let layout = ChainLayout::list(&graph, &METRICS, 300.0, false);
        let mut seen = vec![1];
        while let Some(next) = layout.neighbour(seen[seen.len() - 1], Direction::Down) {
            seen.push(next);
        }
        assert_eq!(seen, [1, 0, 3, 2]);
        assert_eq!(layout.neighbour(1, Direction::Up), None);
        assert_eq!(layout.neighbour(2, Direction::Left), Some(1));
        assert_eq!(layout.neighbour(0, Direction::Right), Some(3));
        let mirrored = ChainLayout::list(&graph, &METRICS, 300.0, true);
        assert_eq!(mirrored.neighbour(2, Direction::Right), Some(1));
    }

    #[test]
    fn a_long_list_keeps_its_nodes_wide_enough() {
        let backings: Vec<_> = (0..10_000)
            .map(|node| (node > 0).then(|| node - 1))
            .collect();
        let layout = ChainLayout::list(&graph(&backings), &METRICS, 120.0, false);
        assert!(layout.places.iter().all(|it| it.width >= 100.0));
        let narrower = ChainLayout::list(&graph(&backings), &METRICS, 50.0, false);
        assert_eq!(narrower.width, 110.0);
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
