//! What a name on the command line says, by QEMU's grammar, before anything is opened.

use std::ffi::{OsStr, OsString};

use platter::image::Format;
use serde_json::Value;

/// What a name says, before anything is opened.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) driver: Option<String>,
    pub(super) file: OsString,
}

impl Named {
    pub(super) fn from_file_name(name: &OsStr) -> Result<Self, String> {
        let text = name.to_string_lossy();
        let file = match protocol(&text) {
            None => name.to_owned(),
            Some("file") => OsString::from(&text["file:".len()..]),
            Some(protocol) => return Err(format!("Unknown protocol '{protocol}'")),
        };
        if file.is_empty() {
            return Err("The 'file' block driver requires a file name".into());
        }
        Ok(Self { driver: None, file })
    }

    /// `driver=qcow2,file.filename=a,,b`: a doubled comma is one of the value.
    pub(super) fn from_options(text: &str) -> Result<Self, String> {
        let mut pairs = Vec::new();
        for (index, part) in split_commas(text).into_iter().enumerate() {
            match part.split_once('=') {
                Some((key, value)) => pairs.push((key.to_owned(), value.to_owned())),
                None if index == 0 => {
                    return Err(format!(
                        "Cannot find device='{part}' nor node-name='{part}'"
                    ));
                }
                None => pairs.push((part, "on".into())),
            }
        }
        Self::from_pairs(pairs)
    }

    pub(super) fn from_json(text: &str) -> Result<Self, String> {
        let object: Value = serde_json::from_str(text)
            .map_err(|error| format!("Could not parse the JSON options: {error}"))?;
        let mut pairs = Vec::new();
        flatten("", &object, &mut pairs);
        if pairs.is_empty() {
            return Err("Must specify either driver or file".into());
        }
        Self::from_pairs(pairs)
    }

    fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut named = Self::default();
        let mut unknown = None;
        for (key, value) in pairs {
            match key.as_str() {
                "driver" => named.driver = Some(value),
                "file.filename" | "filename" => named.file = value.into(),
                "file.driver" if value != "file" => {
                    return Err(format!("Unknown driver '{value}'"));
                }
                // The name of the node, caching and locking change nothing that is printed.
                "file.driver" | "node-name" | "read-only" | "file.locking" | "file.node-name" => {}
                _ => unknown = unknown.or(Some(key)),
            }
        }
        if let Some(key) = unknown {
            if key.starts_with("encrypt.") {
                return Err(format!(
                    "Encrypted images are not supported yet (option '{key}')"
                ));
            }
            let driver = named.driver.as_deref().unwrap_or("raw");
            return Err(format!(
                "Block format '{driver}' does not support the option '{key}'"
            ));
        }
        if named.file.is_empty() {
            return Err("A block device must be specified for \"file\"".into());
        }
        Ok(named)
    }

    pub(super) fn format(&self) -> Result<Option<Format>, String> {
        let Some(name) = self.driver.as_deref() else {
            return Ok(None);
        };
        Format::from_name(name)
            .map(Some)
            .ok_or_else(|| format!("Unknown driver '{name}'"))
    }
}

/// The protocol of a name like "nbd:host": what stands before a colon that no slash precedes.
pub(crate) fn protocol(name: &str) -> Option<&str> {
    let end = name.find([':', '/'])?;
    name[end..].starts_with(':').then(|| &name[..end])
}

/// Splits at single commas and makes doubled ones single.
pub(crate) fn split_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

/// Nested objects as dotted keys.
fn flatten(prefix: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&key, member, pairs);
            }
        }
        Value::String(text) => pairs.push((prefix.to_owned(), text.clone())),
        other => pairs.push((prefix.to_owned(), other.to_string())),
    }
}
