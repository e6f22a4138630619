//! What only QCOW2 images have, with the keys in QEMU's order.

use platter::image::luks::{LuksHeader, LuksSlot};
use platter::image::{Bitmap, ImageDriver, Qcow2Details};
use platter::units::HostOffset;
use serde_json::{Map, Value, json};

/// The format's own facts.
pub(super) fn details(image: &dyn ImageDriver, details: &Qcow2Details) -> Value {
    let info = image.info();
    let is_v3 = details.version >= 3;
    let mut data = Map::new();
    let mut set = |key: &str, value: Value| data.insert(key.to_owned(), value);
    set("compat", json!(if is_v3 { "1.1" } else { "0.10" }));
    set("compression-type", json!(details.compression));
    if is_v3 {
        set("lazy-refcounts", json!(details.lazy_refcounts));
        if !details.bitmaps.is_empty() {
            set("bitmaps", details.bitmaps.iter().map(bitmap).collect());
        }
    }
    set("refcount-bits", json!(details.refcount_bits));
    if let Some(method) = &info.encryption {
        set("encrypt", encryption(image, method, details));
    }
    if is_v3 {
        if let Some(file) = &info.data_file {
            set("data-file", json!(file.name));
            set("data-file-raw", json!(details.data_file_raw));
        }
        set("corrupt", json!(info.corrupt));
        set("extended-l2", json!(details.extended_l2));
    }
    data.into()
}

/// The method, and what the header of a LUKS container says, which lies in the image.
fn encryption(image: &dyn ImageDriver, method: &str, details: &Qcow2Details) -> Value {
    const CRYPTO_HEADER: u32 = 0x0537_be77;
    let mut extensions = details.extensions.iter();
    let offset = extensions
        .find(|(kind, _)| *kind == CRYPTO_HEADER)
        .and_then(|(_, data)| data.first_chunk::<8>())
        .map(|bytes| HostOffset(u64::from_be_bytes(*bytes)));
    let header = offset.and_then(|at| LuksHeader::read(image.storage().as_ref(), at).ok());
    let Some(header) = header else {
        return json!({ "format": method });
    };
    let mut facts = Map::new();
    let mut set = |key: &str, value: Value| facts.insert(key.to_owned(), value);
    set("ivgen-alg", json!(header.iv_generator));
    set("detached-header", json!(false));
    set("hash-alg", json!(header.hash));
    set(
        "cipher-alg",
        json!(format!("{}-{}", header.cipher, header.key_bits)),
    );
    set("uuid", json!(header.uuid));
    if let Some(hash) = &header.iv_hash {
        set("ivgen-hash-alg", json!(hash));
    }
    set("format", json!(method));
    set("cipher-mode", json!(header.cipher_mode));
    set("slots", header.slots.iter().map(key_slot).collect());
    set("payload-offset", json!(header.payload_offset));
    set("master-key-iters", json!(header.master_key_iterations));
    facts.into()
}

fn key_slot(slot: &LuksSlot) -> Value {
    if slot.active {
        json!({
            "active": true,
            "iters": slot.iterations,
            "key-offset": slot.key_offset,
            "stripes": slot.stripes,
        })
    } else {
        json!({ "active": false, "key-offset": slot.key_offset })
    }
}

fn bitmap(bitmap: &Bitmap) -> Value {
    let flags: Vec<&str> = [(bitmap.in_use, "in-use"), (bitmap.auto, "auto")]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
    json!({ "flags": flags, "name": bitmap.name, "granularity": bitmap.granularity })
}
