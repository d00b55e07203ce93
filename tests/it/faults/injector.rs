//! Fault injection for io_uring: chosen operations fail or complete partially. A seccomp filter cannot do that, because
//! operations are not system calls. accept4(2), which is one, fails the same way, so that the fault can end.
//!
//! The ring's thread is traced. When it enters the kernel, the submission entries that shall fail are replaced by no-ops;
//! when it leaves, their completions are replaced by the error. The thread is stopped meanwhile. The program under test is
//! the one that is shipped.
#![expect(unsafe_code, reason = "memory that the kernel shares is read and written by address")]

use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use rustix::io_uring::{IORING_OFF_SQ_RING, IORING_OFF_SQES, IoringOp, io_uring_params, io_uring_setup};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::harness::debugger::{ring_thread, seize, wait};
use crate::harness::{Client, Server};

/// What happens to an operation instead of what it asks for.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// It does nothing and completes with this error.
    Fails(i32),
    /// It is asked for at most this many bytes.
    IsCut(u32),
    /// It does nothing, and is interrupted after this time.
    IsLate(Duration),
}

/// As often as it comes.
pub const ALWAYS: u32 = u32::MAX;

/// A kind of operation.
#[derive(Clone, Copy)]
pub struct Operation(IoringOp, fn(&Entry) -> bool);

impl Operation {
    pub const fn any(code: IoringOp) -> Self {
        Self(code, |_| true)
    }

    /// A receive into a buffer of the kernel's choice.
    pub const fn read() -> Self {
        Self(IoringOp::Recv, |entry| entry.flags & BUFFER_SELECT != 0)
    }

    /// One of those that completes again and again.
    pub const fn read_again_and_again() -> Self {
        Self(IoringOp::Recv, |entry| entry.priority & MULTISHOT != 0)
    }

    /// A receive into memory that it names.
    pub const fn receive() -> Self {
        Self(IoringOp::Recv, |entry| entry.flags & BUFFER_SELECT == 0)
    }

    /// A read of a file; the ring's doorbell is read as well.
    pub const fn read_file() -> Self {
        Self(IoringOp::Read, |entry| entry.len as usize != size_of::<u64>())
    }

    fn is(&self, entry: &Entry) -> bool {
        self.0 as u8 == entry.opcode && self.1(entry)
    }
}

struct Order {
    operations: Vec<Operation>,
    /// Instead of operations, a system call.
    call: Option<i64>,
    /// The socket it concerns; `None` is any.
    descriptor: Option<i32>,
    fate: Fate,
    /// How often it is still to be carried out.
    times: u32,
}

#[derive(Default)]
struct Orders {
    pending: Mutex<Vec<Order>>,
    /// How many operations have met their fate.
    met: AtomicU32,
    /// The most that have been late at the same time.
    most_late: AtomicU32,
    is_over: AtomicBool,
}

impl Orders {
    /// What is to happen to `entry`.
    fn fate_of(&self, entry: &Entry) -> Option<Fate> {
        self.fate(|order| {
            order.operations.iter().any(|operation| operation.is(entry))
                && order.descriptor.is_none_or(|descriptor| descriptor == entry.descriptor)
        })
    }

    /// What a system call is to fail with.
    fn error_of(&self, call: u64) -> Option<i32> {
        match self.fate(|order| order.call == Some(call as i64))? {
            Fate::Fails(errno) => Some(errno),
            Fate::IsCut(_) | Fate::IsLate(_) => None,
        }
    }

    fn fate(&self, concerns: impl Fn(&Order) -> bool) -> Option<Fate> {
        let mut pending = self.pending.lock().unwrap();
        let order = pending.iter_mut().find(|order| order.times > 0 && concerns(order))?;
        if order.times != ALWAYS {
            order.times -= 1;
        }
        self.met.fetch_add(1, Ordering::Relaxed);
        Some(order.fate)
    }
}

/// Stands between the first ring of a server and the kernel until it is dropped.
pub struct FaultInjector {
    orders: Arc<Orders>,
    follower: Option<JoinHandle<()>>,
}

