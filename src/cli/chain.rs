//! `chain`: what an image stands on, and which images of its folder stand on the same files.
//! Other families of the folder are left out.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use platter::Control;
use platter::chain::graph::{FamilyGraph, Kinship, Node};
use platter::chain::{Chain, FolderIndex, Link, LinkProblem};
use platter::units::ByteSize;
use serde_json::{Value, json};

use crate::disk::Request;
use crate::help;
use crate::output::{OutputFormat, for_terminal, print, print_json};
use crate::program::{Outcome, Program};
use crate::source::Reach;
use crate::table::{Align, Table};
use crate::words;

/// The exit code when a link is missing or cannot be used.
const BROKEN: u8 = 2;

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let Some(request) = Request::parse(program, "chain", arguments)? else {
        return help::of(program, "chain");
    };
    let chain = request.open_chain(program, Reach::Whatever)?;
    let folder = folder_of(request.source.path());
    // Without the folder's listing the chain is still worth showing.
    let index = FolderIndex::read(folder, &Control::new()).ok();
    let graph = FamilyGraph::new(&chain, index.as_ref());
    match request.output {
        OutputFormat::Human => print(&human(&chain, &graph))?,
        OutputFormat::Json => {
            print_json(&json(request.source.filename(), &chain, &graph))?;
        }
    }
    Ok(match chain.first_problem() {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(BROKEN),
    })
}

fn folder_of(image: &Path) -> &Path {
    match image.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Trees from backing file to overlays; the image itself is marked.
fn human(chain: &Chain, graph: &FamilyGraph) -> String {
    let mut table = Table::new(&[
        ("Image", Align::Left),
        ("Format", Align::Left),
        ("Virtual size", Align::Right),
        ("On the host", Align::Right),
        ("Snapshots", Align::Right),
        ("Notes", Align::Left),
    ]);
    for (index, name) in family(graph) {
        if let Some(node) = graph.nodes.get(index) {
            table.push(row(chain, node, &name));
        }
    }
    let mut text = table.to_text();
    if let Some((index, problem)) = chain.first_problem() {
        let link = &chain.links()[index];
        let reference = link.reference.as_ref().map(|reference| &reference.name);
        let name = match (reference, link.path.as_deref()) {
            (Some(name), _) => name.clone(),
            (None, path) => path.unwrap_or(Path::new("")).to_string_lossy().into_owned(),
        };
        let words = words::of_problem(problem);
        text += &format!(
            "\nThe chain is broken at {}: {words}\n",
            for_terminal(&name)
        );
    }
    if graph.omitted > 0 {
        text += &format!(
            "{} more images of the folder are not shown\n",
            graph.omitted
        );
    }
    text
}

/// The nodes of the tree that the image is in, with their names behind the lines of the tree. A
/// stack instead of recursion: a hostile folder may hold a long chain.
fn family(graph: &FamilyGraph) -> Vec<(usize, String)> {
    let mut nodes = Vec::new();
    // A node, the lines that run down to the left of it, and what its own line begins with.
    let root = graph.roots().into_iter().next();
    let mut stack: Vec<_> = root
        .map(|root| (root, String::new(), ""))
        .into_iter()
        .collect();
    while let Some((index, lead, branch)) = stack.pop() {
        let Some(node) = graph.nodes.get(index) else {
            continue;
        };
        nodes.push((index, format!("{lead}{branch}{}", node.name)));
        let below = match branch {
            "" => lead,
            "└─ " => lead + "   ",
            _ => lead + "│  ",
        };
        for (position, &overlay) in node.overlays.iter().rev().enumerate() {
            let branch = if position == 0 { "└─ " } else { "├─ " };
            stack.push((overlay, below.clone(), branch));
        }
    }
    nodes
}

fn row(chain: &Chain, node: &Node, name: &str) -> Vec<String> {
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| ByteSize(bytes).to_string());
    let link = node.link.and_then(|index| chain.links().get(index));
    let snapshots = match node.snapshots {
        0 => String::new(),
        count => count.to_string(),
    };
    vec![
        name.to_owned(),
        node.format
            .map_or_else(String::new, |format| format.to_string()),
        bytes(node.virtual_size).unwrap_or_default(),
        bytes(node.allocated_size).unwrap_or_default(),
        snapshots,
        notes(node, link),
    ]
}

fn notes(node: &Node, link: Option<&Link>) -> String {
    let mut notes = Vec::new();
    if node.kinship == Kinship::Active {
        notes.push("this image".to_owned());
    }
    match link {
        None if node.missing => notes.push("missing or unreadable".to_owned()),
        None => {}
        Some(link) => {
            notes.extend(link.problem().map(words::of_problem));
            if !link.holders.is_empty() {
                notes.push(format!("in use by {}", link.holders.join(", ")));
            } else if link.unstable {
                notes.push("in use by another process".to_owned());
            }
        }
    }
    notes.join("; ")
}

/// `links` from the image down to what it stands on in the end; `relatives` are the other images
/// of the folder that share a file with a link, with the file that they stand on.
fn json(name: &str, chain: &Chain, graph: &FamilyGraph) -> Value {
    let relatives: Vec<Value> = family(graph)
        .into_iter()
        .filter_map(|(index, _)| graph.nodes.get(index))
        .filter(|node| node.kinship == Kinship::Relative)
        .map(|node| {
            let backing = node.backing.and_then(|index| graph.nodes.get(index));
            json!({
                "path": node.path.as_deref().map(Path::to_string_lossy),
                "format": node.format.map(|format| format.name()),
                "virtual-size": node.virtual_size,
                "allocated-size": node.allocated_size,
                "snapshots": node.snapshots,
                "missing": node.missing,
                "backing": backing
                    .and_then(|backing| backing.path.as_deref())
                    .map(Path::to_string_lossy),
            })
        })
        .collect();
    json!({
        "filename": name,
        "links": chain.links().iter().map(link_json).collect::<Vec<_>>(),
        "relatives": relatives,
        "relatives-omitted": graph.omitted,
    })
}

fn link_json(link: &Link) -> Value {
    let info = link.info();
    json!({
        "named": link.reference.as_ref().map(|reference| &reference.name),
        "path": link.path.as_deref().map(Path::to_string_lossy),
        "format": info.map(|info| info.format.name()),
        "virtual-size": info.map(|info| info.virtual_size),
        "file-size": link.file_size,
        "allocated-size": link.allocated_size,
        "snapshots": info.map_or(0, |info| info.snapshots.len()),
        "holders": link.holders,
        "unstable": link.unstable,
        "problem": link.problem().map(|problem| json!({
            "kind": problem_kind(problem),
            "message": problem.to_string(),
        })),
    })
}

fn problem_kind(problem: &LinkProblem) -> &'static str {
    match problem {
        LinkProblem::Missing => "missing",
        LinkProblem::Cyclic => "cyclic",
        LinkProblem::TooDeep => "too-deep",
        LinkProblem::WrongFormat { .. } => "wrong-format",
        LinkProblem::NotAllowed(_) => "not-allowed",
        LinkProblem::Remote(_) => "remote",
        LinkProblem::Encrypted(_) => "encrypted",
        LinkProblem::Unreadable(_) => "unreadable",
    }
}
