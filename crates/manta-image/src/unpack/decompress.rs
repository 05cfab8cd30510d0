//! Layers as they come: plain, gzip or zstd, told by their first bytes, and never larger than is allowed.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{LAYER_BYTES_MAX, RATIO_FREE_BYTES, RATIO_MAX};

const READ_BYTES: usize = 256 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Skippable frames, which may come first, have one of sixteen such numbers.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// The unpacked bytes of a layer.
pub(super) fn open<'a>(packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut packed = BufReader::with_capacity(READ_BYTES, packed);
    let start = packed.fill_buf()?;
    if start.starts_with(&GZIP) {
        Ok(Box::new(MultiGzDecoder::new(packed)))
    } else if start.starts_with(&ZSTD) || start.get(1..4) == Some(&ZSTD_SKIPPABLE) {
        Ok(Box::new(Zstd { packed, decoder: FrameDecoder::new(), is_open: false }))
    } else {
        Ok(Box::new(packed))
    }
}

/// A sequence of zstd frames, which is what tools for lazy images write.
struct Zstd<R> {
    packed: R,
    decoder: FrameDecoder,
    is_open: bool,
}

impl<R: BufRead> Zstd<R> {
    /// Enters the next frame that holds data; false at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.packed.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut (&mut self.packed).take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if !self.is_open || self.decoder.is_finished() {
                self.is_open = self.next_frame()?;
                if !self.is_open {
                    return Ok(0);
                }
            }
            self.decoder
                .decode_blocks(&mut self.packed, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(io::Error::other)?;
        }
    }
}

/// How much a layer may become, shared by all who read and write it.
#[derive(Clone)]
pub(super) struct Budget {
    packed_bytes: u64,
    used: Rc<Cell<u64>>,
    problem: Rc<RefCell<Option<String>>>,
}

impl Budget {
    /// For a layer of so many packed bytes.
    pub(super) fn new(packed_bytes: u64) -> Self {
        Self { packed_bytes, used: Rc::default(), problem: Rc::default() }
    }

    /// Takes note of more bytes.
    pub(super) fn spend(&self, bytes: usize) -> io::Result<()> {
        let used = self.used.get() + bytes as u64;
        self.used.set(used);
        let problem = if used > LAYER_BYTES_MAX {
            format!("it holds more than {} GiB", LAYER_BYTES_MAX >> 30)
        } else if used > RATIO_FREE_BYTES && used / RATIO_MAX > self.packed_bytes {
            format!(
                "it becomes more than {RATIO_MAX} times as large as its {} packed bytes, as only bombs do",
                self.packed_bytes
            )
        } else {
            return Ok(());
        };
        *self.problem.borrow_mut() = Some(problem.clone());
        Err(io::Error::other(problem))
    }

    /// The limit that was reached, whoever wrapped the error.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

/// A reader that spends from a budget.
pub(super) struct Limited<R> {
    pub(super) inner: R,
    pub(super) budget: Budget,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.budget.spend(read)?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        open(packed)?.read_to_end(&mut bytes).map(|_| bytes)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn every_form_gives_the_same_bytes() {
        let text = b"layer ".repeat(100_000);
        let skippable = [&[0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(&text)].concat();
        let two = [zstd(&text[..600]), zstd(&text[600..])].concat();
        for packed in [text.clone(), gzip(&text), zstd(&text), skippable, two] {
            assert!(unpacked(&packed).unwrap() == text);
        }
        assert!(unpacked(&gzip(&text)[..500]).is_err(), "a cut archive is no archive");
    }

    #[test]
    fn bombs_are_told_from_layers() {
        let budget = Budget::new(1 << 20);
        budget.spend(200 << 20).unwrap();
        assert!(budget.spend(2 << 20).is_err());
        assert!(budget.problem().unwrap().contains("200 times"), "{:?}", budget.problem());
        assert!(Budget::new(10).spend(60 << 20).is_ok());
    }
}