impl FaultInjector {
    pub fn of(server: &Server) -> Self {
        let orders = Arc::new(Orders::default());
        let thread = ring_thread(server, 0);
        let process = server.pid();
        let theirs = Arc::clone(&orders);
        let (stands, seized) = mpsc::channel();
        let follower = std::thread::spawn(move || {
            seize(thread);
            stands.send(()).unwrap();
            follow(process, thread, &theirs);
        });
        seized.recv().expect("a ring that can be followed");
        Self { orders, follower: Some(follower) }
    }

    /// From now on this happens to the next `times` such operations, on the socket of `client` or on any. Orders that were
    /// given before come first.
    pub fn order(&self, operations: &[Operation], client: Option<&Socket>, fate: Fate, times: u32) {
        let operations = operations.to_vec();
        let descriptor = client.map(|socket| socket.0);
        self.orders.pending.lock().unwrap().push(Order { operations, call: None, descriptor, fate, times });
    }

    /// From now on the next `times` such system calls of the ring fail.
    pub fn order_call(&self, call: i64, errno: i32, times: u32) {
        let (operations, fate) = (Vec::new(), Fate::Fails(errno));
        let order = Order { operations, call: Some(call), descriptor: None, fate, times };
        self.orders.pending.lock().unwrap().push(order);
    }

    /// How many operations have met their fate.
    pub fn met(&self) -> u32 {
        self.orders.met.load(Ordering::Relaxed)
    }

    /// The most operations that have been late at the same time.
    pub fn most_late(&self) -> u32 {
        self.orders.most_late.load(Ordering::Relaxed)
    }

    /// Nothing happens any more.
    pub fn lift(&self) {
        self.orders.pending.lock().unwrap().clear();
    }
}

impl Drop for FaultInjector {
    fn drop(&mut self) {
        // Seen when the ring makes its next call, which it does ten times a second, or ends.
        self.orders.is_over.store(true, Ordering::Relaxed);
        let followed = self.follower.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || followed.is_some_and(|result| result.is_ok()));
    }
}

/// The server's descriptor of a client.
pub struct Socket(i32);

impl Socket {
    pub fn of(client: &mut Client) -> Self {
        let own = client.stream.local_addr().unwrap();
        client.send(b"stats conns\r\n");
        let text = String::from_utf8(client.read_through(b"END\r\n")).unwrap();
        let line = text.lines().find(|line| line.ends_with(&format!(":addr tcp:{own}"))).expect("its line");
        Self(line.strip_prefix("STAT ").unwrap().split(':').next().unwrap().parse().unwrap())
    }
}

/// Lets `thread`, which this one has seized, run from one system call to the next, and carries out `orders` in between.
fn follow(process: Pid, thread: Pid, orders: &Orders) {
    let mut ring = None;
    let mut is_in_kernel = false;
    let mut error = None;
    let mut signal = None;
    loop {
        ptrace::syscall(thread, signal.take()).unwrap();
        match wait(thread) {
            WaitStatus::PtraceSyscall(_) => match entered(thread) {
                Some((nr, [descriptor, count, ..])) if error.is_none() => {
                    error = orders.error_of(nr);
                    if error.is_some() {
                        change(thread, |registers| registers.orig_rax = NO_CALL);
                    } else if nr == libc::SYS_io_uring_enter as u64 {
                        is_in_kernel = true;
                        let ring = ring.get_or_insert_with(|| Ring::of(process, descriptor as i32));
                        ring.overwrite_entries(count as u32, orders);
                    }
                }
                _ => {
                    if let Some(errno) = error.take() {
                        change(thread, |registers| registers.rax = i64::from(-errno) as u64);
                    }
                    if let Some(ring) = ring.as_mut().filter(|_| std::mem::take(&mut is_in_kernel)) {
                        ring.overwrite_completions();
                    }
                    if orders.is_over.load(Ordering::Relaxed) {
                        return ptrace::detach(thread, None).unwrap();
                    }
                }
            },
            WaitStatus::Stopped(_, caught) => signal = Some(caught),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return,
            _ => {}
        }
    }
}

