//! Finding a link by the name that a user gives it.

use std::fs;
use std::path::Path;

use crate::chain::Chain;

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
