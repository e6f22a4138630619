//! Compressing a cluster now and then, as a writer does: with the encoders of its thread.

use std::cell::RefCell;

use crate::error::Result;
use crate::image::qcow2::compressor::ClusterCompressor;
use crate::image::qcow2::header::Compression;

/// The encoders of one thread, as far as they were needed.
#[derive(Default)]
struct Encoders {
    zlib: Option<ClusterCompressor>,
    zstd: Option<ClusterCompressor>,
}

/// Compresses `cluster` into `output`, whose former content is dropped. `false` when it does not
/// get smaller.
///
/// # Errors
/// As [`ClusterCompressor::new`].
pub(super) fn compress(
    compression: Compression,
    cluster: &[u8],
    output: &mut Vec<u8>,
) -> Result<bool> {
    thread_local! {
        static ENCODERS: RefCell<Encoders> = RefCell::new(Encoders::default());
    }
    output.clear();
    ENCODERS.with_borrow_mut(|encoders| {
        let encoder = match compression {
            Compression::Zlib => &mut encoders.zlib,
            Compression::Zstd => &mut encoders.zstd,
        };
        let encoder = match encoder {
            Some(encoder) => encoder,
            none => none.insert(ClusterCompressor::new(compression)?),
        };
        Ok(encoder.compress(cluster, output).is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::qcow2::compressed::decompress;

    #[test]
    fn makes_what_a_small_window_inflates() {
        let data: Vec<u8> = (0..65_536_u32)
            .map(|i| u8::try_from((i / 700 * i % 253) & 0x3f).unwrap())
            .collect();
        let noise: Vec<u8> = (0..4096_u32)
            .map(|i| (i.wrapping_mul(i | 1).wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let mut output = Vec::new();
        for compression in [Compression::Zlib, Compression::Zstd] {
            for _ in 0..2 {
                assert!(compress(compression, &data, &mut output).unwrap());
                let mut cluster = vec![0; data.len()];
                decompress(compression, &output, &mut cluster).unwrap();
                assert!(cluster == data);
                assert!(!compress(compression, &noise, &mut Vec::new()).unwrap());
            }
        }
        assert!(compress(Compression::Zlib, &data, &mut output).unwrap());
        let mut inflate = flate2::Decompress::new_with_window_bits(false, 12);
        let mut cluster = vec![0; data.len()];
        inflate
            .decompress(&output, &mut cluster, flate2::FlushDecompress::Finish)
            .unwrap();
        assert!(cluster == data);
    }

    /// zlib-rs does not begin anew behind a stream that had no room to end.
    #[test]
    fn clusters_that_get_no_smaller_leave_nothing_behind() {
        let mut state = 1_u64;
        let mut noise = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        let mut output = Vec::new();
        for size in [512, 1024, 4096, 16_384, 65_536] {
            for share in [size, size / 2, size - 8, size - 40] {
                for _ in 0..200 {
                    let mut cluster = vec![7; size];
                    cluster[..share].fill_with(&mut noise);
                    if compress(Compression::Zlib, &cluster, &mut output).unwrap() {
                        let mut again = vec![0; size];
                        decompress(Compression::Zlib, &output, &mut again).unwrap();
                        assert!(again == cluster);
                    }
                }
            }
        }
    }
}
