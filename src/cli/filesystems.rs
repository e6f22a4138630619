//! `filesystems`: what the volumes of a guest disk contain, one a line.

use std::ffi::OsString;
use std::process::ExitCode;

use platter::fs::FileSystem;
use platter::inspect::{Contents, Volume};
use platter::units::ByteSize;
use serde_json::{Value, json};

use crate::disk::{Request, file_system_json};
use crate::help;
use crate::output::{OutputFormat, print, print_json};
use crate::program::{Outcome, Program};
use crate::table::{Align, Table};

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let Some(request) = Request::parse(program, "filesystems", arguments)? else {
        return help::of(program, "filesystems");
    };
    let contents = request.contents(program)?;
    match request.output {
        OutputFormat::Human => print(&human(&contents))?,
        OutputFormat::Json => print_json(&json(request.source.filename(), &contents))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn human(contents: &Contents) -> String {
    let mut table = Table::new(&[
        ("Volume", Align::Left),
        ("Type", Align::Left),
        ("Label", Align::Left),
        ("Size", Align::Right),
        ("Used", Align::Right),
        ("Free", Align::Right),
        ("Use%", Align::Right),
        ("UUID", Align::Left),
        ("Notes", Align::Left),
    ]);
    for volume in &contents.volumes {
        table.push(row(contents, volume));
    }
    table.to_text()
}

fn row(contents: &Contents, volume: &Volume) -> Vec<String> {
    let name = number(contents, volume).map_or_else(|| "disk".to_owned(), |n| n.to_string());
    let bytes = |bytes: u64| ByteSize(bytes).to_string();
    let size = volume.range.end - volume.range.start;
    let Some(file_system) = &volume.file_system else {
        let mut row = vec![String::new(); 9];
        row[0] = name;
        row[1] = "unknown".to_owned();
        row[3] = bytes(size);
        row[8] = volume.error.clone().unwrap_or_default();
        return row;
    };
    let usage = file_system.usage;
    let percent = usage.and_then(|usage| {
        let total = u128::from(usage.used) + u128::from(usage.free);
        (u128::from(usage.used) * 100).checked_div(total)
    });
    vec![
        name,
        file_system.kind.name().to_owned(),
        file_system.label.clone().unwrap_or_default(),
        bytes(file_system.size.unwrap_or(size)),
        usage.map_or_else(String::new, |usage| bytes(usage.used)),
        usage.map_or_else(String::new, |usage| bytes(usage.free)),
        percent.map_or_else(String::new, |percent| format!("{percent}%")),
        file_system.uuid.clone().unwrap_or_default(),
        notes(file_system),
    ]
}

/// What a careful person would like to know, then the facts of its own kind.
fn notes(file_system: &FileSystem) -> String {
    let details = file_system.details.iter();
    let details = details.map(|(name, value)| format!("{name}: {value}"));
    let notes: Vec<String> = file_system.notes.iter().cloned().chain(details).collect();
    notes.join("; ")
}

fn number(contents: &Contents, volume: &Volume) -> Option<u32> {
    let partition = contents.table.partitions.get(volume.partition?)?;
    Some(partition.number)
}

/// Sizes in bytes; `partition` is `null` for the whole disk, `content` for what is not recognised.
fn json(name: &str, contents: &Contents) -> Value {
    let volumes: Vec<Value> = contents
        .volumes
        .iter()
        .map(|volume| {
            json!({
                "partition": number(contents, volume),
                "start": volume.range.start,
                "size": volume.range.end - volume.range.start,
                "content": volume.file_system.as_ref().map(file_system_json),
                "error": volume.error,
            })
        })
        .collect();
    json!({ "filename": name, "volumes": volumes })
}
