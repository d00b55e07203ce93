//! A file for direct or cached I/O: which ranges may be read or written, and what a short or failed operation means. A [`Disk`]
//! does not change after the file was opened, and is shared by all threads.
//!
//! Direct I/O moves bytes between the device and the caller's memory. File offsets, lengths and memory addresses must then be
//! multiples of a number that depends on the device and the file system, and that newer kernels report.
#![expect(unsafe_code, reason = "reads into memory that is named by address")]

use crate::aligned::{AlignedBuffer, PAGE_BYTES};
use crate::sys;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Most bytes that one operation on a file moves. During a longer one the device, or the thread that copies from the page cache,
/// would serve no other operation.
pub(crate) const OPERATION_BYTES_MAX: usize = 512 * 1024;

/// A transfer fails when this many operations in a row have been interrupted or refused.
const ATTEMPTS_MAX: u32 = 16;
/// Pause before an operation that the kernel refused for lack of room is tried again.
pub(crate) const REST: Duration = Duration::from_millis(1);

/// A file that is read and written with direct I/O, or else through the page cache.
#[derive(Debug)]
pub(crate) struct Disk {
    file: File,
    /// The alignment that direct I/O requires, bytes: offsets, lengths and addresses must be multiples of it. `None` if the page
    /// cache is used.
    direct: Option<usize>,
    /// True if a read may block at submission, so that io_uring must hand it to a thread of its own.
    blocks_submission: bool,
}

impl Disk {
    /// A file with direct I/O if that works, else through the page cache, like [`Disk::cached`].
    pub(crate) fn new(file: File) -> Self {
        let mut disk = Self::cached(file);
        if let Some(alignment) = sys::direct_alignment(&disk.file)
            && alignment <= PAGE_BYTES
            && disk.set_direct(true).is_ok()
        {
            disk.direct = Some(alignment);
            // Some file systems accept the flag and then refuse the reads.
            if disk.read(&mut AlignedBuffer::with_room(alignment), 0).is_err() {
                let _ = disk.set_direct(false);
                disk.direct = None;
            }
        }
        disk
    }

    /// A file that is read and written through the page cache.
    pub(crate) fn cached(file: File) -> Self {
        let blocks_submission = sys::blocks_submission(&file);
        Self { file, direct: None, blocks_submission }
    }

