use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;

const MIB: u64 = 1 << 20;

fn raw(size: u64) -> NewImage {
    NewImage::Raw {
        size,
        preallocation: Preallocation::Off,
    }
}

#[test]
fn replaces_nothing_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.raw");
    let control = Control::new();
    create(&path, &raw(MIB), &control).unwrap();
    let stop = create(&path, &raw(MIB), &control).unwrap_err();
    assert!(matches!(stop, Stop::Failed(error) if error.kind() == ErrorKind::InvalidInput));
    let again = Creation::begin(&path, true, true).unwrap();
    again.write(&raw(2 * MIB), &control).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 2 * MIB);
}

#[test]
fn an_overlay_remembers_size_and_format() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::new();
    create(&folder.path().join("base.raw"), &raw(3 * MIB), &control).unwrap();
    let top = folder.path().join("top.qcow2");
    let options = overlay(&top, "base.raw", None).unwrap();
    create(&top, &NewImage::Qcow2(options), &control).unwrap();
    let chain = Chain::open(&top, &ChainOptions::default()).unwrap();
    let disk = chain.disk().unwrap();
    assert_eq!(crate::storage::Storage::size(&disk).unwrap(), 3 * MIB);
    let backing = chain.active().info().unwrap().backing.clone().unwrap();
    assert_eq!(backing.format.as_deref(), Some("raw"));

    drop((disk, chain));

    // What stands on the file that is replaced would stand on itself.
    let without_locks = ChainOptions {
        force_share: true,
        ..ChainOptions::default()
    };
    let chain = Chain::open(&top, &without_locks).unwrap();
    let base = Creation::begin(&folder.path().join("base.raw"), true, false).unwrap();
    assert!(base.check_backing(&chain).is_err());
    let other = Creation::begin(&folder.path().join("other.raw"), true, false).unwrap();
    assert!(other.check_backing(&chain).is_ok());
    drop(base);
    let mut other = other;
    other
        .add_data_file(&folder.path().join("base.raw"), true)
        .unwrap();
    assert!(other.check_backing(&chain).is_err());
    assert!(overlay(&top, "missing.raw", None).is_err());
    assert!(overlay(&top, "nbd:host:1", None).is_err());
}

#[test]
fn preallocation_takes_the_space_and_data_files_come_along() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::new();
    let path = folder.path().join("a.qcow2");
    let data = folder.path().join("a.data");
    let mut creation = Creation::begin(&path, false, false).unwrap();
    creation.add_data_file(&data, false).unwrap();
    let options = Qcow2Options {
        size: MIB,
        data_file: Some("a.data".into()),
        data_file_raw: true,
        preallocation: Preallocation::Full,
        ..Qcow2Options::default()
    };
    creation.write(&NewImage::Qcow2(options), &control).unwrap();
    let metadata = fs::metadata(&data).unwrap();
    assert_eq!(metadata.len(), MIB);
    assert!(metadata.blocks() * 512 >= MIB);
    let chain = Chain::open(&path, &ChainOptions::default()).unwrap();
    assert!(chain.disk().is_ok());

    for preallocation in [Preallocation::Falloc, Preallocation::Full] {
        let path = folder.path().join(format!("{preallocation:?}.raw"));
        let image = NewImage::Raw {
            size: MIB,
            preallocation,
        };
        create(&path, &image, &control).unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= MIB);
    }
}

#[test]
fn a_cancelled_creation_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.raw");
    let control = Control::new();
    control.cancel();
    let image = NewImage::Raw {
        size: MIB,
        preallocation: Preallocation::Full,
    };
    assert!(matches!(
        create(&path, &image, &control),
        Err(Stop::Cancelled)
    ));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
