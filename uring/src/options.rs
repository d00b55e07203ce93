//! What a process asks of its rings: values that are set before the first ring is built and do not change after that.

/// How rings are built; the same for all rings of a process.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of rings in this process, which share the limit on locked memory.
    pub rings: usize,
    /// Size of a read buffer, bytes; a multiple of 4096.
    pub buffer_bytes: usize,
    /// Most buffers in a ring's pool. There are fewer if this many would take more than `read_bytes_max`.
    pub buffers_max: usize,
    /// Most bytes that the buffers lent by a ring may take; 0 means no limit. A read that would need more fails with an error
    /// for which [`Stream::is_out_of_read_memory`](crate::Stream::is_out_of_read_memory) is true.
    pub read_bytes_max: usize,
}

impl Options {
    /// How many buffers a ring's pool has: as many as `read_bytes_max` allows, at most `buffers_max`.
    pub(crate) fn buffers(&self) -> usize {
        match self.read_bytes_max {
            0 => self.buffers_max,
            most => self.buffers_max.min(most / self.buffer_bytes),
        }
    }
}
