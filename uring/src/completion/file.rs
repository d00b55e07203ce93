//! Reading a file at an offset. The operation owns its buffer; the file is shared with other threads.

use super::driver::Driver;
use super::operation::submit;
use super::wait::sleep;
use crate::aligned::AlignedBuffer;
use crate::disk::{Attempts, Disk, OPERATION_BYTES_MAX, REST, Step};
use io_uring::{opcode, types};
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
