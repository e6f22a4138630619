//! `partitions`: the partition table of a guest disk, with what each partition contains.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::ops::Range;
use std::process::ExitCode;

use platter::inspect::{Contents, Volume};
use platter::table::{Damage, Partition, PartitionTable, PartitionType, Region, Role, TableKind};
use platter::units::ByteSize;
use serde_json::{Value, json};

use crate::disk::{Request, file_system_json};
use crate::help;
use crate::output::{OutputFormat, for_terminal, print, print_json};
use crate::program::{Failure, Outcome, Program};
use crate::table::{Align, Table};

/// Runs the verb.
pub(crate) fn run(program: &Program, arguments: Vec<OsString>) -> Outcome {
    let Some(request) = Request::parse(program, "partitions", arguments)? else {
        return help::of(program, "partitions");
    };
    let contents = request.contents(program)?;
    let name = request.source.filename();
    if request.dump {
        if contents.table.kind == TableKind::None {
            return Err(Failure::new(format!("'{name}' has no partition table")));
        }
        print(&contents.table.dump(name))?;
        return Ok(ExitCode::SUCCESS);
    }
    match request.output {
        OutputFormat::Human => print(&human(name, &contents))?,
        OutputFormat::Json => print_json(&json(name, &contents))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn human(name: &str, contents: &Contents) -> String {
    let table = &contents.table;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Disk {}: {}, {} bytes, sectors of {} bytes",
        for_terminal(name),
        ByteSize(table.disk_size),
        table.disk_size,
        table.sector_size
    );
    let id = table.id.as_deref().map(|id| format!(", id {id}"));
    let kind = match table.kind {
        TableKind::Gpt => "GPT",
        TableKind::Mbr => "MBR",
        TableKind::None => "none",
    };
    let _ = writeln!(text, "Partition table: {kind}{}", id.unwrap_or_default());
    if table.kind == TableKind::None {
        write_whole_disk(&mut text, contents);
    } else {
        text.push('\n');
        text.push_str(&rows(contents).to_text());
    }
    write_damage(&mut text, &table.damage);
    text
}

fn write_whole_disk(text: &mut String, contents: &Contents) {
    let content = contents.volumes.first().map(content);
    let content = content.filter(|content| !content.is_empty());
    let words = content.unwrap_or_else(|| "nothing that is recognised".into());
    let _ = writeln!(text, "The whole disk contains: {}", for_terminal(&words));
}

fn write_damage(text: &mut String, damage: &[Damage]) {
    if damage.is_empty() {
        return;
    }
    text.push_str("\nDamage:\n");
    for Damage {
        message, serious, ..
    } in damage
    {
        let degree = if *serious { "serious" } else { "harmless" };
        let _ = writeln!(text, "  {degree}: {}", for_terminal(&message.to_string()));
    }
}

/// Partitions and free space in disk order.
fn rows(contents: &Contents) -> Table {
    let mut rows = Table::new(&[
        ("Number", Align::Right),
        ("Start", Align::Right),
        ("End", Align::Right),
        ("Size", Align::Right),
        ("Used", Align::Right),
        ("Aligned", Align::Right),
        ("Boot", Align::Left),
        ("Type", Align::Left),
        ("Content", Align::Left),
        ("Label", Align::Left),
        ("Name", Align::Left),
        ("UUID", Align::Left),
    ]);
    for region in contents.table.regions() {
        rows.push(match region {
            Region::Partition(index) => partition_row(contents, index),
            Region::Free { range, logical } => free_row(&contents.table, &range, logical),
        });
    }
    rows
}

fn partition_row(contents: &Contents, index: usize) -> Vec<String> {
    let Some(partition) = contents.table.partitions.get(index) else {
        return Vec::new();
    };
    let volume = volume_of(contents, index);
    let file_system = volume.and_then(|volume| volume.file_system.as_ref());
    let used = file_system.and_then(|file_system| file_system.usage);
    let [start, end, size] = place(&contents.table, &partition.range);
    let active = if partition.active { "yes" } else { "" };
    vec![
        partition.number.to_string(),
        start,
        end,
        size,
        used.map_or_else(String::new, |usage| ByteSize(usage.used).to_string()),
        ByteSize(partition.alignment()).to_string(),
        active.to_owned(),
        partition.type_name.clone(),
        volume.map(content).unwrap_or_default(),
        file_system
            .and_then(|file_system| file_system.label.clone())
            .unwrap_or_default(),
        partition.name.clone().unwrap_or_default(),
        partition.uuid.clone().unwrap_or_default(),
    ]
}

fn free_row(table: &PartitionTable, range: &Range<u64>, logical: bool) -> Vec<String> {
    let [start, end, size] = place(table, range);
    let kind = if logical { "free (logical)" } else { "free" };
    let mut row = vec![String::new(); 12];
    row[1] = start;
    row[2] = end;
    row[3] = size;
    row[7] = kind.to_owned();
    row
}

/// First and last sector, and size.
fn place(table: &PartitionTable, range: &Range<u64>) -> [String; 3] {
    let sector = table.sector_size.max(1);
    [
        (range.start / sector).to_string(),
        (range.end / sector).saturating_sub(1).to_string(),
        ByteSize(range.end - range.start).to_string(),
    ]
}

/// What is in a volume, in a word.
fn content(volume: &Volume) -> String {
    match (&volume.file_system, &volume.error) {
        (Some(file_system), _) => file_system.kind.name().to_owned(),
        (None, Some(_)) => "unreadable".to_owned(),
        (None, None) => String::new(),
    }
}

fn volume_of(contents: &Contents, partition: usize) -> Option<&Volume> {
    let mut volumes = contents.volumes.iter();
    volumes.find(|volume| volume.partition == Some(partition))
}

/// Offsets and sizes in bytes; `end` is the first byte behind.
fn json(name: &str, contents: &Contents) -> Value {
    let table = &contents.table;
    let partitions: Vec<Value> = table
        .partitions
        .iter()
        .enumerate()
        .map(|(index, partition)| partition_json(partition, volume_of(contents, index)))
        .collect();
    let free: Vec<Value> = table
        .regions()
        .iter()
        .filter_map(|region| match region {
            Region::Free { range, logical } => Some(json!({
                "start": range.start,
                "end": range.end,
                "size": range.end - range.start,
                "logical": logical,
            })),
            Region::Partition(_) => None,
        })
        .collect();
    let whole_disk = contents
        .volumes
        .iter()
        .find(|volume| volume.partition.is_none());
    json!({
        "filename": name,
        "size": table.disk_size,
        "sector-size": table.sector_size,
        "table": match table.kind {
            TableKind::Gpt => json!("gpt"),
            TableKind::Mbr => json!("mbr"),
            TableKind::None => Value::Null,
        },
        "id": table.id,
        "usable": { "start": table.usable.start, "end": table.usable.end },
        "partitions": partitions,
        "free": free,
        "content": whole_disk.and_then(content_json),
        "damage": table.damage.iter().map(damage_json).collect::<Vec<_>>(),
    })
}

fn partition_json(partition: &Partition, volume: Option<&Volume>) -> Value {
    let kind = match partition.kind {
        PartitionType::Gpt(uuid) => uuid.to_string(),
        PartitionType::Mbr(code) => format!("0x{code:02x}"),
    };
    let role = match partition.role {
        Role::Primary => "primary",
        Role::Extended => "extended",
        Role::Logical => "logical",
    };
    json!({
        "number": partition.number,
        "start": partition.range.start,
        "end": partition.range.end,
        "size": partition.range.end - partition.range.start,
        "alignment": partition.alignment(),
        "type": kind,
        "type-name": partition.type_name,
        "role": role,
        "name": partition.name,
        "uuid": partition.uuid,
        "attributes": partition.attributes,
        "active": partition.active,
        "content": volume.and_then(content_json),
        "error": volume.and_then(|volume| volume.error.as_deref()),
    })
}

fn content_json(volume: &Volume) -> Option<Value> {
    volume.file_system.as_ref().map(file_system_json)
}

fn damage_json(damage: &Damage) -> Value {
    json!({
        "message": damage.message.to_string(),
        "offset": damage.offset,
        "serious": damage.serious,
    })
}
