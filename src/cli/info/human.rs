//! The facts of an image as text, from the same document that programs get.

use std::fmt::Write as _;

use platter::units::ByteSize;
use serde_json::{Map, Value};

use crate::snapshot_list;

/// A document as text.
pub(super) fn human(document: &Value) -> String {
    let mut text = String::new();
    write_node(&mut text, document, None);
    text
}

/// A node of the graph: the image itself, or (indented) a child of it with its path.
fn write_node(text: &mut String, node: &Value, child: Option<&str>) {
    let indent = if child.is_some() { "    " } else { "" };
    let word = |key: &str| node[key].as_str().unwrap_or_default();
    let size = |key: &str| node[key].as_u64().unwrap_or_default();
    let (name, format, length) = match child {
        None => ("image", "file format", "virtual size"),
        Some(_) => ("filename", "protocol type", "file length"),
    };
    let bytes = size("virtual-size");
    let _ = write!(
        text,
        "{indent}{name}: {}\n{indent}{format}: {}\n{indent}{length}: {} ({bytes} bytes)\n\
         {indent}disk size: {}\n",
        word("filename"),
        word("format"),
        ByteSize(bytes),
        ByteSize(size("actual-size")),
    );
    if child.is_some() {
        return;
    }
    write_image_facts(text, node);
    for child in node["children"].as_array().into_iter().flatten() {
        let path = format!("/{}", child["name"].as_str().unwrap_or_default());
        let _ = writeln!(text, "Child node '{path}':");
        write_node(text, &child["info"], Some(&path));
    }
}

fn write_image_facts(text: &mut String, node: &Value) {
    if node["encrypted"] == true {
        text.push_str("encrypted: yes\n");
    }
    if let Some(cluster_size) = node["cluster-size"].as_u64() {
        let _ = writeln!(text, "cluster_size: {cluster_size}");
    }
    if node["dirty-flag"] == true {
        text.push_str("cleanly shut down: no\n");
    }
    if let Some(name) = node["backing-filename"].as_str() {
        let _ = write!(text, "backing file: {name}");
        match node["full-backing-filename"].as_str() {
            Some(full) if full != name => {
                let _ = write!(text, " (actual path: {full})");
            }
            _ => {}
        }
        text.push('\n');
    }
    if let Some(format) = node["backing-filename-format"].as_str() {
        let _ = writeln!(text, "backing file format: {format}");
    }
    if let Some(snapshots) = node["snapshots"].as_array() {
        text.push_str(&snapshot_list::human(snapshots));
    }
    if let Some(data) = node["format-specific"]["data"].as_object() {
        text.push_str("Format specific information:\n");
        write_members(text, data, 1);
    }
}

/// The members of an object as indented lines; lists number their elements.
fn write_members(text: &mut String, members: &Map<String, Value>, depth: usize) {
    for (key, value) in members {
        write_member(text, &key.replace('-', " "), value, depth);
    }
}

fn write_member(text: &mut String, name: &str, value: &Value, depth: usize) {
    let indent = "    ".repeat(depth);
    match value {
        Value::Object(members) => {
            let _ = writeln!(text, "{indent}{name}:");
            write_members(text, members, depth + 1);
        }
        Value::Array(elements) => {
            let _ = writeln!(text, "{indent}{name}:");
            for (index, element) in elements.iter().enumerate() {
                write_member(text, &format!("[{index}]"), element, depth + 1);
            }
        }
        Value::String(word) => {
            let _ = writeln!(text, "{indent}{name}: {word}");
        }
        other => {
            let _ = writeln!(text, "{indent}{name}: {other}");
        }
    }
}
