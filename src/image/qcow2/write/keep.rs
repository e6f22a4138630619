//! Snapshots of another image, taken over with all that is known of them.
//!
//! The state of a machine is behind the end of the disk: the disk grows over it, the state is
//! written and the snapshot taken, and the disk has its size again.

use std::ops::ControlFlow;

use crate::control::{Control, Stop};
use crate::error::Error;
use crate::image::info::Snapshot;
use crate::image::qcow2::write::Qcow2Writer;
use crate::image::writer::{ImageWriter, Preallocation};
use crate::storage::Storage;
use crate::units::{GuestOffset, MIB};

/// Bytes that are copied at a time.
const PIECE: u64 = MIB;

impl Qcow2Writer {
    /// See [`ImageWriter::keep_snapshot`].
    pub(super) fn keep(
        &self,
        facts: &Snapshot,
        vm_state: Option<&dyn Storage>,
        control: &Control,
    ) -> Result<(), Stop> {
        let size = self.virtual_size();
        let facts = Snapshot {
            virtual_size: size,
            ..facts.clone()
        };
        let take = || self.run(|state| state.create_snapshot(&facts, control).map(drop));
        let Some(vm_state) = vm_state.filter(|_| facts.vm_state_size > 0) else {
            return take();
        };
        let reach = self.lock().header.fields.table_reach();
        let start = size.div_ceil(reach).saturating_mul(reach);
        let end = start
            .checked_add(facts.vm_state_size)
            .and_then(|end| end.checked_next_multiple_of(512))
            .ok_or_else(|| Error::unsupported("the state of the machine is too long"))?;
        self.resize(end, false, Preallocation::Off, control)?;
        self.copy_vm_state(vm_state, start, control)?;
        take()?;
        self.resize(size, true, Preallocation::Off, control)
    }

    /// Copies what is not zero to `start`.
    fn copy_vm_state(
        &self,
        vm_state: &dyn Storage,
        start: u64,
        control: &Control,
    ) -> Result<(), Stop> {
        let mut runs = Vec::new();
        vm_state.for_each_run(0..vm_state.size()?, &mut |run| {
            if !run.hole {
                runs.push(run.range);
            }
            ControlFlow::Continue(())
        })?;
        let mut buf = Vec::new();
        for range in runs {
            let mut at = range.start;
            while at < range.end {
                control.checkpoint()?;
                let length = (range.end - at).min(PIECE);
                buf.resize(usize::try_from(length).unwrap_or(0), 0);
                vm_state.read_at(&mut buf, at)?;
                self.write_at(&buf, GuestOffset(start + at))?;
                at += length;
            }
        }
        Ok(())
    }
}
