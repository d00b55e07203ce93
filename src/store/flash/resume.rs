//! The tier over restarts: what a memory file says of it, and whether its files are those that were written to. Runs at the
//! start, before rings do; only [`Flash::record`] is called later, by whoever changes the number that it records.

use super::counters::get;
use super::place::IsThere;
use super::{Flash, FlashOptions};
use crate::store::memory_file::{Headers, Word};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

impl Flash {
    /// The tier that an earlier process has left behind in these files; `None` if the memory file names no tier.
    ///
    /// # Errors
    /// The memory file names a tier, but these files are not its files; says why.
    pub(in crate::store) fn resume(
        options: &FlashOptions,
        headers: &Headers,
        is_there: IsThere<'_>,
    ) -> Result<Option<Self>, String> {
        let mut flash = Self::new(options);
        let (oldest, written) = (headers.get(Word::FlashOldest), headers.get(Word::FlashWritten));
        let files = headers.get(Word::FlashFiles);
        if files == 0 {
            return Ok(None);
        }
        if files != flash.geometry.checksum() {
            return Err(
                "sizes or number of the files, ext_page_size or ext_wbuf_size are not what they were"
                    .to_owned(),
            );
        }
        if !flash.geometry.may_hold(&(oldest..written)) {
            return Err("the memory file is damaged where it tells of them".to_owned());
        }
        for file in 0..options.files.len() {
            if !flash.geometry.holds_newest(file, oldest..written, is_there) {
                return Err(format!("file {} of ext_path is not the one that was written to", file + 1));
            }
        }
        flash.salt = headers.get(Word::FlashSalt) as u32;
        (flash.oldest, flash.written) = (AtomicU64::new(oldest), AtomicU64::new(written));
        Ok(Some(flash))
    }

    /// The numbers of the chunks that are on the device.
    pub(in crate::store) fn chunks(&self) -> Range<u64> {
        get(&self.oldest)..get(&self.written)
    }

    /// Writes into the memory file which chunks there are, and does so from here on whenever that changes.
    pub(super) fn keep(&mut self, headers: &Arc<Headers>) {
        // The last word makes the others valid: a process that is killed in between leaves no tier.
        headers.set(Word::FlashFiles, 0);
        headers.set(Word::FlashSalt, self.salt.into());
        headers.set(Word::FlashOldest, get(&self.oldest));
        headers.set(Word::FlashWritten, get(&self.written));
        headers.set(Word::FlashFiles, self.geometry.checksum());
        self.headers = Some(Arc::clone(headers));
    }

    /// Writes a chunk's number into `word` of the memory file, if there is one.
    pub(super) fn record(&self, word: Word, chunk: u64) {
        if let Some(headers) = &self.headers {
            headers.set(word, chunk);
        }
    }
}
