//! The map as a table: one line an extent, as comma-separated values (RFC 4180 with LF line ends).

use std::io::Write;

use crate::chain::Chain;
use crate::control::{Control, Stop};
use crate::error::Error;
use crate::plot::cell::Class;
use crate::plot::summary::visit_map;

/// Writes the extents of the whole chain, in guest order, with a line of column names first:
/// `start`, `length` in guest bytes, `state` ([`Class::name`]), `depth` (index of the layer that
/// decides; empty when none does), `file` (that layer's), `host_offset` (where stored as it is).
///
/// # Errors
/// As [`crate::plot::summary::Summary::read`], and when `output` cannot be written.
pub fn write_csv(chain: &Chain, output: &mut dyn Write, control: &Control) -> Result<(), Stop> {
    let failed = |error| Stop::Failed(Error::io("writing the extents", error));
    let size = chain.active().info().map_or(0, |info| info.virtual_size);
    let files: Vec<String> = chain
        .links()
        .iter()
        .map(|link| {
            let path = link.image().and(link.path.as_ref());
            quote(&path.map_or_else(String::new, |path| path.display().to_string()))
        })
        .collect();
    control.enter("writing the extents", size);
    writeln!(output, "start,length,state,depth,file,host_offset").map_err(failed)?;
    let mut written = Ok(());
    visit_map(chain, 0..size, control, |entry| {
        let length = entry.guest.end - entry.guest.start;
        control.advance(length);
        if written.is_err() {
            return;
        }
        let class = Class::of(entry);
        let start = entry.guest.start;
        let (depth, file) = if class == Class::Unallocated {
            (String::new(), "")
        } else {
            let file = files.get(entry.depth).map_or("", String::as_str);
            (entry.depth.to_string(), file)
        };
        let host = entry
            .host
            .map_or_else(String::new, |host| host.0.to_string());
        let class = class.name();
        written = writeln!(output, "{start},{length},{class},{depth},{file},{host}");
    })?;
    written.and_then(|()| output.flush()).map_err(failed)
}

/// A field in quotes where it needs them.
fn quote(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_needed() {
        assert_eq!(quote("/tmp/a b.qcow2"), "/tmp/a b.qcow2");
        assert_eq!(quote("a,b"), "\"a,b\"");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }
}
