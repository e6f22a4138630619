//! The family of an image: its chain, and every image of the folder that shares a link with
//! another, as a forest from backing file to overlays.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use crate::chain::{Chain, FolderImage, FolderIndex, Link};
use crate::image::Format;

/// What a node has to do with the image that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kinship {
    /// It is that image.
    Active,
    /// That image stands on it.
    Backing,
    /// Another image of the folder.
    Relative,
}

/// One file, existing or only named.
#[derive(Clone, Debug)]
pub struct Node {
    /// The file, where the name means a local one.
    pub path: Option<PathBuf>,
    /// Its name for showing: the file name, or the reference as written.
    pub name: String,
    /// What it has to do with the active image.
    pub kinship: Kinship,
    /// Its format, where known.
    pub format: Option<Format>,
    /// What a guest would see, in bytes.
    pub virtual_size: Option<u64>,
    /// Bytes it alone holds on the host.
    pub allocated_size: Option<u64>,
    /// Internal snapshots.
    pub snapshots: usize,
    /// Index in [`Chain::links`] when it is part of the chain.
    pub link: Option<usize>,
    /// The file is not there, or is no image that can be read.
    pub missing: bool,
    /// The node it stands on.
    pub backing: Option<usize>,
    /// The nodes that stand on it, in folder order.
    pub overlays: Vec<usize>,
}

/// The forest. Acyclic by construction: a reference that would close a cycle has no edge.
#[derive(Clone, Debug, Default)]
pub struct FamilyGraph {
    /// All nodes; the active image is the first.
    pub nodes: Vec<Node>,
    /// Related images of the folder that were left out because there are too many.
    pub omitted: usize,
}

impl FamilyGraph {
    /// Most nodes that are kept; a picture of more helps nobody.
    pub const MAX_NODES: usize = 400;

    /// The family of the chain's active image.
    #[must_use]
    pub fn new(chain: &Chain, folder: Option<&FolderIndex>) -> Self {
        let mut builder = Builder::default();
        builder.add_chain(chain);
        if let Some(folder) = folder {
            builder.add_folder(folder);
        }
        builder.graph
    }

    /// The nodes that stand on nothing, the active image's root first.
    #[must_use]
    pub fn roots(&self) -> Vec<usize> {
        let mut roots: Vec<_> = (0..self.nodes.len())
            .filter(|&node| self.nodes[node].backing.is_none())
            .collect();
        if let Some(first) = self.active_root() {
            roots.retain(|&node| node != first);
            roots.insert(0, first);
        }
        roots
    }

    fn active_root(&self) -> Option<usize> {
        let mut node = (!self.nodes.is_empty()).then_some(0)?;
        while let Some(backing) = self.nodes[node].backing {
            node = backing;
        }
        Some(node)
    }
}

#[derive(Default)]
struct Builder {
    graph: FamilyGraph,
    by_path: HashMap<PathBuf, usize>,
}

impl Builder {
    fn add_chain(&mut self, chain: &Chain) {
        for (index, link) in chain.links().iter().enumerate() {
            // A cyclic link is a node that is there already.
            let known = link.path.as_deref().and_then(|path| self.find(path));
            let node = known.unwrap_or_else(|| self.push(node_of_link(index, link)));
            if index > 0 {
                self.join(index - 1, node);
            }
        }
    }

    /// Adds the images that stand on others or on which others stand.
    fn add_folder(&mut self, folder: &FolderIndex) {
        let named: HashSet<PathBuf> = folder
            .images
            .iter()
            .filter_map(|image| image.backing_path.as_deref())
            .map(identity)
            .collect();
        for image in &folder.images {
            let related = image.backing.is_some() || named.contains(&identity(&image.path));
            if !related || self.find(&image.path).is_some() {
                continue;
            }
            if self.graph.nodes.len() >= FamilyGraph::MAX_NODES {
                self.graph.omitted += 1;
                continue;
            }
            self.push(node_of_image(image));
        }
        for image in &folder.images {
            let Some(overlay) = self.find(&image.path) else {
                continue;
            };
            if self.graph.nodes[overlay].backing.is_none() && image.backing.is_some() {
                self.join_to_backing(overlay, image);
            }
        }
    }

    fn join_to_backing(&mut self, overlay: usize, image: &FolderImage) {
        let path = image.backing_path.as_deref();
        let known = path.and_then(|path| self.find(path));
        let backing = known.unwrap_or_else(|| self.push(node_of_reference(image)));
        self.join(overlay, backing);
    }

    fn push(&mut self, node: Node) -> usize {
        let index = self.graph.nodes.len();
        if let Some(path) = &node.path {
            self.by_path.insert(identity(path), index);
        }
        self.graph.nodes.push(node);
        index
    }

