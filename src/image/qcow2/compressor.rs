//! Compressing clusters one by one, as all readers of QCOW2 expect them: a raw deflate stream with
//! a window of 4 KiB, or a Zstandard frame.

use flate2::{Compress, FlushCompress, Status};
use zstd::zstd_safe::{CCtx, CParameter};

use crate::error::{Error, Result};
use crate::image::qcow2::header::Compression;

/// QEMU's own (`Z_DEFAULT_COMPRESSION`).
const ZLIB_LEVEL: u32 = 6;
/// As a power of two. Readers may inflate with a window of this size, as QEMU declares it.
const ZLIB_WINDOW_BITS: u8 = 12;
/// QEMU's own (`ZSTD_CLEVEL_DEFAULT`).
const ZSTD_LEVEL: i32 = 3;

/// The encoder of one thread: its state is worth more than a cluster to set up.
pub struct ClusterCompressor(Encoder);

enum Encoder {
    Zlib(Box<Compress>),
    Zstd(CCtx<'static>),
}

impl ClusterCompressor {
    /// An encoder of QEMU's level.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Unsupported`] when there is no memory for it.
    pub fn new(compression: Compression) -> Result<Self> {
        Ok(Self(match compression {
            Compression::Zlib => Encoder::Zlib(Box::new(new_zlib())),
            Compression::Zstd => {
                let no_memory = || Error::unsupported("no memory for a Zstandard encoder");
                let mut encoder = CCtx::try_create().ok_or_else(no_memory)?;
                encoder
                    .set_parameter(CParameter::CompressionLevel(ZSTD_LEVEL))
                    .map_err(|_| no_memory())?;
                Encoder::Zstd(encoder)
            }
        }))
    }

    /// Compresses a whole cluster behind what `output` holds. `None` when that makes it no
    /// smaller: then `output` is as before.
    pub fn compress(&mut self, cluster: &[u8], output: &mut Vec<u8>) -> Option<usize> {
        let start = output.len();
        // Room for what grows: a stream must come to its end, because zlib-rs 0.6 loses a little
        // of its own buffer with every one that is given up, until it panics.
        output.resize(start + cluster.len() + cluster.len() / 16 + 256, 0);
        let length = match &mut self.0 {
            Encoder::Zlib(encoder) => deflate(encoder, cluster, &mut output[start..]),
            Encoder::Zstd(encoder) => encoder.compress2(&mut output[start..], cluster).ok(),
        };
        let length = length.filter(|length| *length < cluster.len());
        output.truncate(start + length.unwrap_or(0));
        length
    }
}

fn deflate(encoder: &mut Compress, input: &[u8], output: &mut [u8]) -> Option<usize> {
    encoder.reset();
    match encoder.compress(input, output, FlushCompress::Finish) {
        Ok(Status::StreamEnd) => usize::try_from(encoder.total_out()).ok(),
        _ => {
            *encoder = new_zlib();
            None
        }
    }
}

fn new_zlib() -> Compress {
    let level = flate2::Compression::new(ZLIB_LEVEL);
    Compress::new_with_window_bits(level, false, ZLIB_WINDOW_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::qcow2::compressed::decompress;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn what_is_compressed_can_be_read_again() {
        let text: Vec<u8> = (0..65536_u32)
            .flat_map(|i| (i / 7 * i % 1000).to_le_bytes())
            .take(65536)
            .collect();
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..65536)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        for compression in [Compression::Zlib, Compression::Zstd] {
            let mut compressor = ClusterCompressor::new(compression).unwrap();
            let mut output = b"before".to_vec();
            assert_eq!(compressor.compress(&noise, &mut output), None);
            assert_eq!(output, b"before");
            let length = compressor.compress(&text, &mut output).unwrap();
            assert_eq!(output.len(), 6 + length);
            let mut cluster = vec![0; text.len()];
            decompress(compression, &output[6..], &mut cluster).unwrap();
            assert!(cluster == text);
        }
    }

    #[test]
    fn clusters_that_do_not_compress_leave_no_trace() {
        let noise = noise(512);
        let mut compressor = ClusterCompressor::new(Compression::Zlib).unwrap();
        for _ in 0..1000 {
            assert_eq!(compressor.compress(&noise, &mut Vec::new()), None);
        }
    }

    #[test]
    fn distances_stay_within_the_window_of_qemu() {
        // Noise that comes again 8 KiB later: no use with a window of 4 KiB.
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..8192)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        let cluster = noise.repeat(8);
        let mut compressor = ClusterCompressor::new(Compression::Zlib).unwrap();
        assert_eq!(compressor.compress(&cluster, &mut Vec::new()), None);
    }
}
