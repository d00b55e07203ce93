//! Reading a file at an offset. The operation owns its buffer; the file is shared with other threads.
//!
//! Some file systems wait for their device, or for a server, within the system call that submits the read, and the whole ring
//! would wait with it (see [`Disk::blocks_submission`]). Reads from these go to the kernel's worker threads.

use super::driver::Driver;
use super::operation::submit;
use super::wait::sleep;
use crate::aligned::AlignedBuffer;
use crate::disk::{Attempts, Disk, OPERATION_BYTES_MAX, REST, Step};
use io_uring::{opcode, squeue, types};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// Reads the file from `offset` on until `buffer` is full or the file ends. If the future is dropped, `buffer` and `lease` are
/// kept until the kernel has no more use for the buffer.
pub(crate) async fn read_at<L: Unpin + 'static>(
    file: Arc<Disk>,
    mut buffer: AlignedBuffer,
    offset: u64,
    mut lease: L,
) -> (io::Result<()>, AlignedBuffer) {
    let driver = Driver::current();
    let mut attempts = Attempts::default();
    buffer.clear();
    loop {
        let at = offset + buffer.bytes().len() as u64;
        let (start, len) = buffer.spare();
        let len = len.min(OPERATION_BYTES_MAX) as u32;
        let entry = opcode::Read::new(types::Fd(file.as_raw_fd()), start, len).offset(at).build();
        let entry = entry.flags(flags(&file));
        let (result, owned);
        // SAFETY: the spare memory lies on the heap of `buffer`, which the operation owns and which does not move with it;
        // `file` keeps the descriptor open; a read completes once.
        (result, owned) = unsafe { submit(driver.clone(), (Arc::clone(&file), buffer, lease), entry) }.await;
        (_, buffer, lease) = owned;
        let result = result.inspect(|&count| buffer.advance(count));
        match attempts.judge_read(result, buffer.is_full(), file.alignment()) {
            Step::Again => {}
            Step::Rest => sleep(REST).await,
            Step::End(result) => return (result, buffer),
        }
    }
}

/// The flags of the entries that read `file`.
fn flags(file: &Disk) -> squeue::Flags {
    if file.blocks_submission() { squeue::Flags::ASYNC } else { squeue::Flags::empty() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn reads_that_would_block_the_ring_go_to_threads_of_the_kernel() {
        let flags = |path| flags(&Disk::cached(File::open(path).expect("a file")));
        assert_eq!(flags("/proc/self/status"), squeue::Flags::ASYNC);
        assert_eq!(flags("/dev/zero"), squeue::Flags::empty());
    }
}
