//! Makes the parts of a store at its start. With a memory file, finds and checks the items that the previous process left there,
//! and makes the store of them.
//!
//! Runs once, in the thread that makes the store and in helper threads that end before the restore does. No ring runs yet, so no
//! locks are needed: this module owns the file and all parts until it hands the parts over as [`Parts`].
//!
//! ```text
//!   survey   headers and extent table: which units are in use
//!   walk     threads take segment after segment, and collect the items that are alive    ┐ in rounds, so that
//!   fill     each thread inserts the items of its own range of tables into the index      ┘ memory is bounded
//!   books    the segment table: queues in their order, sums, free space
//! ```
//!
//! Any bit of the file may be wrong. Everything is checked before it is used, and an inconsistency makes the whole file useless.
//! A process that is killed while restoring has only marked items dead that must not be found, and freed units without live
//! items. The next start therefore arrives at the same store.

mod fill;
mod survey;
mod walk;

use super::Host;
use super::arena::Arena;
use super::flash::{self, Flash};
use super::key_hash::KeyHasher;
use super::log::Log;
use super::memory_file::{Headers, Ledger, MemoryFile, Verdict, Word};
use super::replica::Group;
use super::segment_table::SegmentTable;
use super::start::{LostOnFlash, Options, RestoreOutcome, Restored, StartError};
use crate::clock::{Stopwatch, Timestamp};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The parts that a store is made of.
pub(super) struct Parts {
    pub(super) arena: Arena,
    pub(super) segments: SegmentTable,
    pub(super) replicas: Box<[Arc<Group>]>,
    /// The headers of the memory file, if there is one, and the outcome of restoring it.
    pub(super) file: Option<(Arc<Headers>, Restored)>,
    /// The second that the store's clock shows at the start.
    pub(super) now: Timestamp,
    /// The second in which a delayed flush is due; NEVER if none is.
    pub(super) due_flush: Timestamp,
    pub(super) flash: Option<flash::ChunkTable>,
}

/// The parts that begin empty and are filled from the memory file. They are made anew if the file turns out to be useless.
struct Empty {
    segments: SegmentTable,
    replicas: Box<[Arc<Group>]>,
    flash: Option<flash::ChunkTable>,
}

fn empty(arena: &Arena, options: &Options) -> Empty {
    let Options { memory_limit, evict, rings, replicas, .. } = *options;
    Empty {
        segments: SegmentTable::new(arena, memory_limit, evict, options.classes.clone()),
        replicas: Group::all(replicas, rings, memory_limit),
        flash: options.flash.as_ref().map(|flash| flash::ChunkTable::new(Flash::new(flash))),
    }
}

/// The parts of a store without a memory file.
///
/// # Errors
/// [`StartError`]: the system refuses the address space.
pub(super) fn nothing(options: &Options, log: Log) -> Result<Parts, StartError> {
    let memory_limit = options.memory_limit;
    let arena = Arena::reserve(memory_limit, options.address_space, options.rings, log)
        .map_err(|errno| StartError::AddressSpace { memory_limit, errno })?;
    let Empty { segments, replicas, flash } = empty(&arena, options);
    let due_flush = Timestamp::NEVER;
    Ok(Parts { arena, segments, replicas, flash, file: None, now: Timestamp(0), due_flush })
}

