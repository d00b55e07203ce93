//! What a process asks of its rings: values that are set before the first ring is built, and only read then.

/// How rings are made; the same for all of a process.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of rings in this process, which share the limit on locked memory.
    pub rings: usize,
    /// Size of a read buffer, bytes; a multiple of 4096.
    pub buffer_bytes: usize,
    /// Most buffers in a ring's pool; there are fewer if `read_bytes_max` has no room for so many.
    pub buffers_max: usize,
    /// Most bytes that the buffers lent by a ring may take; 0 is no limit. A read that would need more fails with an error that
    /// [`Stream::is_out_of_read_memory`](crate::Stream::is_out_of_read_memory).
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