/// The number of a call that does nothing.
const NO_CALL: u64 = u64::MAX;

/// Changes the registers of `thread`, which stands still.
fn change(thread: Pid, what: impl FnOnce(&mut libc::user_regs_struct)) {
    let mut registers = ptrace::getregs(thread).unwrap();
    what(&mut registers);
    ptrace::setregs(thread, registers).unwrap();
}

/// Number and arguments of the call that `thread` begins; `None` if it ends one.
fn entered(thread: Pid) -> Option<(u64, [u64; 6])> {
    let info = ptrace::syscall_info(thread).unwrap();
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: the kernel has filled in the part of a call that begins, and says so.
    let entry = unsafe { info.u.entry };
    Some((entry.nr, entry.args))
}

/// An operation as it is handed to the kernel. Source: `io_uring_enter(2)`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Entry {
    opcode: u8,
    flags: u8,
    priority: u16,
    descriptor: i32,
    offset: u64,
    address: u64,
    len: u32,
    operation_flags: u32,
    user_data: u64,
    rest: [u64; 3],
}

/// What it completes with. Source: `io_uring_enter(2)`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

/// The flag of an entry that completes in silence. Source: `linux/io_uring.h`, `IOSQE_CQE_SKIP_SUCCESS`.
const SKIP_SUCCESS: u8 = 1 << 6;
/// Likewise, of a receive into a buffer of the kernel's choice: `IOSQE_BUFFER_SELECT`.
const BUFFER_SELECT: u8 = 1 << 5;
/// Likewise, among what stands for its priority: `IORING_RECV_MULTISHOT`.
const MULTISHOT: u16 = 1 << 1;

/// Where the number of pieces stands in a `msghdr`, and the address of the first in front of it, bytes.
const PIECES_AT: u64 = std::mem::offset_of!(libc::msghdr, msg_iovlen) as u64;
const PIECE_AT: u64 = std::mem::offset_of!(libc::msghdr, msg_iov) as u64;
/// Where its length stands in an `iovec`, bytes.
const LEN_AT: u64 = std::mem::offset_of!(libc::iovec, iov_len) as u64;

/// The memory that a server's ring shares with the kernel, and now with this program, until that ends.
struct Ring {
    shared: *mut c_void,
    entries: *mut Entry,
    /// Where things are in it.
    places: io_uring_params,
    /// The errors of operations that do nothing, by what identifies them.
    errors: HashMap<u64, i32>,
    /// Likewise, of those that do nothing for some time.
    late: HashSet<u64>,
    memory: File,
}

impl Ring {
    fn of(process: Pid, descriptor: i32) -> Self {
        // A ring of our own: where things are in it is the kernel's choice, the same for all.
        let mut places = io_uring_params::default();
        // SAFETY: the parameters ask for nothing, and no operation is submitted.
        drop(unsafe { io_uring_setup(1, &mut places) }.unwrap());
        let process = rustix::process::Pid::from_raw(process.as_raw()).unwrap();
        let server = pidfd_open(process, PidfdFlags::empty()).unwrap();
        let ring = pidfd_getfd(&server, descriptor, PidfdGetfdFlags::empty()).unwrap();
        let memory = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{}/mem", process.as_raw_nonzero()))
            .unwrap();
        let mut all = Self {
            shared: map(&ring, IORING_OFF_SQ_RING, 1),
            entries: std::ptr::null_mut(),
            places,
            errors: HashMap::new(),
            late: HashSet::new(),
            memory,
        };
        let (entries, completions) =
            (all.word(places.sq_off.ring_mask) + 1, all.word(places.cq_off.ring_mask) + 1);
        let len = places.cq_off.cqes as usize + completions as usize * size_of::<Completion>();
        all.shared = map(&ring, IORING_OFF_SQ_RING, len);
        all.entries = map(&ring, IORING_OFF_SQES, entries as usize * size_of::<Entry>()).cast();
        all
    }

