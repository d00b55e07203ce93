//! Files: ranges, ends, errors, many reads at once, reads that nobody waits for; on rings and on background threads.

use super::ring_of;
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use uring::{AlignedBuffer, AlignedBuffers, Background, BackgroundFile, File, Support};

on_each_engine! {
    any_range_of_a_file_can_be_read,
    a_file_ends_where_it_ends,
    a_file_system_that_may_wait_is_read_like_others,
    many_reads_are_in_flight_at_once,
    a_read_that_fails_is_an_error,
    a_read_that_nobody_waits_for_gives_its_buffer_back,
    a_background_thread_writes_and_reads,
}

/// Not a multiple of anything that files are aligned to.
const FILE_BYTES: usize = (3 << 20) + 1234;

/// A file that is removed at the end.
struct TempFile(PathBuf);

impl TempFile {
    /// With `len` bytes in it that tell their place.
    fn new(len: usize) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("uring-file-{}-{number}", std::process::id()));
        std::fs::write(&path, content(0, len)).expect("a file");
        Self(path)
    }

    fn open(&self) -> std::fs::File {
        open(&self.0)
    }

    /// Opened each way.
    fn each_way(&self) -> [File; 2] {
        [File::new(self.open()), File::cached(self.open())]
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn open(path: &Path) -> std::fs::File {
    std::fs::File::options().read(true).write(true).open(path).expect("a file")
}

fn content(offset: usize, len: usize) -> Vec<u8> {
    (offset..offset + len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

fn any_range_of_a_file_can_be_read(on: Support) {
    let disk = TempFile::new(FILE_BYTES);
    ring_of(on, 1).run(async {
        let buffers = AlignedBuffers::new(1 << 20);
        for file in disk.each_way() {
            assert_eq!(file.len().expect("a length"), FILE_BYTES as u64);
            for (offset, len) in [
                (0, 1),
                (1, 4096),
                (4095, 2),
                (12_345, 0),
                (511, 600_000),
                (0, FILE_BYTES),
                (FILE_BYTES - 1, 1),
                (FILE_BYTES - 5000, 5000),
            ] {
                let (buffer, wanted) =
                    file.read_range(&buffers, offset as u64, len, ()).await.expect("a range");
                assert!(buffer.bytes()[wanted] == content(offset, len), "{len} at {offset} of {file:?}");
            }
        }
        assert!(buffers.kept_bytes() > 0);
    });
}

fn a_file_ends_where_it_ends(on: Support) {
    let disk = TempFile::new(5000);
    ring_of(on, 1).run(async {
        let buffers = AlignedBuffers::new(1 << 20);
        for file in disk.each_way() {
            let (result, buffer) = file.read_at(buffers.take(1 << 20), 4096).await;
            assert_eq!(result.expect("a short read"), 904);
            assert!(buffer.bytes() == content(4096, 904));
            // A buffer is used again from its front.
            let (result, buffer) = file.read_at(buffer, 1 << 20).await;
            assert_eq!((result.expect("an empty read"), buffer.bytes()), (0, &b""[..]));
            for (offset, len) in [(4999, 2), (5000, 1), (1 << 20, 1)] {
                let error = file.read_range(&buffers, offset, len, ()).await.expect_err("beyond the end");
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    });
}

/// Files of procfs, for which the kernel does not promise that a read will not wait.
fn a_file_system_that_may_wait_is_read_like_others(on: Support) {
    let content = std::fs::read("/proc/version").expect("a file");
    ring_of(on, 1).run(async {
        let file = File::cached(std::fs::File::open("/proc/version").expect("a file"));
        let buffers = AlignedBuffers::new(1 << 20);
        let read = file.read_range(&buffers, 3, content.len() - 3, ()).await;
        let (buffer, range) = read.expect("bytes");
        assert_eq!(&buffer.bytes()[range], &content[3..]);
        let read = file.read_range(&buffers, 3, content.len(), ()).await;
        assert_eq!(read.map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
    });
}

fn many_reads_are_in_flight_at_once(on: Support) {
    let disk = TempFile::new(FILE_BYTES);
    ring_of(on, 1).run(async {
        let buffers = AlignedBuffers::new(1 << 20);
        for file in disk.each_way() {
            let right = Rc::new(Cell::new(0));
            let tasks: Vec<_> = (0..2000_usize)
                .map(|number| {
                    let (file, buffers, right) = (file.clone(), buffers.clone(), Rc::clone(&right));
                    let (offset, len) = (number * 7919 % (FILE_BYTES - 5000), number % 5000);
                    uring::spawn(async move {
                        let (buffer, wanted) =
                            file.read_range(&buffers, offset as u64, len, ()).await.expect("a range");
                        assert!(buffer.bytes()[wanted] == content(offset, len));
                        right.set(right.get() + 1);
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("the task's assertions");
            }
            assert_eq!(right.get(), 2000);
        }
        assert!(buffers.kept_bytes() <= 1 << 20);
    });
}

fn a_read_that_fails_is_an_error(on: Support) {
    let disk = TempFile::new(5000);
    ring_of(on, 1).run(async {
        let unreadable = std::fs::File::options().write(true).open(&disk.0).expect("a file");
        let directory = std::fs::File::open(std::env::temp_dir()).expect("a directory");
        for (file, errno) in [(unreadable, libc::EBADF), (directory, libc::EISDIR)] {
            let file = File::new(file);
            assert!(!file.is_direct());
            let (result, buffer) = file.read_at(AlignedBuffer::with_room(4096), 0).await;
            assert_eq!(result.expect_err("no read").raw_os_error(), Some(errno));
            assert_eq!(buffer.bytes(), b"");
        }
        let file = File::new(disk.open());
        if file.is_direct() {
            let (result, _) = file.read_at(AlignedBuffer::with_room(file.alignment()), 1).await;
            assert_eq!(result.expect_err("not aligned").raw_os_error(), Some(libc::EINVAL));
        }
    });
}

/// Polls `future` once and drops it.
async fn begin(future: impl Future) {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await;
}

fn a_read_that_nobody_waits_for_gives_its_buffer_back(on: Support) {
    let disk = TempFile::new(FILE_BYTES);
    ring_of(on, 1).run(async {
        let buffers = AlignedBuffers::new(1 << 20);
        let file = File::new(disk.open());
        for number in 1..=20 {
            begin(file.read_range(&buffers, number * 4096, 100, ())).await;
        }
        drop(file);
        while buffers.kept_bytes() == 0 {
            uring::sleep(Duration::from_millis(1)).await;
        }
    });
}

/// A pipe is as slow a file as one likes. What the read was counted by is kept as well.
#[test]
fn a_dropped_read_owns_its_buffer_until_it_completes() {
    let on = uring::probe().expect("tests need io_uring");
    ring_of(on, 1).run(async {
        let buffers = AlignedBuffers::new(1 << 20);
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let file = File::cached(std::fs::File::from(OwnedFd::from(reader)));
        let lease = Arc::new(());
        begin(file.read_range(&buffers, 0, 4096, Arc::clone(&lease))).await;
        drop(file);
        for _ in 0..10 {
            uring::sleep(Duration::from_millis(1)).await;
            assert_eq!(buffers.kept_bytes(), 0, "the kernel still has it");
            assert_eq!(Arc::strong_count(&lease), 2, "and so it is counted");
        }
        writer.write_all(b"late").expect("somebody reads");
        while buffers.kept_bytes() == 0 {
            uring::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(Arc::strong_count(&lease), 1);
        assert!(writer.write_all(b"x").is_err(), "the descriptor went with the read");
    });
}

fn a_background_thread_writes_and_reads(on: Support) {
    let disk = TempFile::new(0);
    for file in disk.each_way() {
        disk.open().set_len(FILE_BYTES as u64).expect("a length");
        let background = Background::build(on.engine()).expect("a runtime");
        let main = async |files: Vec<BackgroundFile>| {
            let file = &files[0];
            let mut bytes = AlignedBuffer::zeroed(1 << 20);
            bytes.bytes_mut().copy_from_slice(&content(1 << 20, 1 << 20));
            let (result, bytes) = file.write_at(bytes, 1 << 20, 1 << 20).await;
            result.expect("a write");
            let (result, buffer) = file.read_at(AlignedBuffer::with_room(1 << 20), 1 << 20).await;
            assert_eq!(result.expect("a read"), 1 << 20);
            assert!(buffer.bytes() == bytes.bytes());
            let (result, buffer) = file.read_at(buffer, 3 << 20).await;
            assert_eq!(result.expect("a read"), FILE_BYTES - (3 << 20));
            assert!(buffer.bytes().iter().all(|&byte| byte == 0));
            assert_eq!(file.read_at(AlignedBuffer::with_room(0), 0).await.0.expect("nothing"), 0);
        };
        background.run_tasks(&[file], main).expect("descriptors");
    }
    let background = Background::build(on.engine()).expect("a runtime");
    let file = File::cached(std::fs::File::open(&disk.0).expect("a file"));
    let main = async |files: Vec<BackgroundFile>| {
        let (result, _) = files[0].write_at(AlignedBuffer::zeroed(8192), 4096, 0).await;
        assert_eq!(result.expect_err("opened to read").raw_os_error(), Some(libc::EBADF));
    };
    background.run_tasks(&[file], main).expect("descriptors");
}

/// What a core does in 4 KiB reads at random places: a figure, not a test.
#[test]
#[ignore = "a measurement"]
fn random_reads_of_a_core() {
    let len = 2_usize << 30;
    let disk = TempFile::new(0);
    {
        let mut file = disk.open();
        let part = content(0, 1 << 20);
        for _ in 0..len >> 20 {
            file.write_all(&part).expect("room");
        }
        file.sync_all().expect("room");
    }
    for on in [uring::probe().expect("io_uring"), Support::epoll()] {
        for file in disk.each_way() {
            for in_flight in [1, 16, 128] {
                measure(on, &file, len, in_flight);
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn measure(on: Support, file: &File, len: usize, in_flight: usize) {
    const TIME: Duration = Duration::from_secs(2);
    let processor = || {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("usage");
        let time = |value: nix::sys::time::TimeVal| {
            Duration::new(value.tv_sec() as u64, value.tv_usec() as u32 * 1000)
        };
        time(usage.user_time()) + time(usage.system_time())
    };
    let (engine, is_direct) = (on.engine(), file.is_direct());
    let (before, since) = (processor(), std::time::Instant::now());
    let reads = ring_of(on, 1).run(async {
        let buffers = AlignedBuffers::new(1 << 20);
        let reads = Rc::new(Cell::new(0_u64));
        let tasks: Vec<_> = (0..in_flight)
            .map(|task| {
                let (file, buffers, reads) = (file.clone(), buffers.clone(), Rc::clone(&reads));
                uring::spawn(async move {
                    let mut seed = task as u64 + 1;
                    while since.elapsed() < TIME {
                        seed = seed
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let offset = ((seed >> 20) % (len as u64 >> 12)) << 12;
                        file.read_range(&buffers, offset, 4096, ()).await.expect("a range");
                        reads.set(reads.get() + 1);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        reads.get()
    });
    let (time, used) = (since.elapsed().as_secs_f64(), processor().saturating_sub(before).as_secs_f64());
    let (rate, cost) = (reads as f64 / time, used * 1e6 / reads as f64);
    println!(
        "{engine} direct {is_direct} {in_flight:3} in flight: {rate:.0} reads/s, {cost:.1} µs of processor each"
    );
}
