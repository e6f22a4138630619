use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::backup::State;
use super::*;
use crate::chain::ChainOptions;
use crate::image::{Format, Qcow2Options};
use crate::op::create::{Creation, NewImage};

/// An image with data whose refcounts are all gone.
fn damaged(folder: &Path) -> PathBuf {
    let path = folder.join("disk.qcow2");
    let image = NewImage::Qcow2(Qcow2Options {
        size: 1 << 20,
        cluster_size: 4096,
        ..Qcow2Options::default()
    });
    Creation::begin(&path, false, false)
        .unwrap()
        .write(&image, &Control::new())
        .unwrap();
    let chain = open(&path);
    let writer = chain.writer(0).unwrap();
    writer
        .write_at(&[7; 100_000], crate::units::GuestOffset(0))
        .unwrap();
    writer.flush().unwrap();
    drop((writer, chain));
    let mut bytes = fs::read(&path).unwrap();
    let table = usize::from(bytes[54]) << 8 | usize::from(bytes[55]);
    let block = usize::from(bytes[table + 6]) << 8 | usize::from(bytes[table + 7]);
    bytes[block..block + 4096].fill(0);
    fs::write(&path, bytes).unwrap();
    path
}

fn open(path: &Path) -> Chain {
    let options = ChainOptions {
        format: Some(Format::Qcow2),
        writable: vec![0],
        ..ChainOptions::default()
    };
    Chain::open(path, &options).unwrap()
}

fn mend(path: &Path, backup: &Backup) -> Repaired {
    repair(&open(path), Repair::All, backup, &Control::new()).unwrap()
}

#[test]
fn a_repair_can_be_taken_back_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = damaged(folder.path());
    let before = fs::read(&path).unwrap();
    let repaired = mend(&path, &Backup::Beside);
    let backup = repaired.backup.unwrap();
    assert_eq!(backup, folder.path().join("disk.qcow2.repair-backup"));
    assert_eq!(
        fs::metadata(&backup).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(repaired.report.corruptions_fixed > 0 && repaired.report.after.is_clean());
    let after = fs::read(&path).unwrap();
    assert_ne!(before, after);

    for _ in 0..2 {
        restore(&path, &backup, &Control::new()).unwrap();
        assert_eq!(fs::read(&path).unwrap()[..before.len()], before);
    }
    let again = mend(&path, &Backup::Beside);
    assert_eq!(
        again.backup.unwrap(),
        folder.path().join("disk.qcow2.repair-backup.2")
    );
    assert_eq!(fs::read(&path).unwrap(), after);
    // Nothing to mend, nothing to save.
    assert_eq!(mend(&path, &Backup::Beside).backup, None);
}

#[test]
fn nothing_that_was_written_since_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = damaged(folder.path());
    let backup = mend(&path, &Backup::Beside).backup.unwrap();
    let chain = open(&path);
    let writer = chain.writer(0).unwrap();
    // Where there is a cluster already no metadata changes.
    let at = crate::units::GuestOffset;
    writer.write_at(&[8; 4096], at(0)).unwrap();
    writer.flush().unwrap();
    writer.write_at(&[9; 4096], at(800_000)).unwrap();
    writer.flush().unwrap();
    drop((writer, chain));
    let now = fs::read(&path).unwrap();
    match restore(&path, &backup, &Control::new()) {
        Err(Stop::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Refused),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&path).unwrap(), now);
}

#[test]
fn without_a_place_for_the_backup_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = damaged(folder.path());
    let before = fs::read(&path).unwrap();
    let there = folder.path().join("there");
    fs::write(&there, "mine").unwrap();
    let nowhere = folder.path().join("no/where");
    for backup in [Backup::At(there.clone()), Backup::At(nowhere)] {
        assert!(repair(&open(&path), Repair::All, &backup, &Control::new()).is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    assert_eq!(fs::read(&there).unwrap(), b"mine");
    while let Some(taken) = backup_path(&path) {
        fs::write(taken, "").unwrap();
    }
    let full = repair(&open(&path), Repair::All, &Backup::Beside, &Control::new());
    assert!(matches!(full, Err(Stop::Failed(error)) if error.kind() == ErrorKind::InvalidInput));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(mend(&path, &Backup::BesideIfPossible).backup, None);
}

/// Every byte of a backup that is not as it was written is noticed.
#[test]
fn a_damaged_backup_is_not_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = damaged(folder.path());
    let backup = mend(&path, &Backup::Beside).backup.unwrap();
    let (image, whole) = (fs::read(&path).unwrap(), fs::read(&backup).unwrap());
    for at in (0..whole.len()).step_by(97).chain([8, 15, 511, 512]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&backup, bytes).unwrap();
        let ended = restore(&path, &backup, &Control::new());
        assert!(matches!(ended, Err(Stop::Failed(_))), "byte {at}");
        assert!(fs::read(&path).unwrap() == image, "byte {at}");
    }
    for length in (0..whole.len()).step_by(301) {
        fs::write(&backup, &whole[..length]).unwrap();
        assert!(restore(&path, &backup, &Control::new()).is_err());
    }
    fs::write(&backup, whole).unwrap();
    restore(&path, &backup, &Control::new()).unwrap();
}

/// Restoring that was stopped goes on, a repair that was stopped is taken back; both only in the
/// file they began in.
#[test]
fn what_did_not_end_is_taken_back_in_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = damaged(folder.path());
    let before = fs::read(&path).unwrap();
    let backup = mend(&path, &Backup::Beside).backup.unwrap();
    let mut image = fs::read(&path).unwrap();
    image[4096..4200].fill(0xaa);
    fs::write(&path, image).unwrap();
    for state in [State::Unfinished, State::Restoring] {
        let storage = FileStorage::open(&backup, crate::storage::LockMode::WriteExclusive).unwrap();
        let mut header = backup::Content::read(&storage).unwrap().header;
        header.state = state;
        header.write(&storage).unwrap();
        drop(storage);
        let copy = folder.path().join("copy.qcow2");
        fs::copy(&path, &copy).unwrap();
        assert!(restore(&copy, &backup, &Control::new()).is_err());
        restore(&path, &backup, &Control::new()).unwrap();
        assert_eq!(fs::read(&path).unwrap()[..before.len()], before);
    }
}