    /// The number at `place`.
    fn word(&self, place: u32) -> u32 {
        // SAFETY: places are inside the mapping and aligned; whoever else writes there does so as a whole.
        unsafe { AtomicU32::from_ptr(self.shared.byte_add(place as usize).cast()) }.load(Ordering::Acquire)
    }

    /// Carries out orders on the next `count` operations.
    fn overwrite_entries(&mut self, count: u32, orders: &Orders) {
        let places = self.places.sq_off;
        let (head, mask) = (self.word(places.head), self.word(places.ring_mask));
        for number in 0..count {
            // The runtime uses the entries in order.
            let at = head.wrapping_add(number) & mask;
            // SAFETY: masked, it is one of the entries; the thread that writes them stands still, and the kernel only reads.
            let entry = unsafe { &mut *self.entries.add(at as usize) };
            match orders.fate_of(entry) {
                None => {}
                Some(Fate::Fails(errno)) => {
                    self.errors.insert(entry.user_data, errno);
                    let opcode = IoringOp::Nop as u8;
                    *entry = Entry { opcode, user_data: entry.user_data, ..Entry::default() };
                }
                Some(Fate::IsLate(time)) => {
                    // Where it would have read to is where the kernel is told how long to wait.
                    self.write(entry.address, time.as_secs());
                    self.write(entry.address + 8, u64::from(time.subsec_nanos()));
                    self.late.insert(entry.user_data);
                    orders.most_late.fetch_max(self.late.len() as u32, Ordering::Relaxed);
                    *entry = Entry {
                        opcode: IoringOp::Timeout as u8,
                        descriptor: -1,
                        address: entry.address,
                        len: 1,
                        user_data: entry.user_data,
                        ..Entry::default()
                    };
                }
                Some(Fate::IsCut(len)) if entry.opcode == IoringOp::Sendmsg as u8 => {
                    let piece = self.read(entry.address + PIECE_AT);
                    let most = self.read(piece + LEN_AT).min(u64::from(len));
                    self.write(piece + LEN_AT, most);
                    self.write(entry.address + PIECES_AT, 1);
                }
                Some(Fate::IsCut(len)) => {
                    if entry.len > len {
                        // One that would complete in silence says how much it has sent, as the kernel does if it is less
                        // than all.
                        entry.flags &= !SKIP_SUCCESS;
                    }
                    // 0 is as much as the buffer takes that the kernel will choose.
                    entry.len = if entry.len == 0 { len } else { entry.len.min(len) };
                }
            }
        }
    }

    /// Gives operations that did nothing their errors.
    fn overwrite_completions(&mut self) {
        let places = self.places.cq_off;
        let (head, tail, mask) =
            (self.word(places.head), self.word(places.tail), self.word(places.ring_mask));
        for number in 0..tail.wrapping_sub(head) {
            let at = head.wrapping_add(number) & mask;
            // SAFETY: masked, it is one of the completions; the kernel has written it, and the thread that reads it stands still.
            let completion = unsafe {
                let first = self.shared.byte_add(places.cqes as usize).cast::<Completion>();
                &mut *first.add(at as usize)
            };
            if let Some(errno) = self.errors.remove(&completion.user_data) {
                completion.result = -errno;
            }
            if self.late.remove(&completion.user_data) {
                completion.result = -libc::EINTR;
            }
        }
        assert!(self.errors.is_empty(), "what does nothing completes at once");
    }

    /// The number at `address` of the server's memory.
    fn read(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        self.memory.read_exact_at(&mut bytes, address).unwrap();
        u64::from_ne_bytes(bytes)
    }

    fn write(&self, address: u64, number: u64) {
        self.memory.write_all_at(&number.to_ne_bytes(), address).unwrap();
    }
}

/// Maps `len` bytes of `ring`, for good.
fn map(ring: &OwnedFd, offset: u64, len: usize) -> *mut c_void {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a mapping at an address of the kernel's choice touches nothing that exists.
    let start =
        unsafe { mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, ring.as_fd(), offset) };
    start.expect("the memory of a ring")
}
