//! Snapshots in words.

use platter::image::{FormatDetails, ImageInfo, Snapshot};

use crate::format;
use crate::i18n::{fill, gettext};

/// What a row says below the name.
pub(super) fn line(snapshot: &Snapshot, size_now: u64) -> String {
    let mut parts = vec![format::date(snapshot.date)];
    if snapshot.vm_state_size > 0 {
        parts.push(fill(
            &gettext("state of the running machine: {size}"),
            &[("size", &format::size(snapshot.vm_state_size))],
        ));
    }
    if snapshot.virtual_size != size_now {
        parts.push(fill(
            &gettext("the disk had {size}"),
            &[("size", &format::size(snapshot.virtual_size))],
        ));
    }
    parts.extend(snapshot.damage.clone());
    parts.join(" · ")
}

/// What a snapshot is called in sentences: some have no name.
pub(super) fn title(snapshot: &Snapshot) -> String {
    if snapshot.name.is_empty() {
        fill(&gettext("Snapshot {id}"), &[("id", &snapshot.id)])
    } else {
        snapshot.name.clone()
    }
}

/// Why the image can have no snapshots.
pub(super) fn obstacle(info: &ImageInfo) -> Option<String> {
    let FormatDetails::Qcow2(details) = &info.details else {
        return Some(gettext(
            "Only QCOW2 images can keep snapshots inside. Convert the image, or make an overlay of it.",
        ));
    };
    if details.data_file_raw {
        return Some(gettext(
            "The data of this image is in a raw file of its own, which keeps no snapshots.",
        ));
    }
    None
}

/// "before-upgrade" where that is free, else "before-upgrade-2"…
pub(super) fn free_name(wanted: &str, taken: &[Snapshot]) -> String {
    let is_free = |name: &str| taken.iter().all(|snapshot| snapshot.name != name);
    if is_free(wanted) {
        return wanted.to_owned();
    }
    (2_u64..)
        .map(|n| format!("{wanted}-{n}"))
        .find(|name| is_free(name))
        .unwrap_or_else(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn snapshot(name: &str) -> Snapshot {
        Snapshot {
            id: "7".to_owned(),
            name: name.to_owned(),
            vm_state_size: 0,
            date: Duration::from_secs(1_700_000_000),
            vm_clock: Duration::ZERO,
            icount: None,
            virtual_size: 1 << 30,
            damage: None,
        }
    }

    #[test]
    fn what_differs_from_now_is_said() {
        let mut one = snapshot("a");
        assert!(!line(&one, 1 << 30).contains("the disk had"));
        assert!(line(&one, 2 << 30).contains("the disk had 1"));
        one.vm_state_size = 1 << 20;
        assert!(line(&one, 1 << 30).contains("running machine"));
        assert_eq!(title(&snapshot("")), "Snapshot 7");
    }

    #[test]
    fn a_name_is_proposed_that_is_free() {
        let taken = [snapshot("safety"), snapshot("safety-2")];
        assert_eq!(free_name("safety", &taken), "safety-3");
        assert_eq!(free_name("other", &taken), "other");
    }
}
