//! Files on the runtime of a background thread. A [`BackgroundFile`] belongs to that thread; the file behind it is shared with
//! the rings.
//!
//! On tokio's own runtime the calls block the thread, which has nothing else to do meanwhile.
#![expect(unsafe_code, reason = "the kernel is lent memory by address")]

use crate::File;
use crate::aligned::AlignedBuffer;
use crate::disk::{Attempts, Disk, OPERATION_BYTES_MAX, REST, Step};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use tokio_uring::buf::{BoundedBuf as _, IoBuf, IoBufMut};

/// A background thread's handle on a [`File`], with which it reads and writes the file. The futures of these operations must not
/// be dropped before they are ready.
pub struct BackgroundFile {
    disk: Arc<Disk>,
    ring: Option<tokio_uring::fs::File>,
}

impl std::fmt::Debug for BackgroundFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackgroundFile").field("disk", &self.disk).finish_non_exhaustive()
    }
}

// SAFETY: the bytes are on the heap, where they do not move when the buffer does, and stay unchanged while the buffer is neither
// dropped nor mutated; the first `filled` of them are initialised, and all up to the buffer's room are in its memory.
unsafe impl IoBuf for AlignedBuffer {
    fn stable_ptr(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.bytes().len()
    }

    fn bytes_total(&self) -> usize {
        self.room()
    }
}

// SAFETY: as above; the pointer is that of memory which this buffer alone reaches.
unsafe impl IoBufMut for AlignedBuffer {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.bytes_mut().as_mut_ptr()
    }

    // SAFETY: the runtime calls this function with the number of bytes that the kernel says it has written.
    unsafe fn set_init(&mut self, len: usize) {
        self.advance(len.saturating_sub(self.bytes().len()));
    }
}

impl BackgroundFile {
    /// A handle on `file` for this thread, whose runtime is tokio-uring's if `has_ring`, else tokio's own.
    pub(super) fn new(file: &File, has_ring: bool) -> io::Result<Self> {
        let disk = Arc::clone(file.disk());
        // A separate descriptor, because the runtime closes it.
        let ring =
            if has_ring { Some(tokio_uring::fs::File::from_std(disk.file().try_clone()?)) } else { None };
        Ok(Self { disk, ring })
    }

    /// Reads like [`File::read_at`], but the future must not be dropped before it is ready.
    ///
    /// # Errors
    /// As [`File::read_at`].
    pub async fn read_at(
        &self,
        mut buffer: AlignedBuffer,
        offset: u64,
    ) -> (io::Result<usize>, AlignedBuffer) {
        let mut attempts = Attempts::default();
        buffer.clear();
        let result = loop {
            let from = buffer.bytes().len();
            let to = buffer.room().min(from + OPERATION_BYTES_MAX);
            let result = match &self.ring {
                None => self.disk.read_once(&mut buffer, offset + from as u64),
                Some(_) if from == to => Ok(0),
                Some(ring) => {
                    let (result, slice) = ring.read_at(buffer.slice(from..to), offset + from as u64).await;
                    buffer = slice.into_inner();
                    result
                }
            };
            match attempts.judge_read(result, buffer.is_full(), self.disk.alignment()) {
                Step::Again => {}
                Step::Rest => tokio::time::sleep(REST).await,
                Step::End(result) => break result,
            }
        };
        (result.map(|()| buffer.bytes().len()), buffer)
    }

    /// Writes the first `len` bytes of `buffer` to the file at `offset`, and returns `buffer`. Both `len` and `offset` must be
    /// multiples of [`File::alignment`].
    ///
    /// # Errors
    /// An error of the kernel or the device. Some of the bytes may have been written nevertheless.
    ///
    /// # Panics
    /// `buffer` holds fewer than `len` bytes.
    pub async fn write_at(
        &self,
        mut buffer: AlignedBuffer,
        len: usize,
        offset: u64,
    ) -> (io::Result<()>, AlignedBuffer) {
        assert!(len <= buffer.bytes().len());
        let mut attempts = Attempts::default();
        let mut written = 0;
        let result = loop {
            let to = len.min(written + OPERATION_BYTES_MAX);
            let at = offset + written as u64;
            let result = match &self.ring {
                _ if written == to => break Ok(()),
                None => self.disk.file().write_at(&buffer.bytes()[written..to], at),
                Some(ring) => {
                    let (result, slice) = ring.write_at(buffer.slice(written..to), at).submit().await;
                    buffer = slice.into_inner();
                    result
                }
            };
            match attempts.judge_write(result, &mut written, self.disk.alignment()) {
                Step::Again => {}
                Step::Rest => tokio::time::sleep(REST).await,
                Step::End(result) => break result,
            }
        };
        (result, buffer)
    }
}
