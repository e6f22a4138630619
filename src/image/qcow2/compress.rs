//! Compressing clusters, so that every reader of the format can inflate them.

use std::cell::RefCell;

use flate2::{Compress, FlushCompress, Status};
use zstd::bulk::Compressor;

use crate::error::{Error, Result};
use crate::image::qcow2::header::Compression;

/// Readers inflate with a window of 2^12 bytes; a larger one would fail them.
const DEFLATE_WINDOW_BITS: u8 = 12;
/// The level of zlib's own default.
const DEFLATE_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Compresses `cluster` into `output`, whose former content is dropped. `false` when it does not
/// get smaller.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] when the encoder fails.
pub(super) fn compress(
    compression: Compression,
    cluster: &[u8],
    output: &mut Vec<u8>,
) -> Result<bool> {
    thread_local! {
        static ENCODERS: RefCell<Encoders> = RefCell::new(Encoders::default());
    }
    output.clear();
    // No room for what would not be worth it.
    output.resize(cluster.len() - 1, 0);
    let length = ENCODERS.with_borrow_mut(|encoders| match compression {
        Compression::Zlib => encoders.deflate(cluster, output),
        Compression::Zstd => encoders.zstd(cluster, output),
    })?;
    output.truncate(length.unwrap_or(0));
    Ok(length.is_some())
}

/// The encoders of one thread: their tables are worth more than a cluster to set up.
#[derive(Default)]
struct Encoders {
    deflate: Option<Compress>,
    zstd: Option<Compressor<'static>>,
}

impl Encoders {
    fn deflate(&mut self, cluster: &[u8], output: &mut [u8]) -> Result<Option<usize>> {
        let deflate = self.deflate.get_or_insert_with(|| {
            let level = flate2::Compression::new(DEFLATE_LEVEL);
            Compress::new_with_window_bits(level, false, DEFLATE_WINDOW_BITS)
        });
        deflate.reset();
        let status = deflate
            .compress(cluster, output, FlushCompress::Finish)
            .map_err(failed)?;
        if status == Status::StreamEnd {
            return Ok(usize::try_from(deflate.total_out()).ok());
        }
        if !end_stream(deflate, cluster)? {
            self.deflate = None;
        }
        Ok(None)
    }

    fn zstd(&mut self, cluster: &[u8], output: &mut [u8]) -> Result<Option<usize>> {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(Compressor::new(ZSTD_LEVEL).map_err(failed)?),
        };
        // Fails for lack of room, and for nothing else that input could cause.
        Ok(zstd.compress_to_buffer(cluster, output).ok())
    }
}

/// Goes on without keeping anything, until the stream ends: zlib-rs 0.6 takes what a stream holds
/// back at its end along into the next one, and has no room for it some time. Answers `false` when
/// that does not come to an end.
fn end_stream(deflate: &mut Compress, cluster: &[u8]) -> Result<bool> {
    let mut rest = [0; 4096];
    loop {
        let (taken, made) = (deflate.total_in(), deflate.total_out());
        let left = usize::try_from(taken)
            .ok()
            .and_then(|taken| cluster.get(taken..));
        let status = deflate
            .compress(left.unwrap_or_default(), &mut rest, FlushCompress::Finish)
            .map_err(failed)?;
        if status == Status::StreamEnd {
            return Ok(true);
        }
        if (deflate.total_in(), deflate.total_out()) == (taken, made) {
            return Ok(false);
        }
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unsupported("cannot compress a cluster").with_source(error)
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
