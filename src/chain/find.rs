//! Finding a link by the name that a user gives it.

use std::fs;
use std::path::Path;

use crate::chain::Chain;
use crate::chain::name::{Target, resolve};

impl Chain {
    /// The depth of the backing file that `name` means, as `qemu-img commit -b` takes it: relative
    /// to the folder of the image above it, whichever that is, or exactly as that image writes it.
    /// The active layer is not looked at.
    #[must_use]
    pub fn find_backing(&self, name: &str) -> Option<usize> {
        self.links()
            .windows(2)
            .position(|pair| {
                let [above, link] = pair else {
                    return false;
                };
                let reference = link.reference.as_ref();
                if is_plain(name)
                    && reference.is_none_or(|reference| is_plain(&reference.name))
                    && let (Some(above), Some(path)) = (&above.path, &link.path)
                {
                    let folder = above.parent().unwrap_or(Path::new(""));
                    return same_file(&folder.join(name), path);
                }
                reference.is_some_and(|reference| reference.name == name)
            })
            .map(|above| above + 1)
    }

    /// The depth of the link whose file `name`, written in the active layer, means; for deciding
    /// whether a new backing file is one that the image stands on already.
    #[must_use]
    pub fn find_meant(&self, name: &str) -> Option<usize> {
        let active = self.active().path.as_deref()?;
        let Target::File { path, .. } = resolve(name, active) else {
            return None;
        };
        let below = self.links().iter().skip(1);
        below
            .map(|link| link.path.as_deref())
            .position(|link| link.is_some_and(|link| same_file(&path, link)))
            .map(|below| below + 1)
    }
}

/// A name without protocol.
fn is_plain(name: &str) -> bool {
    !name
        .find([':', '/'])
        .is_some_and(|at| name[at..].starts_with(':'))
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}