    fn find(&self, path: &Path) -> Option<usize> {
        self.by_path.get(&identity(path)).copied()
    }

    fn join(&mut self, overlay: usize, backing: usize) {
        let mut above = Some(backing);
        while let Some(node) = above {
            if node == overlay {
                return;
            }
            above = self.graph.nodes[node].backing;
        }
        self.graph.nodes[overlay].backing = Some(backing);
        self.graph.nodes[backing].overlays.push(overlay);
    }
}

fn node_of_link(index: usize, link: &Link) -> Node {
    let info = link.info();
    let reference = link
        .reference
        .as_ref()
        .map(|reference| reference.name.clone());
    Node {
        path: link.path.clone(),
        name: file_name(link.path.as_deref())
            .or(reference)
            .unwrap_or_default(),
        kinship: if index == 0 {
            Kinship::Active
        } else {
            Kinship::Backing
        },
        format: info.map(|info| info.format),
        virtual_size: info.map(|info| info.virtual_size),
        allocated_size: link.allocated_size,
        snapshots: info.map_or(0, |info| info.snapshots.len()),
        link: Some(index),
        missing: info.is_none(),
        backing: None,
        overlays: Vec::new(),
    }
}

fn node_of_image(image: &FolderImage) -> Node {
    Node {
        path: Some(image.path.clone()),
        name: file_name(Some(&image.path)).unwrap_or_default(),
        kinship: Kinship::Relative,
        format: Some(image.format),
        virtual_size: image.virtual_size,
        allocated_size: image.allocated_size,
        snapshots: image.snapshots,
        link: None,
        missing: false,
        backing: None,
        overlays: Vec::new(),
    }
}

/// A backing file that is not in the folder: outside of it, or nowhere.
fn node_of_reference(image: &FolderImage) -> Node {
    let path = image.backing_path.clone();
    let metadata = path
        .as_deref()
        .and_then(|path| std::fs::metadata(path).ok());
    let reference = image.backing.as_ref();
    Node {
        name: file_name(path.as_deref())
            .or_else(|| reference.map(|reference| reference.name.clone()))
            .unwrap_or_default(),
        path,
        kinship: Kinship::Relative,
        format: reference.and_then(|reference| Format::from_name(reference.format.as_deref()?)),
        virtual_size: None,
        allocated_size: None,
        snapshots: 0,
        link: None,
        missing: !metadata.is_some_and(|metadata| metadata.is_file()),
        backing: None,
        overlays: Vec::new(),
    }
}

fn file_name(path: Option<&Path>) -> Option<String> {
    Some(path?.file_name()?.to_string_lossy().into_owned())
}

/// The path that identifies a file: canonical where the file exists, else without `.` and `..`.
fn identity(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| {
        let mut plain = PathBuf::new();
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => {
                    plain.pop();
                }
                other => plain.push(other),
            }
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::FileReference;

    fn image(name: &str, backing: Option<&str>) -> FolderImage {
        let folder = Path::new("/nowhere");
        FolderImage {
            path: folder.join(name),
            format: Format::Qcow2,
            virtual_size: Some(1 << 30),
            allocated_size: Some(1 << 20),
            snapshots: 0,
            backing: backing.map(|name| FileReference {
                name: name.into(),
                format: None,
            }),
            backing_path: backing.map(|name| folder.join(name)),
        }
    }

    fn family(images: Vec<FolderImage>) -> FamilyGraph {
        let mut builder = Builder::default();
        builder.add_folder(&FolderIndex { images });
        builder.graph
    }

    #[test]
    fn siblings_share_their_backing_file() {
        let graph = family(vec![
            image("a", Some("base")),
            image("b", Some("./base")),
            image("base", None),
            image("lonely", None),
        ]);
        assert_eq!(graph.nodes.len(), 3);
        let base = graph
            .nodes
            .iter()
            .position(|node| node.name == "base")
            .unwrap();
        assert_eq!(graph.nodes[base].overlays, [0, 1]);
        assert_eq!(graph.roots(), [base]);
    }

    #[test]
    fn a_missing_backing_file_is_one_node_for_all_its_overlays() {
        let graph = family(vec![image("a", Some("gone")), image("b", Some("gone"))]);
        assert_eq!(graph.nodes.len(), 3);
        assert!(graph.nodes[2].missing);
        assert_eq!(graph.nodes[2].overlays, [0, 1]);
    }

    #[test]
    fn cycles_lose_the_edge_that_closes_them() {
        let graph = family(vec![
            image("a", Some("b")),
            image("b", Some("a")),
            image("self", Some("self")),
        ]);
        assert_eq!(graph.nodes[0].backing, Some(1));
        assert_eq!(graph.nodes[1].backing, None);
        assert_eq!(graph.nodes[2].backing, None);
        assert_eq!(graph.roots(), [1, 2]);
    }
}