    fn set_direct(&self, is_direct: bool) -> nix::Result<()> {
        let mut flags = OFlag::from_bits_retain(fcntl(&self.file, FcntlArg::F_GETFL)?);
        flags.set(OFlag::O_DIRECT, is_direct);
        fcntl(&self.file, FcntlArg::F_SETFL(flags)).map(drop)
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// True if a ring must not make reads of this file while it submits them.
    pub(crate) fn blocks_submission(&self) -> bool {
        self.blocks_submission
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The number of bytes of which offsets and lengths must be multiples; 1 without direct I/O.
    pub(crate) fn alignment(&self) -> usize {
        self.direct.unwrap_or(1)
    }

    /// Size of the file or the block device, bytes.
    ///
    /// # Errors
    /// The descriptor refers neither to a file nor to a block device.
    pub(crate) fn len(&self) -> io::Result<u64> {
        (&self.file).seek(SeekFrom::End(0))
    }

    /// Empties `buffer`, then reads the file from `offset` on until the buffer is full or the file ends; blocks.
    pub(crate) fn read(&self, buffer: &mut AlignedBuffer, offset: u64) -> io::Result<()> {
        let mut attempts = Attempts::default();
        buffer.clear();
        loop {
            let result = self.read_once(buffer, offset + buffer.bytes().len() as u64);
            match attempts.judge_read(result, buffer.is_full(), self.alignment()) {
                Step::Again => {}
                Step::Rest => std::thread::sleep(REST),
                Step::End(result) => return result,
            }
        }
    }

    /// Makes one read call into the free part of `buffer`, at `offset` of the file; blocks. Returns how many bytes were read.
    pub(crate) fn read_once(&self, buffer: &mut AlignedBuffer, offset: u64) -> io::Result<usize> {
        let (start, len) = buffer.spare();
        let (fd, len) = (self.file.as_raw_fd(), len.min(OPERATION_BYTES_MAX));
        // SAFETY: the buffer's own memory, which nobody else uses until the call is over.
        let count = unsafe { libc::pread(fd, start.cast(), len, offset.cast_signed()) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        buffer.advance(count);
        Ok(count)
    }
}

impl AsRawFd for Disk {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// What the caller must do after one operation of a transfer.
#[derive(Debug)]
pub(crate) enum Step {
    /// Make the next operation.
    Again,
    /// Make the next operation after a pause of [`REST`].
    Rest,
    /// End the transfer with this result.
    End(io::Result<()>),
}

/// Judges the results of the operations of one transfer. After an operation that moved only a part, the transfer is continued.
/// An interrupted or refused operation is tried again, until [`ATTEMPTS_MAX`] in a row have failed that way.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// How many more operations must be interrupted or refused for the transfer to fail. An operation that makes progress sets
    /// this back to [`ATTEMPTS_MAX`].
    left: u32,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { left: ATTEMPTS_MAX }
    }
}

impl Attempts {
    /// Judges a read with this `result` from a file with this `alignment`, bytes; `is_full` is true if the buffer is now full.
    pub(crate) fn judge_read(&mut self, result: io::Result<usize>, is_full: bool, alignment: usize) -> Step {
        match result {
            // A count that is no multiple of the alignment means the end of the file: there is nothing more to read.
            Ok(count) if is_full || count == 0 || !count.is_multiple_of(alignment) => Step::End(Ok(())),
            Ok(_) => self.progress(),
            Err(error) => self.judge_error(error),
        }
    }

    /// Judges a write with this `result` to a file with this `alignment`, bytes. Adds the number of bytes that were written,
    /// rounded down to a multiple of the alignment, to `written`.
    pub(crate) fn judge_write(
        &mut self,
        result: io::Result<usize>,
        written: &mut usize,
        alignment: usize,
    ) -> Step {
        match result.map(|count| count - count % alignment) {
            Ok(0) => Step::End(Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                *written += count;
                self.progress()
            }
            Err(error) => self.judge_error(error),
        }
    }

    fn progress(&mut self) -> Step {
        self.left = ATTEMPTS_MAX;
        Step::Again
    }

    fn judge_error(&mut self, error: io::Error) -> Step {
        let step = match error.raw_os_error() {
            Some(libc::EINTR | libc::ECANCELED) => Step::Again,
            Some(libc::EAGAIN | libc::EBUSY) => Step::Rest,
            _ => return Step::End(Err(error)),
        };
        self.left -= 1;
        if self.left == 0 { Step::End(Err(error)) } else { step }
    }
}

/// A range of a file, widened so that its offset and length are multiples of the file's alignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WideRange {
    /// Where the range begins in the file, bytes.
    pub offset: u64,
    /// Length of the range, bytes.
    pub len: usize,
    /// Where the requested bytes lie, in bytes from the beginning of the range.
    pub wanted: Range<usize>,
}

impl WideRange {
    /// The range of `len` bytes at `offset`, widened so that it begins and ends at multiples of `alignment`, bytes.
    pub(crate) fn new(offset: u64, len: usize, alignment: usize) -> Self {
        let from = (offset % alignment as u64) as usize;
        let wanted = from..from + len;
        Self { offset: offset - from as u64, len: wanted.end.next_multiple_of(alignment), wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_widened_to_multiples() {
        let wide = |offset, len, alignment| {
            let WideRange { offset, len, wanted } = WideRange::new(offset, len, alignment);
            (offset, len, wanted)
        };
        assert_eq!(wide(0, 4096, 4096), (0, 4096, 0..4096));
        assert_eq!(wide(1, 4096, 4096), (0, 8192, 1..4097));
        assert_eq!(wide(4095, 1, 4096), (0, 4096, 4095..4096));
        assert_eq!(wide(4096, 1, 4096), (4096, 4096, 0..1));
        assert_eq!(wide(10_000, 0, 512), (9728, 512, 272..272));
        assert_eq!(wide(u64::from(u32::MAX) * 8 + 5, 3, 1), (u64::from(u32::MAX) * 8 + 5, 3, 0..3));
        for (offset, len, alignment) in [(12_345, 67_890, 512), (4_097, 1, 4096), (1 << 40, 3 << 20, 4096)] {
            let wide = WideRange::new(offset, len, alignment);
            assert!(wide.offset.is_multiple_of(alignment as u64) && wide.len.is_multiple_of(alignment));
            assert_eq!(wide.offset + wide.wanted.start as u64, offset);
            assert_eq!(wide.wanted.len(), len);
            assert!(wide.wanted.end <= wide.len && wide.len < len + 2 * alignment);
        }
    }

    #[test]
    fn operations_that_come_to_nothing_are_tried_again_but_not_for_ever() {
        let fail = |errno| Err(io::Error::from_raw_os_error(errno));
        for errno in [libc::EINTR, libc::EAGAIN] {
            let mut attempts = Attempts::default();
            let ended =
                (1..100).find(|_| matches!(attempts.judge_read(fail(errno), false, 1), Step::End(Err(_))));
            assert_eq!(ended, Some(ATTEMPTS_MAX));
        }
        let mut attempts = Attempts::default();
        let mut judge = |result, is_full| attempts.judge_read(result, is_full, 10);
        assert!(matches!(judge(fail(libc::EIO), false), Step::End(Err(_))));
        assert!(matches!(judge(Ok(10), false), Step::Again));
        assert!(matches!(judge(Ok(10), true), Step::End(Ok(()))));
        assert!(matches!(judge(Ok(0), false), Step::End(Ok(()))), "the end of the file");
        assert!(matches!(judge(Ok(15), false), Step::End(Ok(()))), "the end of the file");
        let mut written = 0;
        let mut judge = |result| attempts.judge_write(result, &mut written, 10);
        assert!(matches!(judge(Ok(10)), Step::Again));
        assert!(matches!(judge(Ok(25)), Step::Again));
        assert!(matches!(judge(Ok(9)), Step::End(Err(_))));
        assert_eq!(written, 30);
    }
}
