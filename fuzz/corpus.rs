//! Writes the first corpus of every target into `corpus/`: see README.md.

#[path = "seeds.rs"]
mod seeds;
#[path = "../tests/common/tiny.rs"]
mod tiny;

use std::fs;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, inputs) in [
        ("probe", seeds::files()),
        ("qcow2_open_read", seeds::images()),
        ("qcow2_check", seeds::images()),
        ("qcow2_write", seeds::images()),
        ("table", seeds::disks()),
        ("fs", seeds::disks()),
        ("chain_name", seeds::names()),
    ] {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        for (index, input) in inputs.iter().enumerate() {
            fs::write(folder.join(format!("seed{index}")), input)?;
        }
    }
    Ok(())
}
