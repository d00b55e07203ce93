//! What the operating system says about this process, its sockets and its files. System calls without state, on any thread.
#![expect(unsafe_code, reason = "calls for which there is no safe wrapper")]

use crate::aligned::PAGE_BYTES;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, fstatfs};

/// Bit of `CAP_IPC_LOCK` in a capability set. Source: capabilities(7).
const CAP_IPC_LOCK: u64 = 1 << 14;

/// Bytes of memory that this process may lock, for all its rings together; `None` means no limit. Raises the soft limit to the
/// hard limit first.
///
/// Less may really be available: the kernel counts per user, over all processes, and ignores a capability in a user namespace.
pub(crate) fn lockable_bytes() -> Option<u64> {
    if status_field("CapEff:")
        .and_then(|set| u64::from_str_radix(&set, 16).ok())
        .is_some_and(|set| set & CAP_IPC_LOCK != 0)
    {
        return None;
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    let limit =
        if soft != hard && setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard).is_ok() { hard } else { soft };
    (limit != RLIM_INFINITY).then_some(limit)
}

/// The soft limit on locked memory, as text for messages.
pub(crate) fn memlock_text() -> String {
    match getrlimit(Resource::RLIMIT_MEMLOCK) {
        Ok((RLIM_INFINITY, _)) => "unlimited".to_owned(),
        Ok((soft, _)) => format!("{} KiB", soft / 1024),
        Err(error) => error.to_string(),
    }
}

/// What follows `name` on the line of /proc/self/status that begins with `name`, without blanks around it; `None` without such a
/// line.
pub(crate) fn status_field(name: &str) -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
}

/// True for errors of accept that mean "out of descriptors or memory". Until something is closed, each further accept fails
/// immediately, so the caller must pause before it retries.
pub fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// True for the error of a wait that was cancelled, or of a call that a signal interrupted.
pub(crate) fn is_interrupted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECANCELED | libc::EINTR))
}

/// Bytes that were sent on a socket and that its peer has not acknowledged; 0 if the kernel does not say. Source: tcp(7),
/// SIOCOUTQ.
pub(crate) fn unacknowledged_bytes(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, being borrowed; the kernel writes one int to where `bytes` is, and keeps nothing.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Bytes of a `tcp_info` up to the end of its field `tcpi_bytes_acked`. Source: linux/tcp.h.
const INFO_BYTES: usize = 128;
/// Offset of the field `tcpi_bytes_acked` in a `tcp_info`, bytes.
const BYTES_ACKED: usize = 120;

/// Bytes that a TCP socket's peer has acknowledged; 0 if the kernel does not say.
pub(crate) fn acknowledged_bytes(socket: BorrowedFd<'_>) -> u64 {
    let mut info = [0_u8; INFO_BYTES];
    let mut length = INFO_BYTES as libc::socklen_t;
    let (to, length) = ((&raw mut info).cast(), &raw mut length);
    // SAFETY: the descriptor is open, being borrowed; the kernel writes at most `length` bytes to where `info` is, and says
    // in `length` how many, and keeps nothing.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, to, length) };
    let bytes = std::array::from_fn(|at| info[BYTES_ACKED + at]);
    if result == 0 { u64::from_ne_bytes(bytes) } else { 0 }
}

/// The number of bytes to which direct I/O on `file` must be aligned, in memory and in the file; the size of a page if the
/// kernel does not say. `None` if the file does not support direct I/O. Source: statx(2).
pub(crate) fn direct_alignment(file: &std::fs::File) -> Option<usize> {
    // SAFETY: a statx is integers, for all of which zero is a value.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let (flags, mask) = (libc::AT_EMPTY_PATH, libc::STATX_DIOALIGN);
    // SAFETY: the descriptor is open, being borrowed; the path is a string; the kernel writes one statx to where `found` is,
    // and keeps nothing.
    let result = unsafe { libc::statx(file.as_raw_fd(), c"".as_ptr(), flags, mask, &raw mut found) };
    if result != 0 || found.stx_mask & mask == 0 {
        return Some(PAGE_BYTES);
    }
    let (memory, offset) = (found.stx_dio_mem_align as usize, found.stx_dio_offset_align as usize);
    (memory > 0 && offset > 0).then(|| memory.max(offset))
}

/// True if a read of `file` that io_uring submits may block the submitter.
///
/// io_uring makes a read at submission if the file is open with `O_NONBLOCK`, or can be polled, as all files on FUSE can. It asks
/// the file system not to wait, but FUSE and network file systems wait all the same. The kernel knows which ones do not, and
/// refuses `RWF_NOWAIT` on the others (preadv2(2)). Two that it refuses do not wait either: tmpfs has no device, and overlayfs
/// passes the request on to the file system of its upper layer, which is a local one.
pub(crate) fn blocks_submission(file: &std::fs::File) -> bool {
    let mut byte = 0_u8;
    let to = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: the descriptor is open, being borrowed; the kernel reads one iovec, writes at most the one byte that it names, and
    // keeps nothing.
    let result = unsafe { libc::preadv2(file.as_raw_fd(), &raw const to, 1, 0, libc::RWF_NOWAIT) };
    let is_refused = result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EOPNOTSUPP);
    let does_not_wait = |kind| [TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC].contains(&kind);
    is_refused && !fstatfs(file).is_ok_and(|found| does_not_wait(found.filesystem_type()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    /// A file on FUSE whose server did not answer stopped the ring that read it, since the kernel waited within the submission.
    #[test]
    fn only_file_systems_that_may_wait_block_submission() {
        let memory = nix::sys::memfd::memfd_create("file", nix::sys::memfd::MFdFlags::empty());
        let memory = File::from(memory.expect("a file"));
        memory.set_len(1).expect("a length");
        assert!(!blocks_submission(&memory));
        // Like FUSE and network file systems, procfs does not say that it will not wait.
        assert!(blocks_submission(&File::open("/proc/self/status").expect("a file")));
        // Of a block device, or a file on a disk, the kernel says so.
        assert!(!blocks_submission(&File::open("/dev/zero").expect("a device")));
    }
}
