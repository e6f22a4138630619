//! Feature bits, and the refusal of those nobody here knows.

use crate::error::{Error, Result};
use crate::image::qcow2::extension::{self, Extension};
use crate::image::qcow2::header::text;

/// Incompatible: not closed properly; refcounts may be wrong.
pub(super) const DIRTY: u64 = 1 << 0;
/// Incompatible: damaged; must not be written.
pub(super) const CORRUPT: u64 = 1 << 1;
/// Incompatible: guest clusters are in an external data file.
pub(super) const DATA_FILE: u64 = 1 << 2;
/// Incompatible: the compression type is not zlib.
pub(super) const COMPRESSION: u64 = 1 << 3;
/// Incompatible: L2 entries have subclusters.
pub(super) const EXTENDED_L2: u64 = 1 << 4;
/// Incompatible, of Platter's own: an edit of the partitions is unfinished, and the journal beside the
/// image knows how to go on or back. QEMU knows bits from the low end on, so no other program
/// opens such an image, and says [`UNFINISHED_EDIT_NAME`] where the image has room for it.
pub(super) const UNFINISHED_EDIT: u64 = 1 << 63;
/// What a program says that refuses an image for [`UNFINISHED_EDIT`]: at most 46 bytes.
const UNFINISHED_EDIT_NAME: &str = "partition edit unfinished: open with Platter";
/// Compatible: refcounts may lag behind.
pub(super) const LAZY_REFCOUNTS: u64 = 1 << 0;
/// Autoclear: the bitmaps extension is consistent with the data.
pub(super) const BITMAPS: u64 = 1 << 0;
/// Autoclear: the external data file is a raw image by itself.
pub(super) const DATA_FILE_RAW: u64 = 1 << 1;

const KNOWN_INCOMPATIBLE: u64 =
    DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2 | UNFINISHED_EDIT;
/// An entry of the feature name table: type, bit, 46 bytes of name.
const NAME_ENTRY: usize = 48;
const TYPE_INCOMPATIBLE: u8 = 0;
const TYPE_COMPATIBLE: u8 = 1;
const TYPE_AUTOCLEAR: u8 = 2;

/// The features by type and bit, with the names that QEMU gives them in new images.
const NAMES: [(u8, u64, &str); 8] = [
    (TYPE_INCOMPATIBLE, DIRTY, "dirty bit"),
    (TYPE_INCOMPATIBLE, CORRUPT, "corrupt bit"),
    (TYPE_INCOMPATIBLE, DATA_FILE, "external data file"),
    (TYPE_INCOMPATIBLE, COMPRESSION, "compression type"),
    (TYPE_INCOMPATIBLE, EXTENDED_L2, "extended L2 entries"),
    (TYPE_COMPATIBLE, LAZY_REFCOUNTS, "lazy refcounts"),
    (TYPE_AUTOCLEAR, BITMAPS, "bitmaps"),
    (TYPE_AUTOCLEAR, DATA_FILE_RAW, "raw external data"),
];

/// The feature name table of a new image: what a program says that does not know a feature.
pub(super) fn name_table() -> Vec<u8> {
    let mut table = Vec::with_capacity(NAMES.len() * NAME_ENTRY);
    for (kind, bit, name) in NAMES {
        push_name(&mut table, kind, bit, name);
    }
    table
}

/// The table `before` (that of a new image where there is none) with a name for
/// [`UNFINISHED_EDIT`]; `None` when it has one.
pub(super) fn with_unfinished_edit(before: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut table = before.map_or_else(name_table, <[u8]>::to_vec);
    let bit = number(UNFINISHED_EDIT);
    let is_ours = |entry: &[u8]| entry[0] == TYPE_INCOMPATIBLE && entry[1] == bit;
    if table.chunks_exact(NAME_ENTRY).any(is_ours) {
        return None;
    }
    // Part of an entry at the end is none.
    table.truncate(table.len() / NAME_ENTRY * NAME_ENTRY);
    push_name(
        &mut table,
        TYPE_INCOMPATIBLE,
        UNFINISHED_EDIT,
        UNFINISHED_EDIT_NAME,
    );
    Some(table)
}

fn push_name(table: &mut Vec<u8>, kind: u8, bit: u64, name: &str) {
    let end = table.len() + NAME_ENTRY;
    table.extend([kind, number(bit)]);
    table.extend_from_slice(name.as_bytes());
    table.resize(end, 0);
}

/// The number of a bit: one of 64.
fn number(bit: u64) -> u8 {
    u8::try_from(bit.trailing_zeros()).unwrap_or(0)
}

/// Refuses incompatible features that are not known, by the names that the image itself gives
/// them in its feature name table, else by number.
pub(super) fn refuse_unknown(incompatible: u64, extensions: &[Extension]) -> Result<()> {
    let unknown = incompatible & !KNOWN_INCOMPATIBLE;
    if unknown == 0 {
        return Ok(());
    }
    let names: Vec<String> = (0..64)
        .filter(|bit| unknown >> bit & 1 != 0)
        .map(|bit| name_of(bit, extensions).unwrap_or_else(|| format!("bit {bit}")))
        .collect();
    Err(Error::unsupported(format!(
        "Unsupported qcow2 feature(s): {}",
        names.join(", ")
    ))
    .with_field("incompatible_features")
    .with_offset(72))
}

fn name_of(bit: u8, extensions: &[Extension]) -> Option<String> {
    extensions
        .iter()
        .filter(|(kind, _)| *kind == extension::FEATURE_NAMES)
        .flat_map(|(_, table)| table.chunks_exact(NAME_ENTRY))
        .find(|entry| entry[0] == TYPE_INCOMPATIBLE && entry[1] == bit)
        .map(|entry| text(&entry[2..]))
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_features_are_refused_by_the_name_the_image_gives() {
        let mut entry = vec![TYPE_INCOMPATIBLE, 7];
        entry.extend_from_slice(b"flux capacitor");
        entry.resize(NAME_ENTRY, 0);
        let extensions = [(extension::FEATURE_NAMES, entry)];
        let error = refuse_unknown(1 << 7 | 1 << 62 | DIRTY, &extensions).unwrap_err();
        assert_eq!(
            error.message(),
            "Unsupported qcow2 feature(s): flux capacitor, bit 62"
        );
        assert!(refuse_unknown(KNOWN_INCOMPATIBLE, &[]).is_ok());
    }

    #[test]
    fn our_own_feature_gets_a_name_once() {
        assert!(UNFINISHED_EDIT_NAME.len() <= NAME_ENTRY - 2);
        let named = with_unfinished_edit(None).unwrap();
        assert_eq!(named.len(), (NAMES.len() + 1) * NAME_ENTRY);
        let extensions = [(extension::FEATURE_NAMES, named.clone())];
        assert_eq!(
            name_of(63, &extensions).as_deref(),
            Some(UNFINISHED_EDIT_NAME)
        );
        assert_eq!(with_unfinished_edit(Some(&named)), None);
        let cut = with_unfinished_edit(Some(&[1; 50])).unwrap();
        assert_eq!(cut.len(), 2 * NAME_ENTRY);
    }
}