/// Makes the parts of a store from the content of `file`. Empties the file and begins with empty parts if the content is
/// useless.
///
/// # Errors
/// [`StartError`]: the file cannot be mapped or get its length, or the file system lacks room.
pub(super) fn open(
    file: &MemoryFile,
    options: &Options,
    log: Log,
    hasher: &KeyHasher,
    host: &dyn Host,
) -> Result<Parts, StartError> {
    assert!(file.is_for(options.memory_limit, options.item_size_max), "opened for this store");
    let stopwatch = Stopwatch::start();
    let bytes = file.length();
    let mut outcome = match file.verdict() {
        Verdict::Empty => RestoreOutcome::New,
        Verdict::Usable => RestoreOutcome::Restored,
        Verdict::Useless(fault) => RestoreOutcome::Rejected(fault.clone()),
    };
    let is_new = outcome != RestoreOutcome::Restored;
    if is_new {
        file.empty().map_err(|errno| StartError::MemoryFileLength { bytes, errno })?;
    }
    let (headers, region) = file.map().map_err(|errno| StartError::MemoryFileMap { bytes, errno })?;
    let headers = Arc::new(headers);
    begin(file, &headers, is_new)?;
    let arena = Arena::new(region, file.geometry(), options.rings, log);
    let mut parts = empty(&arena, options);
    let mut lost_on_flash = None;
    if !is_new {
        flush_what_is_due(&headers, file.now());
        let found = restore(&arena, &headers, options, hasher, host, file.now(), &mut parts);
        match found {
            Ok(lost) => lost_on_flash = lost,
            Err(fault) => {
                outcome = RestoreOutcome::Rejected(fault);
                parts = begin_anew(file, &headers, &arena, options)?;
            }
        }
    }
    let Empty { mut segments, replicas, mut flash } = parts;
    if let Some(chunks) = &mut flash {
        chunks.keep(&headers);
    } else {
        headers.set(Word::FlashFiles, 0);
    }
    if outcome != RestoreOutcome::Restored {
        segments.keep_ledger(Ledger::new(Arc::clone(&headers), 0));
    }
    segments.index_bytes = replicas.iter().map(|replica| replica.bytes()).sum();
    let room = segments.claim(&arena);
    if let Err(errno) = room {
        if outcome != RestoreOutcome::Restored {
            return Err(StartError::MemoryFileRoom { bytes: options.memory_limit, errno });
        }
        // Serve the restored items, with a limit for which there is memory.
        segments.note_unclaimed(&arena);
        host.lacks_room(segments.limit);
    }
    let (items, item_bytes) = (segments.totals.curr_items, segments.totals.bytes);
    Ok(Parts {
        arena,
        segments,
        replicas,
        flash,
        due_flush: Timestamp(headers.get(Word::DueFlush) as u32),
        now: file.now(),
        file: Some((
            headers,
            Restored { items, bytes: item_bytes, elapsed: stopwatch.elapsed(), outcome, lost_on_flash },
        )),
    })
}

/// Gives the headers memory and marks the file as used by this process.
fn begin(file: &MemoryFile, headers: &Headers, is_new: bool) -> Result<(), StartError> {
    let bytes = file.length();
    headers.commit().map_err(|errno| StartError::MemoryFileRoom { bytes, errno })?;
    file.begin(headers, is_new).map_err(|errno| StartError::MemoryFileRoom { bytes, errno })
}

/// Empties a file that turned out to be useless, marks it as used by this process, and returns empty parts.
fn begin_anew(
    file: &MemoryFile,
    headers: &Headers,
    arena: &Arena,
    options: &Options,
) -> Result<Empty, StartError> {
    let (parts, bytes) = (empty(arena, options), file.length());
    file.empty().map_err(|errno| StartError::MemoryFileLength { bytes, errno })?;
    begin(file, headers, true)?;
    Ok(parts)
}

/// Carries out a delayed flush whose time came while no process ran, or that the previous process did not carry out.
fn flush_what_is_due(headers: &Headers, now: Timestamp) {
    let due = headers.get(Word::DueFlush);
    if due != 0 && due <= u64::from(now.0) {
        headers.set(Word::Flushes, headers.get(Word::Flushes) + 1);
        headers.set(Word::DueFlush, 0);
    }
}

/// Fills all indexes and the segment table with the items of the file. Returns how many items are lost because their values
/// could not be found on flash, and why; `None` if none is. An error says what in the file is inconsistent.
fn restore(
    arena: &Arena,
    headers: &Arc<Headers>,
    options: &Options,
    hasher: &KeyHasher,
    host: &dyn Host,
    now: Timestamp,
    parts: &mut Empty,
) -> Result<Option<LostOnFlash>, String> {
    let survey = survey::survey(headers, arena)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(options.rings);
    let resumed = match &options.flash {
        Some(flash) => Flash::resume(flash, headers, &|extent, bytes| host.is_on_flash(extent, bytes)),
        None => Err("there is no ext_path".to_owned()),
    };
    let (resumed, why) = match resumed {
        Ok(resumed) => (resumed, "they had not been written there yet".to_owned()),
        Err(why) => (None, why),
    };
    let chunks = resumed.as_ref().map_or(0..0, Flash::chunks);
    let lost = AtomicU64::new(0);
    let walker = walk::Walker { arena, hasher, classes: &options.classes, now, chunks, lost: &lost };
    let sequence = survey.sequence;
    let (first, others) = parts.replicas.split_first_mut().expect("there is a replica");
    let index = Group::index_mut(first);
    let mut found = fill::fill(&walker, survey, index, threads, host)?;
    for other in others {
        fill::copy(index, Group::index_mut(other), threads);
    }
    found.free_dead(headers);
    if let Some(flash) = resumed {
        parts.flash = Some(flash::ChunkTable::resume(flash, &found.take_live()));
    }
    parts.segments.keep_ledger(Ledger::new(Arc::clone(headers), sequence));
    parts.segments.restore(arena, &found.into_units(), headers.get(Word::CasReserved));
    let items = lost.into_inner();
    Ok((items > 0).then_some(LostOnFlash { items, why }))
}
