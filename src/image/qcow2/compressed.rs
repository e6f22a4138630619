//! Compressed clusters: one raw deflate stream or one Zstandard frame each.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::Decompressor;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use crate::error::{Error, Result};
use crate::image::qcow2::header::Compression;

/// Largest window a Zstandard frame may ask for, as a power of two: 32 MiB, sixteen times the
/// largest cluster.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// Decompresses `input`, which may have anything behind the end of the data, into exactly
/// `cluster`.
pub(super) fn decompress(compression: Compression, input: &[u8], cluster: &mut [u8]) -> Result<()> {
    thread_local! {
        static CODECS: RefCell<Codecs> = RefCell::new(Codecs::default());
    }
    CODECS.with_borrow_mut(|codecs| match compression {
        Compression::Zlib => codecs.inflate(input, cluster),
        Compression::Zstd => codecs.unzstd(input, cluster),
    })
}

/// The decoders of one thread: their state is worth more than a cluster to set up.
#[derive(Default)]
struct Codecs {
    deflate: Option<Decompressor>,
    zlib: Option<Decompress>,
    zstd: Option<DCtx<'static>>,
}

impl Codecs {
    /// Half as fast again as zlib, as a whole cluster is wanted at once. But it knows only
    /// streams that are whole; zlib has the last word on others.
    fn inflate(&mut self, input: &[u8], cluster: &mut [u8]) -> Result<()> {
        let deflate = self.deflate.get_or_insert_with(Decompressor::new);
        match deflate.deflate_decompress(input, cluster) {
            Ok(length) if length == cluster.len() => Ok(()),
            _ => self.inflate_leniently(input, cluster),
        }
    }

    /// As QEMU does: a stream that fills the cluster is good, even if it has no end. Unlike QEMU,
    /// one that would go on is not.
    fn inflate_leniently(&mut self, input: &[u8], cluster: &mut [u8]) -> Result<()> {
        let damaged = |error| damaged().with_source(error);
        // The window of raw deflate is decided by the reader: the largest reads them all.
        let zlib = self.zlib.get_or_insert_with(|| Decompress::new(false));
        zlib.reset(false);
        let status = zlib
            .decompress(input, cluster, FlushDecompress::Finish)
            .map_err(damaged)?;
        if zlib.total_out() < cluster.len() as u64 {
            return Err(too_short(zlib.total_out()));
        }
        if status == Status::StreamEnd {
            return Ok(());
        }
        // The cluster is full but the stream has not ended: there may be an end mark to come, but
        // not another byte.
        let rest = usize::try_from(zlib.total_in())
            .ok()
            .and_then(|read| input.get(read..))
            .unwrap_or_default();
        zlib.decompress(rest, &mut [0], FlushDecompress::Finish)
            .map_err(damaged)?;
        if zlib.total_out() > cluster.len() as u64 {
            return Err(too_long());
        }
        Ok(())
    }

    fn unzstd(&mut self, input: &[u8], cluster: &mut [u8]) -> Result<()> {
        let refused = |code| damaged().with_source(zstd::zstd_safe::get_error_name(code));
        let zstd = if let Some(zstd) = &mut self.zstd {
            zstd
        } else {
            let mut zstd = DCtx::try_create()
                .ok_or_else(|| Error::unsupported("no memory for a Zstandard decoder"))?;
            zstd.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
                .map_err(refused)?;
            self.zstd.insert(zstd)
        };
        zstd.reset(ResetDirective::SessionOnly).map_err(refused)?;
        let length = cluster.len();
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(cluster);
        loop {
            let before = (input.pos(), output.pos());
            let left = zstd
                .decompress_stream(&mut output, &mut input)
                .map_err(refused)?;
            if output.pos() == length {
                return if left == 0 { Ok(()) } else { Err(too_long()) };
            }
            if left == 0 || before == (input.pos(), output.pos()) {
                return Err(too_short(output.pos() as u64));
            }
        }
    }
}

fn damaged() -> Error {
    Error::corrupt("damaged compressed cluster")
}

fn too_short(bytes: u64) -> Error {
    Error::corrupt(format!(
        "compressed cluster ends after {bytes} bytes, before the cluster is full"
    ))
}

fn too_long() -> Error {
    Error::corrupt("compressed cluster inflates past the cluster size")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length)
            .map(|i| u8::try_from((i * i / 7 + i / 300) % 251).unwrap())
            .collect()
    }

    fn deflated(data: &[u8]) -> Vec<u8> {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd_frame(data: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(data, 3).unwrap()
    }

    #[test]
    fn fills_a_cluster_and_ignores_what_follows() {
        let data = pattern(65_536);
        for (compression, mut input) in [
            (Compression::Zlib, deflated(&data)),
            (Compression::Zstd, zstd_frame(&data)),
        ] {
            input.extend_from_slice(&[0xa5; 511]);
            for _ in 0..2 {
                let mut cluster = vec![0; data.len()];
                decompress(compression, &input, &mut cluster).unwrap();
                assert!(cluster == data);
            }
        }
    }

    #[test]
    fn reads_a_stream_that_fills_the_cluster_without_an_end() {
        let data = pattern(65_536);
        let mut encoder = flate2::Compress::new(flate2::Compression::new(6), false);
        let mut input = Vec::with_capacity(100_000);
        encoder
            .compress_vec(&data, &mut input, flate2::FlushCompress::Sync)
            .unwrap();
        assert_eq!(encoder.total_in(), 65_536);
        let mut cluster = vec![0; data.len()];
        decompress(Compression::Zlib, &input, &mut cluster).unwrap();
        assert!(cluster == data);
    }

    #[test]
    fn refuses_what_is_too_short_too_long_or_damaged() {
        let data = pattern(65_536);
        for (compression, input) in [
            (Compression::Zlib, deflated(&data)),
            (Compression::Zstd, zstd_frame(&data)),
        ] {
            let outcome = |input: &[u8], length| {
                let mut cluster = vec![0; length];
                decompress(compression, input, &mut cluster)
                    .map_err(|error| error.message().to_owned())
            };
            assert!(outcome(&input, 131_072).unwrap_err().contains("ends after"));
            assert!(
                outcome(&input, 32_768)
                    .unwrap_err()
                    .contains("past the cluster")
            );
            assert!(
                outcome(&input, 65_535)
                    .unwrap_err()
                    .contains("past the cluster")
            );
            assert!(outcome(&input[..input.len() / 2], 65_536).is_err());
            assert!(outcome(&[0; 512], 65_536).is_err());
            assert!(outcome(&[], 65_536).is_err());
            // A decoder that failed is as good as new.
            assert!(outcome(&input, 65_536).is_ok());
        }
    }
}
