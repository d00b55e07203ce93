//! Files that all rings read. A [`File`] does not change and may be shared by all threads; each read owns its buffer.

use crate::aligned::{AlignedBuffer, AlignedBuffers};
use crate::backend::Backend;
use crate::disk::{Disk, WideRange};
use crate::{completion, readiness};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A file or a block device; clones share it, on any thread.
#[derive(Clone, Debug)]
pub struct File(Arc<Disk>);

impl File {
    /// A file that is read and written with direct I/O, or through the page cache if the file system or the device does not
    /// support direct I/O (see [`File::is_direct`]). `file` must already have its final length.
    pub fn new(file: std::fs::File) -> Self {
        Self(Arc::new(Disk::new(file)))
    }

    /// A file that is read and written through the kernel's page cache.
    pub fn cached(file: std::fs::File) -> Self {
        Self(Arc::new(Disk::cached(file)))
    }

    /// Starts the threads that read files for rings on epoll; does nothing for io_uring. Must be called before the process gives
    /// up the right to start threads. Without this call, the first read starts them.
    pub fn start_readers(engine: Backend) {
        if engine == Backend::Epoll {
            readiness::start_readers();
        }
    }

    /// True if reads and writes bypass the page cache.
    pub fn is_direct(&self) -> bool {
        self.0.is_direct()
    }

    /// The number of bytes of which offsets and lengths must be multiples; 1 without direct I/O.
    pub fn alignment(&self) -> usize {
        self.0.alignment()
    }

    /// Size of the file or the block device, bytes.
    ///
    /// # Errors
    /// The descriptor refers neither to a file nor to a block device.
    #[expect(clippy::len_without_is_empty, reason = "a file that is empty is nothing special")]
    pub fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    /// Flushes all data written so far to the device (fdatasync); blocks until that is done.
    ///
    /// # Errors
    /// The device or the file system failed to store data of an earlier write.
    pub fn sync(&self) -> io::Result<()> {
        self.0.file().sync_data()
    }

    /// The range of `len` bytes at `offset`, widened so that it begins and ends at multiples of [`File::alignment`].
    pub fn widen(&self, offset: u64, len: usize) -> WideRange {
        WideRange::new(offset, len, self.alignment())
    }

    /// Reads the file from `offset` on until the room of `buffer` is full or the file ends. Offset and room must be multiples of
    /// [`File::alignment`]. Returns how many bytes were read, and `buffer`.
    ///
    /// The future may be dropped early. The buffer is then kept until the kernel, or the thread that reads, has no more use for
    /// it.
    ///
    /// # Errors
    /// An error of the kernel or the device.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub async fn read_at(&self, buffer: AlignedBuffer, offset: u64) -> (io::Result<usize>, AlignedBuffer) {
        self.read_with(buffer, offset, ()).await
    }

    /// Reads like [`File::read_at`], and drops `lease` only once the kernel, or the thread that reads, has no more use for the
    /// buffer.
    async fn read_with<L: Send + Unpin + 'static>(
        &self,
        buffer: AlignedBuffer,
        offset: u64,
        lease: L,
    ) -> (io::Result<usize>, AlignedBuffer) {
        let file = Arc::clone(&self.0);
        let (result, buffer) = match Backend::current() {
            Backend::Uring => completion::read_at(file, buffer, offset, lease).await,
            Backend::Epoll => readiness::read_at(file, buffer, offset, lease).await,
        };
        (result.map(|()| buffer.bytes().len()), buffer)
    }

    /// Reads `len` bytes at `offset`, which need not be aligned, into a buffer of `buffers`. Returns the buffer, and the range
    /// in it where the bytes lie.
    ///
    /// The future may be dropped early. `lease` stands for what the read takes from the caller's limits, such as memory and a
    /// place in a queue. It is dropped only once the kernel, or the thread that reads, has no more use for the buffer.
    ///
    /// # Errors
    /// As [`File::read_at`]; `UnexpectedEof`: the file ends within the range.
    ///
    /// # Panics
    /// Outside of [`crate::Ring::run`].
    pub async fn read_range<L: Send + Unpin + 'static>(
        &self,
        buffers: &AlignedBuffers,
        offset: u64,
        len: usize,
        lease: L,
    ) -> io::Result<(AlignedBuffer, Range<usize>)> {
        let wide = self.widen(offset, len);
        let (result, buffer) = self.read_with(buffers.take(wide.len), wide.offset, lease).await;
        if result? < wide.wanted.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((buffer, wide.wanted))
    }

    /// The file, for a [`BackgroundFile`](crate::BackgroundFile).
    pub(crate) fn disk(&self) -> &Arc<Disk> {
        &self.0
    }
}
